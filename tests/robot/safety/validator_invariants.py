"""What the validator of actions promises, whatever it is given; as `base_invariants`."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from robot.safety.runs import INF, NAN, NO_NUMBERS, ODD_COMMANDS, LyingFloat, plain_numbers

from robovlms.robot.action import MOVING_TYPES, ActionType, RobotAction

Check = Callable[[], None]
lengths = st.sampled_from([None, 0.0, 1.5, 90.0])
actions = st.builds(
    RobotAction,
    st.sampled_from([*MOVING_TYPES, *ActionType]),
    plain_numbers(0.5),
    plain_numbers(0.5),
    plain_numbers(1.0),
    confidence=st.one_of(st.floats(0.3, 1.0), st.sampled_from([0.3, 1.0])),
    distance_m=lengths,
    angle_deg=lengths,
    gripper=st.sampled_from([None, "open", "close"]),
)
BAD_LENGTHS = [*(number for number in NO_NUMBERS if number is not None), -0.1, -90.0, -5e-324]
BAD_FIELDS = {
    "linear_x": NO_NUMBERS,
    "linear_y": NO_NUMBERS,
    "angular_z": NO_NUMBERS,
    "confidence": [*NO_NUMBERS, 0.0, -0.5, 1.5, math.nextafter(0.3, 0.0), math.nextafter(1.0, 2.0)],
    "distance_m": BAD_LENGTHS,
    "angle_deg": BAD_LENGTHS,
    "action_type": ["move", None, 3, "fly", []],
    "gripper": ["half", 0.5, True, [], "OPEN"],
    "speed": ["warp", None, 1.0, []],
}
BAD_VALUES = [(field, value) for field, values in BAD_FIELDS.items() for value in values]


@st.composite
def spoiled(draw: st.DrawFn) -> RobotAction:
    """A sound action with one bad field."""
    field, value = BAD_VALUES[draw(st.integers(0, len(BAD_VALUES) - 1))]
    return changed(draw(actions), **{field: value})


def changed(action: RobotAction, **fields: Any) -> RobotAction:
    """A copy with other fields, of whatever type: `replace` has types checked when tests run."""
    other = copy.copy(action)
    for name, value in fields.items():
        object.__setattr__(other, name, value)
    return other


def sound_actions(safety: ModuleType) -> Check:
    """Within the limits, direction of translation kept, nothing else changed, types that must not move do not."""

    @given(actions)
    def check(action: RobotAction) -> None:
        validator, before = safety.ActionValidator(), repr(action)
        safe = validator.validate_action(action)
        assert repr(action) == before, "not changed in place"
        assert all(type(value) is float and math.isfinite(value) for value in safe.velocity)
        assert max(abs(safe.linear_x), abs(safe.linear_y)) <= 0.5
        assert abs(safe.angular_z) <= 1.0
        assert replace(safe, linear_x=0.0, linear_y=0.0, angular_z=0.0) == replace(
            action, linear_x=0.0, linear_y=0.0, angular_z=0.0
        )
        if action.action_type not in MOVING_TYPES:
            assert not any(safe.velocity)
            return
        largest = max(abs(action.linear_x), abs(action.linear_y))
        scale = min(1.0, 0.5 / largest) if largest else 1.0
        assert math.isclose(safe.linear_x, action.linear_x * scale, abs_tol=1e-15)
        assert math.isclose(safe.linear_y, action.linear_y * scale, abs_tol=1e-15)
        assert safe.angular_z == max(-1.0, min(1.0, action.angular_z))

    return check


def spoiled_actions(safety: ModuleType) -> Check:
    """An action with a bad field is not safe, and the safe default takes its place."""

    @given(actions, st.integers(0, 19))
    def check(action: RobotAction, first: int) -> None:
        validator = safety.ActionValidator()
        for field, value in BAD_VALUES[first::20]:
            bad = changed(action, **{field: value})
            assert validator.validate_action(bad) == validator.get_safe_default_action(), (field, value)
            assert not validator.is_safe_action(bad), (field, value)

    return check


def whatever(safety: ModuleType) -> Check:
    """`validate_action` always gives a safe action, and leaves a safe one as it is."""
    lying = changed(RobotAction(ActionType.MOVE, confidence=1.0), linear_x=LyingFloat(5.0))
    oddities = [*ODD_COMMANDS, lying, {"linear_x": 0.1}, RobotAction]

    @given(st.one_of(actions, spoiled(), st.sampled_from(oddities)))
    def check(action: Any) -> None:
        validator = safety.ActionValidator()
        safe = validator.validate_action(action)
        assert type(safe) is RobotAction
        assert validator.is_safe_action(safe)
        assert validator.validate_action(safe) is safe or safe.action_type is ActionType.STOP
        assert max(map(abs, safe.velocity)) <= 1.0
        if validator.is_safe_action(action):
            assert safe == action

    return check


def thresholds(safety: ModuleType) -> Check:
    """The threshold counts to the last bit, for any threshold, on both sides of [min_confidence, 1]."""

    @given(st.floats(0.01, 1.0), st.sampled_from(list(ActionType)))
    def check(least: float, kind: ActionType) -> None:
        validator = safety.ActionValidator(min_confidence=least)
        is_safe = [
            validator.is_safe_action(changed(RobotAction(kind), confidence=confidence))
            for confidence in (least, math.nextafter(least, 0.0), math.nextafter(1.0, 2.0), NAN, INF, -least, None)
        ]
        assert is_safe == [True, False, False, False, False, False, False]

    return check


def default_action(safety: ModuleType) -> Check:
    """The safe default stands still and leaves the gripper alone."""

    @given(st.floats(0.01, 1.0))
    def check(least: float) -> None:
        validator = safety.ActionValidator(min_confidence=least)
        action = validator.get_safe_default_action()
        assert (action.action_type, action.velocity, action.gripper) == (ActionType.STOP, (0.0, 0.0, 0.0), None)
        assert validator.is_safe_action(action)

    return check


INVARIANTS = {
    function.__name__: function for function in (sound_actions, spoiled_actions, whatever, thresholds, default_action)
}
