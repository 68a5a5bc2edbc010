"""Statistics kept between runs, those that others publish, and the table."""

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from robovlms.actions.normalize import FeatureStatistics, Normalizer
from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.data import statistics_cache
from robovlms.data.sources.base import EpisodeSource, Steps
from robovlms.data.sources.lerobot import LeRobotSource
from robovlms.data.statistics import feature_statistics, summarize
from robovlms.data.statistics_cache import cache_folder, read_published, statistics_of
from robovlms.data.statistics_table import show_statistics
from robovlms.errors import DataError, StatisticsMissingError

PUBLISHED = Path(__file__).parents[3] / "shared" / "data"
needs_published = pytest.mark.skipif(
    not PUBLISHED.is_dir(), reason="the original's published statistics are not beside the project"
)
SPACE = ActionSpace(
    dimensions=tuple(ActionDimension(name=name, unit="m", low=-1, high=1) for name in ("x", "y")),
    frame="world",
    is_delta=True,
    control_hz=10,
)


class Numbers(EpisodeSource):
    """Episodes of 3 and 4 steps, numbers only; counts how often they are read through."""

    cameras, provenance, action_space, proprio_names = (), {}, SPACE, ("p",)

    def __init__(self, path: Path, scale: float = 1.0) -> None:
        self.path, self.num_scans = path, 0
        rng = np.random.default_rng(0)
        self.pieces = [
            {"action": rng.uniform(-scale, scale, (k, 2)).astype(np.float32), "proprio": np.full((k, 1), 3, np.float32)}
            for k in (3, 4)
        ]

    @classmethod
    def is_at(cls, path: Path) -> bool:
        return False

    def __len__(self) -> int:
        return len(self.pieces)

    @property
    def lengths(self) -> np.ndarray:
        return np.array([len(piece["action"]) for piece in self.pieces])

    @property
    def fingerprint(self) -> str:
        return str(sum(float(piece["action"].sum()) for piece in self.pieces))

    def task(self, episode: int) -> str:
        return "task"

    def instruction(self, episode: int) -> str:
        return "do it"

    def file(self, episode: int) -> Path:
        return self.path

    def read(self, episode: int, frames: np.ndarray, steps: np.ndarray, cameras: tuple[str, ...]) -> Steps:
        assert not cameras  # no picture is decoded for statistics
        piece = self.pieces[episode]
        return Steps(images={}, proprio=piece["proprio"][frames], actions=piece["action"][steps])

    def numbers(self) -> Iterator[dict[str, np.ndarray]]:
        self.num_scans += 1
        return super().numbers()


class Dear(Numbers):
    is_dear_to_scan = True


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ROBOVLMS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def expected_of(source: Numbers) -> dict[str, FeatureStatistics]:
    pieces = source.pieces
    return {key: feature_statistics(summarize(np.concatenate([piece[key] for piece in pieces]))) for key in pieces[0]}


def assert_close(found: dict[str, FeatureStatistics], expected: dict[str, FeatureStatistics]) -> None:
    assert list(found) == list(expected)
    for name, statistics in expected.items():
        for column in ("min", "max", "mean", "std", "q01", "q99", "count"):
            np.testing.assert_allclose(
                getattr(found[name], column), getattr(statistics, column), rtol=1e-12, atol=1e-15
            )


def test_computed_once_and_kept(tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = Numbers(tmp_path / "set")
    first = statistics_of(source)
    assert_close(first, expected_of(source))
    again = Numbers(tmp_path / "set")
    assert statistics_of(again) == first  # to the last digit, through the file
    assert again.statistics == first
    assert (source.num_scans, again.num_scans) == (1, 0)
    assert statistics_of(again, refresh=True) == first
    assert again.num_scans == 1
    (file,) = [file for file in cache.rglob("*") if file.is_file()]
    assert file.parent == cache / "statistics"
    assert json.loads(file.read_text())["path"] == str(tmp_path / "set")
    assert capsys.readouterr() == ("", "")


def test_changed_data_or_meaning_is_computed_anew(tmp_path: Path) -> None:
    first = statistics_of(Numbers(tmp_path))
    changed = Numbers(tmp_path, scale=2)
    assert statistics_of(changed)["action"].max != first["action"].max
    renamed = Numbers(tmp_path)
    renamed.proprio_names = ("q",)
    statistics_of(renamed)
    assert changed.num_scans == renamed.num_scans == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: "\x00",
        lambda text: text.replace('"min"', '"mim"'),
        lambda text: json.dumps({"statistics": {"action": json.loads(text)["statistics"]["action"]}}),
        lambda text: text.replace('"count": 7', '"count": null'),
    ],
)
def test_a_damaged_file_is_replaced(tmp_path: Path, cache: Path, damage: Any, capsys: Any) -> None:
    first = statistics_of(Numbers(tmp_path))
    (file,) = (cache / "statistics").iterdir()
    file.write_text(damage(file.read_text()))
    source = Numbers(tmp_path)
    assert statistics_of(source) == first
    assert source.num_scans == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert message.startswith(f"note: {file} cannot be used")
    assert statistics_of(Numbers(tmp_path)) == first
    assert capsys.readouterr().err == ""


