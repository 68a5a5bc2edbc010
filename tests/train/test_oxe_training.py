"""A named mix of Open X-Embodiment sets, streamed: it trains, and a resumed run ends with the same weights."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from data.sources.rlds_fixture import bridge_episode, rt1_episode, write_rlds

from robovlms.config import RunConfig
from robovlms.model.checkpoint import load_policy
from robovlms.model.vlm import build_vlm
from robovlms.policy.verify import verify_checkpoint
from robovlms.train.datasets import build_data_module
from robovlms.train.run import train_from_config


@pytest.fixture(scope="module")
def oxe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two datasets of two shards each; their cameras differ in name and size."""
    folder = tmp_path_factory.mktemp("oxe")
    write_rlds(folder, [[bridge_episode(4 * s + r, 5 + r) for r in range(4)] for s in range(2)])
    shards = [[rt1_episode(4 * s + r, 4 + r) for r in range(4)] for s in range(2)]
    write_rlds(folder, shards, name="fractal20220817_data")
    return folder


@pytest.fixture
def oxe_run(small_run: Callable[..., RunConfig], oxe: Path) -> Callable[..., RunConfig]:
    values = {
        "data.path": str(oxe),
        "data.mix": "bridge_rt_1",
        "data.stream": True,
        "data.cameras": ["static"],
        "data.image_size": 32,
        "data.action_scheme": "quantile",
        "data.batch_size": 6,
        "data.pool_episodes": 4,
        "model.use_proprio": False,
        "train.val_every": 0,
    }
    return lambda **changes: small_run(**(values | changes))


def test_batches_of_both_robots(oxe_run: Callable[..., RunConfig]) -> None:
    config = oxe_run(**{"data.batch_size": 40})
    data = build_data_module(config, build_vlm(config.model.vlm))
    batch = next(data.train_batches())
    assert set(batch.dataset.tolist()) == {0, 1}
    assert batch.images.shape[-2:] == (32, 32)
    assert batch.action_dim_mask.all()
    assert batch.actions[..., :6].abs().max() <= 1
    assert set(batch.actions[..., 6].unique().tolist()) == {0.0, 1.0}


def test_a_streamed_mix_resumes_to_the_same_weights(
    oxe_run: Callable[..., RunConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train_from_config(oxe_run(**{"train.out": str(tmp_path / "whole")}), show_progress=False)
    config = oxe_run(**{"train.out": str(tmp_path / "parts")})
    from robovlms.train import run
    from robovlms.train.trainer import BaseTrainer

    class Interrupted(BaseTrainer):
        def _save(self, *arguments: object) -> None:
            super()._save(*arguments)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run, "BaseTrainer", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_from_config(config, show_progress=False)
    resumed = train_from_config(config, resume=True, show_progress=False)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    contract = load_policy(config.train.out)[1]
    assert contract.cameras[0].source == "bridge_orig/image_0"
    assert contract.image_size == (32, 32)
    assert verify_checkpoint(config.train.out).max_difference == 0.0


def test_with_an_index_every_window_comes_once(oxe_run: Callable[..., RunConfig], oxe: Path) -> None:
    changes = {"data.mix": None, "data.stream": False, "data.path": str(oxe / "bridge_orig"), "data.val_episodes": 2}
    config = oxe_run(**changes, **{"data.batch_size": 1})
    data = build_data_module(config, build_vlm(config.model.vlm))
    assert len(data.train_dataset) == 2 * (4 + 5 + 6 + 7) - 6 - 7
    assert len(data.val_dataset) == 13
