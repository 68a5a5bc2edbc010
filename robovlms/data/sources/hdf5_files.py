"""Rows of arrays in HDF5 files, with a bounded number of open files."""

import os
import weakref
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from robovlms.errors import DataError

_MOST_IN_VAIN = 4  # rows read per row asked for, up to which one contiguous read beats one read per run of rows
_ALL: "weakref.WeakSet[HDF5Files]" = weakref.WeakSet()


def _close_all() -> None:
    for files in list(_ALL):
        files.close()


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(before=_close_all)


class HDF5Files:
    """Reads rows of arrays; keeps the last `max_open` files open.

    It can be pickled, without its open files, and used on both sides of a fork: every file is closed before one,
    because the HDF5 library keeps state of its own that two processes must not share.

    Args:
        max_open: files kept open.
    """

    def __init__(self, max_open: int = 16) -> None:
        self.max_open = max_open
        self._files: OrderedDict[Path, Any] = OrderedDict()
        _ALL.add(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return HDF5Files, (self.max_open,)

    @property
    def num_open(self) -> int:
        """Number of files open now."""
        return len(self._files)

    def rows(self, path: Path, key: str, rows: np.ndarray) -> np.ndarray:
        """Return rows int64 [k] of the array `key`, [k, …], in the order asked for.

        Raises:
            DataError: if the file is damaged, or lacks the array or a row.
        """
        try:
            return read_rows(self._open(path)[key], rows)
        except (OSError, KeyError, ValueError, IndexError, RuntimeError) as error:
            self._drop(path)
            raise DataError(f"{path}: {key} not readable: {error}") from error

    def close(self) -> None:
        """Close all files."""
        for path in list(self._files):
            self._drop(path)

    def _open(self, path: Path) -> Any:
        if path not in self._files:
            while len(self._files) >= self.max_open:
                self._drop(next(iter(self._files)))
            self._files[path] = open_hdf5(path)
        self._files.move_to_end(path)
        return self._files[path]

    def _drop(self, path: Path) -> None:
        file = self._files.pop(path, None)
        if file is not None:
            file.close()


def open_hdf5(path: Path) -> Any:
    """Open a file for reading, `h5py.File`.

    Raises:
        DataError: if it is missing, truncated or no HDF5 file.
    """
    import h5py  # takes a tenth of a second, and only these formats need it

    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path}: not readable as HDF5: {error}") from error


def read_rows(dataset: Any, rows: np.ndarray) -> np.ndarray:
    """Rows of an `h5py.Dataset`, in any order and with repeats; only what is asked for, or little more, is read."""
    if not len(rows):
        return np.empty((0, *dataset.shape[1:]), dataset.dtype)
    unique, inverse = np.unique(rows, return_inverse=True)
    first, last = int(unique[0]), int(unique[-1])
    if first < 0 or last >= len(dataset):
        raise IndexError(f"rows {first} to {last} of {len(dataset)}")
    if last - first + 1 <= _MOST_IN_VAIN * len(unique):
        return dataset[first : last + 1][rows - first]
    runs = np.split(unique, np.flatnonzero(np.diff(unique) > 1) + 1)
    return np.concatenate([dataset[int(run[0]) : int(run[-1]) + 1] for run in runs])[inverse]
