import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from robovlms.config import RunConfig, dump_config
from robovlms.errors import CheckpointError, ConfigError, DataError
from robovlms.model.base import BaseRoboVLM
from robovlms.model.checkpoint import checkpoints_of, find_checkpoint, load_policy
from robovlms.model.vlm import build_vlm
from robovlms.policy.verify import verify_checkpoint
from robovlms.train.metrics import read_metrics
from robovlms.train.run import build_data_module, train_from_config
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
        def train_step(self, policy, optimizer, batch, lr_scale):
            row = super().train_step(policy, optimizer, batch, lr_scale)
            seen.append(float(torch.stack([p.grad.norm() for p in policy.parameters() if p.grad is not None]).norm()))
            seen.append(float(row["gradient_norm"]))
            return row

    backbone = build_vlm(config.model.vlm)
    Spy(config, show_progress=False).fit(backbone, build_data_module(config, backbone))
    clipped, before = seen
    assert before > 1e-2
    assert clipped == pytest.approx(1e-3, rel=1e-3)


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
    contract = json.loads((folder / "contract.json").read_text())
    contract["action_statistics"]["min"][0] -= 0.5
    (folder / "contract.json").write_text(json.dumps(contract))
    with pytest.raises(CheckpointError, match="gives other actions here"):
        verify_checkpoint(folder)
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


def test_a_loss_that_is_not_finite_stops_the_run(small_run: Run) -> None:
    config = small_run(**{"train.learning_rate": 1e30, "train.warmup_steps": 0, "train.gradient_clip_norm": None})
    with pytest.raises(DataError, match="not finite near step"):
        train_from_config(config, show_progress=False)
    for folder in checkpoints_of(config.train.out):
        assert all(torch.isfinite(tensor).all() for tensor in load_file(folder / "model.safetensors").values())


def test_unusable_device_is_named(small_run: Run) -> None:
    with pytest.raises(ConfigError, match=r"train\.device 'cuda:99'"):
        BaseTrainer(small_run(**{"train.device": "cuda:99"}))


def test_data_path_is_asked_for(small_run: Run) -> None:
    with pytest.raises(ConfigError, match=r"data\.path is not set"):
        train_from_config(small_run(**{"data.path": None}))
