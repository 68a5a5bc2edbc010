"""Two robots in one run: other cameras, other numbers, other sizes; then one of them acts."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from robovlms.actions.contract import CameraSpec
from robovlms.actions.normalize import mu_law_companding
from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.config import RunConfig
from robovlms.data.sources.base import Episode, Steps
from robovlms.data.sources.lerobot_writer import LeRobotWriter
from robovlms.data.text import ByteTokenizer
from robovlms.errors import ConfigError
from robovlms.model.checkpoint import load_policy
from robovlms.model.vlm import build_vlm
from robovlms.policy.session import load_session
from robovlms.policy.verify import verify_checkpoint
from robovlms.train.datasets import build_data_module
from robovlms.train.run import train_from_config
from robovlms.types import Observation


@pytest.fixture(scope="module")
def base_robot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mobile base with a gripper of the other sign: no proprioception, a larger camera of another name."""
    dimensions = (
        ActionDimension(name="linear_x", unit="m/s", low=-0.5, high=0.5, kind="base"),
        ActionDimension(name="gripper", unit="1", low=0.0, high=1.0, kind="gripper"),
    )
    path = tmp_path_factory.mktemp("base") / "base"
    rng = np.random.default_rng(1)
    with LeRobotWriter(
        path,
        action_space=ActionSpace(
            dimensions=dimensions, frame="base", is_delta=False, gripper_opens="positive", control_hz=5.0
        ),
        cameras=(CameraSpec(name="front", height=40, width=48, source="test/front"),),
        proprio_names=(),
        fps=5.0,
        robot_type="base",
        provenance={},
    ) as writer:
        for length in (8, 6, 5):
            actions = np.stack([rng.uniform(-0.4, 0.4, length), np.arange(length) % 2], axis=1).astype(np.float32)
            images = {"front": rng.integers(0, 256, (length, 40, 48, 3), np.uint8)}
            steps = Steps(images=images, proprio=None, actions=actions)
            writer.add_episode(Episode(task="drive", instruction="drive on", steps=steps))
    return path


@pytest.fixture
def mixed_run(small_run: Callable[..., RunConfig], small_dataset: Path, base_robot: Path) -> Callable[..., RunConfig]:
    mixture = [
        {"path": str(base_robot), "name": "base", "cameras": {"static": "front"}, "weight": 2.0},
        {"path": str(small_dataset), "name": "arm", "weight": 1.0},
    ]
    values = {"data.path": None, "data.mixture": mixture, "data.robot": "arm", "data.batch_size": 8}
    return lambda **changes: small_run(**(values | changes))


def test_samples_of_both_robots(mixed_run: Callable[..., RunConfig]) -> None:
    config = mixed_run(**{"data.batch_size": 64})
    data = build_data_module(config, build_vlm(config.model.vlm))
    batch = next(data.train_batches())
    is_arm = batch.dataset == 0  # the robot's dataset comes first
    assert 10 < is_arm.sum() < 35
    assert data.action_space.names == ("x", "y", "gripper", "linear_x")
    assert batch.action_dim_mask[is_arm].unique(dim=0).tolist() == [[True, True, True, False]]
    assert batch.action_dim_mask[~is_arm].unique(dim=0).tolist() == [[False, False, True, True]]
    assert batch.images.shape[-2:] == (32, 32)
    assert batch.image_mask.all(-1)[:, -1].all()
    assert batch.proprio_mask[is_arm][:, -1].all()
    assert not batch.proprio_mask[~is_arm].any()


def test_numbers_that_a_robot_lacks_change_nothing(mixed_run: Callable[..., RunConfig]) -> None:
    config = mixed_run(**{"train.max_steps": 2, "train.save_every": 2, "train.warmup_steps": 0})
    policy = train_from_config(config, show_progress=False)
    data = build_data_module(config, policy.backbone)
    batch = next(data.train_batches())
    spoiled = batch.actions.where(batch.action_dim_mask[:, None, None], 123.0)
    losses = [
        policy.forward_batch(type(batch)(**{**vars(batch), "actions": actions})).loss
        for actions in (batch.actions, spoiled)
    ]
    for name in losses[0]:
        torch.testing.assert_close(losses[0][name], losses[1][name])


def test_a_mixture_trains_and_the_robot_acts(mixed_run: Callable[..., RunConfig]) -> None:
    config = mixed_run()
    train_from_config(config, show_progress=False)
    model, contract, _ = load_policy(config.train.out)
    assert contract.action_space.names == ("x", "y", "gripper")
    assert contract.predicted_space.names == ("x", "y", "gripper", "linear_x")
    assert model.act_head.action_dim == 4
    assert verify_checkpoint(config.train.out).max_difference == 0.0
    session = load_session(config.train.out)
    frame = np.zeros((32, 32, 3), np.uint8)
    seen = Observation(images={"static": frame}, proprio=np.zeros(2, np.float32), instruction="go", timestamp_s=0.0)
    assert session.act(seen).shape == (3,)


