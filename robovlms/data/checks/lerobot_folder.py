"""What a LeRobot folder of version 2.x or 3.0 says of its episodes, read so that one bad file is one fault."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from robovlms.data.checks.fault import Fault
from robovlms.data.sources import lerobot_layout as layout
from robovlms.data.sources.lerobot_episodes import read_instructions, read_table
from robovlms.data.sources.lerobot_v21 import EPISODES as EPISODE_LINES
from robovlms.data.sources.lerobot_v21 import TASKS as TASK_LINES
from robovlms.data.sources.lerobot_v21 import read_lines
from robovlms.errors import DataError


@dataclass(frozen=True, kw_only=True)
class EpisodeRow:
    """One episode as the description has it.

    Attributes:
        index: of the episode.
        length: steps.
        file: parquet file with its steps.
        begin: its first row among all rows of the dataset.
        videos: feature -> mp4 file and time of its first frame in it, s; a camera that the episode lacks is absent.
    """

    index: int
    length: int
    file: Path
    begin: int
    videos: dict[str, tuple[Path, float]]


@dataclass(frozen=True, kw_only=True)
class LeRobotFolder:
    """The description of a dataset.

    Attributes:
        path: folder.
        info: `meta/info.json`.
        episodes: in the order of their index.
        tasks: task_index -> instruction.
        tasks_file: where that is.
        faults: what was wrong with the description.
    """

    path: Path
    info: dict[str, Any]
    episodes: list[EpisodeRow] = field(default_factory=list)
    tasks: dict[int, str] = field(default_factory=dict)
    tasks_file: Path
    faults: list[Fault] = field(default_factory=list)

    @property
    def features(self) -> dict[str, dict[str, Any]]:
        """Name of each feature -> its dtype, shape and names."""
        return self.info.get("features", {})

    @property
    def video_keys(self) -> list[str]:
        """Features stored as mp4."""
        return [key for key, feature in self.features.items() if feature.get("dtype") == "video"]

    @property
    def fps(self) -> float:
        """Steps per second."""
        return float(self.info["fps"])

    def by_file(self) -> dict[Path, list[EpisodeRow]]:
        """Episodes of each parquet file."""
        files: dict[Path, list[EpisodeRow]] = {}
        for row in self.episodes:
            files.setdefault(row.file, []).append(row)
        return files


def read_folder(path: Path) -> LeRobotFolder:
    """Read the description; what cannot be read is among its faults.

    Raises:
        DataError: if `meta/info.json` cannot be used, without which nothing can be checked.
    """
    info = layout.read_json(path / layout.INFO)
    if not isinstance(info, dict) or not isinstance(info.get("features"), dict):
        raise DataError(f"{path / layout.INFO}: expected an object with features")
    is_old = str(info.get("codebase_version")).startswith("v2.")
    folder = LeRobotFolder(path=path, info=info, tasks_file=path / (TASK_LINES if is_old else layout.TASKS))
    _gather(folder, "tasks", folder.tasks_file, lambda: folder.tasks.update(_tasks(folder, is_old)))
    rows_of = _old_rows if is_old else _rows
    where = path / (EPISODE_LINES if is_old else "meta/episodes")
    _gather(folder, "episodes", where, lambda: folder.episodes.extend(rows_of(folder)))
    folder.episodes.sort(key=lambda row: row.index)
    return folder


def _gather(folder: LeRobotFolder, key: str, file: Path, read: Callable[[], None]) -> None:
    try:
        read()
    except (DataError, OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        text = " ".join((str(error) if isinstance(error, DataError) else f"{file}: {error!r}").split())
        folder.faults.append(Fault(check="description", file=file, key=key, message=text))


def _tasks(folder: LeRobotFolder, is_old: bool) -> dict[int, str]:
    if not is_old:
        return read_instructions(folder.path)
    return {row["task_index"]: row["task"] for row in read_lines(folder.tasks_file, ("task_index", "task"))}


def _rows(folder: LeRobotFolder) -> Iterator[EpisodeRow]:
    """Episodes of a v3.0 dataset."""
    needed = ["episode_index", "length", "dataset_from_index", "data/chunk_index", "data/file_index"]
    places = {
        key: [f"videos/{key}/{name}" for name in ("chunk_index", "file_index", "from_timestamp")]
        for key in folder.video_keys
    }
    files = sorted(folder.path.glob("meta/episodes/*/*.parquet"))
    if not files:
        raise DataError(f"{folder.path / 'meta/episodes'}: no episode table")
    for file in files:
        columns = [*needed, *(name for names in places.values() for name in names)]
        table = read_table(file, columns)
        missing = [name for name in columns if name not in table.column_names]
        if missing:
            raise DataError(f"{file}: lacks the columns {missing}")
        for row in table.to_pylist():
            yield _row(folder, row, places)


def _row(folder: LeRobotFolder, row: dict[str, Any], places: dict[str, list[str]]) -> EpisodeRow:
    place = {"chunk_index": row["data/chunk_index"], "file_index": row["data/file_index"]}
    videos = {}
    for key, (chunk, file, begin_s) in places.items():
        if row[begin_s] is not None:
            numbers = {"chunk_index": int(row[chunk]), "file_index": int(row[file])}
            name = folder.info["video_path"].format(video_key=key, **numbers)
            videos[key] = (folder.path / name, float(row[begin_s]))
    return EpisodeRow(
        index=row["episode_index"],
        length=row["length"],
        file=folder.path / folder.info["data_path"].format(**place),
        begin=row["dataset_from_index"],
        videos=videos,
    )


def _old_rows(folder: LeRobotFolder) -> Iterator[EpisodeRow]:
    """Episodes of a v2.x dataset; a file each."""
    begin, size = 0, int(folder.info.get("chunks_size", layout.FILES_PER_CHUNK))
    lines = read_lines(folder.path / EPISODE_LINES, ("episode_index", "length"))
    for line in sorted(lines, key=lambda line: line["episode_index"]):
        index = line["episode_index"]
        place = {"episode_chunk": index // size, "episode_index": index}
        video_path = folder.info.get("video_path") or ""
        videos = {key: (folder.path / video_path.format(video_key=key, **place), 0.0) for key in folder.video_keys}
        file = folder.path / folder.info["data_path"].format(**place)
        yield EpisodeRow(index=index, length=line["length"], file=file, begin=begin, videos=videos)
        begin += line["length"]


def stored_statistics(folder: Path) -> dict[str, Any]:
    """`meta/stats.json`; empty if there is none.

    Raises:
        DataError: if it is damaged.
    """
    file = folder / layout.STATS
    stored = layout.read_json(file) if file.is_file() else {}
    if not isinstance(stored, dict):
        raise DataError(f"{file}: expected an object, got {json.dumps(stored)[:40]}")
    return stored
