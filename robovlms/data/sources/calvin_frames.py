"""Frames of CALVIN: one compressed archive per frame, of which only the arrays asked for are unpacked."""

import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robovlms.errors import DataError

_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError)


class CalvinFrames:
    """Arrays of numbered frames, with a bounded memory of what was read last, since windows overlap.

    It can be pickled; the copy remembers nothing.

    Args:
        folder: of the frame files.
        limit_bytes: most that is kept in memory.

    Attributes:
        num_bytes: kept in memory now.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder, self.limit_bytes = folder, limit_bytes
        self.num_bytes = 0
        self._arrays: OrderedDict[tuple[int, str], np.ndarray] = OrderedDict()

    def __reduce__(self) -> tuple[Any, ...]:
        return CalvinFrames, (self.folder, self.limit_bytes)

    def file(self, frame: int) -> Path:
        """Where a frame lies."""
        return self.folder / f"episode_{frame:07d}.npz"

    def shapes(self, frame: int) -> dict[str, tuple[int, ...]]:
        """Shape of every array of a frame; nothing is unpacked but headers.

        Raises:
            DataError: if the file is missing or damaged.
        """
        file = self.file(frame)
        try:
            with zipfile.ZipFile(file) as archive:
                names = [name.removesuffix(".npy") for name in archive.namelist()]
                return {name: _read_shape(archive, name) for name in names}
        except (OSError, KeyError, *_DAMAGED) as error:  # KeyError: a name in the list that no member has
            raise _unreadable(file, error) from error

    def read(self, frame: int, expected: Mapping[str, tuple[tuple[int, ...], type]]) -> dict[str, np.ndarray]:
        """Return some arrays of a frame; they must not be written to.

        Args:
            frame: number of the frame.
            expected: name of each array -> its shape and its kind, `np.uint8` or `np.floating`.

        Raises:
            DataError: names the file, and the array that is missing, damaged or of another shape or kind.
        """
        missing = [name for name in expected if (frame, name) not in self._arrays]
        fresh = self._unpack(frame, missing) if missing else {}
        for name, array in fresh.items():
            shape, kind = expected[name]
            if array.shape != shape or not np.issubdtype(array.dtype, kind):
                raise DataError(
                    f"{self.file(frame)}: {name}: expected {kind.__name__} {list(shape)}, found {array.dtype} "
                    f"{list(array.shape)}"
                )
        arrays = {name: fresh[name] if name in fresh else self._remembered(frame, name) for name in expected}
        for name, array in fresh.items():
            self._remember((frame, name), array)
        return arrays

    def _unpack(self, frame: int, names: Iterable[str]) -> dict[str, np.ndarray]:
        file = self.file(frame)
        try:
            with zipfile.ZipFile(file) as archive:
                return {name: _read_array(archive, name) for name in names}
        except KeyError as error:
            raise DataError(f"{file}: {error.args[0]}; the frame has {sorted(self.shapes(frame))}") from error
        except (OSError, *_DAMAGED) as error:
            raise _unreadable(file, error) from error

    def _remembered(self, frame: int, name: str) -> np.ndarray:
        self._arrays.move_to_end((frame, name))
        return self._arrays[frame, name]

    def _remember(self, key: tuple[int, str], array: np.ndarray) -> None:
        self._arrays[key] = array
        self.num_bytes += array.nbytes
        while self.num_bytes > self.limit_bytes:
            self.num_bytes -= self._arrays.popitem(last=False)[1].nbytes


def _read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(f"{name}.npy") as member:
        return np.lib.format.read_array(member, allow_pickle=False)


def _read_shape(archive: zipfile.ZipFile, name: str) -> tuple[int, ...]:
    with archive.open(f"{name}.npy") as member:
        major, _ = np.lib.format.read_magic(member)
        read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        return read(member)[0]


def _unreadable(file: Path, error: Exception) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"{file}: the frame is missing")
    return DataError(f"{file}: not readable as a frame: {error}")
