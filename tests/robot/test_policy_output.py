import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robovlms.actions.calvin import calvin_action_space
from robovlms.actions.contract import PolicyContract
from robovlms.actions.normalize import FeatureStatistics
from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.errors import SafetyError, UnsafeActionError
from robovlms.robot.action import ActionType, RobotAction
from robovlms.robot.arm_motion import ArmMotion
from robovlms.robot.policy_output import policy_action, robot_actions_from_policy

CALVIN = calvin_action_space()


def dimension(name: str, unit: str, kind: Any = "arm", low: float = -1.0, high: float = 1.0) -> ActionDimension:
    return ActionDimension(name=name, unit=unit, low=low, high=high, kind=kind)


def base_space(*dimensions: tuple[str, str], **changes: Any) -> ActionSpace:
    parts = tuple(dimension(name, unit, "base") for name, unit in dimensions)
    return ActionSpace(**{"dimensions": parts, "frame": "base", "is_delta": True, "control_hz": 10.0, **changes})


VELOCITIES = base_space(("linear_x", "m/s"), ("linear_y", "m/s"), ("angular_z", "rad/s"))
STEPS = base_space(("x", "m"), ("y", "cm"), ("yaw", "deg"))
POSITION = tuple(dimension(name, "cm") for name in "xyz")
METAWORLD = ActionSpace(
    dimensions=(*POSITION, dimension("gripper_effort", "1")), frame="world", is_delta=True, control_hz=80.0
)
QUATERNION = ActionSpace(
    dimensions=(
        *(dimension(name, "m") for name in "xyz"),
        *(dimension(name, "1") for name in ("qx", "qy", "qz", "qw")),
        dimension("gripper", "1", "gripper", 0.0, 1.0),
    ),
    frame="base",
    is_delta=False,
    rotation="quaternion_xyzw",
    gripper_opens="negative",
    control_hz=5.0,
)
MOBILE_ARM = ActionSpace(
    dimensions=(*VELOCITIES.dimensions, *CALVIN.dimensions), frame="tcp", is_delta=True, rotation="euler_xyz",
    gripper_opens="positive", control_hz=30.0,
)  # fmt: skip
SPACES = {
    "calvin": CALVIN,
    "calvin, absolute": calvin_action_space("actions"),
    "velocities": VELOCITIES,
    "steps": STEPS,
    "two wheels": base_space(("linear_x", "m/s"), ("angular_z", "rad/s")),
    "metaworld": METAWORLD,
    "mobile arm": MOBILE_ARM,
    "position": ActionSpace(dimensions=POSITION, frame="tcp", is_delta=True, control_hz=1.0),
}


def test_velocities_in_numbers() -> None:
    first, second, third = robot_actions_from_policy([[0.5, -0.25, 1.0], [0, 0, -1], [0, 0, 0]], VELOCITIES)
    assert (first.action_type, first.velocity, first.sequence_index) == (ActionType.MOVE, (0.5, -0.25, 1.0), 0)
    assert (second.action_type, second.velocity, second.sequence_index) == (ActionType.TURN, (0, 0, -1.0), 1)
    assert (third.action_type, third.velocity, third.arm) == (ActionType.STOP, (0, 0, 0), None)
    assert {first.confidence, second.confidence, third.confidence} == {1.0}


def test_steps_become_velocities() -> None:
    (action,) = robot_actions_from_policy(np.array([0.02, 3.0, -9.0], np.float32), STEPS)
    assert action.velocity == pytest.approx((0.2, 0.3, -math.pi / 2), rel=1e-6)


def test_an_arm_in_numbers() -> None:
    """CALVIN: 0.02 m and 0.05 rad per unit, +1 opens."""
    opens, closes, keeps = robot_actions_from_policy(
        np.array([[1, -0.5, 0, 0.2, 0, -1, 1], [0, 0, 0, 0, 0, 0, -1], [0, 0, 0, 0, 0, 0, 0]]), CALVIN
    )
    assert opens.arm is not None
    assert opens.arm.translation == pytest.approx((0.02, -0.01, 0.0))
    assert opens.arm.rotation == pytest.approx((0.01, 0.0, -0.05))
    assert (opens.arm.frame, opens.arm.is_delta, opens.arm.rotation_kind) == ("world", True, "euler_xyz")
    assert (opens.gripper, opens.arm.gripper_opening, opens.velocity) == ("open", 1.0, (0, 0, 0))
    assert (closes.gripper, closes.arm and closes.arm.gripper_opening) == ("close", 0.0)
    assert (keeps.gripper, keeps.arm and keeps.arm.gripper_opening) == (None, None)


