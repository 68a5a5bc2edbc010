"""One motion of an arm: where its tool centre point (tcp) shall go and turn, and what its gripper shall do.

A relative motion seen from the tcp becomes one seen from a frame that stays, and back, with the tcp's pose in it. With
R the rotation and p the position of the tcp::

                     translation                    rotation (a matrix)
    relative         d_base = R d_tcp               D_base = R D_tcp Rᵀ
    a pose to reach  t_base = p + R t_tcp           T_base = R T_tcp
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from robovlms.actions.pose import ROTATIONS
from robovlms.errors import ConfigError, UnsafeActionError, unknown_name

Frame = Literal["world", "tcp", "base"]
Rotation = Literal["none", "euler_xyz", "axis_angle", "quaternion_xyzw", "rotation_6d"]

_NUM_ROTATION = {"none": 0, "euler_xyz": 3, "axis_angle": 3, "quaternion_xyzw": 4, "rotation_6d": 6}
_FRAMES = ("world", "tcp", "base")
_MIN_LENGTH, _MAX_LENGTH = 1e-6, 1e6  # of a quaternion or a column, of which the direction counts; rad of an angle


@dataclass(frozen=True, kw_only=True)
class ArmMotion:
    """Numbers of one step of an arm, in SI units and a declared frame.

    Attributes:
        translation: x, y, z, m.
        rotation: as `rotation_kind` says; angles in rad; empty for "none".
        rotation_kind: representation of the rotation, one of `ActionSpace.rotation`; "euler_xyz" is roll, pitch, yaw
            about fixed axes.
        gripper_opening: how far open the gripper shall be, 0 = closed, 1 = open; None leaves it as it is.
        gripper_effort: effort of the gripper as the robot takes it, in the robot's own unit; None if it takes none.
        frame: of translation and rotation.
        is_delta: True if it is relative to the current pose, False if it is a pose to reach.

    Raises:
        UnsafeActionError: if a number is not finite, the gripper's opening is outside [0, 1], there are too many or too
            few numbers, or they are no rotation (a quaternion of length 0, parallel columns).
        ConfigError: if the frame or the rotation is unknown.
    """

    translation: tuple[float, float, float]
    rotation: tuple[float, ...] = ()
    rotation_kind: Rotation = "none"
    gripper_opening: float | None = None
    gripper_effort: float | None = None
    frame: Frame
    is_delta: bool

    def __post_init__(self) -> None:
        if self.frame not in _FRAMES:
            raise ConfigError(unknown_name("frame", self.frame, _FRAMES))
        if self.rotation_kind not in _NUM_ROTATION:
            raise ConfigError(unknown_name("rotation", self.rotation_kind, _NUM_ROTATION))
        if not isinstance(self.is_delta, bool):
            raise ConfigError(f"motion of an arm: is_delta must be true or false, got {self.is_delta!r}")
        sizes = (len(self.translation), len(self.rotation))
        if sizes != (3, _NUM_ROTATION[self.rotation_kind]):
            raise UnsafeActionError(
                f"motion of an arm: expected 3 numbers of translation and {_NUM_ROTATION[self.rotation_kind]} of "
                f"rotation {self.rotation_kind!r}, got {sizes[0]} and {sizes[1]}"
            )
        grips = [one for one in (self.gripper_opening, self.gripper_effort) if one is not None]
        if not all(math.isfinite(value) for value in (*self.translation, *self.rotation, *grips)):
            raise UnsafeActionError(f"motion of an arm: expected finite numbers, got {self.to_dict()}")
        if self.gripper_opening is not None and not 0 <= self.gripper_opening <= 1:
            raise UnsafeActionError(f"motion of an arm: gripper_opening must be in [0, 1], got {self.gripper_opening}")
        if not _is_rotation(self.rotation_kind, self.rotation):
            raise UnsafeActionError(f"motion of an arm: {self.rotation} is no rotation {self.rotation_kind!r}")

    def from_tcp(
        self, frame: Frame, tcp_position: Float[np.ndarray, "3"], tcp_rotation: Float[np.ndarray, "3 3"]
    ) -> "ArmMotion":
        """The same motion seen from a frame that stays.

        Args:
            frame: "base" or "world", the frame in which the tcp's pose is given.
            tcp_position: of the tcp, m.
            tcp_rotation: turns coordinates of the tcp into those of `frame`.

        Raises:
            ConfigError: if it is not seen from the tcp, or should stay so.
            UnsafeActionError: if the pose is none.
        """
        self._require_frames("tcp", self.frame, frame)
        position, turn = _checked_pose(tcp_position, tcp_rotation)
        shift = np.zeros(3) if self.is_delta else position
        after = turn.T if self.is_delta else np.eye(3)
        return self._moved(frame, shift + turn @ np.array(self.translation), lambda matrix: turn @ matrix @ after)

    def to_tcp(self, tcp_position: Float[np.ndarray, "3"], tcp_rotation: Float[np.ndarray, "3 3"]) -> "ArmMotion":
        """Inverse of `from_tcp`; the pose is given in the frame of this motion.

        Raises:
            ConfigError: if it is seen from the tcp already.
            UnsafeActionError: if the pose is none.
        """
        self._require_frames("tcp", "tcp", self.frame)
        position, turn = _checked_pose(tcp_position, tcp_rotation)
        shift = np.zeros(3) if self.is_delta else position
        after = turn if self.is_delta else np.eye(3)
        return self._moved("tcp", turn.T @ (np.array(self.translation) - shift), lambda m: turn.T @ m @ after)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; inverse of `from_dict`."""
        return {**dataclasses.asdict(self), "translation": list(self.translation), "rotation": list(self.rotation)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ArmMotion":
        """Inverse of `to_dict`.

        Raises:
            ConfigError: if a key is unknown or missing, or a value is of the wrong kind.
        """
        known = [entry.name for entry in dataclasses.fields(cls)]
        unknown = [key for key in values if key not in known]
        if unknown:
            raise ConfigError(unknown_name("field of an arm's motion", unknown[0], known))
        try:
            tuples = {key: tuple(float(one) for one in values[key]) for key in ("translation", "rotation")}
            return cls(**{**values, **tuples})
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"motion of an arm: expected what to_dict gives, got {dict(values)}: {error}") from None

    def _require_frames(self, expected: Frame, seen: str, other: str) -> None:
        if seen != expected or other not in ("base", "world"):
            raise ConfigError(
                f"motion of an arm: poses turn 'tcp' into 'base' or 'world' and back, not {self.frame!r} into {other!r}"
            )

    def _moved(self, frame: Frame, translation: np.ndarray, turn: Any) -> "ArmMotion":
        rotation = self.rotation
        if self.rotation_kind != "none":
            to_matrix, from_matrix = ROTATIONS[self.rotation_kind]
            rotation = tuple(from_matrix(turn(to_matrix(np.array(rotation)))).tolist())
        x, y, z = translation.tolist()
        return dataclasses.replace(self, frame=frame, translation=(x, y, z), rotation=rotation)


