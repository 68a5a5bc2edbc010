"""Random access to single columns of parquet files, with a bounded memory of what was read last.

A parquet file is read by row groups, so one step costs a row group the first time; the most recent ones are kept as
they are stored (pictures stay encoded).
"""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from robovlms.errors import DataError


class ParquetColumns:
    """Columns of parquet files by row number.

    Reading uses no threads and `pread`, so a reader can be pickled and survives a fork.

    Args:
        limit_bytes: most that is kept in memory; a row group larger than that is read anew each time.
        together: columns that are read in one go, because who asks for one asks for the others next.
        max_open: files kept open.

    Attributes:
        num_bytes: kept in memory now.
    """

    def __init__(self, limit_bytes: int, together: tuple[str, ...] = (), max_open: int = 16) -> None:
        self.limit_bytes, self.together, self.max_open = limit_bytes, together, max_open
        self.num_bytes = 0
        self._files: OrderedDict[Path, pq.ParquetFile] = OrderedDict()
        self._offsets: dict[Path, np.ndarray] = {}
        self._columns: OrderedDict[tuple[Path, int, str], np.ndarray | pa.Array] = OrderedDict()

    def __reduce__(self) -> tuple[Any, ...]:
        return ParquetColumns, (self.limit_bytes, self.together, self.max_open)

    def numbers(self, path: Path, column: str, rows: np.ndarray) -> np.ndarray:
        """Return rows int64 [k] of a column of scalars, [k], or of vectors, [k, p].

        Raises:
            DataError: if the file is damaged, or lacks the column or a row.
        """
        pieces = [(where, self._column(path, group, column)[local]) for where, group, local in self._find(path, rows)]
        if len(pieces) == 1:
            return pieces[0][1]
        out = np.empty((len(rows), *pieces[0][1].shape[1:]), pieces[0][1].dtype)
        for where, piece in pieces:
            out[where] = piece
        return out

    def blobs(self, path: Path, column: str, rows: np.ndarray) -> list[memoryview | None]:
        """Return the bytes in rows int64 [k] of a column of pictures; None where there is no picture.

        Raises:
            DataError: if the file is damaged, or lacks the column or a row.
        """
        out: list[memoryview | None] = [None] * len(rows)
        for where, group, local in self._find(path, rows):
            stored = self._column(path, group, column)
            for i, row in zip(where.tolist(), local.tolist(), strict=True):
                out[i] = memoryview(stored[row].as_buffer()) if stored[row].is_valid else None
        return out

    def _find(self, path: Path, rows: np.ndarray) -> list[tuple[np.ndarray, int, np.ndarray]]:
        """Sort rows by row group: (positions in `rows`, row group, rows within it)."""
        offsets = self._offsets_of(path)
        first, last = (int(rows.min()), int(rows.max())) if len(rows) else (0, 0)
        if last >= offsets[-1]:
            raise DataError(f"{path}: row {last} asked for, the file has {offsets[-1]}")
        group = int(offsets.searchsorted(first, side="right")) - 1
        if last < offsets[group + 1]:  # the common case: one episode, one row group
            return [(np.arange(len(rows)), group, rows - offsets[group])]
        groups = np.searchsorted(offsets, rows, side="right") - 1
        positions = {group: np.flatnonzero(groups == group) for group in np.unique(groups).tolist()}
        return [(where, group, rows[where] - offsets[group]) for group, where in positions.items()]

    def _offsets_of(self, path: Path) -> np.ndarray:
        """Where the row groups of a file begin, int64, with the number of rows as the last entry."""
        if path not in self._offsets:
            metadata = self._file(path).metadata
            sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
            self._offsets[path] = np.cumsum([0, *sizes])
        return self._offsets[path]

    def _file(self, path: Path) -> pq.ParquetFile:
        if path not in self._files:
            try:
                self._files[path] = pq.ParquetFile(path)
            except (OSError, pa.ArrowException) as error:
                raise DataError(f"{path}: not readable as parquet: {error}") from error
            if len(self._files) > self.max_open:
                self._files.popitem(last=False)[1].close()
        self._files.move_to_end(path)
        return self._files[path]

    def _column(self, path: Path, group: int, column: str) -> np.ndarray | pa.Array:
        key = (path, group, column)
        if key in self._columns:
            self._columns.move_to_end(key)
            return self._columns[key]
        wanted = self.together if column in self.together else (column,)
        read = self._read(path, group, wanted)
        for name, values in read.items():
            if (path, group, name) not in self._columns:
                self._remember((path, group, name), values)
        return read[column]

    def _remember(self, key: tuple[Path, int, str], values: np.ndarray | pa.Array) -> None:
        if values.nbytes > self.limit_bytes:
            return
        self._columns[key] = values
        self.num_bytes += values.nbytes
        while self.num_bytes > self.limit_bytes:
            self.num_bytes -= self._columns.popitem(last=False)[1].nbytes

    def _read(self, path: Path, group: int, columns: tuple[str, ...]) -> dict[str, np.ndarray | pa.Array]:
        file = self._file(path)
        try:
            table = file.read_row_group(group, columns=list(columns), use_threads=False)
            return {name: _unpacked(table.column(name).combine_chunks()) for name in columns}
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            names = ", ".join(repr(name) for name in columns)
            raise DataError(f"{path}: row group {group}, column {names} not readable: {error}") from error


def _unpacked(array: pa.Array) -> np.ndarray | pa.Array:
    """A column of pictures as their bytes, any other as numbers."""
    return pc.struct_field(array, "bytes") if pa.types.is_struct(array.type) else as_numpy(array)


def as_numpy(array: pa.Array) -> np.ndarray:
    """A column of numbers as [k], of vectors as [k, p]."""
    if pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type):
        return array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), -1)
    return array.to_numpy(zero_copy_only=False)
