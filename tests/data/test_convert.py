"""Conversion of any dataset: nothing but pixels of lossy video changes, and an interruption leaves no trace."""

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from robovlms.actions.contract import CameraSpec
from robovlms.data.convert import convert_dataset
from robovlms.data.sources import lerobot_meta
from robovlms.data.sources.base import Episode, EpisodeSource
from robovlms.data.sources.lerobot import LeRobotSource
from robovlms.data.sources.registry import open_source
from robovlms.errors import ConfigError, DataError
from robovlms.resize import resize_frames

FIXTURES = Path(__file__).parents[1] / "fixtures" / "lerobot"


def digest(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def convert(source: EpisodeSource, out: Path, **changes: Any) -> LeRobotSource:
    return LeRobotSource(convert_dataset(source, out, show_progress=False, **changes))


def smooth_episode(make: SimpleNamespace, index: int, length: int, size: int) -> Episode:
    """Frames that move slowly over soft colours, as real ones do."""
    y, x, step = np.meshgrid(np.arange(size), np.arange(size), np.arange(length), indexing="ij")
    waves = [np.sin((x + step) / 9), np.cos((y + 2 * step) / 7), np.sin((x + y) / 11 + index)]
    frames = (127 + 90 * np.stack(waves, axis=-1)).astype(np.uint8).transpose(2, 0, 1, 3)
    return make.replaced(make.episode(index, length), images={"static": np.ascontiguousarray(frames)})


class Interrupted(Exception):
    pass


def breaking(path: Path, errors: dict[int, Exception]) -> tuple[LeRobotSource, list[int]]:
    """A source that fails at some episodes, and the list of the episodes that it is asked for."""
    source, asked = LeRobotSource(path), []
    read = source.read_episode

    def read_episode(episode: int) -> Episode:
        asked.append(episode)
        if episode in errors:
            raise errors[episode]
        return read(episode)

    source.read_episode = read_episode  # type: ignore[method-assign]
    return source, asked


def interrupt(path: Path, at: int, out: Path, **settings: Any) -> None:
    """Convert until episode `at`."""
    with pytest.raises(Interrupted):
        convert(breaking(path, {at: Interrupted()})[0], out, **settings)
    assert not out.exists()


def test_png_keeps_everything(dataset: Path, make: SimpleNamespace, tmp_path: Path) -> None:
    source = LeRobotSource(dataset)
    found = convert(source, tmp_path / "out", storage="png")
    assert (found.action_space, found.cameras, found.proprio_names) == (make.SPACE, (make.STATIC,), make.PROPRIO)
    assert found.description.info["robot_type"] == "test"
    assert found.description.info["fps"] == 10
    for i, episode in enumerate(make.episodes()):
        read = found.read_episode(i)
        assert (read.task, read.instruction, read.seed) == (episode.task, episode.instruction, 100 + i)
        np.testing.assert_array_equal(read.steps.actions, episode.steps.actions)
        np.testing.assert_array_equal(read.steps.proprio, episode.steps.proprio)
        np.testing.assert_array_equal(read.steps.images["static"], episode.steps.images["static"])
    assert found.statistics == source.statistics


def test_provenance_names_the_origin_but_no_folder_of_this_machine(dataset: Path, tmp_path: Path) -> None:
    source = LeRobotSource(dataset)
    found = convert(source, tmp_path / "out", storage="png", num_episodes=3)
    assert len(found) == 3
    origin = {"format": "lerobot", "name": "four", "fingerprint": source.fingerprint}
    origin |= {"image_size": None, "num_episodes": 3}
    assert found.provenance == {"simulator": "test", "noise": 0.1, "converted_from": origin}
    assert str(dataset.parent) not in (tmp_path / "out/meta/robovlms.json").read_text()


def test_video_is_close_and_numbers_are_equal(tmp_path: Path, make: SimpleNamespace) -> None:
    camera = CameraSpec(name="static", height=64, width=64, source="test")
    episodes = [smooth_episode(make, i, length, 64) for i, length in enumerate((12, 30, 5))]
    source = LeRobotSource(make.write(tmp_path / "png", episodes, cameras=(camera,)))
    found = convert(source, tmp_path / "out")
    assert found.description.video_keys == {"observation.images.static"}
    for i, episode in enumerate(episodes):
        steps = found.read_episode(i).steps
        np.testing.assert_array_equal(steps.actions, episode.steps.actions)
        np.testing.assert_array_equal(steps.proprio, episode.steps.proprio)
        error = steps.images["static"].astype(float) - episode.steps.images["static"]
        assert 10 * np.log10(255**2 / (error**2).mean()) > 35
    assert sum(file.stat().st_size for file in (tmp_path / "out/videos").rglob("*.mp4")) < 0.3 * sum(
        file.stat().st_size for file in (tmp_path / "png/data").rglob("*.parquet")
    )


@pytest.mark.parametrize("name", ["v21_video", "v21_image"])
def test_other_formats(name: str, tmp_path: Path) -> None:
    space = {"dimensions": [{"name": n, "unit": "m", "low": -9, "high": 9} for n in ("x", "y")]}
    space |= {"frame": "base", "is_delta": False, "control_hz": 10}
    source = open_source(FIXTURES / name, action_space=space)
    found = convert(source, tmp_path / "out", storage="png")
    assert found.description.info["robot_type"] == "so100"
    assert found.provenance["converted_from"]["format"] == "lerobot_v21"
    for i in range(2):
        old, new = source.read_episode(i), found.read_episode(i)
        assert (old.instruction, old.task, old.seed) == (new.instruction, new.task, new.seed)
        np.testing.assert_array_equal(old.steps.actions, new.steps.actions)
        for camera in ("top", "wrist"):
            np.testing.assert_array_equal(old.steps.images[camera], new.steps.images[camera])


def test_frames_are_resized_as_in_training(dataset: Path, make: SimpleNamespace, tmp_path: Path) -> None:
    found = convert(LeRobotSource(dataset), tmp_path / "out", storage="png", image_size=6)
    assert found.cameras == (dataclasses.replace(make.STATIC, height=6, width=6),)
    expected = resize_frames(make.episodes()[2].steps.images["static"], 6, 6)
    np.testing.assert_array_equal(found.read_episode(2).steps.images["static"], expected)


@pytest.mark.parametrize("storage", ["png", "video"])
@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_an_interruption_leaves_no_trace(dataset: Path, tmp_path: Path, storage: str, at: int) -> None:
    settings = {"storage": storage, "steps_per_checkpoint": 8}
    convert(LeRobotSource(dataset), tmp_path / "whole", **settings)
    interrupt(dataset, at, tmp_path / "resumed", **settings)
    source, asked = breaking(dataset, {})
    convert(source, tmp_path / "resumed", **settings)
    # lengths 7, 3, 5, 9: a checkpoint after episodes 1 and 3
    assert asked == list(range(0 if at < 2 else 2, 4))
    whole = digest(tmp_path / "whole")
    assert digest(tmp_path / "resumed") == whole
    assert len([name for name in whole if name.startswith("data")]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["resumed", "whole"]


@pytest.mark.parametrize("storage", ["png", "video"])
def test_interrupted_while_it_finishes(
    dataset: Path, tmp_path: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"storage": storage, "steps_per_checkpoint": 8}
    convert(LeRobotSource(dataset), tmp_path / "whole", **settings)
    with monkeypatch.context() as patch:
        patch.setattr(lerobot_meta, "_info", lambda writer: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            convert(LeRobotSource(dataset), tmp_path / "resumed", **settings)
    source, asked = breaking(dataset, {})
    convert(source, tmp_path / "resumed", **settings)
    assert asked == []
    assert digest(tmp_path / "resumed") == digest(tmp_path / "whole")


def test_a_killed_process_is_gone_on_with(dataset: Path, tmp_path: Path) -> None:
    """The process gets no chance to tidy up; what it wrote after its last checkpoint is written again."""
    script = """
        import sys, time
        from pathlib import Path
        from robovlms.data.convert import convert_dataset
        from robovlms.data.sources.lerobot import LeRobotSource

        read = LeRobotSource.read_episode

        def slow(self, episode, cameras=None):
            if episode == 3:
                Path(sys.argv[3]).touch()
                time.sleep(60)
            return read(self, episode, cameras)

        LeRobotSource.read_episode = slow
        convert_dataset(LeRobotSource(sys.argv[1]), Path(sys.argv[2]), steps_per_checkpoint=8, show_progress=False)
    """
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [
        sys.executable,
        "-c",
        textwrap.dedent(script),
        str(dataset),
        str(tmp_path / "killed"),
        str(tmp_path / "at 3"),
    ]
    process = subprocess.Popen(command, env=environment)
    deadline = time.monotonic() + 60
    while not (tmp_path / "at 3").exists() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.02)
    with pytest.raises(DataError, match="another process is writing"):
        convert(LeRobotSource(dataset), tmp_path / "killed", steps_per_checkpoint=8)
    process.send_signal(signal.SIGKILL)
    process.wait()
    convert(LeRobotSource(dataset), tmp_path / "killed", steps_per_checkpoint=8)
    convert(LeRobotSource(dataset), tmp_path / "whole", steps_per_checkpoint=8)
    assert digest(tmp_path / "killed") == digest(tmp_path / "whole")
    assert not (tmp_path / ".killed.partial").exists()


def test_other_settings_do_not_go_on(dataset: Path, tmp_path: Path) -> None:
    interrupt(dataset, 2, tmp_path / "out", storage="png")
    message = r"\.out\.partial was begun with storage = 'png' \(now 'video'\); use that, or remove it"
    with pytest.raises(DataError, match=message) as error:
        convert(LeRobotSource(dataset), tmp_path / "out", storage="video")
    assert "\n" not in str(error.value)


def test_a_damaged_checkpoint_is_named(dataset: Path, tmp_path: Path) -> None:
    interrupt(dataset, 2, tmp_path / "out", steps_per_checkpoint=1)
    part = tmp_path / ".out.partial/part-00001.npz"
    part.write_bytes(part.read_bytes()[:100])
    for _ in range(2):  # the lock is given back
        with pytest.raises(DataError, match=r"part-00001.npz: damaged.*to begin anew"):
            convert(LeRobotSource(dataset), tmp_path / "out", steps_per_checkpoint=1)


def test_an_unreadable_episode_stops_it(dataset: Path, tmp_path: Path) -> None:
    source, _ = breaking(dataset, {1: DataError("file-000: episode 1 is broken")})
    with pytest.raises(DataError, match="file-000: episode 1 is broken; to leave such episodes out"):
        convert(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unreadable_episodes_are_left_out_when_asked(
    dataset: Path, tmp_path: Path, make: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    source, _ = breaking(dataset, {1: DataError("file-000: episode 1 is broken")})
    convert_dataset(source, tmp_path / "out", storage="png", skip_unreadable=True)
    assert "left out: file-000: episode 1 is broken" in capsys.readouterr().out
    found = LeRobotSource(tmp_path / "out")
    assert found.lengths.tolist() == [7, 5, 9]
    assert found.provenance["converted_from"]["left_out"] == [1]
    np.testing.assert_array_equal(found.read_episode(1).steps.actions, make.episodes()[2].steps.actions)


def test_left_out_episodes_survive_an_interruption(dataset: Path, tmp_path: Path) -> None:
    settings = {"storage": "png", "skip_unreadable": True, "steps_per_checkpoint": 7}
    broken: dict[int, Exception] = {1: DataError("broken")}
    with pytest.raises(Interrupted):
        convert(breaking(dataset, {**broken, 3: Interrupted()})[0], tmp_path / "out", **settings)
    source, asked = breaking(dataset, broken)
    found = convert(source, tmp_path / "out", **settings)
    assert asked == [1, 2, 3]  # a checkpoint after episode 0 only
    assert found.provenance["converted_from"]["left_out"] == [1]
    assert found.lengths.tolist() == [7, 5, 9]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_episodes": 5}, "num_episodes: expected 1 … 4, got 5"),
        ({"num_episodes": 0}, "num_episodes: expected 1 … 4, got 0"),
        ({"image_size": 0}, "image_size: expected a positive number"),
    ],
)
def test_bad_numbers(dataset: Path, tmp_path: Path, changes: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        convert(LeRobotSource(dataset), tmp_path / "out", **changes)
    assert list(tmp_path.iterdir()) == []


def test_odd_sizes_need_png(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"even height and width.*storage='png'"):
        convert(LeRobotSource(dataset), tmp_path / "out", image_size=7)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(dataset: Path, writable: Callable[..., Path]) -> None:
    path = writable()
    before = digest(path)
    with pytest.raises(DataError, match="already exists"):
        convert(LeRobotSource(dataset), path)
    assert digest(path) == before
    assert json.loads((path / "meta/info.json").read_text())["total_episodes"] == 4
