"""Each test damages a clean LeRobot dataset in one way; the report names check, file, episode and step."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from data import damage
from data.damage import DATA, EPISODES, IMAGE, VIDEO

from robovlms.data.checks.fault import Fault
from robovlms.data.checks.registry import CHECKS, FORMAT_CHECKS
from robovlms.data.sources.video import VideoWriter
from robovlms.data.validate import ValidationReport, find_faults

LENGTHS = (24, 20, 22)  # rows 0-23, 24-43, 44-65


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROBOVLMS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def clean(tmp_path: Path, make: SimpleNamespace) -> Callable[..., Path]:
    """Write three episodes, of two tasks."""

    def write(**changes: Any) -> Path:
        episodes = [make.episode(i, length, task=("reach", "push")[i % 2]) for i, length in enumerate(LENGTHS)]
        return make.write(tmp_path / "set", episodes, **changes)

    return write


def found(path: Path, **how: Any) -> ValidationReport:
    return find_faults(path, "auto", {}, **({"all_frames": False, "show_progress": False} | how))


@pytest.mark.parametrize("storage", ["png", "video"])
@pytest.mark.parametrize("all_frames", [False, True])
def test_a_clean_dataset_has_no_fault(clean: Callable[..., Path], storage: str, all_frames: bool) -> None:
    report = found(clean(storage=storage), all_frames=all_frames)
    assert (report.faults, report.warnings, report.more) == ((), (), {})
    assert (report.format, report.num_episodes, report.num_frames) == ("lerobot", 3, 66)
    assert set(report.checks) == {"files", "open", *CHECKS, *FORMAT_CHECKS["lerobot"]}


# What is damaged, and how; check, file, episode, step and part of the message of the fault.
BLACK = np.zeros((16, 16, 3), np.uint8)
NOISE = np.random.default_rng(5).integers(0, 256, (16, 16, 3), np.uint8)
Damage = Callable[[Path], Any]
PNG: dict[str, tuple[Damage, str, str, int | None, int | None, str]] = {
    "truncated parquet": (
        lambda p: damage.truncate(p / DATA),
        "damaged_file", DATA, 0, None, "not readable as parquet",
    ),
    "empty parquet": (lambda p: (p / DATA).write_bytes(b""), "damaged_file", DATA, 0, None, "not readable as parquet"),
    "NaN action": (
        lambda p: damage.set_cell(p / DATA, 30, "action", float("nan"), 1),
        "finite", DATA, 1, 6, "action 'y' is nan",
    ),
    "infinite proprio": (
        lambda p: damage.set_cell(p / DATA, 44, "observation.state", float("inf"), 0),
        "finite", DATA, 2, 0, "observation.state 'joint_0' is inf",
    ),
    "action out of range": (
        lambda p: damage.set_cell(p / DATA, 65, "action", 1.5, 0),
        "range", DATA, 2, 21, "action 'x' is 1.5 m, declared are -1 to 1",
    ),
    "wrong fps": (
        lambda p: damage.edit_json(p / "meta/info.json", lambda info: info.update(fps=30)),
        "fps", DATA, 0, 0, "timestamps are 0.1 s apart, which is 10 per second, but fps is 30",
    ),
    "swapped timestamps": (
        lambda p: damage.edit_rows(p / DATA, _swap("timestamp", 27, 28)),
        "timestamps", DATA, 1, 4, "timestamp 0.3 does not come after 0.4",
    ),
    "an episode without a step": (
        lambda p: damage.edit_rows(p / EPISODES, lambda rows: rows[2].update(length=0)),
        "lengths", DATA, 2, None, "has 0 steps, expected at least 1",
    ),
    "one row fewer": (
        lambda p: damage.edit_rows(p / DATA, lambda rows: rows[:30] + rows[31:]),
        "lengths", DATA, 1, None, "65 rows, but its episodes 0 to 2 have 66 steps",
    ),
    "missing column of numbers": (
        lambda p: damage.drop_column(p / DATA, "observation.state"),
        "columns", DATA, None, None, "lacks the column 'observation.state'",
    ),
    "missing column of pictures": (
        lambda p: damage.drop_column(p / DATA, IMAGE),
        "columns", DATA, None, None, f"lacks the column '{IMAGE}'",
    ),
    "black frame": (
        lambda p: damage.set_frames(p / DATA, slice(24, 25), BLACK),
        "constant_frame", DATA, 1, 0, "every pixel is about [0, 0, 0]: the picture shows nothing",
    ),
    "frozen camera": (
        lambda p: damage.set_frames(p / DATA, slice(30, 44), NOISE),
        "frozen_camera", DATA, 1, 6, "14 frames from step 6 to 19 are the same while the robot moves",
    ),
    "a camera frozen at the beginning, the middle and the end": (
        lambda p: damage.set_frames(p / DATA, slice(0, 24), NOISE),
        "frozen_camera", DATA, 0, 0, "24 frames",
    ),
    "frame of another size": (
        lambda p: damage.set_frames(p / DATA, slice(0, 1), NOISE[:8]),
        "frame_size", DATA, 0, 0, "frame of shape [8, 16, 3], expected [16, 16, 3]",
    ),
    "no picture": (
        lambda p: damage.edit_rows(p / DATA, lambda rows: rows[23][IMAGE].update(bytes=b"no picture")),
        "frames", DATA, 0, 23, "episode 0, step 23, observation.images.static",
    ),
    "empty instruction": (
        lambda p: damage.edit_rows(p / EPISODES, lambda rows: rows[1].update(tasks=["  "])),
        "instruction", DATA, 1, None, "instruction '  ' is empty",
    ),
    "lost letters": (
        lambda p: damage.edit_rows(p / EPISODES, lambda rows: rows[0].update(tasks=["r�ach"])),
        "instruction", DATA, 0, None, "holds U+FFFD",
    ),
    "control character": (
        lambda p: damage.edit_rows(p / EPISODES, lambda rows: rows[2].update(tasks=["rea\x00ch"])),
        "instruction", DATA, 2, None, "holds a control character, U+0000",
    ),
    "task_index without a task": (
        lambda p: damage.set_cell(p / DATA, 50, "task_index", 7),
        "tasks", DATA, 2, 6, "task_index is 7, but tasks.parquet has [0, 1]",
    ),
    "gap of episode_index": (
        lambda p: damage.edit_rows(p / EPISODES, lambda rows: rows[2].update(episode_index=3)),
        "index", "meta", 3, None, "goes from episode_index 1 to 3, expected 2",
    ),
    "rows of another episode": (
        lambda p: damage.set_cell(p / DATA, 25, "episode_index", 2),
        "index", DATA, 1, 1, "episode_index is 2, expected 1",
    ),
    "gap of frame_index": (
        lambda p: damage.set_cell(p / DATA, 45, "frame_index", 9),
        "index", DATA, 2, 1, "frame_index is 9, expected 1",
    ),
    "gap of index": (lambda p: damage.set_cell(p / DATA, 3, "index", 9), "index", DATA, 0, 3, "index is 9, expected 3"),
    "stats.json that disagrees": (
        lambda p: damage.edit_json(p / "meta/stats.json", lambda stats: stats["action"]["mean"].__setitem__(0, 0.5)),
        "statistics", "meta/stats.json", None, None, "mean of 'action x' is 0.5, but the numbers give 0.105",
    ),
    "stats.json that is no JSON": (
        lambda p: (p / "meta/stats.json").write_text("{"),
        "statistics", "meta/stats.json", None, None, "not readable as JSON",
    ),
    "total_frames": (
        lambda p: damage.edit_json(p / "meta/info.json", lambda info: info.update(total_frames=67)),
        "totals", "meta/info.json", None, None, "total_frames is 67, but the tables in meta hold 66 frames",
    ),
    "action names": (
        lambda p: damage.edit_json(p / "meta/info.json", lambda i: i["features"]["action"].update(names=["x", "y"])),
        "columns", "meta/info.json", None, None, "action has shape [3] but 2 names: x, y",
    ),
    "missing data file": (lambda p: (p / DATA).unlink(), "missing_file", DATA, 0, None, "holds episodes 0 to 2"),
    "missing episode table": (
        lambda p: (p / EPISODES).unlink(),
        "description", "meta/episodes", None, None, "no episode table",
    ),
    "no action space": (
        lambda p: (p / "meta/robovlms.json").unlink(),
        "open", "", None, None, "robovlms.json is missing",
    ),
    "info.json that is no JSON": (
        lambda p: damage.truncate(p / "meta/info.json"),
        "description", "meta/info.json", None, None, "not readable as JSON",
    ),
}  # fmt: skip


def _swap(key: str, one: int, other: int) -> Callable[[list[dict[str, Any]]], None]:
    def edit(rows: list[dict[str, Any]]) -> None:
        rows[one][key], rows[other][key] = rows[other][key], rows[one][key]

    return edit


def check(report: ValidationReport, path: Path, case: tuple[Any, ...]) -> Fault:
    """The fault that a case describes must be among those reported."""
    _, name, file, episode, step, message = case
    place = (path / file, episode, step)
    same = [one for one in report.faults if one.check == name and (one.file, one.episode, one.step) == place]
    fault = next((one for one in same if message in one.message), None)
    assert fault, [(one.check, one.episode, one.step, one.message) for one in report.faults]
    assert "\n" not in fault.message
    return fault


@pytest.mark.parametrize("name", PNG)
def test_every_damage_is_found(clean: Callable[..., Path], name: str) -> None:
    path = clean()
    PNG[name][0](path)
    check(found(path), path, PNG[name])


VIDEOS: dict[str, tuple[Damage, str, str, int | None, int | None, str]] = {
    "truncated mp4": (lambda p: damage.truncate(p / VIDEO), "damaged_file", VIDEO, 0, None, "not readable as video"),
    "empty mp4": (lambda p: (p / VIDEO).write_bytes(b""), "damaged_file", VIDEO, 0, None, "not readable as video"),
    "missing mp4": (lambda p: (p / VIDEO).unlink(), "missing_file", VIDEO, 0, None, "it shows episodes 0 to 2"),
    "shorter than the table": (
        lambda p: _write_video(p / VIDEO, 50),
        "video_frames", VIDEO, 2, 6, "50 frames, but episode 2 has 22 steps and ends with frame 66",
    ),
    "another rate": (
        lambda p: _write_video(p / VIDEO, 66, fps=20.0),
        "fps", VIDEO, 0, None, "20 frames per second, but the dataset has 10",
    ),
    "another size": (
        lambda p: _write_video(p / VIDEO, 66, size=32),
        "frame_size", VIDEO, None, None, "frames are 32 x 32, but info.json says [16, 16, 3]",
    ),
    "black": (
        lambda p: _write_video(p / VIDEO, 66, level=0),
        "constant_frame", DATA, 0, 0, "the picture shows nothing",
    ),
    "frozen": (  # from step 1: an encoder spends other bits on the first frame
        lambda p: _write_video(p / VIDEO, 66, is_frozen=True),
        "frozen_camera", DATA, 0, 1, "23 frames from step 1 to 23 are the same while the robot moves",
    ),
}  # fmt: skip


def _write_video(
    file: Path, length: int, fps: float = 10.0, size: int = 16, level: int = 256, is_frozen: bool = False
) -> None:
    """Put another video in its place."""
    file.unlink()
    video = VideoWriter(file, height=size, width=size, fps=fps)
    frames = np.random.default_rng(0).integers(0, max(1, level), (length, size, size, 3), np.uint8)
    if is_frozen:  # smooth, since an encoder adds noise of its own to noise
        frames[:] = np.linspace(0, 255, size, dtype=np.uint8)[:, None]
    video.add(frames)
    video.close()


@pytest.mark.parametrize("name", VIDEOS)
def test_every_damage_of_a_video_is_found(clean: Callable[..., Path], name: str) -> None:
    path = clean(storage="video")
    VIDEOS[name][0](path)
    check(found(path), path, VIDEOS[name])


def test_a_damaged_file_is_one_fault(clean: Callable[..., Path]) -> None:
    path = clean(storage="video")
    damage.truncate(path / VIDEO)
    assert [fault.check for fault in found(path).faults] == ["damaged_file"]


WARNINGS: dict[str, tuple[Damage, str, str, int | None, int | None, str]] = {
    "orphan": (
        lambda p: (p / "data/chunk-000/file-007.parquet").write_bytes((p / DATA).read_bytes()),
        "orphan_file", "data/chunk-000/file-007.parquet", None, None, "no episode refers to it",
    ),
    "jitter": (
        lambda p: damage.set_cell(p / DATA, 30, "timestamp", 0.65),
        "jitter", DATA, 1, 6, "0.15 s after the step before, where 0.1 s is usual",
    ),
    "gripper between its ends": (
        lambda p: damage.set_cell(p / DATA, 26, "action", 0.25, 2),
        "binary_gripper", DATA, 1, 2, "gripper 'gripper' is 0.25, expected -1 or 1; 1 steps lie between",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WARNINGS)
def test_what_may_be_meant_is_a_warning(clean: Callable[..., Path], name: str) -> None:
    path = clean()
    damage.edit_json(path / "meta/stats.json", lambda stats: stats.clear())
    case = WARNINGS[name]
    case[0](path)
    report = found(path)
    assert report.faults == ()
    (warning,) = report.warnings
    assert (warning.check, warning.file, warning.episode, warning.step) == (case[1], path / case[2], *case[3:5])
    assert case[5] in warning.message
