"""What each number of an action means: name, unit, range, kind, frame, rate."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from robovlms.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ActionDimension:
    """One number of an action.

    Attributes:
        name: unique within the space, for example "x".
        unit: physical unit of the number as it is sent, for example "m" or "rad".
        low: smallest value the robot takes, in `unit`.
        high: largest value the robot takes, in `unit`.
        kind: "arm" and "base" are continuous and learned by regression; "gripper" is a binary open/close command,
            learned as a logit. A continuous gripper effort is of kind "arm".
    """

    name: str
    unit: str
    low: float
    high: float
    kind: Literal["arm", "gripper", "base"] = "arm"

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low < self.high):
            raise ConfigError(
                f"action dimension {self.name!r}: expected finite low < high, got {self.low}, {self.high}"
            )
        if self.kind not in ("arm", "gripper", "base"):
            raise ConfigError(f"action dimension {self.name!r}: kind must be arm, gripper or base, got {self.kind!r}")


@dataclass(frozen=True, kw_only=True)
class ActionSpace:
    """The action vector of one robot.

    Attributes:
        dimensions: one entry per number, in the order they are sent.
        frame: coordinate frame of translations and rotations.
        is_delta: True if an action is relative to the current pose, False if it is a target.
        rotation: representation of the rotation part, "none" if there is none.
        gripper_opens: which end of a gripper dimension opens it; "none" when there is no gripper dimension.
        control_hz: actions per second.
    """

    dimensions: tuple[ActionDimension, ...]
    frame: Literal["world", "tcp", "base"]
    is_delta: bool
    rotation: Literal["none", "euler_xyz", "axis_angle", "quaternion_xyzw", "rotation_6d"] = "none"
    gripper_opens: Literal["positive", "negative", "none"] = "none"
    control_hz: float

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names) or not self.names:
            raise ConfigError(f"action space: expected at least one dimension and unique names, got {list(self.names)}")
        if bool(self.gripper_dims) != (self.gripper_opens != "none"):
            raise ConfigError(
                f"action space: gripper_opens is {self.gripper_opens!r} but the gripper dimensions are "
                f"{list(self.gripper_dims)}"
            )
        if not self.control_hz > 0:
            raise ConfigError(f"action space: control_hz must be positive, got {self.control_hz}")

    @property
    def size(self) -> int:
        """Number of dimensions a."""
        return len(self.dimensions)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each dimension."""
        return tuple(dimension.name for dimension in self.dimensions)

    @property
    def gripper_dims(self) -> tuple[int, ...]:
        """Indices of the binary gripper dimensions."""
        return tuple(i for i, dimension in enumerate(self.dimensions) if dimension.kind == "gripper")

    @cached_property
    def low(self) -> np.ndarray:
        """Smallest value of each dimension, float32 [a]."""
        return np.array([dimension.low for dimension in self.dimensions], np.float32)

    @cached_property
    def high(self) -> np.ndarray:
        """Largest value of each dimension, float32 [a]."""
        return np.array([dimension.high for dimension in self.dimensions], np.float32)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ActionSpace":
        """Inverse of `dataclasses.asdict`."""
        return cls(**{**values, "dimensions": tuple(ActionDimension(**entry) for entry in values["dimensions"])})
