"""One action judged on its own, before it is followed: what is odd becomes a stop, what is too fast becomes slower."""

import dataclasses
import math
from typing import Any

from robovlms.robot.action import MOVING_TYPES, ActionType, RobotAction
from robovlms.robot.safety.checks import fraction, positive
from robovlms.robot.safety.reading import ZERO, read_number

SPEEDS = ("slow", "normal", "fast")
GRIPPERS = (None, "open", "close")


class ActionValidator:
    """Makes actions safe to hand on; `SafetyShield` still stands between them and the wheels.

    Refused, so that `get_safe_default_action` takes their place, are actions whose confidence is no number in
    [min_confidence, 1], whose velocity is not finite, whose distance or angle is not finite or negative, whose speed or
    gripper is none that exists, and everything that is no `RobotAction`, a subclass of it included. Of a type that must
    not move (all but move, turn, navigate and avoid), the velocity is dropped and the rest is kept. Actions are never
    changed in place.

    Args:
        max_linear_speed: of x and of y, m/s, positive; both are scaled by one factor, which keeps their direction.
        max_angular_speed: rad/s, positive.
        min_confidence: in (0, 1].

    Raises:
        SafetyError: if a limit is no finite number in its range.
    """

    def __init__(
        self,
        max_linear_speed: float | Any = 0.5,
        max_angular_speed: float | Any = 1.0,
        min_confidence: float | Any = 0.3,
    ) -> None:
        self.max_linear_speed = positive("max_linear_speed", max_linear_speed)
        self.max_angular_speed = positive("max_angular_speed", max_angular_speed)
        self.min_confidence = fraction("min_confidence", min_confidence)

    def validate_action(self, action: Any) -> RobotAction:
        """The action, made safe; it is its own if it was safe already."""
        safe = self._made_safe(action)
        return self.get_safe_default_action() if safe is None else safe

    def is_safe_action(self, action: Any) -> bool:
        """`validate_action` would change nothing."""
        safe = self._made_safe(action)
        return safe is not None and safe.velocity == action.velocity

    def get_safe_default_action(self) -> RobotAction:
        """Stand still; the gripper stays as it is, for to open it may drop what it holds."""
        return RobotAction(ActionType.STOP, confidence=1.0, description="safe default: stand still")

    def _made_safe(self, action: Any) -> RobotAction | None:
        """The action within the limits; None if it is refused."""
        if type(action) is not RobotAction:
            return None
        try:
            velocity = tuple(read_number(value) for value in action.velocity)
            return self._within_limits(action, *velocity) if self._is_sound(action, velocity) else None
        except Exception:  # fields of a stranger's class that raise
            return None

    def _is_sound(self, action: RobotAction, velocity: tuple[float | None, ...]) -> bool:
        confidence = read_number(action.confidence)
        return (
            isinstance(action.action_type, ActionType)
            and confidence is not None
            and self.min_confidence <= confidence <= 1.0  # NaN is in no range
            and all(value is not None and math.isfinite(value) for value in velocity)
            and _is_length(action.distance_m)
            and _is_length(action.angle_deg)
            and action.speed in SPEEDS
            and action.gripper in GRIPPERS
        )

    def _within_limits(self, action: RobotAction, x: float, y: float, yaw: float) -> RobotAction:
        may_move = action.action_type in MOVING_TYPES
        velocity = self._clamped(x, y, yaw) if may_move else ZERO
        if all(type(value) is float for value in action.velocity) and velocity == action.velocity:
            return action
        x, y, yaw = velocity
        return dataclasses.replace(action, linear_x=x, linear_y=y, angular_z=yaw)

    def _clamped(self, x: float, y: float, yaw: float) -> tuple[float, float, float]:
        linear, angular = self.max_linear_speed, self.max_angular_speed
        fastest = max(abs(x), abs(y))
        if fastest > linear:
            scale = linear / fastest
            x, y = max(-linear, min(linear, x * scale)), max(-linear, min(linear, y * scale))
        return x, y, max(-angular, min(angular, yaw))


def _is_length(value: Any) -> bool:
    """Nothing was said, or a finite number that is not negative."""
    number = 0.0 if value is None else read_number(value)
    return number is not None and 0.0 <= number < math.inf
