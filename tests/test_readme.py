"""Every command and every block of README runs, in its order, on small data."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SMALL = {
    "collect": ["--episodes", "2", "--tasks", "handle-press", "button-press"],
    "train": [
        "--set", "data.path=runs/data", "train.max_steps=2", "train.warmup_steps=1", "train.save_every=1",
        "data.batch_size=8",
    ],
    "evaluate": ["--episodes", "1", "--max_steps", "5", "--workers", "1"],
}  # fmt: skip


def blocks(repository: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (repository / "README.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def folder(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with the configurations, as a user has it."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(repository / "configs", folder / "configs")
    return folder


def run(folder: Path, *command: str) -> str:
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, f"{command}:\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.slow
def test_the_stages_and_the_python_blocks_run_in_the_order_of_the_page(repository: Path, folder: Path) -> None:
    commands = [shlex.split(line, comments=True) for line in blocks(repository, "bash")[1].splitlines()]
    assert [words[1] for words in commands] == ["collect", "train", "evaluate", "info", "verify"]
    for words in commands:
        output = run(folder, "-m", *words, *SMALL.get(words[1], []))
        if words[1] == "evaluate":
            assert "button-press-v3" in output
            assert (folder / "runs/tiny_one_step/evaluation/report.html").is_file()
            assert len((folder / "runs/tiny_one_step/evaluation/episodes.jsonl").read_text().splitlines()) == 2
    training, acting = blocks(repository, "python")
    assert re.search(r"trained on \d+ windows of images \(1, 1, 3, 96, 96\)", run(folder, "-c", training))
    assert "open the door" in run(folder, "-c", acting.replace("< 200", "< 5"))


@pytest.mark.slow
def test_the_robot_of_the_page_drives(repository: Path, folder: Path) -> None:
    parse, say, goal = (shlex.split(line) for line in blocks(repository, "bash")[2].splitlines())
    table = run(folder, "-m", *parse)
    assert [word in table for word in ("turn", "move", "stop")] == [True] * 3
    assert "did what was said" in run(folder, "-m", *say)
    assert "yellow ball is near" in run(folder, "-m", *goal)
    assert (folder / "runs/robot/drive.gif").stat().st_size > 10_000
    for log in sorted((folder / "runs/robot").glob("*.mcap")):
        assert "the same, bit for bit" in run(folder, "-m", "robovlms", "robot", "replay", str(log))


def test_blocks_are_as_short_as_promised(repository: Path) -> None:
    for block in blocks(repository, "python"):
        assert len([line for line in block.splitlines() if line.strip()]) <= 10


def test_the_two_commands_are_there(repository: Path) -> None:
    for line in blocks(repository, "bash")[0].splitlines():
        assert (repository / shlex.split(line, comments=True)[1]).is_file()


def test_every_file_that_is_named_exists(repository: Path) -> None:
    text = (repository / "README.md").read_text()
    for name in set(re.findall(r"`((?:robovlms|configs|docs)/[\w/.]*)`", text)) | set(
        re.findall(r"\]\((docs/\S+)\)", text)
    ):
        assert (repository / name).exists(), name
