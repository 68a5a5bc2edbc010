"""Checks of the files of a LeRobot dataset, of either version. They need no source: one bad file does not end them."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from robovlms.data.checks.fault import Fault
from robovlms.data.checks.lerobot_folder import EpisodeRow, LeRobotFolder, read_folder
from robovlms.data.checks.lerobot_videos import check_videos
from robovlms.data.sources import lerobot_layout as layout
from robovlms.data.sources.parquet import as_numpy
from robovlms.errors import DataError

_FPS_TOLERANCE = 0.02  # share of 1 / fps by which the middle distance of timestamps may differ
_JITTER = 0.2  # share of the middle distance from which a single distance is worth a warning
_NUMBERED = ("frame_index", "episode_index", "index", "task_index", "timestamp")


def check_lerobot(path: Path, options: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what is wrong with the description, the tables and the videos."""
    del options
    try:
        folder = read_folder(path)
    except DataError as error:
        yield Fault(check="description", file=path / layout.INFO, message=str(error))
        return
    yield from folder.faults
    for check in (_totals, _numbering, _action_names, _tables, check_videos, _orphans):
        yield from check(folder)


def _totals(folder: LeRobotFolder) -> Iterator[Fault]:
    """What info.json counts is there."""
    counts = {
        "total_episodes": len(folder.episodes),
        "total_frames": sum(row.length for row in folder.episodes),
        "total_tasks": len(folder.tasks),
    }
    file = folder.path / layout.INFO
    for key, seen in counts.items():
        said = folder.info.get(key)
        if said != seen and not folder.faults:
            what = key.removeprefix("total_")
            yield Fault(
                check="totals",
                file=file,
                key=key,
                expected=str(seen),
                seen=str(said),
                message=f"{file}: {key} is {said}, but the tables in meta hold {seen} {what}",
            )


def _numbering(folder: LeRobotFolder) -> Iterator[Fault]:
    """Episodes are numbered without gaps, and each begins where the one before it ends."""
    begin = 0
    for number, row in enumerate(folder.episodes):
        if row.index != number:
            file = folder.path / "meta"
            yield Fault(
                check="index",
                file=file,
                episode=row.index,
                key="episode_index",
                expected=str(number),
                seen=str(row.index),
                message=f"{file}: the episode table goes from episode_index {number - 1} to {row.index}, expected "
                f"{number}",
            )
            return
        if row.begin != begin:
            yield Fault(
                check="index",
                file=folder.path / "meta",
                episode=row.index,
                key="dataset_from_index",
                expected=str(begin),
                seen=str(row.begin),
                message=f"{folder.path / 'meta'}: episode {row.index} begins at row {row.begin}, but the episodes "
                f"before it have {begin} steps",
            )
        begin = row.begin + row.length


def _action_names(folder: LeRobotFolder) -> Iterator[Fault]:
    """Every vector has as many names as numbers."""
    for key in (layout.ACTION, layout.STATE):
        feature = folder.features.get(key)
        if feature is None or not feature.get("names"):
            continue
        names, size = feature["names"], (feature.get("shape") or [0])[0]
        if isinstance(names, dict):
            names = [name for group in names.values() for name in (group if isinstance(group, list) else [group])]
        if len(names) != size:
            file = folder.path / layout.INFO
            yield Fault(
                check="columns",
                file=file,
                key=key,
                expected=f"{size} names",
                seen=f"{len(names)} names",
                message=f"{file}: {key} has shape [{size}] but {len(names)} names: {', '.join(map(str, names))}",
            )


def _tables(folder: LeRobotFolder) -> Iterator[Fault]:
    for file, rows in folder.by_file().items():
        if not file.is_file():
            yield Fault(
                check="missing_file",
                file=file,
                episode=rows[0].index,
                message=f"{file} is missing; it holds episodes {rows[0].index} to {rows[-1].index}",
            )
            continue
        try:
            with pq.ParquetFile(file) as parquet:
                yield from _columns(folder, file, parquet.schema_arrow)
                known = [name for name in _NUMBERED if name in parquet.schema_arrow.names]
                read = parquet.read(columns=known, use_threads=False)
            columns = {name: as_numpy(read.column(name).combine_chunks()) for name in known}
        except (OSError, ValueError, pa.ArrowException) as error:  # names that are no text are a ValueError
            text = " ".join(str(error).split())
            yield Fault(
                check="damaged_file",
                file=file,
                episode=rows[0].index,
                message=f"{file}: not readable as parquet: {text}",
            )
            continue
        yield from _rows(folder, file, rows, columns)


def _columns(folder: LeRobotFolder, file: Path, schema: pa.Schema) -> Iterator[Fault]:
    """Every feature that is not a video is a column, of the width that is declared."""
    for key, feature in folder.features.items():
        if feature.get("dtype") == "video":
            continue
        if key not in schema.names:
            yield Fault(
                check="columns",
                file=file,
                key=key,
                expected=f"a column {key!r}",
                seen=", ".join(schema.names),
                message=f"{file}: lacks the column {key!r}; it has {', '.join(schema.names)}",
            )
            continue
        kind, shape = schema.field(key).type, list(feature.get("shape") or [])
        width = kind.list_size if pa.types.is_fixed_size_list(kind) else None
        if width is not None and len(shape) == 1 and width != shape[0]:
            yield Fault(
                check="columns",
                file=file,
                key=key,
                expected=f"{shape[0]} numbers",
                seen=f"{width} numbers",
                message=f"{file}: {key} holds {width} numbers a step, but {layout.INFO} says {shape[0]}",
            )


