"""What there is to know of an HDF5 dataset's file before its steps are read; checked, and kept by `file_index`."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np

from robovlms.data.sources.hdf5_files import open_hdf5
from robovlms.data.sources.hdf5_layouts import LAYOUTS, Layout
from robovlms.data.sources.natural_order import natural
from robovlms.errors import DataError

ACTIONS = "actions"
WHOLE = "."  # the group that is the file itself


def look(path: Path, layout: str) -> dict[str, Any]:
    """Open a file and return, as JSON can hold it::

        layout     key of LAYOUTS
        demos      [[name of the group, number of steps], …], in natural order
        masks      filter key -> names of demos
        cameras    camera -> [array, height, width]
        features   arrays of the proprioception, in order
        action     numbers per action
        about      fields of `About`

    Args:
        path: HDF5 file.
        layout: key of `LAYOUTS`, or "auto".

    Raises:
        DataError: if it is damaged, of no known layout, or its arrays do not fit each other.
    """
    with open_hdf5(path) as file:
        try:
            return _facts(file, path, find_layout(file, path) if layout == "auto" else layout)
        except (OSError, KeyError, ValueError, RuntimeError, AttributeError) as error:
            raise DataError(f"{path}: damaged, or not of layout {layout!r}: {error}") from error


def find_layout(file: Any, path: Path) -> str:
    """Key of the first layout that an open file fits.

    Raises:
        DataError: if there is none.
    """
    for name, layout in LAYOUTS.items():
        if layout.fits(file):
            return name
    raise DataError(f"{path}: none of the layouts {', '.join(LAYOUTS)}; it holds {sorted(file)[:8]}")


def place(path: Path, demo: str) -> str:
    """File and demonstration, for messages."""
    return str(path) if demo == WHOLE else f"{path}: {demo}"


def _facts(file: Any, path: Path, name: str) -> dict[str, Any]:
    layout = LAYOUTS[name]
    demos = [f"{layout.demos}/{one}" for one in sorted(file[layout.demos], key=natural)] if layout.demos else [WHOLE]
    if not demos:
        raise DataError(f"{path}: no demonstration in group {layout.demos!r}")
    first = file[demos[0]]
    images = _image_arrays(first, layout)
    features = _feature_arrays(first, layout)
    where = place(path, demos[0])
    facts = {
        "layout": name,
        "demos": [[demo, _length(file[demo], [*images.values(), *features], place(path, demo))] for demo in demos],
        "masks": {key: [_decoded(one) for one in file["mask"][key][()]] for key in file.get("mask", ())},
        "cameras": {camera: [key, *_picture_size(first[key], f"{where}/{key}")] for camera, key in images.items()},
        "features": features,
        "action": _width(first[ACTIONS], f"{where}/{ACTIONS}"),
        "about": dataclasses.asdict(layout.about(file, path)),
    }
    for key in features:
        if _width(first[key], f"{where}/{key}") != len(layout.features[key]):
            raise DataError(f"{where}/{key}: expected {len(layout.features[key])} numbers, found {first[key].shape}")
    return facts


def _image_arrays(demo: Any, layout: Layout) -> dict[str, str]:
    """Camera -> array."""
    keys = [f"obs/{key}" for key in demo.get("obs", ())] if layout.demos else list(demo)
    matches = [match for match in (re.fullmatch(layout.images, key) for key in sorted(keys)) if match]
    return {(match[1] if match.re.groups else layout.camera): match[0] for match in matches}


def _feature_arrays(demo: Any, layout: Layout) -> list[str]:
    """Arrays of the proprioception that are there; what an earlier one already tells is left out."""
    told: set[str] = set()
    chosen = []
    for key, names in layout.features.items():
        if key in demo and not told & set(names):
            chosen.append(key)
            told |= set(names)
    return chosen


def _length(demo: Any, keys: list[str], where: str) -> int:
    """Number of steps, the same in every array."""
    if ACTIONS not in demo:
        raise DataError(f"{where}: no array {ACTIONS!r}; it holds {sorted(demo)[:8]}")
    length = len(demo[ACTIONS])
    if length == 0:
        raise DataError(f"{where}: has no step")
    for key in keys:
        if key not in demo:
            raise DataError(f"{where}: no array {key!r}, which the file's first demonstration has")
        if len(demo[key]) != length:
            raise DataError(f"{where}: {ACTIONS} has {length} steps, but {key} has {len(demo[key])}")
    declared = int(demo.attrs.get("num_samples", length))
    if declared != length:
        raise DataError(f"{where}: {ACTIONS} has {length} steps, but num_samples says {declared}")
    return length


def _picture_size(array: Any, where: str) -> tuple[int, int]:
    if array.ndim != 4 or array.shape[-1] != 3 or array.dtype != np.uint8:
        raise DataError(f"{where}: expected pictures uint8 [T, height, width, 3], found {array.dtype} {array.shape}")
    return array.shape[1], array.shape[2]


def _width(array: Any, where: str) -> int:
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise DataError(f"{where}: expected numbers [T, n], found {array.dtype} {array.shape}")
    return array.shape[1]


def _decoded(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
