"""What a base may do: the one home of its limits."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from robovlms.errors import SafetyError
from robovlms.robot.safety.checks import check_keys, fraction, listed, positive
from robovlms.robot.safety.zones import Zones

AXES = ("linear_x", "linear_y", "angular_z")
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class ShieldLimits:
    """Limits of a base, in its own frame (ROS REP-103: x forward, y left, positive yaw to the left).

    Velocity, acceleration and deceleration have no defaults: nobody else knows the robot. Integers and lists, as they
    come from YAML, become tuples of floats; what is neither is refused by name.

    Attributes:
        max_velocity: (x, y, yaw), m/s, m/s, rad/s; 0 for an axis that the base does not have, else positive.
        max_acceleration: (x, y, yaw) at which a speed may rise, m/s², m/s², rad/s², positive.
        max_deceleration: (x, y, yaw) at which a speed may fall, m/s², m/s², rad/s², positive.
        min_confidence: an action below it is refused, in (0, 1].
        max_observation_age_s: an action whose observation is older is refused, s, positive.
        max_step_s: longest time between two steps that counts, s, positive; no shorter than the period of the loop. A
            later step, and the first one, count as this much.
        keep_direction: True slows all axes by one factor, so that the path stays the one that was asked for; False
            treats each axis alone.
        zones: where the robot may be; None if anywhere.

    Raises:
        SafetyError: if a value is no finite number in its range.
    """

    max_velocity: Triple | Any
    max_acceleration: Triple | Any
    max_deceleration: Triple | Any
    min_confidence: float | Any = 0.3
    max_observation_age_s: float | Any = 0.5
    max_step_s: float | Any = 0.1
    keep_direction: bool | Any = True
    zones: Zones | Any = None

    def __post_init__(self) -> None:
        for name in ("max_velocity", "max_acceleration", "max_deceleration"):
            object.__setattr__(self, name, _triple(name, getattr(self, name), allow_zero=name == "max_velocity"))
        object.__setattr__(self, "min_confidence", fraction("min_confidence", self.min_confidence))
        for name in ("max_observation_age_s", "max_step_s"):
            object.__setattr__(self, name, positive(name, getattr(self, name)))
        if not isinstance(self.keep_direction, bool):
            raise SafetyError(f"keep_direction: expected true or false, got {self.keep_direction!r}")
        if isinstance(self.zones, Mapping):
            object.__setattr__(self, "zones", Zones.from_dict(self.zones))
        elif self.zones is not None and not isinstance(self.zones, Zones):
            raise SafetyError(f"zones: expected Zones, a mapping or None, got {self.zones!r}")
        if self.zones is not None and not self.keep_direction:
            raise SafetyError(
                "zones: need keep_direction: true, but it is false: the way that braking takes is unknown"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for YAML and logs; inverse of `from_dict`."""
        values = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        return {**values, "zones": None if self.zones is None else self.zones.to_dict()}

    @classmethod
    def from_dict(cls, values: Any) -> "ShieldLimits":
        """Inverse of `to_dict`.

        Raises:
            SafetyError: if a limit is missing, unknown or wrong.
        """
        check_keys("limit of the shield", values, cls)
        return cls(**values)


def _triple(name: str, value: Any, allow_zero: bool) -> Triple:
    entries = listed(value)
    if entries is None or len(entries) != 3:
        raise SafetyError(f"{name}: expected three numbers ({', '.join(AXES)}), got {value!r}")
    x, y, yaw = (positive(f"{name}, {axis}", entry, allow_zero) for axis, entry in zip(AXES, entries, strict=True))
    return x, y, yaw
