"""One thing that a robot is told to do."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from robovlms.errors import ConfigError, unknown_name
from robovlms.robot.arm_motion import ArmMotion

Speed = Literal["slow", "normal", "fast"]
Gripper = Literal["open", "close"]


class ActionType(str, Enum):
    """What kind of thing; only move, turn, navigate and avoid may have a velocity."""

    MOVE = "move"
    TURN = "turn"
    STOP = "stop"
    GRAB = "grab"
    RELEASE = "release"
    POINT = "point"
    LOOK = "look"
    NAVIGATE = "navigate"
    AVOID = "avoid"
    UNKNOWN = "unknown"


MOVING_TYPES = frozenset({ActionType.MOVE, ActionType.TURN, ActionType.NAVIGATE, ActionType.AVOID})


@dataclass(frozen=True)
class RobotAction:
    """One action of a mobile robot, in the robot's own frame (ROS REP-103: x forward, y left, z up).

    Nothing is checked here: what a model says may hold anything, and `ActionValidator` and `SafetyShield` judge it.

    Attributes:
        action_type: what kind of thing.
        linear_x: forward (+) or back (−), m/s.
        linear_y: left (+) or right (−), m/s.
        angular_z: left, counter-clockwise (+) or right, clockwise (−), rad/s.
        target_object: what it is about, lower case, without article or particle; None if nothing was named.
        confidence: in [0, 1].
        description: what was understood, for people.
        distance_m: how far, positive; None if not said.
        angle_deg: how far to turn, positive; None if not said.
        speed: how fast it was asked for.
        gripper: what the gripper is to do; None leaves it as it is.
        sequence_index: place among the actions of one command, from 0.
        arm: what an arm is to do; None for a base alone.
    """

    action_type: ActionType
    linear_x: float = 0.0
    linear_y: float = 0.0
    angular_z: float = 0.0
    target_object: str | None = None
    confidence: float = 0.0
    description: str = ""
    distance_m: float | None = None
    angle_deg: float | None = None
    speed: Speed = "normal"
    gripper: Gripper | None = None
    sequence_index: int = 0
    arm: ArmMotion | None = None

    @property
    def velocity(self) -> tuple[float, float, float]:
        """(linear_x, linear_y, angular_z)."""
        return self.linear_x, self.linear_y, self.angular_z

    @property
    def command(self) -> dict[str, dict[str, float]]:
        """The velocity as `{"linear": {"x", "y"}, "angular": {"z"}}`."""
        return {"linear": {"x": self.linear_x, "y": self.linear_y}, "angular": {"z": self.angular_z}}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; inverse of `from_dict`."""
        arm = None if self.arm is None else self.arm.to_dict()
        return {**dataclasses.asdict(self), "action_type": self.action_type.value, "arm": arm}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RobotAction":
        """Inverse of `to_dict`.

        Raises:
            ConfigError: if a key or the type of action is unknown, or the arm's motion is none.
        """
        known = [entry.name for entry in dataclasses.fields(cls)]
        unknown = [key for key in values if key not in known]
        if unknown:
            raise ConfigError(unknown_name("field of an action", unknown[0], known))
        kind = values.get("action_type")
        if kind not in [one.value for one in ActionType]:
            raise ConfigError(unknown_name("action type", kind, [one.value for one in ActionType]))
        arm = values.get("arm")
        if arm is not None and not isinstance(arm, Mapping):
            raise ConfigError(f"action: arm must be an arm's motion or None, got {arm!r}")
        motion = None if arm is None else ArmMotion.from_dict(arm)
        return cls(**{**values, "action_type": ActionType(kind), "arm": motion})
