import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from robovlms.config import RunConfig, dump_config
from robovlms.data.sources.base import Episode, Steps
from robovlms.data.sources.lerobot import LeRobotSource
from robovlms.data.sources.lerobot_writer import LeRobotWriter
from robovlms.errors import CheckpointError, ConfigError, DataError
from robovlms.model.base import BaseRoboVLM
from robovlms.model.checkpoint import load_policy
from robovlms.model.vlm import build_policy, build_vlm
from robovlms.policy.verify import verify_checkpoint
from robovlms.run_folder import checkpoints_of, find_checkpoint
from robovlms.train.datasets import build_data_module
from robovlms.train.metrics import read_metrics
from robovlms.train.parity_windows import native_source, parity_windows
from robovlms.train.run import train_from_config
from robovlms.train.trainer import BaseTrainer

Run = Callable[..., RunConfig]


def weights(config: RunConfig) -> dict[str, torch.Tensor]:
    return load_file(find_checkpoint(config.train.out) / "model.safetensors")


def assert_equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def test_the_loss_falls(small_run: Run) -> None:
    config = small_run(**{"train.max_steps": 150, "train.save_every": 150, "train.learning_rate": 3e-3})
    train_from_config(config, show_progress=False)
    losses = [row["loss"] for row in read_metrics(config.train.out / "metrics.jsonl") if "loss" in row]
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_same_seed_same_weights_other_seed_other_weights(small_run: Run, tmp_path: Path) -> None:
    runs = [small_run(**{"train.out": str(tmp_path / str(i)), "train.seed": i // 2}) for i in range(3)]
    for config in runs:
        train_from_config(config, show_progress=False)
    assert_equal(weights(runs[0]), weights(runs[1]))
    assert not torch.equal(weights(runs[0])["action_token"], weights(runs[2])["action_token"])


@pytest.mark.parametrize("vlm", ["tiny", "paligemma"])
def test_resume_continues_exactly(small_run: Run, tmp_path: Path, vlm: str) -> None:
    shape = {"model.vlm.overrides": {}} if vlm == "paligemma" else {}
    values = {"model.vlm.name": vlm, **shape}
    whole = small_run(**{**values, "train.out": str(tmp_path / "whole")})
    train_from_config(whole, show_progress=False)
    broken = small_run(**{**values, "train.out": str(tmp_path / "broken")})
    train_from_config(broken, show_progress=False)
    last = checkpoints_of(broken.train.out)[-1]
    for file in sorted(last.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    last.rmdir()
    train_from_config(broken, resume=True, show_progress=False)
    assert_equal(weights(whole), weights(broken))
    rows = [
        [
            {k: v for k, v in row.items() if k != "samples_per_s"}
            for row in read_metrics(config.train.out / "metrics.jsonl")
        ]
        for config in (whole, broken)
    ]
    assert rows[0] == rows[1]


@pytest.mark.slow
def test_a_killed_run_resumes_bit_for_bit(small_run: Run, tmp_path: Path) -> None:
    """2N steps at once = N steps, kill -9 somewhere behind them, and the rest."""
    sizes = {"train.max_steps": 40, "train.save_every": 20, "train.keep_checkpoints": 9}
    whole = small_run(**sizes, **{"train.out": str(tmp_path / "whole")})
    train_from_config(whole, show_progress=False)
    killed = small_run(**sizes, **{"train.out": str(tmp_path / "killed")})
    file = tmp_path / "killed.yaml"
    file.write_text(dump_config(killed))
    script = "import sys; from robovlms.config import load_config; from robovlms.train.run import train_from_config; "
    command = [sys.executable, "-c", script + "train_from_config(load_config(sys.argv[1]))", str(file)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline_s = time.monotonic() + 120
    while not checkpoints_of(killed.train.out) and time.monotonic() < deadline_s:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    assert [folder.name for folder in checkpoints_of(killed.train.out)] == ["step_000020"]
    train_from_config(killed, resume=True, show_progress=False)
    assert_equal(weights(whole), weights(killed))


def test_gradients_are_really_clipped(small_run: Run) -> None:
    config = small_run(**{"train.gradient_clip_norm": 1e-3, "train.max_steps": 1, "train.warmup_steps": 0})
    seen: list[float] = []

    class Spy(BaseTrainer):
        def train_step(self, policy, *arguments):
            row = super().train_step(policy, *arguments)
            seen.append(float(torch.stack([p.grad.norm() for p in policy.parameters() if p.grad is not None]).norm()))
            seen.append(float(row["gradient_norm"]))
            return row

    backbone = build_vlm(config.model.vlm)
    Spy(config, show_progress=False).fit(backbone, build_data_module(config, backbone))
    clipped, before = seen
    assert before > 1e-2
    assert clipped == pytest.approx(1e-3, rel=1e-3)


def test_resume_on_other_data_is_refused(small_run: Run, small_dataset: Path, tmp_path: Path) -> None:
    train_from_config(small_run(), show_progress=False)
    source, other = LeRobotSource(small_dataset), tmp_path / "other"
    with LeRobotWriter(
        other,
        action_space=source.action_space,
        cameras=source.cameras,
        proprio_names=source.proprio_names,
        fps=10.0,
        robot_type="test",
        provenance={},
    ) as writer:
        for index in range(4):
            steps = np.arange(source.lengths[index])
            read = source.read(index, steps, steps, ("static",))
            writer.add_episode(Episode(task=source.task(index), instruction=source.instruction(index), steps=read))
    with pytest.raises(ConfigError, match=r"trained on other data.*contract\.action_statistics\.count"):
        train_from_config(small_run(**{"data.path": str(other)}), resume=True, show_progress=False)


@pytest.mark.parametrize(
    ("vlm", "overrides"),
    [("tiny", {"image_size": 32, "hidden_size": 32}), ("paligemma", {"text_config": {"hidden_size": 64}})],
)
def test_a_random_vlm_of_any_shape_comes_back_from_its_checkpoint(small_run: Run, vlm: str, overrides: dict) -> None:
    shape = overrides | ({"num_heads": 2} if vlm == "tiny" else {})
    config = small_run(**{"model.vlm.name": vlm, "model.vlm.overrides": shape, "train.max_steps": 2})
    trained = train_from_config(config, show_progress=False)
    assert_equal(dict(trained.state_dict()), dict(load_policy(str(config.train.out))[0].state_dict()))
    assert verify_checkpoint(config.train.out).max_difference == 0.0


def test_only_folders_with_a_step_are_checkpoints_and_order_is_by_number(tmp_path: Path) -> None:
    for name in ("step_999000", "step_1000000", "step_001300_backup", ".writing-step_2000000", "step_x"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert [folder.name for folder in checkpoints_of(tmp_path)] == ["step_999000", "step_1000000"]


def test_parity_samples_are_of_episodes_with_every_camera(small_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_run()
    train_from_config(config, show_progress=False)
    contract = load_policy(config.train.out)[1]
    dataset = build_data_module(config, build_vlm(config.model.vlm)).robot_dataset
    source = native_source(dataset)
    read, complete = source.read, set()

    def without_camera(episode: int, *arguments: Any) -> Steps:
        steps = read(episode, *arguments)
        return steps if episode in complete else dataclasses.replace(steps, images={})

    monkeypatch.setattr(source, "read", without_camera)
    for episodes in ([0, 4], [1, 2], [3]):
        complete.clear()
        complete.update(episodes)
        windows = parity_windows(dataset, contract)
        assert [window[0].instruction for window in windows] == [source.instruction(i) for i in episodes]
    complete.clear()
    with pytest.raises(DataError, match="no episode has every camera"):
        parity_windows(dataset, contract)


def test_a_policy_or_data_of_another_configuration_is_refused(small_run: Run) -> None:
    config, other = small_run(), small_run(**{"model.latent": 2})
    backbone = build_vlm(config.model.vlm)
    data_module = build_data_module(config, backbone)
    source = data_module.train_dataset.source
    policy = build_policy(other.model, source.action_space, 2)
    with pytest.raises(ConfigError, match="built with another configuration"):
        BaseTrainer(config, show_progress=False).fit(policy, data_module)
    longer = small_run(**{"model.fwd_pred_next_n": 5})
    with pytest.raises(ConfigError, match="fwd_pred_next_n is 3, expected 5"):
        BaseTrainer(longer, show_progress=False).fit(backbone, data_module)


def test_a_finished_run_is_not_overwritten(small_run: Run) -> None:
    config = small_run()
    train_from_config(config, show_progress=False)
    with pytest.raises(ConfigError, match="already holds a run; continue it with --resume"):
        train_from_config(config, show_progress=False)
    changed = small_run(**{"train.learning_rate": 5e-4, "model.fwd_pred_next_n": 4})
    with pytest.raises(ConfigError, match=r"fwd_pred_next_n was 3, is 4; train\.learning_rate was 0\.001, is 0\.0005"):
        train_from_config(changed, resume=True, show_progress=False)


def test_a_checkpoint_is_complete_and_speaks_for_itself(small_run: Run) -> None:
    config = small_run()
    trained = train_from_config(config, show_progress=False)
    folder = find_checkpoint(config.train.out)
    assert folder.name == "step_000006"
    model, contract, loaded = load_policy(folder)
    assert_equal(dict(trained.state_dict()), dict(model.state_dict()))
    assert loaded == config
    assert contract.cameras[0].source == "test/static"
    assert contract.fwd_pred_next_n == 3
    assert type(BaseRoboVLM.from_pretrained(config.train.out)) is type(trained)
    result = verify_checkpoint(config.train.out)
    assert result.num_samples == 2
    assert result.max_difference == 0.0


def test_only_the_newest_checkpoints_are_kept(small_run: Run) -> None:
    config = small_run(**{"train.save_every": 1, "train.keep_checkpoints": 2})
    train_from_config(config, show_progress=False)
    assert [folder.name for folder in checkpoints_of(config.train.out)] == ["step_000005", "step_000006"]
    assert not list((config.train.out / "checkpoints").glob(".*"))


def test_damage_is_named(small_run: Run) -> None:
    config = small_run()
    train_from_config(config, show_progress=False)
    folder = find_checkpoint(config.train.out)
    original = (folder / "contract.json").read_text()
    contract = json.loads(original)
    contract["action_statistics"]["min"][0] -= 0.5
    (folder / "contract.json").write_text(json.dumps(contract))
    with pytest.raises(CheckpointError, match="gives other actions here"):
        verify_checkpoint(folder)
    (folder / "contract.json").write_text(json.dumps({**contract, "prompt_template": "Please: {instruction}"}))
    with pytest.raises(CheckpointError, match=r"prompt_template is 'Please: \{instruction\}', the model's is"):
        load_policy(folder)
    (folder / "contract.json").write_text(original)
    parity = folder / "parity.safetensors"
    parity.write_bytes(parity.read_bytes()[:-50])
    with pytest.raises(CheckpointError, match=r"cannot read .*parity\.safetensors"):
        verify_checkpoint(folder)
    (folder / "training" / "state.json").write_text('{"step": ')
    with pytest.raises(CheckpointError, match=r"state\.json is damaged"):
        train_from_config(small_run(**{"train.max_steps": 6}), resume=True, show_progress=False)
    weights_file = folder / "model.safetensors"
    weights_file.write_bytes(weights_file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model\.safetensors does not fit the model"):
        load_policy(folder)
    (folder / "contract.json").unlink()
    with pytest.raises(CheckpointError, match=r"cannot read .*contract\.json"):
        load_policy(folder)
    weights_file.unlink()
    for other in checkpoints_of(config.train.out)[:-1]:
        (other / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="does not exist"):
        find_checkpoint(config.train.out / "nowhere")


@pytest.mark.parametrize("log_every", [1, 100])
def test_a_loss_that_is_not_finite_stops_the_run_before_it_is_saved(small_run: Run, log_every: int) -> None:
    rates = {"train.learning_rate": 1e30, "train.warmup_steps": 0, "train.gradient_clip_norm": None}
    config = small_run(**rates, **{"train.log_every": log_every, "train.save_every": 2})
    with pytest.raises(DataError, match="not finite near step"):
        train_from_config(config, show_progress=False)
    assert not list((config.train.out / "checkpoints").glob("*"))


def test_unusable_device_is_named(small_run: Run) -> None:
    with pytest.raises(ConfigError, match=r"train\.device 'cuda:99'"):
        BaseTrainer(small_run(**{"train.device": "cuda:99"}))


def test_data_path_is_asked_for(small_run: Run) -> None:
    with pytest.raises(ConfigError, match=r"data\.path is not set"):
        train_from_config(small_run(**{"data.path": None}))
