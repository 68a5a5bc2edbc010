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
        self._numbers: OrderedDict[tuple[Path, int, str], np.ndarray] = OrderedDict()
        self._pictures: OrderedDict[tuple[Path, int, str], pa.Array] = OrderedDict()

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

    def blobs(self, path: Path, column: str, rows: np.ndarray, others: tuple[str, ...] = ()) -> list[memoryview | None]:
        """Return the bytes in rows int64 [k] of a column of pictures; None where there is no picture.

        Args:
            path: the file.
            column: its column.
            rows: which of its rows.
            others: columns that are read along, because they are asked for next.

        Raises:
            DataError: if the file is damaged, or lacks the column or a row.
        """
        out: list[memoryview | None] = [None] * len(rows)
        for where, group, local in self._find(path, rows):
            stored = self._column(path, group, column, others)
            _, offsets, data = stored.buffers()
            ends = np.frombuffer(offsets, np.int32)[stored.offset :].tolist()
            is_there = stored.is_valid().to_pylist() if stored.null_count else [True] * len(stored)
            for i, row in zip(where.tolist(), local.tolist(), strict=True):
                out[i] = memoryview(data)[ends[row] : ends[row + 1]] if is_there[row] else None
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
        positions: dict[int, list[int]] = {}
        for i, group in enumerate((np.searchsorted(offsets, rows, side="right") - 1).tolist()):
            positions.setdefault(group, []).append(i)
        return [(np.array(where), group, rows[where] - offsets[group]) for group, where in positions.items()]

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
            except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
                raise DataError(f"{path}: not readable as parquet: {error}") from error
            if len(self._files) > self.max_open:
                self._files.popitem(last=False)[1].close()
        self._files.move_to_end(path)
        return self._files[path]

    def _column(self, path: Path, group: int, column: str, others: tuple[str, ...] = ()) -> np.ndarray | pa.Array:
        key = (path, group, column)
        for kept in (self._numbers, self._pictures):
            if key in kept:
                kept.move_to_end(key)
                return kept[key]
        wanted = self.together if column in self.together else tuple({column: None, **dict.fromkeys(others)})
        read = self._read(path, group, wanted)
        for name, values in read.items():
            if not any((path, group, name) in kept for kept in (self._numbers, self._pictures)):
                self._remember((path, group, name), values)
        return read[column]

    def _remember(self, key: tuple[Path, int, str], values: np.ndarray | pa.Array) -> None:
        if values.nbytes > self.limit_bytes:
            return
        kept = self._numbers if isinstance(values, np.ndarray) else self._pictures
        kept[key] = values
        self.num_bytes += values.nbytes
        while self.num_bytes > self.limit_bytes:  # pictures first: they are large, and every window needs its numbers
            self.num_bytes -= (self._pictures or self._numbers).popitem(last=False)[1].nbytes

    def _read(self, path: Path, group: int, columns: tuple[str, ...]) -> dict[str, np.ndarray | pa.Array]:
        file = self._file(path)
        try:
            table = file.read_row_group(group, columns=list(columns), use_threads=False)
            return {name: _unpacked(_whole(table.column(name))) for name in columns}
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            names = ", ".join(repr(name) for name in columns)
            raise DataError(f"{path}: row group {group}, column {names} not readable: {error}") from error


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array; not copied if it is one."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _unpacked(array: pa.Array) -> np.ndarray | pa.Array:
    """A column of pictures as their bytes, any other as numbers."""
    return pc.struct_field(array, "bytes") if pa.types.is_struct(array.type) else as_numpy(array)


def as_numpy(array: pa.Array) -> np.ndarray:
    """A column of numbers as [k], of vectors as [k, p]."""
    if pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type):
        return array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), -1)
    return array.to_numpy(zero_copy_only=False)