def test_renamed_dimensions_of_the_robot_stay_its_own(
    small_run: Callable[..., RunConfig], small_dataset: Path, base_robot: Path
) -> None:
    """x and y trade names: the policy's first numbers are still the robot's, in its order."""
    mixture = [
        {"path": str(small_dataset), "name": "arm", "rename": {"x": "y", "y": "x"}},
        {"path": str(base_robot), "name": "base", "cameras": {"static": "front"}},
    ]
    config = small_run(**{"data.path": None, "data.mixture": mixture, "data.batch_size": 8})
    train_from_config(config, show_progress=False)
    contract = load_policy(config.train.out)[1]
    assert contract.action_space.names == ("x", "y", "gripper")
    assert contract.predicted_space.names == ("y", "x", "gripper", "linear_x")
    assert contract.columns == [0, 1, 2]
    part = build_data_module(config, build_vlm(config.model.vlm)).robot_dataset
    assert part.builder.action_columns == (0, 1, 2)


def test_schemes_per_dimension_are_the_robots(mixed_run: Callable[..., RunConfig]) -> None:
    config = mixed_run(**{"data.action_scheme": ["min_max", "quantile", "min_max"]})
    with pytest.raises(ConfigError, match=r"base has the dimension 'linear_x'; give one for all"):
        build_data_module(config, build_vlm(config.model.vlm))


def test_a_moved_mixture_resumes(
    mixed_run: Callable[..., RunConfig], small_dataset: Path, base_robot: Path, tmp_path: Path
) -> None:
    config = mixed_run()
    train_from_config(config, show_progress=False)
    moved = [
        {"path": str(shutil.copytree(base_robot, tmp_path / "b")), "name": "base", "cameras": {"static": "front"},
         "weight": 2.0},
        {"path": str(shutil.copytree(small_dataset, tmp_path / "a")), "name": "arm", "weight": 1.0},
    ]  # fmt: skip
    train_from_config(mixed_run(**{"data.mixture": moved, "data.bad_budget": 0.5}), resume=True, show_progress=False)
    with pytest.raises(ConfigError, match="data.mixture was"):
        train_from_config(mixed_run(**{"data.mixture": [*moved[:1], moved[1] | {"weight": 9.0}]}), resume=True)


