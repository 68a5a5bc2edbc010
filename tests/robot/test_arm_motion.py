import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robovlms.actions.pose import ROTATIONS, compose_delta, rpy_to_matrix
from robovlms.errors import ConfigError, UnsafeActionError
from robovlms.robot.action import ActionType, RobotAction
from robovlms.robot.arm_motion import ArmMotion

QUARTER = rpy_to_matrix(np.array([0.0, 0.0, math.pi / 2]))  # the tcp's x is the base's y
HERE = np.array([1.0, 2.0, 3.0])
FORWARD = ArmMotion(translation=(0.1, 0.0, 0.0), frame="tcp", is_delta=True)


def motion(**changes: Any) -> ArmMotion:
    return ArmMotion(**{"translation": (0.0, 0.0, 0.0), "frame": "base", "is_delta": True, **changes})


def test_a_relative_motion_turns_with_the_tcp() -> None:
    seen = FORWARD.from_tcp("base", HERE, QUARTER)
    assert seen.translation == pytest.approx((0.0, 0.1, 0.0))
    assert (seen.frame, seen.is_delta) == ("base", True)


def test_a_pose_to_reach_starts_at_the_tcp() -> None:
    seen = ArmMotion(translation=(0.1, 0.0, 0.0), frame="tcp", is_delta=False).from_tcp("world", HERE, QUARTER)
    assert seen.translation == pytest.approx((1.0, 2.1, 3.0))
    assert (seen.frame, seen.is_delta) == ("world", False)


def test_a_relative_turn_about_the_tcps_axis() -> None:
    """Rolling about the tcp's x, which is the base's y, is pitching in the base."""
    rolls = motion(rotation=(0.3, 0.0, 0.0), rotation_kind="euler_xyz", frame="tcp")
    assert rolls.from_tcp("base", HERE, QUARTER).rotation == pytest.approx((0.0, 0.3, 0.0), abs=1e-12)


@given(st.lists(st.floats(-1, 1), min_size=6, max_size=6), st.lists(st.floats(-3, 3), min_size=3, max_size=3))
def test_both_frames_lead_to_the_same_pose(step: list[float], angles: list[float]) -> None:
    """As `compose_delta` has it: in the tcp's frame a step stands right of the pose, in the base's left of it."""
    turn = rpy_to_matrix(np.array(angles))
    x, y, z, *rotation = step
    seen = motion(translation=(x, y, z), rotation=tuple(rotation), rotation_kind="euler_xyz", frame="tcp").from_tcp(
        "base", HERE, turn
    )
    pose = np.concatenate([HERE, angles])
    by_tcp = compose_delta(np.stack([pose, np.array(step)]), frame="tcp")
    by_base = compose_delta(np.stack([pose, np.array([*seen.translation, *seen.rotation])]), frame="base")
    np.testing.assert_allclose(by_tcp[:3], by_base[:3], atol=1e-9)
    np.testing.assert_allclose(rpy_to_matrix(by_tcp[3:]), rpy_to_matrix(by_base[3:]), atol=1e-9)