def test_which_end_opens_is_the_spaces_word() -> None:
    row = [0.1, 0.2, 0.3, 0, 0, 0, 1, 0.9]
    (action,) = robot_actions_from_policy([row], QUATERNION)
    assert (action.gripper, action.arm and action.arm.rotation) == ("close", (0.0, 0.0, 0.0, 1.0))
    (action,) = robot_actions_from_policy([[*row[:-1], 0.1]], QUATERNION)
    assert action.gripper == "open"


def test_an_effort_is_no_opening() -> None:
    (action,) = robot_actions_from_policy([[1.0, 0, 0, -0.3]], METAWORLD)
    assert action.arm == ArmMotion(translation=(0.01, 0.0, 0.0), gripper_effort=-0.3, frame="world", is_delta=True)
    assert action.gripper is None


@pytest.mark.parametrize("name", SPACES)
@given(st.data())
def test_round_trip(name: str, data: st.DataObject) -> None:
    space = SPACES[name]
    numbers = st.floats(-1.0, 1.0, width=32)
    chunk = data.draw(arrays(np.float32, (3, space.size), elements=numbers))
    for column in space.gripper_dims:
        chunk[:, column] = data.draw(st.sampled_from([-1.0, 0.0, 1.0]))
    actions = robot_actions_from_policy(chunk, space)
    assert [action.sequence_index for action in actions] == [0, 1, 2]
    back = np.stack([policy_action(action, space) for action in actions])
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, chunk, rtol=2e-7, atol=1e-37)
    assert [RobotAction.from_dict(action.to_dict()) for action in actions] == actions


def test_round_trip_of_poses() -> None:
    rng = np.random.default_rng(0)
    chunk = rng.normal(size=(50, 8)).astype(np.float32)
    chunk[:, 7] = rng.integers(0, 2, 50)
    back = [policy_action(action, QUATERNION) for action in robot_actions_from_policy(chunk, QUATERNION)]
    np.testing.assert_allclose(np.stack(back), chunk, rtol=1e-6)


