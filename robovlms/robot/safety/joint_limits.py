"""What an arm may do: the one home of its limits."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from robovlms.errors import SafetyError
from robovlms.robot.safety.checks import check_keys, finite, fraction, listed, positive

_PER_JOINT = ("position_low", "position_high", "max_velocity", "max_acceleration")


@dataclass(frozen=True)
class JointLimits:
    """Limits of an arm, one number per joint: rad for a revolute joint, m for a prismatic one.

    Attributes:
        names: of the joints, in the order they are sent.
        position_low: least position, rad or m.
        position_high: greatest position, above the least.
        max_velocity: rad/s or m/s, positive.
        max_acceleration: speeding up and braking, rad/s² or m/s², positive.
        min_confidence: an action below it is refused, in (0, 1].
        max_observation_age_s: an action whose observation is older is refused, s, positive.
        max_step_s: longest time between two steps that counts, s, positive.
        start_tolerance: how far from where a joint is the first position that is asked for may be, and how far out of
            its range a joint may be found, rad or m, positive.
        gripper_repeats: that many equal gripper commands in turn change the gripper, >= 1.

    Raises:
        SafetyError: if a value is wrong.
    """

    names: tuple[str, ...] | Any
    position_low: tuple[float, ...] | Any
    position_high: tuple[float, ...] | Any
    max_velocity: tuple[float, ...] | Any
    max_acceleration: tuple[float, ...] | Any
    min_confidence: float | Any = 0.3
    max_observation_age_s: float | Any = 0.5
    max_step_s: float | Any = 0.1
    start_tolerance: float | Any = 0.05
    gripper_repeats: int | Any = 1

    def __post_init__(self) -> None:
        names = listed(self.names)
        if not names or not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
            raise SafetyError(f"names: expected unique names of joints, got {self.names!r}")
        object.__setattr__(self, "names", tuple(names))
        for name in _PER_JOINT:
            object.__setattr__(self, name, self._one_per_joint(name))
        for joint, low, high in zip(self.names, self.position_low, self.position_high, strict=True):
            if not low < high:
                raise SafetyError(f"position_low, {joint}: must be below position_high, got {low!r} and {high!r}")
        object.__setattr__(self, "min_confidence", fraction("min_confidence", self.min_confidence))
        for name in ("max_observation_age_s", "max_step_s", "start_tolerance"):
            object.__setattr__(self, name, positive(name, getattr(self, name)))
        repeats = self.gripper_repeats
        if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
            raise SafetyError(f"gripper_repeats: expected a whole number >= 1, got {repeats!r}")

    @property
    def num_joints(self) -> int:
        """How many joints."""
        return len(self.names)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for YAML and logs; inverse of `from_dict`."""
        values = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Any) -> "JointLimits":
        """Inverse of `to_dict`.

        Raises:
            SafetyError: if a limit is missing, unknown or wrong.
        """
        check_keys("limit of the joints", values, cls)
        return cls(**values)

    def _one_per_joint(self, name: str) -> tuple[float, ...]:
        value = getattr(self, name)
        entries = listed(value)
        if entries is None or len(entries) != len(self.names):
            raise SafetyError(f"{name}: expected {len(self.names)} numbers ({', '.join(self.names)}), got {value!r}")
        check = finite if name.startswith("position") else positive
        return tuple(check(f"{name}, {joint}", entry) for joint, entry in zip(self.names, entries, strict=True))
