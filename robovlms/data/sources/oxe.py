"""What the keys of Open X-Embodiment datasets mean: `oxe.yaml` as typed entries, and what is done to their actions.

Every dataset becomes translations, a rotation and a gripper that is 1 = open, 0 = closed, as far as it has them; what
it lacks is left away, so that a mixture masks it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32

from robovlms.actions.pose import matrix_to_rpy, quaternion_xyzw_to_matrix
from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.errors import ConfigError, DataError, unknown_name
from robovlms.typed_yaml import build, check_types, read_yaml, require

_FILE = Path(__file__).with_name("oxe.yaml")
_POSE = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
_FAR_M, _FAR_RAD, _FAR_SCALED = 1.0, 2 * math.pi, 1000.0  # no dataset publishes limits: further than any step goes


@dataclass(frozen=True, kw_only=True)
class ActionPiece:
    """Some columns of an action.

    Attributes:
        key: below steps/.
        columns: [first, last); None takes all.
        gripper: what makes of it 1 = open, 0 = closed; None for a translation or rotation.
        rotation: what the columns are, if they must become roll, pitch, yaw.
        change: what they are, if an action is how much they change until the next step; 0 at the last.
    """

    key: str
    columns: tuple[int, int] | None = None
    gripper: Literal["as_is", "clip", "invert", "clip_invert", "relative", "binarise"] | None = None
    rotation: Literal["quaternion_xyzw"] | None = None
    change: Literal["length", "angle"] | None = None


@dataclass(frozen=True, kw_only=True)
class OxeStandard:
    """What the keys of one dataset mean; see the head of `oxe.yaml`."""

    cameras: dict[str, Any]
    action: tuple[ActionPiece, ...]
    instruction: str
    control_hz: float
    dimensions: tuple[str, ...] = _POSE
    is_delta: bool = True
    is_scaled: bool = False
    frame: Literal["world", "tcp", "base"] = "world"
    rotation: Literal["euler_xyz", "axis_angle"] = "euler_xyz"
    proprio: dict[str, Any] = field(default_factory=dict)
    codepoints: bool = False
    needs_instruction: bool = True
    success: str = ""
    blue_first_png: tuple[str, ...] = ()
    skip_first: int = 0
    skip_last: int = 0

    def __post_init__(self) -> None:
        unknown = [name for name in self.dimensions if name not in _POSE]
        require(not unknown, f"dimensions: expected some of {list(_POSE)}, got {unknown}")
        require(bool(self.cameras), "cameras: expected at least one")
        strangers = [name for name in self.blue_first_png if name not in self.cameras]
        require(not strangers, f"blue_first_png: expected some of {list(self.cameras)}, got {strangers}")
        require(min(self.skip_first, self.skip_last) >= 0, "skip_first, skip_last: expected 0 or more")

    @property
    def space(self) -> ActionSpace:
        """Meaning of the numbers that come out."""
        return ActionSpace(
            dimensions=tuple(self._dimension(name) for name in self.dimensions),
            frame=self.frame,
            is_delta=self.is_delta,
            rotation=self.rotation if "roll" in self.dimensions else "none",
            gripper_opens="positive" if "gripper" in self.dimensions else "none",
            control_hz=self.control_hz,
        )

    @property
    def proprio_names(self) -> tuple[str, ...]:
        """Name of each proprioceptive number that is kept."""
        return tuple(name for names in self.proprio.values() for name in names if name != "-")

    def actions(self, read: Callable[[str], np.ndarray]) -> Float32[np.ndarray, "k a"]:
        """Actions of a whole episode.

        Args:
            read: key below steps/ -> numbers [k, m].

        Raises:
            DataError: if a key has fewer columns than are wanted.
        """
        with np.errstate(all="ignore"):  # what is not finite is named by who asks, with its step
            return np.concatenate([_piece(piece, read(piece.key)) for piece in self.action], axis=1).astype(np.float32)

    def _dimension(self, name: str) -> ActionDimension:
        if name == "gripper":
            return ActionDimension(name=name, unit="1", low=0.0, high=1.0, kind="gripper")
        unit, far = ("m", _FAR_M) if name in "xyz" else ("rad", _FAR_RAD)
        if self.is_scaled:
            unit, far = f"scaled {unit}", _FAR_SCALED
        return ActionDimension(name=name, unit=unit, low=-far, high=far)


def oxe_standard(name: str) -> OxeStandard:
    """Return what is known of a dataset, by its name, or by a YAML file of your own with the same fields.

    Raises:
        ConfigError: if nothing is known, or the file is wrong.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        try:
            return build(OxeStandard, check_types(OxeStandard, read_yaml(path), where=f"{path}: "))
        except TypeError as error:
            raise ConfigError(f"{path}: {error}") from error
    if name not in OXE:
        raise ConfigError(
            f"{unknown_name('Open X-Embodiment dataset', name, OXE)}; for one of your own give "
            "standard=FILE.yaml with the fields of an entry of oxe.yaml"
        )
    return OXE[name]