@pytest.mark.parametrize("kind", ["none", *ROTATIONS])
@pytest.mark.parametrize("is_delta", [True, False])
@given(st.integers(0, 10**6))
def test_there_and_back(kind: Any, is_delta: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    turn, position = rpy_to_matrix(rng.uniform(-3, 3, 3)), rng.normal(size=3)
    rotation: tuple[float, ...] = ()
    if kind != "none":
        rotation = tuple(ROTATIONS[kind][1](rpy_to_matrix(rng.uniform(-1.4, 1.4, 3))).tolist())
    x, y, z = rng.normal(size=3).tolist()
    start = ArmMotion(
        translation=(x, y, z),
        rotation=rotation,
        rotation_kind=kind,
        gripper_opening=0.25,
        frame="tcp",
        is_delta=is_delta,
    )
    back = start.from_tcp("base", position, turn).to_tcp(position, turn)
    assert (back.frame, back.is_delta, back.gripper_opening) == ("tcp", is_delta, 0.25)
    np.testing.assert_allclose(back.translation, start.translation, atol=1e-9)
    np.testing.assert_allclose(back.rotation, rotation, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"translation": (0.0, math.nan, 0.0)},
        {"translation": (0.0, math.inf, 0.0)},
        {"rotation": (0.0, 0.0, -math.inf), "rotation_kind": "euler_xyz"},
        {"rotation": (0.0, 0.0, 1e7), "rotation_kind": "euler_xyz"},
        {"rotation": (0.0, 0.0), "rotation_kind": "euler_xyz"},
        {"rotation": (0.0, 0.0, 0.0)},
        {"rotation": (0.0, 0.0, 0.0, 0.0), "rotation_kind": "quaternion_xyzw"},
        {"rotation": (1.0, 0.0, 0.0, 2.0, 0.0, 0.0), "rotation_kind": "rotation_6d"},
        {"rotation": (0.0, 0.0, 0.0, 2.0, 0.0, 0.0), "rotation_kind": "rotation_6d"},
        {"gripper_opening": 1.5},
        {"gripper_opening": -0.1},
        {"gripper_opening": math.nan},
        {"gripper_effort": math.inf},
    ],
)
def test_what_is_no_motion_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UnsafeActionError, match="motion of an arm") as error:
        motion(**changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("position", "rotation"),
    [
        (np.array([1.0, 2.0]), QUARTER),
        (np.array([1.0, 2.0, math.nan]), QUARTER),
        (HERE, np.zeros((3, 3))),
        (HERE, 2 * np.eye(3)),
        (HERE, np.diag([1.0, 1.0, -1.0])),
        (HERE, np.full((3, 3), math.nan)),
        (HERE, np.eye(4)),
    ],
)
def test_what_is_no_pose_is_refused(position: np.ndarray, rotation: np.ndarray) -> None:
    from_tcp = getattr(ArmMotion.from_tcp, "__wrapped__", ArmMotion.from_tcp)
    to_tcp = getattr(ArmMotion.to_tcp, "__wrapped__", ArmMotion.to_tcp)
    with pytest.raises(UnsafeActionError, match="pose of the tcp"):
        from_tcp(FORWARD, "base", position, rotation)
    with pytest.raises(UnsafeActionError, match="pose of the tcp"):
        to_tcp(motion(), position, rotation)


def test_frames_are_not_guessed() -> None:
    with pytest.raises(ConfigError, match="not 'base' into 'world'"):
        motion().from_tcp("world", HERE, QUARTER)
    with pytest.raises(ConfigError, match="not 'tcp' into 'tcp'"):
        FORWARD.from_tcp("tcp", HERE, QUARTER)
    with pytest.raises(ConfigError, match="'tcp'"):
        FORWARD.to_tcp(HERE, QUARTER)


def test_in_an_action_and_json() -> None:
    arm = motion(rotation=(0.0, 0.0, 0.0, 1.0), rotation_kind="quaternion_xyzw", gripper_opening=0.5)
    action = RobotAction(ActionType.MOVE, arm=arm, gripper="open", sequence_index=3)
    assert RobotAction.from_dict(json.loads(json.dumps(action.to_dict()))) == action
    assert RobotAction.from_dict(RobotAction(ActionType.STOP).to_dict()) == RobotAction(ActionType.STOP)
    assert hash(action) == hash(RobotAction.from_dict(action.to_dict()))


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        (3, "arm must be an arm's motion or None, got 3"),
        ({"translatoin": [0, 0, 0]}, "unknown field of an arm's motion 'translatoin'; did you mean 'translation'"),
        ({}, "expected what to_dict gives"),
        ({"translation": "abc", "rotation": []}, "expected what to_dict gives"),
        ({"translation": [0, 0, 0], "rotation": [], "frame": "wrist", "is_delta": True}, "wrist"),
        ({"translation": [0, 0, 0], "rotation": [], "frame": "tcp", "is_delta": "no"}, "is_delta"),
        ({"translation": [0, 0, 0], "rotation": []}, "expected what to_dict gives"),
    ],
)
def test_a_damaged_motion_is_refused(arm: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RobotAction.from_dict({"action_type": "move", "arm": arm})
