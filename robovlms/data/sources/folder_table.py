"""A table of steps, one row per step: CSV, JSON, JSON lines or parquet, always as columns by name."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robovlms.errors import DataError, unknown_name


@dataclass(frozen=True, kw_only=True)
class Table:
    """Columns of equal length.

    Attributes:
        path: file that it is from.
        columns: name -> one entry per row, as the file has it; texts of a CSV stay texts.
    """

    path: Path
    columns: dict[str, list[Any]]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def column(self, name: str) -> list[Any]:
        """Entries of a column.

        Raises:
            DataError: names the nearest column if there is none.
        """
        if name not in self.columns:
            raise DataError(f"{self.path}: " + unknown_name("column", name, self.columns))
        return self.columns[name]

    def numbers(self, names: Sequence[str]) -> np.ndarray:
        """Columns as float64 [rows, p].

        Raises:
            DataError: names the row and column of what is no number.
        """
        columns = [self._as_numbers(name) for name in names]
        return np.stack(columns, axis=1) if columns else np.empty((len(self), 0))

    def _as_numbers(self, name: str) -> np.ndarray:
        entries = self.column(name)
        try:
            values = np.array(entries, np.float64)
        except (ValueError, TypeError):
            values = np.empty((0, 0))
        if values.ndim == 1:
            return values
        row = next((i for i, entry in enumerate(entries) if not _is_number(entry)), 0)
        raise DataError(f"{self.path}, step {row}: column {name!r} is {entries[row]!r}, expected a number")


def read_table(path: Path) -> Table:
    """Read a table; the end of its name says what it is, a key of `READERS`.

    Raises:
        DataError: if it is damaged, or has no row.
    """
    try:
        columns = READERS[path.suffix](path)
    except (OSError, ValueError, csv.Error) as error:  # what is no JSON or no UTF-8 is a ValueError
        raise DataError(f"{path}: not readable as {path.suffix[1:]}: {error}") from error
    table = Table(path=path, columns=columns)
    if not len(table):
        raise DataError(f"{path}: has no row")
    return table


def _read_csv(path: Path) -> dict[str, list[Any]]:
    with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets put a mark at the beginning
        reader = csv.reader(file, skipinitialspace=True)
        names = [name.strip() for name in next(reader, [])]
        if len(set(names)) != len(names):
            raise DataError(f"{path}, line 1: expected different names of columns, got {names}")
        rows = []
        for cells in reader:
            if cells and len(cells) != len(names):
                raise DataError(f"{path}, line {reader.line_num}: {len(cells)} entries, expected {len(names)}")
            if cells:
                rows.append(cells)
    return {name: [cells[i] for cells in rows] for i, name in enumerate(names)}


def _read_json(path: Path) -> dict[str, list[Any]]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        return _from_rows(path, content)
    lengths = {name: len(column) if isinstance(column, list) else None for name, column in content.items()}
    if len(set(lengths.values())) > 1 or None in lengths.values():
        raise DataError(f"{path}: expected a list of rows, or columns of one length, got {lengths}")
    return content


def _read_jsonl(path: Path) -> dict[str, list[Any]]:
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            rows += [json.loads(line)] if line.strip() else []
        except ValueError as error:
            raise DataError(f"{path}, line {number}: not readable as JSON: {error}") from error
    return _from_rows(path, rows)


def _read_parquet(path: Path) -> dict[str, list[Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            return file.read(use_threads=False).to_pydict()
    except pa.ArrowException as error:
        raise DataError(f"{path}: not readable as parquet: {error}") from error


def _from_rows(path: Path, rows: Any) -> dict[str, list[Any]]:
    """Objects with the same keys -> columns."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: expected rows as objects")
    names = list(rows[0]) if rows else []
    for number, row in enumerate(rows):
        if set(row) != set(names):
            differing = sorted(set(row) ^ set(names))
            raise DataError(f"{path}, step {number}: other columns than step 0: {differing}")
    return {name: [row[name] for row in rows] for name in names}


def _is_number(entry: Any) -> bool:
    try:
        float(entry)
    except (TypeError, ValueError):
        return False
    return True


READERS = {".csv": _read_csv, ".json": _read_json, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