def relative_to_absolute(change: np.ndarray) -> np.ndarray:
    """A gripper told to close (positive) or to open (negative) -> 1 = open, 0 = closed, held in between.

    Before the first command the gripper is the opposite of what it is told to become; open, if nothing is ever told.

    >>> relative_to_absolute(np.array([0.0, 1.0, 0.0, -1.0, 0.0])).tolist()
    [1.0, 0.0, 0.0, 1.0, 1.0]
    """
    told = np.where(change < -0.1, 1.0, np.where(change > 0.1, 0.0, np.nan))
    is_told = ~np.isnan(told)
    if not is_told.any():
        return np.ones(len(change))
    last = np.maximum.accumulate(np.where(is_told, np.arange(len(told)), -1))
    before_any = 1.0 - told[is_told.argmax()]
    return np.where(last >= 0, told[np.maximum(last, 0)], before_any)


def change_until_next(values: np.ndarray, kind: str) -> np.ndarray:
    """What the arm did after each step; an angle takes the short way round. The last step has no next one: 0.

    >>> change_until_next(np.array([[1.0], [3.0], [2.5]]), "length")[:, 0].tolist()
    [2.0, -0.5, 0.0]
    >>> change_until_next(np.array([[3.0], [-3.0]]), "angle")[:, 0].round(3).tolist()
    [0.283, 0.0]
    """
    change = np.diff(values.astype(np.float64), axis=0, append=values[-1:])
    return change if kind == "length" else (change + math.pi) % (2 * math.pi) - math.pi


def binarise(opening: np.ndarray) -> np.ndarray:
    """An opening in [0, 1] -> 1 = open, 0 = closed; on the way it is already what it is going to be.

    >>> binarise(np.array([1.0, 0.6, 0.3, 0.0, 0.5, 1.0, 0.7])).tolist()
    [1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    """
    decided = np.where(opening > 0.95, 1.0, np.where(opening < 0.05, 0.0, np.nan))
    last = decided[-1] if not np.isnan(decided[-1]) else float(opening[-1] > 0.5)
    decided[-1] = last
    after = len(decided) - 1 - np.maximum.accumulate(np.where(np.isnan(decided[::-1]), -1, np.arange(len(decided))))
    return decided[after[::-1]]


_GRIPPERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as_is": lambda x: x,
    "clip": lambda x: np.clip(x, 0, 1),
    "invert": lambda x: 1 - x,
    "clip_invert": lambda x: 1 - np.clip(x, 0, 1),
    "relative": relative_to_absolute,
    "binarise": binarise,
}


def _piece(piece: ActionPiece, stored: np.ndarray) -> np.ndarray:
    if piece.columns is not None and piece.columns[1] > stored.shape[1]:
        raise DataError(f"{piece.key}: expected at least {piece.columns[1]} numbers per step, found {stored.shape[1]}")
    values = stored if piece.columns is None else stored[:, slice(*piece.columns)]
    if piece.gripper is not None:
        return _GRIPPERS[piece.gripper](values[:, 0].astype(np.float64))[:, None]
    if piece.change is not None:
        return change_until_next(values, piece.change)
    if piece.rotation is not None:
        return matrix_to_rpy(quaternion_xyzw_to_matrix(values.astype(np.float64)))
    return values


def _read() -> tuple[dict[str, OxeStandard], dict[str, dict[str, float]]]:
    content = read_yaml(_FILE)
    entries = {
        name: build(OxeStandard, check_types(OxeStandard, entry, where=f"{_FILE.name}: {name}: "))
        for name, entry in content["standards"].items()
    }
    return entries, content["mixes"]


OXE, OXE_MIXES = _read()