def _rows(folder: LeRobotFolder, file: Path, rows: list[EpisodeRow], columns: dict[str, np.ndarray]) -> Iterator[Fault]:
    """Rows of one file: as many as its episodes have steps, and numbered right."""
    if not columns:
        return
    num_rows, expected = len(next(iter(columns.values()))), sum(row.length for row in rows)
    if num_rows != expected:
        yield Fault(
            check="lengths",
            file=file,
            episode=_first_short(rows, columns),
            expected=f"{expected} rows",
            seen=f"{num_rows} rows",
            message=f"{file}: {num_rows} rows, but its episodes {rows[0].index} to {rows[-1].index} have {expected} "
            "steps according to meta",
        )
        return
    first = 0
    for row in rows:
        mine = {name: column[first : first + row.length] for name, column in columns.items()}
        first += row.length
        for check in _ROW_CHECKS:
            yield from check(folder, row, mine)


def _first_short(rows: list[EpisodeRow], columns: dict[str, np.ndarray]) -> int | None:
    """The first episode with another number of rows than steps."""
    if "episode_index" not in columns:
        return None
    lengths = ((row.index, row.length) for row in rows)
    return next((index for index, length in lengths if (columns["episode_index"] == index).sum() != length), None)


def _indices(folder: LeRobotFolder, row: EpisodeRow, columns: dict[str, np.ndarray]) -> Iterator[Fault]:
    """`episode_index` is the episode's, `frame_index` counts from 0, `index` goes on through all episodes."""
    steps = np.arange(row.length)
    right = {"episode_index": np.full(row.length, row.index), "frame_index": steps, "index": row.begin + steps}
    for name, expected in right.items():
        if name in columns and not np.array_equal(columns[name], expected):
            step = int(np.flatnonzero(columns[name] != expected)[0])
            seen = columns[name][step]
            yield _row_fault("index", row, step, name, f"{name} is {seen}, expected {expected[step]}", expected, seen)


def _task_indices(folder: LeRobotFolder, row: EpisodeRow, columns: dict[str, np.ndarray]) -> Iterator[Fault]:
    """`task_index` is in the table of tasks."""
    found = columns.get("task_index")
    if found is None or not folder.tasks:
        return
    unknown = np.flatnonzero(~np.isin(found, list(folder.tasks)))
    if len(unknown):
        step = int(unknown[0])
        text = f"task_index is {found[step]}, but {folder.tasks_file.name} has {sorted(folder.tasks)[:12]}"
        yield _row_fault("tasks", row, step, "task_index", text, None, found[step])


def _timestamps(folder: LeRobotFolder, row: EpisodeRow, columns: dict[str, np.ndarray]) -> Iterator[Fault]:
    """`timestamp` begins at 0, rises, and steps are 1 / fps apart."""
    times = columns.get("timestamp")
    if times is None or row.length == 0:
        return
    times = times.astype(np.float64)
    distances, expected = np.diff(times), 1 / folder.fps
    falls = np.flatnonzero(~(distances > 0))
    if len(falls):
        step = int(falls[0]) + 1
        text = f"timestamp {times[step]:g} does not come after {times[step - 1]:g}"
        yield _row_fault("timestamps", row, step, "timestamp", text, None, f"{times[step]:g}")
        return
    if abs(times[0]) > 0.5 * expected:
        text = f"timestamp begins at {times[0]:g} s, expected 0"
        yield _row_fault("timestamps", row, 0, "timestamp", text, times * 0, f"{times[0]:g}")
    middle = float(np.median(distances)) if len(distances) else expected
    if abs(middle - expected) > _FPS_TOLERANCE * expected:
        text = f"timestamps are {middle:g} s apart, which is {1 / middle:.4g} per second, but fps is {folder.fps:g}"
        yield _row_fault("fps", row, 0, "timestamp", text, np.full(1, expected), f"{middle:g}")
        return
    worst = int(np.abs(distances - middle).round(6).argmax()) if len(distances) else 0
    if len(distances) and abs(distances[worst] - middle) > _JITTER * middle:
        text = f"{distances[worst]:.4g} s after the step before, where {middle:.4g} s is usual"
        text += f"; the distances' standard deviation is {distances.std():.2g} s"
        yield _row_fault(
            "jitter", row, worst + 1, "timestamp", text, np.full(row.length, middle), f"{distances[worst]:g}", "warning"
        )


_ROW_CHECKS: tuple[Callable[[LeRobotFolder, EpisodeRow, dict[str, np.ndarray]], Iterator[Fault]], ...] = (
    _indices,
    _task_indices,
    _timestamps,
)


def _row_fault(
    check: str,
    row: EpisodeRow,
    step: int,
    key: str,
    text: str,
    expected: np.ndarray | None,
    seen: object,
    severity: str = "fault",
) -> Fault:
    return Fault(
        check=check,
        severity=severity,
        file=row.file,
        episode=row.index,
        step=step,
        key=key,
        expected=None if expected is None else f"{expected[step]:g}",
        seen=str(seen),
        message=f"{row.file}: episode {row.index}, step {step}: {text}",
    )


def _orphans(folder: LeRobotFolder) -> Iterator[Fault]:
    """Data and video files that no episode refers to."""
    known = {row.file for row in folder.episodes} | {file for row in folder.episodes for file, _ in row.videos.values()}
    found = [*sorted(folder.path.glob("data/**/*.parquet")), *sorted(folder.path.glob("videos/**/*.mp4"))]
    for file in found:
        if file not in known and not folder.faults:
            yield Fault(
                check="orphan_file",
                severity="warning",
                file=file,
                message=f"{file}: no episode refers to it",
            )
