"""What the report of a dataset holds, on top of what tests of single formats say."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from data import damage
from data.damage import DATA, EPISODES
from data.robots import PROPRIO, Robot, make_robot, make_space, record

from robovlms.__main__ import main
from robovlms.data.checks.episode import read_numbers
from robovlms.data.checks.fault import Fault, Findings
from robovlms.data.checks.registry import FILE_CHECKS, FORMAT_CHECKS
from robovlms.data.sources.base import Episode, Steps
from robovlms.data.sources.registry import SOURCES
from robovlms.data.validate import ValidationReport, find_faults, validate_dataset
from robovlms.errors import ConfigError

LENGTHS = (24, 20, 22)  # rows 0-23, 24-43, 44-65
BLACK = np.zeros((16, 16, 3), np.uint8)
NOISE = np.random.default_rng(5).integers(0, 256, (16, 16, 3), np.uint8)


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


def test_frames_in_between_are_looked_at_when_asked(clean: Callable[..., Path]) -> None:
    path = clean()
    damage.set_frames(path / DATA, slice(5, 6), BLACK)
    assert found(path).faults == ()
    (fault,) = found(path, all_frames=True).faults
    assert (fault.check, fault.episode, fault.step, fault.key) == ("constant_frame", 0, 5, "static")


def test_a_still_robot_may_be_seen_standing_still(clean: Callable[..., Path]) -> None:
    path = clean()
    damage.set_frames(path / DATA, slice(0, 24), NOISE)
    assert [fault.check for fault in found(path).faults] == ["frozen_camera"]
    damage.edit_rows(path / DATA, _stand_still)
    (path / "meta/stats.json").unlink()
    report = found(path)
    assert (report.faults, report.warnings) == ((), ())


def _stand_still(rows: list[dict[str, Any]]) -> None:
    for row in rows[:24]:
        row["observation.state"][1] = 3.0


def test_a_camera_that_freezes_for_a_moment_is_a_warning(clean: Callable[..., Path]) -> None:
    path = clean()
    damage.set_frames(path / DATA, slice(10, 16), NOISE)
    report = found(path, all_frames=True)
    assert report.faults == ()
    (warning,) = report.warnings
    assert (warning.check, warning.step, warning.seen) == ("frozen_camera", 10, "6 times the same")


def test_a_constant_dimension_is_a_warning(tmp_path: Path, make: SimpleNamespace) -> None:
    episode = make.episode(0, 9)
    episode.steps.actions[:, 1] = 0.5
    (warning,) = found(make.write(tmp_path / "a", [episode])).warnings
    assert (warning.check, warning.key, warning.seen) == ("constant_dimension", "y", "0.5")


@pytest.mark.parametrize("is_same_text", [True, False])
def test_duplicate_episodes(tmp_path: Path, make: SimpleNamespace, is_same_text: bool) -> None:
    first, other = make.episode(0, 9), make.episode(1, 9)
    copy = first if is_same_text else dataclasses.replace(first, instruction="do something else")
    report = found(make.write(tmp_path / "a", [first, other, copy]))
    (one,) = (*report.faults, *report.warnings)
    assert one.severity == ("fault" if is_same_text else "warning")
    assert (one.check, one.episode, one.seen) == ("duplicate_episode", 2, "the same as episode 0")


def test_the_same_numbers_under_other_pictures_are_no_duplicate(tmp_path: Path, make: SimpleNamespace) -> None:
    first, other = make.episode(0, 9), make.episode(1, 9)
    same_numbers = make.replaced(first, images=other.steps.images)
    assert found(make.write(tmp_path / "a", [first, same_numbers])).faults == ()


def robot_set(path: Path, make: SimpleNamespace, **changes: Any) -> Path:
    """What a robot with known conventions does, as a dataset."""
    space = make_space("0.02 m", **changes)
    with make.writer(path, action_space=space, cameras=(), proprio_names=PROPRIO) as writer:
        for i in range(6):
            actions, states = (values.astype(np.float32) for values in record(i))
            states[:, -1] = i  # a joint
            steps = Steps(images={}, proprio=states, actions=actions)
            writer.add_episode(Episode(task="a", instruction="move it", steps=steps))
    return path


CONTRADICTIONS = [
    ({"gripper_opens": "negative"}, "gripper_opens", "negative", "positive"),
    ({"is_delta": False}, "is_delta", "False", "True"),
    ({"frame": "tcp"}, "frame", "tcp", "world"),
]


@pytest.mark.parametrize(("changes", "key", "expected", "seen"), CONTRADICTIONS)
def test_conventions_are_checked(
    tmp_path: Path, make: SimpleNamespace, changes: dict[str, Any], key: str, expected: str, seen: str
) -> None:
    right = found(robot_set(tmp_path / "right", make))
    assert (right.faults, right.warnings) == ((), ())
    (fault,) = found(robot_set(tmp_path / "wrong", make, **changes)).faults
    assert (fault.check, fault.key, fault.expected, fault.seen) == ("conventions", key, expected, seen)


def test_all_faults_are_reported(clean: Callable[..., Path]) -> None:
    path = clean()
    for row in (5, 30):
        damage.set_cell(path / DATA, row, "action", float("nan"), 0)
    damage.set_frames(path / DATA, slice(24, 25), BLACK)
    damage.edit_rows(path / EPISODES, lambda rows: rows[2].update(tasks=[" "]))
    places = [(fault.check, fault.episode, fault.step) for fault in found(path).faults]
    assert sorted(places, key=str) == [
        ("constant_frame", 1, 0),
        ("finite", 0, 5),
        ("finite", 1, 6),
        ("instruction", 2, None),
    ]


def test_many_faults_of_a_check_are_counted(clean: Callable[..., Path]) -> None:
    path = clean()
    damage.edit_rows(path / DATA, _spoil)
    report = found(path)
    assert (len(report.faults), report.more) == (20, {"finite": 46})


def _spoil(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        row["action"][0] = float("nan")


def test_a_check_that_cannot_go_on_is_a_fault() -> None:
    def breaks() -> Any:
        yield Fault(check="a", file=Path("f"), message="first")
        raise RuntimeError("two\nlines")

    findings = Findings()
    findings.run("a", breaks(), Path("f"))
    assert [fault.message for fault in findings.listed] == [
        "first",
        "f: the check could not be finished: RuntimeError: two lines",
    ]


class Broken(Robot):
    """Its library fails at one step in its own way."""

    def read(self, episode: int, frames: np.ndarray, steps: np.ndarray, cameras: tuple[str, ...]) -> Steps:
        if 7 in steps:
            raise KeyError("no\nsuch item")
        return super().read(episode, frames, steps, cameras)


def test_an_error_of_a_library_is_a_fault_of_its_step() -> None:
    robot = make_robot(num_episodes=1)
    numbers = read_numbers(Broken(robot.action_space, robot._episodes), 0)
    assert [(error.step, error.message) for error in numbers.errors] == [
        (7, "robot: episode 0: KeyError: 'no\\nsuch item'")
    ]
    assert np.flatnonzero(~numbers.is_read).tolist() == [7]


@pytest.mark.parametrize("what", ["nothing", "an empty folder", "a file"])
def test_what_is_no_dataset_is_a_fault(tmp_path: Path, what: str) -> None:
    path = tmp_path / "set"
    if what == "a file":
        path.write_bytes(b"x")
    elif what == "an empty folder":
        path.mkdir()
    (fault,) = found(path).faults
    assert (fault.check, fault.file) == ("open", path)


@pytest.mark.parametrize("format", sorted(SOURCES))
def test_no_format_crashes_on_nothing(tmp_path: Path, format: str) -> None:
    (tmp_path / "set").mkdir()
    report = find_faults(tmp_path / "set", format, {}, all_frames=False, show_progress=False)
    assert "open" in {fault.check for fault in report.faults}


def test_unknown_formats_and_options_are_no_faults_of_a_dataset(clean: Callable[..., Path]) -> None:
    path = clean()
    with pytest.raises(ConfigError, match="unknown format 'lerobt'; did you mean 'lerobot'"):
        find_faults(path, "lerobt", {}, all_frames=False, show_progress=False)
    with pytest.raises(ConfigError, match="unknown option 'cache'"):
        find_faults(path, "auto", {"cache": 1}, all_frames=False, show_progress=False)


def test_checks_of_a_format_are_of_one_that_exists() -> None:
    assert set(FILE_CHECKS) | set(FORMAT_CHECKS) <= set(SOURCES)


def test_the_report_is_json(clean: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = clean()
    damage.set_cell(path / DATA, 30, "action", float("nan"), 1)
    report = validate_dataset(path, show_progress=False)
    printed = capsys.readouterr()
    assert json.loads(printed.out) == report.to_json()
    assert "1 fault, 0 warnings" in printed.err
    validate_dataset(path, json_path=tmp_path / "reports/a.json", show_progress=False)
    written = json.loads((tmp_path / "reports/a.json").read_text())
    assert "finite" in capsys.readouterr().out
    (fault,) = written["faults"]
    assert fault == {
        "check": "finite",
        "severity": "fault",
        "file": str(path / DATA),
        "episode": 1,
        "step": 6,
        "key": "action y",
        "expected": "a finite number",
        "seen": "nan",
        "message": f"{path / DATA}: episode 1, step 6: action 'y' is nan",
    }
    assert (written["format"], written["num_episodes"], written["num_frames"]) == ("lerobot", 3, 66)


def test_the_command(clean: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = clean()
    arguments = ["data", "validate", str(path), "--json", str(tmp_path / "a.json"), "--all_frames"]
    assert main(arguments) == 0
    assert "3 episodes, 66 steps: no fault, 0 warnings" in capsys.readouterr().out
    damage.truncate(path / DATA)
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 1
