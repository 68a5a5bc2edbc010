"""What leaves the shield: commands that are finite, within the limits, and say why they differ from what came in."""

from dataclasses import dataclass
from enum import Enum


class Reason(str, Enum):
    """Why the shield changed a command; one counter each."""

    INVALID = "invalid"  # no command of this robot: wrong type, wrong number of values
    NOT_FINITE = "not_finite"  # NaN or infinite
    LOW_CONFIDENCE = "low_confidence"  # below the threshold, or no number in [0, 1]
    STALE = "stale"  # the observation behind it is too old, or nothing came for too long
    FUTURE = "future"  # the observation is from the future
    CLOCK = "clock"  # the clock went back, stood still or is no number
    CLAMPED = "clamped"  # faster than allowed
    RATE_LIMITED = "rate_limited"  # changes faster than allowed
    ZONE = "zone"  # leads out of the workspace, or into a zone
    POSITION = "position"  # a joint's position was out of its range
    START = "start"  # where the joints are is not known, or the first positions asked for are far from there
    HOLD = "hold"  # asked to come to rest
    ESTOP = "estop"  # latched emergency stop
    WAITING = "waiting"  # reset was done, no fresh command has come yet


@dataclass(frozen=True)
class VelocityCommand:
    """Velocity of a base in its own frame.

    Attributes:
        linear_x: forward (+), m/s.
        linear_y: left (+), m/s.
        angular_z: counter-clockwise (+), rad/s.
        reasons: what the shield changed, in the order of its stages; empty if nothing.
    """

    linear_x: float = 0.0
    linear_y: float = 0.0
    angular_z: float = 0.0
    reasons: tuple[Reason, ...] = ()

    @property
    def velocity(self) -> tuple[float, float, float]:
        """(linear_x, linear_y, angular_z)."""
        return self.linear_x, self.linear_y, self.angular_z


@dataclass(frozen=True)
class JointCommand:
    """Where the joints of an arm should be at the next tick.

    Attributes:
        positions: one per joint, rad or m, in the order of the limits; empty as long as nobody said where the joints
            are, and then nothing is to be sent.
        gripper: "open", "close", or None for as it is.
        reasons: as of `VelocityCommand`.
    """

    positions: tuple[float, ...]
    gripper: str | None = None
    reasons: tuple[Reason, ...] = ()


Command = VelocityCommand | JointCommand
