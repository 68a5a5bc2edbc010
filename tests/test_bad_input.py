"""What a user, or a disk, does wrong ends in one line and exit code 2, and leaves nothing a re-run would trust."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robovlms.__main__ import main
from robovlms.config import RunConfig, dump_config
from robovlms.data.sources.base import Episode, Steps
from robovlms.data.sources.lerobot import LeRobotSource
from robovlms.data.sources.lerobot_writer import LeRobotWriter
from robovlms.run_folder import find_checkpoint
from robovlms.train.run import train_from_config

Fails = Callable[..., str]


@pytest.fixture
def fails(capsys: pytest.CaptureFixture) -> Fails:
    """Run a command that must fail; return its one line."""

    def run(*arguments: str | Path) -> str:
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1
        return lines[0]

    return run


@pytest.fixture
def config_file(small_run: Callable[..., RunConfig], tmp_path: Path) -> Path:
    file = tmp_path / "run.yaml"
    file.write_text(dump_config(small_run()))
    return file


def copy_as_video(source: LeRobotSource, path: Path) -> None:
    """The same episodes with mp4 frames."""
    with LeRobotWriter(
        path,
        action_space=source.action_space,
        cameras=source.cameras,
        proprio_names=source.proprio_names,
        fps=source.action_space.control_hz,
        robot_type="test",
        storage="video",
        provenance={},
    ) as writer:
        for index in range(len(source)):
            steps = np.arange(source.lengths[index])
            read = source.read(index, steps, steps, ("static",))
            episode = Steps(images=read.images, proprio=read.proprio, actions=read.actions)
            writer.add_episode(Episode(task=source.task(index), instruction=source.instruction(index), steps=episode))


def test_unknown_task(fails: Fails, tmp_path: Path) -> None:
    line = fails("collect", "--tasks", "buton-press", "--out", tmp_path / "data")
    assert "unknown Meta-World task 'buton-press'; did you mean 'button-press-v3'?" in line
    assert not list(tmp_path.iterdir())


def test_wrong_key_and_wrong_type(fails: Fails, config_file: Path) -> None:
    assert "did you mean 'train.learning_rate'" in fails(
        "train", "--config", config_file, "--set", "train.learning_rat=1"
    )
    line = fails("train", "--config", config_file, "--set", "train.max_steps=many")
    assert "train.max_steps" in line
    assert "'many'" in line


def test_contradictory_values(fails: Fails, config_file: Path, tmp_path: Path) -> None:
    line = fails("train", "--config", config_file, "--set", "model.window_size=3")
    assert "model.history is 'one_step' but model.window_size is 3" in line
    assert "model.head is 'lstm'" in fails("train", "--config", config_file, "--set", "model.head=lstm")
    assert "execute_steps is 9 but model.fwd_pred_next_n is only 3" in fails(
        "train", "--config", config_file, "--set", "evaluate.execute_steps=9"
    )
    assert not (tmp_path / "run").exists()


def test_no_dataset(fails: Fails, config_file: Path, tmp_path: Path) -> None:
    line = fails("train", "--config", config_file, "--set", f"data.path={tmp_path / 'nowhere'}")
    assert str(tmp_path / "nowhere") in line
    assert not (tmp_path / "run").exists()


def test_unknown_camera(fails: Fails, config_file: Path) -> None:
    line = fails("train", "--config", config_file, "--set", "data.cameras=[statik]")
    assert "unknown camera 'statik'; did you mean 'static'?" in line


def test_truncated_video(fails: Fails, config_file: Path, small_dataset: Path, tmp_path: Path) -> None:
    copy_as_video(LeRobotSource(small_dataset), tmp_path / "video")
    film = next((tmp_path / "video").rglob("*.mp4"))
    film.write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    line = fails("train", "--config", config_file, "--set", f"data.path={tmp_path / 'video'}")
    assert film.name in line
    assert "episode" in line
    assert not list((tmp_path / "run").glob("checkpoints/*"))


def test_nan_in_actions(fails: Fails, config_file: Path, small_dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(small_dataset, tmp_path / "data")
    file = next((tmp_path / "data" / "data").rglob("*.parquet"))
    table = pq.read_table(file)
    actions = np.array(table["action"].to_pylist(), np.float32)
    actions[1, 0] = np.nan
    index = table.schema.get_field_index("action")
    column = pa.array(actions.tolist(), table.schema.field(index).type)
    pq.write_table(table.set_column(index, table.schema.field(index), column), file)
    line = fails("train", "--config", config_file, "--set", f"data.path={tmp_path / 'data'}")
    for part in (file.name, "episode 0", "'x'"):
        assert part in line


def test_a_checkpoint_that_does_not_fit_the_simulator(
    fails: Fails, small_run: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = small_run(**{"train.max_steps": 1, "train.warmup_steps": 0})
    train_from_config(config, show_progress=False)
    line = fails("evaluate", "--checkpoint", config.train.out, "--tasks", "reach", "--out", tmp_path / "out")
    assert "'test/static'" in line
    assert "Meta-World shows" in line
    contract_file = find_checkpoint(config.train.out) / "contract.json"
    contract = json.loads(contract_file.read_text())
    contract["cameras"][0]["source"] = "metaworld/corner4/fast"
    contract_file.write_text(json.dumps(contract))
    line = fails("evaluate", "--checkpoint", config.train.out, "--tasks", "reach", "--out", tmp_path / "out")
    assert "action_space.control_hz: checkpoint 10.0, here 80.0" in line
    assert "proprio_names" in line
    assert not (tmp_path / "out").exists()


def test_evaluation_of_nothing_and_of_an_unknown_task(
    fails: Fails, small_run: Callable[..., RunConfig], tmp_path: Path
) -> None:
    assert "does not exist" in fails("evaluate", "--checkpoint", tmp_path / "nothing")
    assert "does not exist" in fails("verify", tmp_path / "nothing")
    config = small_run(**{"train.max_steps": 1, "train.warmup_steps": 0})
    train_from_config(config, show_progress=False)
    line = fails("evaluate", "--checkpoint", config.train.out, "--tasks", "reech")
    assert "did you mean 'reach-v3'" in line
    assert "evaluate.episodes" in fails("evaluate", "--checkpoint", config.train.out, "--episodes", "0")
