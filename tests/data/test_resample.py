import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from robovlms.actions.pose import compose_delta
from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.data.resample import ResampledSource
from robovlms.data.sources.lerobot import LeRobotSource
from robovlms.errors import ConfigError


@pytest.fixture
def source(dataset: Path) -> LeRobotSource:
    return LeRobotSource(dataset)  # 10 Hz; 7, 3, 5, 9 steps; x, y deltas and a gripper


def test_every_third_frame_and_the_sum_of_three_deltas(source: LeRobotSource) -> None:
    slow = ResampledSource(source, 10 / 3)
    assert slow.lengths.tolist() == [3, 1, 2, 3]
    assert slow.action_space.control_hz == pytest.approx(10 / 3)
    assert [(d.low, d.high) for d in slow.action_space.dimensions] == [(-3.0, 3.0), (-3.0, 3.0), (-1.0, 1.0)]
    whole, part = source.read_episode(0).steps, slow.read_episode(0).steps
    np.testing.assert_array_equal(part.images["static"], whole.images["static"][::3])
    np.testing.assert_array_equal(part.proprio, whole.proprio[::3])
    sums = [whole.actions[i : i + 3, :2].sum(0) for i in (0, 3, 6)]
    np.testing.assert_allclose(part.actions[:, :2], sums, rtol=1e-6)
    np.testing.assert_array_equal(part.actions[:, 2], whole.actions[[2, 5, 6], 2])


def test_any_steps_in_any_order(source: LeRobotSource) -> None:
    slow = ResampledSource(source, 5.0)
    whole = slow.read_episode(3).steps
    read = slow.read(3, np.array([4, 0]), np.array([3, 3, 4]), ("static",))
    np.testing.assert_array_equal(read.images["static"], whole.images["static"][[4, 0]])
    np.testing.assert_array_equal(read.actions, whole.actions[[3, 3, 4]])


def test_numbers_are_those_of_the_episodes(source: LeRobotSource) -> None:
    slow = ResampledSource(source, 5.0)
    pieces = list(slow.numbers())
    expected = np.concatenate([slow.read_episode(i).steps.actions for i in range(4)])
    np.testing.assert_array_equal(np.concatenate([piece["action"] for piece in pieces]), expected)
    assert slow.fingerprint not in (source.fingerprint, ResampledSource(source, 2.5).fingerprint)


@pytest.mark.parametrize("hz", [20.0, 3.0, 6.0])
def test_rates_that_do_not_divide(source: LeRobotSource, hz: float) -> None:
    with pytest.raises(ConfigError, match=r"runs at 10 Hz, which data.target_hz = .* choose for example 10, 5, 3.33"):
        ResampledSource(source, hz)


def of_space(make: SimpleNamespace, path: Path, space: ActionSpace, actions: np.ndarray) -> LeRobotSource:
    episode = make.replaced(make.episode(0, len(actions)), actions=actions.astype(np.float32))
    return LeRobotSource(make.write(path, [episode], action_space=space))


def pose_space(unit: str, rotation: str, *, is_delta: bool = True) -> ActionSpace:
    units = ["m"] * 3 + [unit] * 3
    dimensions = [ActionDimension(name=f"p{i}", unit=one, low=-9.0, high=9.0) for i, one in enumerate(units)]
    return ActionSpace(dimensions=tuple(dimensions), frame="tcp", is_delta=is_delta, rotation=rotation, control_hz=10.0)


def test_rotations_are_composed(make: SimpleNamespace, tmp_path: Path) -> None:
    actions = np.random.default_rng(0).normal(0, 0.3, (6, 6)).astype(np.float32)
    source = of_space(make, tmp_path / "a", pose_space("rad", "euler_xyz"), actions)
    read = ResampledSource(source, 5.0).read_episode(0).steps.actions
    expected = compose_delta(actions.reshape(3, 2, 6).astype(np.float64), frame="tcp", rotation="euler_xyz")
    np.testing.assert_allclose(read, expected, atol=1e-6)
    assert np.abs(read - actions.reshape(3, 2, 6).sum(1)).max() > 0.01


def test_scaled_rotations_are_composed_as_angles(make: SimpleNamespace, tmp_path: Path) -> None:
    actions = np.random.default_rng(1).uniform(-1, 1, (4, 6)).astype(np.float32)
    source = of_space(make, tmp_path / "a", pose_space("0.5 rad", "axis_angle"), actions)
    read = ResampledSource(source, 5.0).read_episode(0).steps.actions
    scale = np.array([1, 1, 1, 0.5, 0.5, 0.5])
    expected = compose_delta(actions.reshape(2, 2, 6) * scale, frame="tcp", rotation="axis_angle") / scale
    np.testing.assert_allclose(read, expected, atol=1e-6)


def test_rotations_in_other_units_are_refused(make: SimpleNamespace, tmp_path: Path) -> None:
    source = of_space(make, tmp_path / "a", pose_space("relative", "euler_xyz"), np.zeros((4, 6)))
    with pytest.raises(ConfigError, match="needs three numbers in rad"):
        ResampledSource(source, 5.0)


def test_targets_take_the_last(make: SimpleNamespace, tmp_path: Path) -> None:
    actions = np.arange(30).reshape(5, 6) / 10
    source = of_space(make, tmp_path / "a", pose_space("rad", "euler_xyz", is_delta=False), actions)
    read = ResampledSource(source, 5.0).read_episode(0).steps.actions
    np.testing.assert_allclose(read, actions[[1, 3, 4]], rtol=1e-6)


def test_velocities_of_a_base_are_averaged(make: SimpleNamespace, tmp_path: Path) -> None:
    base = dataclasses.replace(pose_space("m", "none").dimensions[0], name="linear_x", kind="base")
    space = ActionSpace(dimensions=(base,), frame="base", is_delta=False, control_hz=10.0)
    source = of_space(make, tmp_path / "a", space, np.array([[0.1], [0.3], [0.5]]))
    np.testing.assert_allclose(ResampledSource(source, 5.0).read_episode(0).steps.actions, [[0.2], [0.5]], rtol=1e-6)