@given(arrays(np.float32, (1, 7), elements=st.floats(-50, 50, width=32)))
def test_size_tells_nothing_of_confidence_and_nothing_is_rescaled(chunk: np.ndarray) -> None:
    (action,) = robot_actions_from_policy(chunk, CALVIN)
    assert action.arm is not None
    assert action.confidence == 1.0
    np.testing.assert_allclose(action.arm.translation, 0.02 * chunk[0, :3].astype(np.float64), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("column", range(7))
def test_one_number_that_is_not_finite_refuses_the_chunk(wrong: float, column: int) -> None:
    chunk = np.zeros((4, 7))
    chunk[2, column] = wrong
    with pytest.raises(UnsafeActionError, match=f"chunk: '{CALVIN.names[column]}' of step 2 is {wrong}"):
        robot_actions_from_policy(chunk, CALVIN)


@pytest.mark.parametrize(
    "chunk",
    [
        *[np.zeros((2, 6)), np.zeros((2, 8)), np.zeros((0, 7)), np.zeros((1, 2, 7)), np.zeros(()), [], [[0] * 7, [0]]],
        *["0 0 0 0 0 0 0", None, [["0"] * 7], np.zeros((1, 7), bool), np.zeros((1, 7), complex)],
        np.zeros((20_000, 7)),
    ],
    ids=str,
)
def test_a_chunk_of_another_shape_or_kind_is_refused(chunk: Any) -> None:
    with pytest.raises(UnsafeActionError, match="chunk: expected") as error:
        robot_actions_from_policy(chunk, CALVIN)
    assert "\n" not in str(error.value)


BAD_SPACES = {
    "unknown dimension of a base 'linearx'; did you mean 'linear_x'": base_space(("linearx", "m/s")),
    "expected a velocity in m/s": base_space(("linear_x", "m")),
    "got unit 'm', is_delta False": base_space(("x", "m"), is_delta=False),
    "got unit 'rad/s'": base_space(("linear_x", "rad/s")),
    "once; got": base_space(("linear_x", "m/s"), ("x", "m")),
    "of its own frame 'base', not 'world'": base_space(("linear_x", "m/s"), frame="world"),
    "unit 'relative' says no length": ActionSpace(
        dimensions=tuple(dimension(name, "relative") for name in "xyz"), frame="tcp", is_delta=True, control_hz=1.0
    ),
    "unit 'scaled m' says no length": ActionSpace(
        dimensions=tuple(dimension(name, "scaled m") for name in "xyz"), frame="tcp", is_delta=True, control_hz=1.0
    ),
    "unit '0 m' has no positive factor": base_space(("x", "0 m")),
    "unit '1.2.3 m' has no positive factor": base_space(("x", "1.2.3 m")),
    "unknown dimension of an arm 'arm_0'": ActionSpace(
        dimensions=(dimension("arm_0", "m"),), frame="tcp", is_delta=True, control_hz=1.0
    ),
    "unknown dimension of an arm 'roll'": dataclasses.replace(CALVIN, rotation="axis_angle"),
    "'z' is missing": ActionSpace(dimensions=POSITION[:2], frame="tcp", is_delta=True, control_hz=1.0),
    "'roll' is missing": dataclasses.replace(METAWORLD, rotation="euler_xyz"),
    "a second: 'other'": dataclasses.replace(
        CALVIN, dimensions=(*CALVIN.dimensions, dimension("other", "1", "gripper"))
    ),
}


@pytest.mark.parametrize("message", BAD_SPACES)
def test_a_space_that_means_nothing_is_refused(message: str) -> None:
    space = BAD_SPACES[message]
    with pytest.raises(SafetyError) as error:
        robot_actions_from_policy(np.zeros((1, space.size)), space)
    seen = str(error.value)
    assert "\n" not in seen
    assert message in seen
    with pytest.raises(SafetyError):
        policy_action(RobotAction(ActionType.STOP), space)


MOTION = ArmMotion(
    translation=(0.0, 0.0, 0.0), rotation=(0, 0, 0), rotation_kind="euler_xyz", frame="world", is_delta=True
)


@pytest.mark.parametrize(
    ("action", "space", "message"),
    [
        (RobotAction(ActionType.MOVE, linear_x=1.0), CALVIN, "linear_x 1.0, which the action space has not"),
        (
            RobotAction(ActionType.MOVE, linear_y=1.0),
            SPACES["two wheels"],
            "linear_y 1.0, which the action space has not",
        ),
        (RobotAction(ActionType.MOVE, linear_x=math.nan), VELOCITIES, "expected finite numbers"),
        (RobotAction(ActionType.MOVE, linear_x=math.nan), CALVIN, "linear_x nan"),
        (RobotAction(ActionType.MOVE), CALVIN, "has no motion of an arm"),
        (RobotAction(ActionType.MOVE, arm=MOTION), VELOCITIES, "has a motion of an arm, which"),
        (
            RobotAction(ActionType.MOVE, arm=dataclasses.replace(MOTION, frame="tcp")),
            CALVIN,
            "frame, is_delta and rotation",
        ),
        (RobotAction(ActionType.MOVE, arm=dataclasses.replace(MOTION, is_delta=False)), CALVIN, "frame, is_delta"),
        (
            RobotAction(ActionType.MOVE, arm=dataclasses.replace(MOTION, gripper_effort=1.0)),
            CALVIN,
            "gripper_effort 1.0",
        ),
    ],
)
def test_what_a_space_cannot_say_is_refused(action: RobotAction, space: ActionSpace, message: str) -> None:
    with pytest.raises(UnsafeActionError, match=message):
        policy_action(action, space)


def test_a_contract_says_the_same_as_its_space() -> None:
    zeros, ones = (0.0,) * 7, (1.0,) * 7
    contract = PolicyContract(
        action_space=CALVIN,
        action_scheme="none",
        action_statistics=FeatureStatistics(min=zeros, max=ones, mean=zeros, std=ones, q01=zeros, q99=ones, count=0),
        proprio_names=(),
        proprio_scheme="none",
        proprio_statistics=None,
        cameras=(),
        prompt_template="{instruction}",
        tokenizer_fingerprint="",
        window_size=1,
        fwd_pred_next_n=2,
    )
    chunk = np.linspace(-1, 1, 14).reshape(2, 7)
    actions = robot_actions_from_policy(chunk, contract)
    assert actions == robot_actions_from_policy(chunk, CALVIN)
    assert policy_action(actions[1], contract)[:6] == pytest.approx(chunk[1, :6], rel=1e-6)