def test_a_resumed_mixture_ends_with_the_same_weights(mixed_run: Callable[..., RunConfig], tmp_path: Path) -> None:
    whole = train_from_config(mixed_run(**{"train.out": str(tmp_path / "whole")}), show_progress=False)
    changes = {"train.out": str(tmp_path / "parts")}

    class Stop(Exception):
        pass

    from robovlms.train import run
    from robovlms.train.trainer import BaseTrainer

    class Interrupted(BaseTrainer):
        def _save(self, *arguments: object) -> None:
            super()._save(*arguments)
            raise Stop

    original, run.BaseTrainer = run.BaseTrainer, Interrupted
    try:
        with pytest.raises(Stop):
            train_from_config(mixed_run(**changes), show_progress=False)
    finally:
        run.BaseTrainer = original
    resumed = train_from_config(mixed_run(**changes), resume=True, show_progress=False)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.robot": "amr"}, "data.robot: 'amr' is no dataset of data.mixture"),
        ({"data.path": "somewhere"}, "data.mixture lists 2 datasets, so data.path"),
        ({"data.mixture": [{"path": "a"}, {"path": "b/a"}]}, r"two datasets are called \['a'\]"),
        ({"data.mixture": [{"path": "a", "wieght": 1}]}, r"unknown key 'data.mixture\[0\].wieght'; did you mean"),
        ({"data.mixture": [{"path": "a", "weight": -1}]}, "weight of a must be positive"),
    ],
)
def test_bad_mixtures(mixed_run: Callable[..., RunConfig], changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mixed_run(**changes)


def test_cameras_of_different_sizes_need_a_size(
    small_run: Callable[..., RunConfig], tmp_path: Path, base_robot: Path
) -> None:
    path = tmp_path / "two"
    space = ActionSpace(
        dimensions=(ActionDimension(name="x", unit="m", low=-1.0, high=1.0),),
        frame="world",
        is_delta=True,
        control_hz=5.0,
    )
    sizes = {"a": 32, "b": 20}
    cameras = tuple(CameraSpec(name=name, height=size, width=size, source=name) for name, size in sizes.items())
    rng = np.random.default_rng(0)
    with LeRobotWriter(
        path, action_space=space, cameras=cameras, proprio_names=(), fps=5.0, robot_type="t", provenance={}
    ) as writer:
        for _ in range(2):
            images = {c.name: rng.integers(0, 256, (6, c.height, c.width, 3), np.uint8) for c in cameras}
            steps = Steps(images=images, proprio=None, actions=rng.uniform(-1, 1, (6, 1)).astype(np.float32))
            writer.add_episode(Episode(task="t", instruction="go", steps=steps))
    values = {"data.path": str(path), "model.use_proprio": False}
    config = small_run(**values)
    with pytest.raises(ConfigError, match=r"different sizes, .*'b': \(20, 20\)\}; set data.image_size"):
        build_data_module(config, build_vlm(config.model.vlm))
    config = small_run(**values, **{"data.image_size": 24})
    policy = train_from_config(config, show_progress=False)
    assert next(build_data_module(config, policy.backbone).train_batches()).images.shape[-2:] == (24, 24)
    assert load_policy(config.train.out)[1].image_size == (24, 24)
    assert verify_checkpoint(config.train.out).max_difference == 0.0
    seen = {name: np.zeros((size, size, 3), np.uint8) for name, size in sizes.items()}
    session = load_session(config.train.out)
    assert session.act(Observation(images=seen, proprio=None, instruction="go", timestamp_s=0.0)).shape == (1,)


def test_schemes_per_dimension_and_the_mu_law_reach_the_contract(small_run: Callable[..., RunConfig]) -> None:
    scheme = {"data.action_scheme": ["min_max", "quantile", "min_max"], "data.proprio_scheme": ["none", "mean_std"]}
    config = small_run(**scheme, **{"data.action_mu": 255})
    policy = train_from_config(config, show_progress=False)
    contract = load_policy(config.train.out)[1]
    assert contract.action_scheme == ("min_max", "quantile", "min_max")
    assert contract.proprio_scheme == ("none", "mean_std")
    assert contract.action_mu == 255.0
    assert verify_checkpoint(config.train.out).max_difference == 0.0
    dataset = build_data_module(config, policy.backbone).train_dataset
    window = dataset.window(3)
    learned = contract.action_codec.encode(window.data.actions)
    np.testing.assert_array_equal(dataset.sample(3)["actions"][-1], learned)
    plain = build_data_module(small_run(**scheme), policy.backbone).train_dataset.sample(3)["actions"][-1]
    expected = mu_law_companding(plain, protected_dims=(2,))
    np.testing.assert_allclose(learned, expected, atol=1e-6)
    assert np.abs(learned - plain).max() > 0.05


def test_a_mirrored_base_sees_and_does_the_opposite(
    small_run: Callable[..., RunConfig], tmp_path: Path, base_robot: Path
) -> None:
    """Half of the windows are mirrored: picture, sign of the turn, words; validation is as recorded."""
    dimensions = (ActionDimension(name="angular_z", unit="rad/s", low=-1.0, high=1.0, kind="base"),)
    space = ActionSpace(dimensions=dimensions, frame="base", is_delta=False, control_hz=5.0)
    camera = CameraSpec(name="front", height=32, width=32, source="front")
    path, ramp = tmp_path / "turns", np.linspace(0, 255, 32).astype(np.uint8)
    frames = np.broadcast_to(ramp[None, None, :, None], (5, 32, 32, 3)).copy()
    with LeRobotWriter(
        path, action_space=space, cameras=(camera,), proprio_names=(), fps=5.0, robot_type="t", provenance={}
    ) as writer:
        for turn in (0.2, 0.4, 0.8):
            steps = Steps(images={"front": frames}, proprio=None, actions=np.full((5, 1), turn, np.float32))
            writer.add_episode(Episode(task="turn", instruction="turn left", steps=steps))
    augment = {"data.augment.shift_px": 0, "data.augment.mirror": 0.5}
    config = small_run(**{"data.path": str(path), "model.use_proprio": False, "data.batch_size": 64}, **augment)
    data = build_data_module(config, build_vlm(config.model.vlm))
    batch = next(data.train_batches())
    rises = batch.images[:, -1, 0, 0, 0, 0] < batch.images[:, -1, 0, 0, 0, -1]
    assert 20 < rises.sum() < 44
    turns = batch.actions[:, -1, 0, 0]
    assert (turns[rises] > 0).all()
    assert (turns[~rises] < 0).all()
    assert turns.abs().max() <= 1
    rows = zip(batch.input_ids, batch.text_mask, strict=True)
    words = [ByteTokenizer().decode(ids[mask].tolist()) for ids, mask in rows]
    assert {("left" in text) == bool(rise) for text, rise in zip(words, rises, strict=True)} == {True}
    for val in data.val_batches():
        assert (val.actions[:, -1, 0, 0] > 0).all()
    with pytest.raises(ConfigError, match="mirror"):
        build_data_module(small_run(**augment), build_vlm(config.model.vlm))
