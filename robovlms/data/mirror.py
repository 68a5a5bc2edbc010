"""Samples of a mobile base, mirrored left to right: pictures, actions, proprioception, cameras and words together.

The mirror is the plane through the robot's forward and up axes (x and z; y points left). A vector keeps its parts in
the plane and loses the sign of the one across; a rotation does the opposite::

    linear   x  forward  +        angular   x  roll   -        a turn to the left becomes one to the right,
             y  left     -                  y  pitch  +        a strafe to the left one to the right,
             z  up       +                  z  yaw    -        driving forward stays

It has a meaning for bases, whose two sides are alike. An arm has none: its joints are not their own mirror image, and
its gripper would be on the other side of the world.

Source: axes as in ROS REP-103; vectors and axial vectors under a reflection, any text on mechanics.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32

from robovlms.actions.normalize import FeatureStatistics
from robovlms.actions.space import ActionSpace
from robovlms.data.mirror_words import mirror_instruction
from robovlms.data.sources.base import Steps
from robovlms.errors import ConfigError

_SIGNS = {
    "linear_x": 1,
    "linear_y": -1,
    "linear_z": 1,
    "angular_x": -1,
    "angular_y": 1,
    "angular_z": -1,
    "x": 1,
    "y": -1,
    "z": 1,
    "roll": -1,
    "pitch": 1,
    "yaw": -1,
    "steering": -1,
    "speed": 1,
    "throttle": 1,
    "brake": 1,
    "gripper": 1,
    "battery": 1,
}
_OTHER_SIDE = {"left": "right", "right": "left"}
_MIRRORED = 12  # keeps these random numbers apart from others of the same seed


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """How samples of one dataset are mirrored.

    Attributes:
        action_signs: +1 or -1 of each action number, float32 [a].
        proprio_signs: of each proprioceptive number, float32 [p].
        cameras: camera -> the one whose place it takes; itself, if it looks along the plane of the mirror.
    """

    action_signs: Float32[np.ndarray, "a"]
    proprio_signs: Float32[np.ndarray, "p"]
    cameras: dict[str, str]

    @classmethod
    def of(cls, space: ActionSpace, proprio_names: Sequence[str], cameras: Sequence[str]) -> "Mirror":
        """The mirror of a dataset.

        Raises:
            ConfigError: if it is not certain what a number or a camera becomes.
        """
        return cls(
            action_signs=mirror_signs(space),
            proprio_signs=mirror_proprio_signs(proprio_names),
            cameras=mirror_cameras(cameras),
        )

    def window(self, data: Steps, instruction: str) -> tuple[Steps, str] | None:
        """Return what a window would have been in a mirror; None if its instruction cannot be mirrored.

        Args:
            data: in physical units.
            instruction: what the robot was asked to do.
        """
        mirrored = mirror_instruction(instruction)
        if mirrored is None:
            return None
        images = {self.cameras[name]: frames[:, :, ::-1] for name, frames in data.images.items()}
        proprio = None if data.proprio is None else data.proprio * self.proprio_signs
        return Steps(images=images, proprio=proprio, actions=data.actions * self.action_signs), mirrored


def mirror_signs(space: ActionSpace) -> Float32[np.ndarray, "a"]:
    """Return what each action number is multiplied with, +1 or -1.

    Raises:
        ConfigError: if the space is not that of a mobile base, has a number whose meaning is not known, or a range that
            the mirrored number would leave.
    """
    if space.frame != "base":
        raise ConfigError(
            f"data.augment.mirror: actions in the {space.frame} frame cannot be mirrored: the mirror stands on the "
            "robot's own axes; it needs actions in the base frame"
        )
    for dimension in space.dimensions:
        if dimension.kind == "arm":
            raise ConfigError(
                f"data.augment.mirror: action number {dimension.name!r} moves an arm, and an arm is not its own mirror "
                "image; only mobile bases can be mirrored, set data.augment.mirror: 0"
            )
    signs = [1 if d.kind == "gripper" else _sign(d.name, "action", exact=True) for d in space.dimensions]
    for dimension, sign in zip(space.dimensions, signs, strict=True):
        if sign < 0 and dimension.low != -dimension.high:
            raise ConfigError(
                f"data.augment.mirror: action number {dimension.name!r} changes its sign, but its range "
                f"[{dimension.low}, {dimension.high}] is not the same to both sides"
            )
    return np.array(signs, np.float32)


def mirror_proprio_signs(names: Sequence[str]) -> Float32[np.ndarray, "p"]:
    """Return what each proprioceptive number is multiplied with; "odom_linear_y" counts as "linear_y".

    Raises:
        ConfigError: if the meaning of a number is not known.
    """
    return np.array([_sign(name, "proprio", exact=False) for name in names], np.float32)


def mirror_cameras(names: Sequence[str]) -> dict[str, str]:
    """Return camera -> the camera whose place its mirrored picture takes.

    >>> mirror_cameras(["front", "rear_left", "rear_right"])
    {'front': 'front', 'rear_left': 'rear_right', 'rear_right': 'rear_left'}

    Raises:
        ConfigError: if a camera looks to one side and there is none for the other.
    """
    partners = {name: "_".join(_OTHER_SIDE.get(word, word) for word in name.split("_")) for name in names}
    for name, partner in partners.items():
        if partner not in partners:
            raise ConfigError(
                f"data.augment.mirror: camera {name!r} would take the place of {partner!r}: no such camera"
            )
    return partners


def mirror_statistics(statistics: FeatureStatistics, signs: np.ndarray, share: float) -> FeatureStatistics:
    """Return statistics of data of which a `share` is mirrored, so that normalisation does not clip it.

    Extremes, means and standard deviations are exact; quantiles are bounds, which at most 1 % of the data exceed.

    >>> left_only = FeatureStatistics(min=(0.0,), max=(4.0,), mean=(3.0,), std=(1.0,), q01=(0.5,), q99=(4.0,), count=9)
    >>> both = mirror_statistics(left_only, np.array([-1]), 0.5)
    >>> both.min, both.max, both.mean, both.q01, round(both.std[0] ** 2)
    ((-4.0,), (4.0,), (0.0,), (-4.0,), 10)
    """
    if share == 0:
        return statistics
    is_odd = np.asarray(signs) < 0
    low, high = np.array(statistics.min), np.array(statistics.max)
    q01, q99 = np.array(statistics.q01), np.array(statistics.q99)
    mean, std = np.array(statistics.mean), np.array(statistics.std)
    new_mean = np.where(is_odd, (1 - 2 * share) * mean, mean)
    columns = {
        "min": np.where(is_odd, np.minimum(low, -high), low),
        "max": np.where(is_odd, np.maximum(high, -low), high),
        "q01": np.where(is_odd, np.minimum(q01, -q99), q01),
        "q99": np.where(is_odd, np.maximum(q99, -q01), q99),
        "mean": new_mean,
        "std": np.where(is_odd, np.sqrt(std**2 + mean**2 - new_mean**2), std),
    }
    return FeatureStatistics(**{name: tuple(c.tolist()) for name, c in columns.items()}, count=statistics.count)


def is_mirrored(seed: int, position: int, share: float) -> bool:
    """Whether the sample at a position of the run is one of the `share` that is mirrored."""
    return share > 0 and bool(np.random.default_rng([seed, position, _MIRRORED]).random() < share)


def _sign(name: str, what: Literal["action", "proprio"], *, exact: bool) -> int:
    tail = name if exact else "_".join(name.split("_")[-2:])
    if name in _SIGNS or tail in _SIGNS:
        return _SIGNS.get(name, _SIGNS.get(tail, 0))
    wheels = "; the wheels of the two sides would have to trade places, use linear_x and angular_z" * ("wheel" in name)
    raise ConfigError(
        f"data.augment.mirror: it is not known what {what} number {name!r} becomes in a mirror{wheels}; known are: "
        + ", ".join(_SIGNS)
    )