def test_a_cache_that_cannot_be_written(tmp_path: Path, cache: Path, capsys: Any) -> None:
    """A file where the folder should be; permissions do not stop the root user."""
    cache.write_text("in the way")
    source = Numbers(tmp_path / "set")
    assert_close(statistics_of(source), expected_of(source))
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith(f"note: statistics of {tmp_path / 'set'} are not kept:") for line in lines)
    assert "ROBOVLMS_CACHE" in lines[-1]


def test_a_failed_write_leaves_no_file(tmp_path: Path, cache: Path, monkeypatch: Any, capsys: Any) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    statistics_of(Numbers(tmp_path))
    assert list((cache / "statistics").iterdir()) == []
    assert "No space left on device" in capsys.readouterr().err


def test_what_is_dear_is_computed_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "a set"
    with pytest.raises(StatisticsMissingError, match=f"robovlms data stats '{path}'$"):
        statistics_of(Dear(path))
    with pytest.raises(StatisticsMissingError):
        _ = Dear(path).statistics
    with pytest.raises(StatisticsMissingError, match=f"{path}: no statistics are known"):
        statistics_of(Numbers(path), may_compute=False)
    asked = statistics_of(Dear(path), may_compute=True)
    assert statistics_of(Dear(path)) == asked
    assert statistics_of(Dear(path), may_compute=False) == asked
    assert Dear(path).statistics == asked


def test_numbers_that_are_none_are_placed(tmp_path: Path, cache: Path) -> None:
    source = Numbers(tmp_path)
    source.pieces[1]["action"][2, 1] = np.nan
    with pytest.raises(DataError, match=f"{tmp_path}: action, episode 1, step 2: row 5: dimension 1 is nan"):
        statistics_of(source)
    source.pieces[1]["action"][2, 1] = 0
    source.pieces[0]["proprio"][0, 0] = np.inf
    with pytest.raises(DataError, match="proprio, episode 0, step 0: row 0: dimension 0 is inf"):
        statistics_of(source)
    source.pieces = []
    with pytest.raises(DataError, match="has no step"):
        statistics_of(source)
    assert not list(cache.rglob("*.json"))


def test_a_piece_without_proprioception(tmp_path: Path) -> None:
    source = Numbers(tmp_path)
    source.numbers = lambda: iter([source.pieces[0], {"action": source.pieces[1]["action"]}])
    with pytest.raises(DataError, match="episode 1 has no proprio"):
        statistics_of(source)


def test_where_things_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOVLMS_CACHE", "/own")
    monkeypatch.setenv("XDG_CACHE_HOME", "/shared")
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_folder() == Path("/own")
    monkeypatch.setenv("ROBOVLMS_CACHE", "")
    assert cache_folder() == Path("/shared/robovlms")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path("/home/me/.cache/robovlms")


