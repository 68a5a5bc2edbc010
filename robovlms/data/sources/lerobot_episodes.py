"""The episode table of a LeRobot dataset as a few arrays, so that a set of 20,000 episodes opens at once.

Texts are kept once each with a number per episode; statistics per episode, most of the table, are not read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from robovlms.data.sources import lerobot_layout as layout
from robovlms.data.sources.parquet import as_numpy
from robovlms.errors import DataError

SEVERAL = -1  # in place of the number of a text: there is not exactly one


@dataclass(frozen=True, kw_only=True)
class Texts:
    """One text per episode.

    Attributes:
        choices: the different texts.
        numbers: int32 [episodes], place among `choices`; `SEVERAL` if there is not exactly one.
    """

    choices: tuple[str, ...]
    numbers: np.ndarray

    def __getitem__(self, episode: int) -> str | None:
        number = self.numbers[episode]
        return None if number == SEVERAL else self.choices[number]

    @classmethod
    def of(cls, texts: pa.Array) -> "Texts":
        """From a column of texts, or of lists of texts."""
        is_list = pa.types.is_list(texts.type) or pa.types.is_large_list(texts.type)
        counts = (
            pc.fill_null(pc.list_value_length(texts), 0).to_numpy() if is_list else texts.is_valid().to_numpy(False)
        )
        flat = (pc.list_flatten(texts) if is_list else texts.drop_null()).dictionary_encode()
        numbers = np.full(len(texts), SEVERAL, np.int32)
        has_one = counts == 1
        begins = np.cumsum(counts) - counts
        numbers[has_one] = flat.indices.to_numpy(zero_copy_only=False)[begins[has_one]]
        return cls(choices=tuple(flat.dictionary.to_pylist()), numbers=numbers)


@dataclass(frozen=True, kw_only=True)
class VideoPlaces:
    """Where the frames of one camera lie.

    Attributes:
        chunks, files: int64 [episodes], numbers of the mp4 file.
        begins_s: float64 [episodes], time of the first frame in the file; NaN = the episode lacks the camera.
    """

    chunks: np.ndarray
    files: np.ndarray
    begins_s: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Episodes:
    """What the table says of every episode.

    Attributes:
        lengths: int64 [episodes].
        instructions: one per episode.
        tasks: task names; None if the dataset has none.
        seeds: float64 [episodes], NaN for a recording; None if the dataset has none.
        chunks, files: int64 [episodes], numbers of the data file.
        begins: int64 [episodes], first row of the episode in its data file.
        videos: feature -> where its frames lie.
    """

    lengths: np.ndarray
    instructions: Texts
    tasks: Texts | None
    seeds: np.ndarray | None
    chunks: np.ndarray
    files: np.ndarray
    begins: np.ndarray
    videos: dict[str, VideoPlaces]


def read_episodes(path: Path, info: dict[str, Any], video_keys: frozenset[str]) -> Episodes:
    """Read the episode table of a v3.0 dataset.

    Raises:
        DataError: if it is missing, damaged, or does not hold each episode once.
    """
    table = _episode_table(path, info, video_keys)
    numbers = {name: _numbers(table, name) for name in table.column_names if name not in ("tasks", "task_name")}
    chunks, files = numbers["data/chunk_index"], numbers["data/file_index"]
    return Episodes(
        lengths=numbers["length"],
        instructions=Texts.of(table.column("tasks").combine_chunks()),
        tasks=Texts.of(table.column("task_name").combine_chunks()) if "task_name" in table.column_names else None,
        seeds=numbers.get("seed"),
        chunks=chunks,
        files=files,
        begins=_rows_within_file(chunks, files, numbers["dataset_from_index"]),
        videos={key: VideoPlaces(**{to: numbers[f"videos/{key}/{of}"] for to, of in _PLACE}) for key in video_keys},
    )


def read_table(file: Path, columns: Sequence[str]) -> pa.Table:
    """Columns of a parquet file, as far as it has them.

    Raises:
        DataError: if it is damaged.
    """
    try:
        with pq.ParquetFile(file) as parquet:
            known = set(parquet.schema_arrow.names)
            return parquet.read(columns=[name for name in columns if name in known], use_threads=False)
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise DataError(f"{file}: not readable as parquet: {error}") from error


def read_instructions(path: Path) -> dict[int, str]:
    """Instructions of a v3.0 dataset by task_index.

    Raises:
        DataError: if the table is damaged.
    """
    file = path / layout.TASKS
    table = read_table(file, ("task_index", "task", "__index_level_0__"))
    texts = [name for name in table.column_names if name != "task_index"]
    if table.num_columns != 2:
        raise DataError(f"{file}: expected task_index and one column of texts, got {table.column_names}")
    return dict(zip(table.column("task_index").to_pylist(), table.column(texts[0]).to_pylist(), strict=True))


_PLACE = (("chunks", "chunk_index"), ("files", "file_index"), ("begins_s", "from_timestamp"))
_NEEDED = ("episode_index", "tasks", "length", "data/chunk_index", "data/file_index", "dataset_from_index")


def _episode_table(path: Path, info: dict[str, Any], video_keys: frozenset[str]) -> pa.Table:
    """The columns that are used, in the order of the episodes."""
    files = sorted(path.glob("meta/episodes/*/*.parquet"))
    if not files:
        raise DataError(f"{path}: no episode table, expected {layout.EPISODES.format(chunk_index=0, file_index=0)}")
    needed = [*_NEEDED, *(f"videos/{key}/{name}" for key in sorted(video_keys) for _, name in _PLACE)]
    parts = [read_table(file, [*needed, "task_name", "seed"]) for file in files]
    table = pa.concat_tables(parts, promote_options="permissive").sort_by("episode_index")
    missing = [name for name in needed if name not in table.column_names]
    if missing:
        raise DataError(f"{path}: meta/episodes lacks the columns {missing}")
    if not np.array_equal(_numbers(table, "episode_index"), np.arange(info["total_episodes"])):
        raise DataError(
            f"{path}: {layout.INFO} says {info['total_episodes']} episodes, but meta/episodes does not hold each of "
            f"them once ({len(table)} rows)"
        )
    return table


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    return as_numpy(table.column(name).combine_chunks())


def _rows_within_file(chunks: np.ndarray, files: np.ndarray, begins: np.ndarray) -> np.ndarray:
    """First row of each episode within its data file; the file begins with the first of its episodes."""
    _, number = np.unique(np.stack([chunks, files]), axis=1, return_inverse=True)
    first = np.full(number.max(initial=0) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, number, begins)
    return begins - first[number]
