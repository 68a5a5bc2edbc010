"""Ways to damage a LeRobot dataset, each in one place."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from robovlms.data.images import encode_png

DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
VIDEO = "videos/observation.images.static/chunk-000/file-000.mp4"
IMAGE = "observation.images.static"


def truncate(file: Path, share: float = 0.5) -> None:
    """Keep the first part of a file."""
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])


def flip_byte(file: Path, at: int) -> None:
    """Change one byte."""
    data = bytearray(file.read_bytes())
    data[at] ^= 0xFF
    file.write_bytes(bytes(data))


def edit_json(file: Path, edit: Callable[[Any], None]) -> None:
    """Change the content of a JSON file in place."""
    content = json.loads(file.read_text())
    edit(content)
    file.write_text(json.dumps(content))


def edit_rows(file: Path, edit: Callable[[list[dict[str, Any]]], Any]) -> None:
    """Change the rows of a table in place, or return others."""
    table = pq.read_table(file)
    rows = table.to_pylist()
    changed = edit(rows)
    rows = rows if changed is None else changed
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), file)


def set_cell(file: Path, row: int, key: str, value: Any, at: int | None = None) -> None:
    """Change one entry, or one number of a vector."""

    def edit(rows: list[dict[str, Any]]) -> None:
        if at is None:
            rows[row][key] = value
        else:
            rows[row][key][at] = value

    edit_rows(file, edit)


def drop_column(file: Path, key: str) -> None:
    """Take a column out."""
    pq.write_table(pq.read_table(file).drop_columns([key]), file)


def set_frames(file: Path, rows: slice, pixels: np.ndarray) -> None:
    """Put the same picture in some rows."""

    def edit(found: list[dict[str, Any]]) -> None:
        for row in found[rows]:
            row[IMAGE] = {"bytes": encode_png(pixels), "path": None}

    edit_rows(file, edit)
