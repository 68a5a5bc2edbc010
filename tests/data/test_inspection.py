"""What `robovlms data inspect` prints."""

import io
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from data.robots import Robot, declared, make_robot
from rich.console import Console

from robovlms.__main__ import main
from robovlms.data import inspection, statistics_table
from robovlms.data.inspection import show_dataset
from robovlms.data.sources.base import EpisodeSource
from robovlms.data.sources.lerobot import LeRobotSource


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROBOVLMS_CACHE", str(tmp_path / "cache"))


def shown(source: EpisodeSource) -> str:
    file = io.StringIO()
    show_dataset(source, Console(file=file, highlight=False))
    return file.getvalue()


def rows(text: str) -> list[list[str]]:
    """Cells of all rows."""
    lines = [line.replace("┃", "│") for line in text.splitlines()]
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]


def test_what_a_dataset_holds(dataset: Path) -> None:
    text = shown(LeRobotSource(dataset))
    table = rows(text)
    assert ["format", "lerobot"] in table
    assert ["episodes", "4"] in table
    assert ["frames", "24"] in table
    assert ["hours", "0.00 at 10 per second"] in table
    assert ["steps per episode", "3 to 9, median 6"] in table
    assert ["reach", "2", "please reach"] in table
    assert ["static", "16 x 16", "test/static"] in table
    assert ["x", "m", "arm", "-1 to 1", "0 to 0.08"] in table
    assert ["y", "m", "arm", "-1 to 1", "-0.08 to 0"] in table
    assert ["gripper", "1", "gripper", "-1 to 1", "-1 to 1"] in table
    assert ["joint_1", "0 to 8"] in table
    rate = next(row for row in table if row[0] == "control_hz")
    assert rate[1:3] == ["10", "10"]
    assert max(len(line) for line in text.splitlines()) <= 120


def test_only_the_most_frequent_tasks(tmp_path: Path, make: SimpleNamespace) -> None:
    episodes = [make.episode(i, 3, task=f"task {max(0, i - 2)}") for i in range(15)]
    table = rows(shown(LeRobotSource(make.write(tmp_path / "a", episodes))))
    tasks = [row for row in table if row[0].startswith(("task ", "…"))]
    assert tasks[:2] == [["task 0", "3", "please task 0"], ["task 1", "1", "please task 1"]]
    assert tasks[-1] == ["… and 3 more", "3", ""]
    assert len(tasks) == 11


def test_conventions_stand_beside_what_is_declared() -> None:
    robot = make_robot(1, kind="tcp", lag=2, opens=-1.0)
    table = {row[0]: row[1:4] for row in rows(shown(robot)) if len(row) == 5}
    assert table["is_delta"][:2] == ["True", "True"]
    assert table["frame"][:2] == ["tcp", "tcp"]
    assert table["lag_steps"][:2] == ["", "2"]
    assert table["gripper_opens"][:2] == ["negative", "negative"]
    assert table["scale"][0] == "0.02 m"
    assert 0.019 < float(table["scale"][1]) < 0.021
    assert float(table["frame"][2]) > 0.9
    assert table["control_hz"][1:] == ["cannot tell", "0.00"]


def test_contradictions_are_warned_of() -> None:
    assert "warning" not in shown(make_robot(1))
    text = shown(declared(make_robot(1), is_delta=False))
    assert "warning: action_space.is_delta is declared False, but the data shows True" in text


def test_texts_are_printed_as_they_are(tmp_path: Path, make: SimpleNamespace) -> None:
    episode = make.episode(0, 3, task="[red]stop[/red]")
    assert ["[red]stop[/red]", "1", "please [red]stop[/red]"] in rows(
        shown(LeRobotSource(make.write(tmp_path / "a", [episode])))
    )


class Large(Robot):
    """Says that it is dear to read through."""

    is_dear_to_scan = True

    def numbers(self) -> Iterator[dict[str, np.ndarray]]:
        raise AssertionError("read through")


def test_what_is_dear_to_read_is_not_read_through() -> None:
    robot = make_robot(1)
    text = shown(Large(robot.action_space, robot._episodes, robot.proprio_names))
    assert ["x", "0.02 m", "arm", "-5 to 5", "not known"] in rows(text)


def test_numbers_that_cannot_be_read_are_not_known(tmp_path: Path, make: SimpleNamespace) -> None:
    path = make.write(tmp_path / "a", [make.episode(0, 3)])
    source = LeRobotSource(path)
    (path / "meta/stats.json").unlink()
    source.file(0).write_bytes(b"")
    assert ["x", "m", "arm", "-1 to 1", "not known"] in rows(shown(source))


def test_the_commands(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "inspect", str(dataset)]) == 0
    assert "conventions, from 4 episodes" in capsys.readouterr().out
    assert inspection.show_statistics is statistics_table.show_statistics
