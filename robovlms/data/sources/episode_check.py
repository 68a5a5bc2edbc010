"""Check an episode before it is written: what is wrong is cheap to name here and dear to find in training."""

from typing import Any

import numpy as np

from robovlms.actions.contract import CameraSpec
from robovlms.actions.space import ActionSpace
from robovlms.data.sources.base import Episode
from robovlms.errors import DataError


def check_episode(
    episode: Episode, where: str, space: ActionSpace, cameras: tuple[CameraSpec, ...], proprio_names: tuple[str, ...]
) -> None:
    """Raise DataError, naming episode, step and key, unless the episode fits the dataset."""
    steps, length = episode.steps, len(episode)
    if length == 0:
        raise DataError(f"{where}: has no step")
    _check_array(f"{where}, action", steps.actions, np.float32, (length, space.size))
    check_finite(steps.actions, f"{where}", "action", space.names, np.arange(length))
    if (steps.proprio is not None) != bool(proprio_names):
        raise DataError(f"{where}, proprio: is {'missing' if proprio_names else 'given'}, expected {proprio_names}")
    if steps.proprio is not None:
        _check_array(f"{where}, proprio", steps.proprio, np.float32, (length, len(proprio_names)))
        check_finite(steps.proprio, f"{where}", "proprio", proprio_names, np.arange(length))
    known = {camera.name: camera for camera in cameras}
    for name, frames in steps.images.items():
        if name not in known:
            raise DataError(f"{where}, camera {name!r}: the dataset has {sorted(known)}")
        size = (length, known[name].height, known[name].width, 3)
        _check_array(f"{where}, camera {name!r}", frames, np.uint8, size)


def check_finite(values: np.ndarray, where: str, key: str, names: tuple[str, ...], steps: np.ndarray) -> None:
    """Raise DataError, naming step and dimension, at the first number [k, p] that is NaN or infinite.

    Args:
        values: [k, p].
        where: file and episode, for the message.
        key: what the numbers are.
        names: of the p dimensions.
        steps: [k], step of the episode of each row.
    """
    is_finite = np.isfinite(values)
    if not is_finite.all():
        row, column = np.argwhere(~is_finite)[0]
        raise DataError(f"{where}, step {steps[row]}: {key} {names[column]!r} is {values[row, column]}")


def _check_array(where: str, array: Any, dtype: type, shape: tuple[int, ...]) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != dtype:
        seen = getattr(array, "dtype", type(array).__name__)
        raise DataError(f"{where}: expected {np.dtype(dtype)}, got {seen}")
    if array.shape != shape:
        first = next((i for i, (a, b) in enumerate(zip(array.shape, shape, strict=False)) if a != b), None)
        steps = f"; it covers {array.shape[0]} of {shape[0]} steps" if first == 0 and array.ndim else ""
        raise DataError(f"{where}: expected shape {list(shape)}, got {list(array.shape)}{steps}")