def _is_rotation(kind: Rotation, numbers: tuple[float, ...]) -> bool:
    """Whether the numbers have a length and a direction where they need them."""
    if kind == "quaternion_xyzw":
        return _MIN_LENGTH < math.hypot(*numbers) < _MAX_LENGTH
    if kind == "rotation_6d":
        lengths = math.hypot(*numbers[:3]), math.hypot(*numbers[3:])
        if not all(_MIN_LENGTH < length < _MAX_LENGTH for length in lengths):
            return False
        a, b, c, d, e, f = numbers
        return math.hypot(b * f - c * e, c * d - a * f, a * e - b * d) > _MIN_LENGTH * lengths[0] * lengths[1]
    return all(abs(number) < _MAX_LENGTH for number in numbers)


def _checked_pose(position: np.ndarray, rotation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Position and rotation as float64; raises UnsafeActionError if they are no pose."""
    position, rotation = np.asarray(position, np.float64), np.asarray(rotation, np.float64)
    is_pose = (
        position.shape == (3,)
        and rotation.shape == (3, 3)
        and bool(np.isfinite(position).all() and np.isfinite(rotation).all())
        and np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-4)
        and np.linalg.det(rotation) > 0
    )
    if not is_pose:
        raise UnsafeActionError("pose of the tcp: expected three finite numbers and a rotation matrix [3, 3]")
    return position, rotation
