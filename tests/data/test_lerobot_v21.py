"""Datasets that the lerobot library itself wrote, in both versions; scripts/record_lerobot_fixture.py recorded them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robovlms.data.sources.base import EpisodeSource
from robovlms.data.sources.lerobot import LeRobotSource
from robovlms.data.sources.lerobot_v21 import LeRobotV21Source
from robovlms.data.sources.registry import find_format, open_source
from robovlms.errors import DataError

FIXTURES = Path(__file__).parents[1] / "fixtures" / "lerobot"
EXPECTED = json.loads((FIXTURES / "expected.json").read_text())
RECORDED = ("v21_video", "v21_image", "v30_video", "v30_image")
SPACE = {
    "dimensions": [
        {"name": "x", "unit": "m", "low": -5.0, "high": 5.0, "kind": "arm"},
        {"name": "gripper", "unit": "1", "low": -5.0, "high": 5.0, "kind": "gripper"},
    ],
    "frame": "base",
    "is_delta": True,
    "rotation": "none",
    "gripper_opens": "positive",
    "control_hz": 10,
}


def recorded(name: str) -> EpisodeSource:
    return open_source(FIXTURES / name, action_space=SPACE)


def shown(frames: np.ndarray) -> list[int]:
    """The numbers that the frames show, see scripts/record_lerobot_fixture.py."""
    bits = frames[:, 8::16, 8::16, 0].reshape(-1, 16) > 127
    return (bits << np.arange(16)).sum(1).tolist()


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROBOVLMS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[str], Path]:
    """A copy that a test may damage."""
    return lambda name: Path(shutil.copytree(FIXTURES / name, tmp_path / name))


@pytest.mark.parametrize("name", RECORDED)
def test_what_lerobot_wrote_is_read(name: str) -> None:
    source = recorded(name)
    assert type(source) is (LeRobotV21Source if name.startswith("v21") else LeRobotSource)
    assert source.proprio_names == ("a", "b", "c")
    assert [(camera.name, camera.height, camera.width, camera.source) for camera in source.cameras] == [
        ("top", 64, 64, "so100/top"),
        ("wrist", 64, 64, "so100/wrist"),
    ]
    assert source.lengths.tolist() == [episode["length"] for episode in EXPECTED["episodes"]]
    for i, expected in enumerate(EXPECTED["episodes"]):
        episode = source.read_episode(i)
        assert (episode.instruction, episode.task, episode.seed) == (expected["task"], expected["task"], None)
        np.testing.assert_array_equal(episode.steps.actions, np.array(expected["action"], np.float32))
        np.testing.assert_array_equal(episode.steps.proprio, np.array(expected["observation.state"], np.float32))
        for key, offset in EXPECTED["cameras"].items():
            numbers = [offset + 100 * i + step for step in range(expected["length"])]
            assert shown(episode.steps.images[key.removeprefix("observation.images.")]) == numbers


@pytest.mark.parametrize("name", RECORDED)
def test_only_what_is_asked_in_that_order(name: str) -> None:
    steps = recorded(name).read(1, np.array([0, 0, 5, 2]), np.array([6]), ("wrist",))
    assert list(steps.images) == ["wrist"]
    assert shown(steps.images["wrist"]) == [1100, 1100, 1105, 1102]
    np.testing.assert_array_equal(steps.actions, np.array(EXPECTED["episodes"][1]["action"][6:], np.float32))


@pytest.mark.parametrize("name", RECORDED)
def test_statistics(name: str) -> None:
    found = recorded(name).statistics
    for feature, key in (("action", "action"), ("proprio", "observation.state")):
        values = np.concatenate([np.array(episode[key]) for episode in EXPECTED["episodes"]])
        # the published format has few digits less, and other quantiles: lerobot merges those of episodes
        np.testing.assert_allclose(found[feature].mean, values.mean(0), rtol=1e-5)
        np.testing.assert_allclose(found[feature].std, values.std(0), rtol=1e-5)
        np.testing.assert_allclose(found[feature].min, values.min(0), rtol=1e-6)
        np.testing.assert_allclose(found[feature].max, values.max(0), rtol=1e-6)
        if name.startswith("v21"):
            np.testing.assert_allclose(found[feature].q01, np.quantile(values, 0.01, axis=0), rtol=1e-5)
            np.testing.assert_allclose(found[feature].q99, np.quantile(values, 0.99, axis=0), rtol=1e-5)
        assert found[feature].count == 17


def test_statistics_agree_with_those_that_lerobot_kept_per_episode() -> None:
    lines = (FIXTURES / "v21_video/meta/episodes_stats.jsonl").read_text().splitlines()
    episodes = [json.loads(line)["stats"]["action"] for line in lines]
    counts = np.array([episode["count"][0] for episode in episodes])[:, None]
    means, stds = (np.array([episode[name] for episode in episodes]) for name in ("mean", "std"))
    mean = (counts * means).sum(0) / counts.sum()
    variance = (counts * (stds**2 + (means - mean) ** 2)).sum(0) / counts.sum()
    found = recorded("v21_video").statistics["action"]
    np.testing.assert_allclose(found.mean, mean, rtol=1e-5)
    np.testing.assert_allclose(found.std, np.sqrt(variance), rtol=1e-5)
    assert found.min == tuple(np.min([episode["min"] for episode in episodes], axis=0))
    assert found.max == tuple(np.max([episode["max"] for episode in episodes], axis=0))


def test_the_format_is_found_by_the_version(tmp_path: Path, dataset: Path) -> None:
    assert [find_format(FIXTURES / name) for name in RECORDED] == ["lerobot_v21"] * 2 + ["lerobot"] * 2
    assert find_format(dataset) == "lerobot"
    with pytest.raises(DataError, match="of no known format"):
        find_format(tmp_path)


def test_the_wrong_format_names_the_right_one(dataset: Path) -> None:
    with pytest.raises(DataError, match=r'codebase_version is v2.1, expected v3.x; set data.format to "auto" or "lero'):
        LeRobotSource(FIXTURES / "v21_video", action_space=SPACE)
    with pytest.raises(DataError, match=r'is v3.0, expected v2.x; set data.format to "auto" or "lerobot"'):
        LeRobotV21Source(dataset)


@pytest.mark.parametrize("name", RECORDED)
def test_a_foreign_dataset_must_say_what_its_actions_mean(name: str) -> None:
    with pytest.raises(DataError, match=r"meta/robovlms.json is missing.*data.options.action_space") as error:
        open_source(FIXTURES / name)
    assert "\n" not in str(error.value)


def test_version_2_0(copied: Callable[[str], Path]) -> None:
    path = copied("v21_video")
    info = json.loads((path / "meta/info.json").read_text())
    (path / "meta/info.json").write_text(json.dumps(info | {"codebase_version": "v2.0"}))
    (path / "meta/episodes_stats.jsonl").rename(path / "meta/stats.json")
    stats = {"action": {"min": [0, 0], "max": [1, 1], "mean": [0, 0], "std": [1, 1], "count": [17]}}
    (path / "meta/stats.json").write_text(json.dumps(stats))  # without quantiles: not enough
    source = open_source(path, action_space=SPACE)
    assert source.lengths.tolist() == [10, 7]
    assert source.statistics == recorded("v21_video").statistics


def test_files_are_spread_over_folders(copied: Callable[[str], Path]) -> None:
    path = copied("v21_video")
    info = json.loads((path / "meta/info.json").read_text())
    (path / "meta/info.json").write_text(json.dumps(info | {"chunks_size": 1}))
    for kind in ("data", "videos"):
        for file in (path / kind).rglob("episode_000001.*"):
            target = Path(str(file).replace("chunk-000", "chunk-001"))
            target.parent.mkdir(parents=True, exist_ok=True)
            file.rename(target)
    source = open_source(path, action_space=SPACE)
    assert source.file(1) == path / "data/chunk-001/episode_000001.parquet"
    assert shown(source.read_episode(1).steps.images["top"]) == list(range(100, 107))


def _edit_lines(file: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    change(rows)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _change_column(file: Path, name: str, change: Callable[[list[Any]], list[Any]]) -> None:
    table = pq.ParquetFile(file).read()
    at = table.schema.get_field_index(name)
    column = pa.array(change(table.column(name).to_pylist()), table.schema.field(at).type)
    pq.write_table(table.set_column(at, table.schema.field(at), column), file)


def test_instruction_that_changes_within_an_episode(copied: Callable[[str], Path]) -> None:
    path = copied("v21_image")
    file = path / "data/chunk-000/episode_000000.parquet"
    _edit_lines(path / "meta/episodes.jsonl", lambda rows: rows[0]["tasks"].append("open the drawer"))
    source = open_source(path, action_space=SPACE)
    assert source.instruction(0) == "pick up the cube"  # listed with another one, but no step has that
    _change_column(file, "task_index", lambda values: [0] * 4 + [1] * 6)
    source = open_source(path, action_space=SPACE)
    for read in (source.instruction, source.read_episode):
        with pytest.raises(DataError, match=r"episode_000000.parquet: episode 0 has several instr.*from step 4 on"):
            read(0)
    assert source.instruction(1) == "open the drawer"


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "episodes missing": (lambda path: (path / "meta/episodes.jsonl").unlink(), r"meta/episodes.jsonl is missing"),
    "episodes cut": (
        lambda path: (path / "meta/episodes.jsonl").write_text('{"episode_index": 0, "tasks": ["a"], "length": 10}\n{'),
        r"meta/episodes.jsonl, line 2: expected JSON with \['episode_index', 'length', 'tasks'\]",
    ),
    "episode lost": (
        lambda path: _edit_lines(path / "meta/episodes.jsonl", lambda rows: rows.pop()),
        r"says 2 episodes, but meta/episodes.jsonl does not hold each of them once \(1 lines\)",
    ),
    "video missing": (
        lambda path: (path / "videos/chunk-000/observation.images.top/episode_000001.mp4").unlink(),
        r"observation.images.top/episode_000001.mp4: episode 1.*not readable as video",
    ),
    "data missing": (
        lambda path: (path / "data/chunk-000/episode_000001.parquet").unlink(),
        r"episode_000001.parquet: not readable as parquet",
    ),
    "another episode": (
        lambda path: shutil.copy(
            path / "data/chunk-000/episode_000000.parquet", path / "data/chunk-000/episode_000001.parquet"
        ),
        r"episode_000001.parquet: row 0 belongs to episode 0, but meta/episodes says episode 1",
    ),
    "steps missing": (
        lambda path: _edit_lines(path / "meta/episodes.jsonl", lambda rows: rows[1].update(length=9)),
        r"episode_000001.parquet: row 8 asked for, the file has 7",
    ),
    "nan": (
        lambda path: _change_column(
            path / "data/chunk-000/episode_000001.parquet", "action", lambda rows: [*rows[:-1], [0.0, np.nan]]
        ),
        r"episode_000001.parquet: episode 1, step 6: action 'gripper' is nan",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_named_in_one_line(copied: Callable[[str], Path], case: str) -> None:
    damage, message = DAMAGE[case]
    path = copied("v21_video")
    damage(path)
    with pytest.raises(DataError, match=message) as error:
        open_source(path, action_space=SPACE).read_episode(1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", RECORDED)
def test_the_fingerprint_changes_with_the_data(copied: Callable[[str], Path], name: str) -> None:
    path = copied(name)
    before = open_source(path, action_space=SPACE).fingerprint
    assert before == recorded(name).fingerprint  # not of the place
    file = sorted(path.rglob("*.mp4" if "video" in name else "data/**/*.parquet"))[0]
    file.write_bytes(file.read_bytes() + b"\0")
    assert open_source(path, action_space=SPACE).fingerprint != before
