"""The validator of actions, in small numbers by hand."""

import math

import pytest

from robovlms.errors import SafetyError
from robovlms.robot.action import ActionType, RobotAction
from robovlms.robot.safety import ActionValidator

NAN = math.nan


def move(x=0.0, y=0.0, yaw=0.0, confidence=0.9, **fields):
    return RobotAction(ActionType.MOVE, x, y, yaw, confidence=confidence, **fields)


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        ((0.3, 0.0, 0.5), (0.3, 0.0, 0.5)),
        ((2.0, 0.0, 3.0), (0.5, 0.0, 1.0)),
        ((-2.0, 0.0, -3.0), (-0.5, 0.0, -1.0)),
        ((1.0, 0.5, 0.2), (0.5, 0.25, 0.2)),
        ((0.5, 0.5, 1.0), (0.5, 0.5, 1.0)),
        ((0.0, -4.0, 0.0), (0.0, -0.5, 0.0)),
    ],
)
def test_speeds_are_clamped_and_translation_keeps_its_direction(asked, allowed):
    validator = ActionValidator(max_linear_speed=0.5, max_angular_speed=1.0)
    assert validator.validate_action(move(*asked)).velocity == allowed
    assert validator.is_safe_action(move(*asked)) == (asked == allowed)


def test_the_action_is_kept_but_for_its_speed():
    action = move(1.0, target_object="cup", distance_m=2.0, description="go", gripper="close", sequence_index=3)
    assert ActionValidator().validate_action(action) == move(
        0.5, target_object="cup", distance_m=2.0, description="go", gripper="close", sequence_index=3
    )
    assert action.linear_x == 1.0


@pytest.mark.parametrize(
    "action",
    [
        move(NAN, NAN, NAN, NAN),
        move(0.0, NAN),
        move(math.inf),
        move(0.1, confidence=NAN),
        move(0.1, confidence=math.nextafter(0.3, 0.0)),
        move(0.1, confidence=1.5),
        move(0.1, confidence=-1.0),
        move(0.1, distance_m=-1.0),
        move(0.1, distance_m=math.inf),
        move(0.1, angle_deg=NAN),
        None,
        "forward",
        {"linear_x": 0.1},
    ],
)
def test_what_is_odd_becomes_a_stop(action):
    validator = ActionValidator()
    assert not validator.is_safe_action(action)
    safe = validator.validate_action(action)
    assert safe == validator.get_safe_default_action()
    assert (safe.action_type, safe.velocity, safe.gripper) == (ActionType.STOP, (0.0, 0.0, 0.0), None)
    assert validator.is_safe_action(safe)


def test_the_threshold_itself_passes():
    assert ActionValidator().is_safe_action(move(0.1, confidence=0.3))


@pytest.mark.parametrize("kind", [ActionType.GRAB, ActionType.LOOK, ActionType.STOP, ActionType.UNKNOWN])
def test_a_type_that_must_not_move_keeps_all_but_its_velocity(kind):
    action = RobotAction(kind, 0.2, 0.1, 0.3, target_object="cup", confidence=0.9)
    assert not ActionValidator().is_safe_action(action)
    assert ActionValidator().validate_action(action) == RobotAction(kind, target_object="cup", confidence=0.9)


@pytest.mark.parametrize("name", ["max_linear_speed", "max_angular_speed", "min_confidence"])
@pytest.mark.parametrize("value", [NAN, math.inf, -0.5, 0.0, None, "0.5", True])
def test_wrong_limits_are_refused_by_name(name, value):
    with pytest.raises(SafetyError, match=name):
        ActionValidator(**{name: value})