def test_a_long_pass_shows_its_progress(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(statistics_cache, "_MANY_STEPS", 7)
    statistics_of(Numbers(tmp_path / "set"))
    assert "statistics of set: 7/7 steps" in capsys.readouterr().err
    statistics_of(Numbers(tmp_path / "set"), refresh=True, show_progress=False)
    assert capsys.readouterr().err == ""


# -------------------------------------------------------------------------------------------------------- published


def published(size: int = 2, **changes: Any) -> dict[str, Any]:
    columns = {"mean": 0.5, "std": 0.25, "max": 2.0, "min": -1.0, "q01": -0.9, "q99": 1.9}
    action = {name: [value] * size for name, value in columns.items()} | changes
    return {"action": {k: v for k, v in action.items() if v is not None}, "num_transitions": 9, "num_trajectories": 2}


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_published_layouts(tmp_path: Path) -> None:
    flat = read_published(write(tmp_path / "lab.json", published()))
    nested = read_published(write(tmp_path / "n.json", {"a": published(mask=[True, False]), "b": published(3)}))
    octo = {"q01": None, "q99": None, "p01": [-0.9] * 2, "p99": [1.9] * 2}
    newer = read_published(write(tmp_path / "o.json", published(**octo)))
    assert list(flat) == ["lab"]
    assert list(nested) == ["a", "b"]
    assert flat["lab"] == nested["a"] == newer["o"]
    expected = {"mean": 0.5, "std": 0.25, "max": 2.0, "min": -1.0, "q01": -0.9, "q99": 1.9}
    assert flat["lab"]["action"] == FeatureStatistics(**{k: (v, v) for k, v in expected.items()}, count=9)
    assert len(nested["b"]["action"].min) == 3


def test_a_feature_that_nobody_computed_is_left_out(tmp_path: Path) -> None:
    zeros = {name: [0.0] * 7 for name in ("mean", "std", "max", "min", "q01", "q99")}
    content = published() | {"proprio": zeros}
    assert list(read_published(write(tmp_path / "s.json", content))["s"]) == ["action"]
    content["proprio"] = zeros | {"max": [0.0] * 6 + [1.0]}
    assert list(read_published(write(tmp_path / "s.json", content))["s"]) == ["action", "proprio"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not readable as JSON"),
        ({}, "expected statistics of 'action', or of datasets by name"),
        ([1], "expected statistics of 'action', or of datasets by name"),
        ({"a": {"actions": {}}}, "s.json, a: expected statistics of 'action', got actions"),
        ({"a": 3}, "s.json, a: expected statistics of 'action', got int"),
        (published(q99=None), "s.json, s, action: q99 or p99 is missing, got mean, std, max, min, q01"),
        (published(mean=[0.0]), "mean must hold 2 finite numbers"),
        (published(std=[0.1, float("nan")]), "std must hold 2 finite numbers"),
        (published(max="high"), "s.json, s, action: could not convert"),
        (published(min=3), "s.json, s, action: "),
        (published(mask=[True]), "mask must be a list as long as min"),
        ({"action": [1]}, "num_transitions must be a positive number of steps, got None"),
        (published() | {"num_transitions": 0}, "num_transitions must be a positive number of steps, got 0"),
        (published() | {"proprio": {"mean": [0]}}, "s, proprio: min is missing, got mean"),
    ],
)
def test_damaged_published_statistics(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_published(write(tmp_path / "s.json", content))


def test_published_statistics_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.json: not readable"):
        read_published(tmp_path / "none.json")


@needs_published
@pytest.mark.parametrize(("name", "count"), [("bridge", 2135463), ("google", 3786400)])
def test_the_originals_published_statistics(name: str, count: int) -> None:
    """The numbers that its SimplerEnv evaluation un-normalises with."""
    file = PUBLISHED / f"dataset_statistics_{name}.json"
    (found,) = read_published(file).values()
    raw = json.loads(file.read_text())["action"]
    assert found["action"].count == count
    middle = Normalizer.from_statistics("quantile", found["action"]).unnormalize(np.zeros(7, np.float32))
    np.testing.assert_allclose(middle, np.add(raw["q01"], raw["q99"]) / 2, rtol=1e-6, atol=1e-9)
    assert ("proprio" in found) == any(json.loads(file.read_text())["proprio"]["max"])


# ------------------------------------------------------------------------------------------------------------ table


def shown(source: EpisodeSource, refresh: bool = False) -> str:
    output = io.StringIO()
    show_statistics(source, refresh=refresh, console=Console(file=output))
    return output.getvalue()


def test_table_and_warnings(tmp_path: Path) -> None:
    source = Dear(tmp_path)
    source.pieces[0]["action"][0] = [-1.5, 0.125]
    text = shown(source)
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line]
    rows = {cells[0]: cells[1:] for cells in lines}
    expected = expected_of(source)["action"]
    numbers = [f"{getattr(expected, c)[0]:.4g}" for c in ("min", "q01", "mean", "std", "q99", "max")]
    assert rows["x"] == ["m", *numbers, "7"]
    assert rows["p"] == ["3", "3", "3", "0", "3", "3", "7"]
    assert "warning: proprio 'p' is 3 in every step" in text
    assert "warning: action 'x' goes from -1.5 to" in text
    assert "declared to stay within -1 to 1" in text
    assert text.count("warning: ") == 2
    shown(source)
    assert source.num_scans == 1
    shown(source, refresh=True)
    assert source.num_scans == 2


def test_own_statistics_that_contradict_the_numbers(make: SimpleNamespace, tmp_path: Path) -> None:
    path = make.write(tmp_path / "four", make.episodes())
    assert "training uses" not in shown(LeRobotSource(path), refresh=True)
    file = path / "meta" / "stats.json"
    content = json.loads(file.read_text())
    content["action"]["q99"][1] += 0.5
    file.write_text(json.dumps(content))
    assert "training uses" not in shown(LeRobotSource(path))
    text = shown(LeRobotSource(path), refresh=True)
    assert "warning: action: q99 of number 1 is" in text
    assert text.count("training uses") == 1
