"""Times of the steps of an episode, of the formats that keep them."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from robovlms.data.sources.base import EpisodeSource
from robovlms.data.sources.folder import TIMESTAMP, FolderSource
from robovlms.data.sources.folder_table import READERS, read_table
from robovlms.data.sources.lerobot import LeRobotSource
from robovlms.data.sources.lerobot_v21 import LeRobotV21Source
from robovlms.data.sources.parquet import as_numpy
from robovlms.errors import DataError


def timestamps(source: EpisodeSource, episode: int) -> np.ndarray | None:
    """Time of each step in s, float64 [T]; None if the dataset has none.

    Raises:
        DataError: if the file cannot be read.
    """
    read = TIMES.get(type(source))
    return None if read is None else read(source, episode)


def _of_lerobot(source: LeRobotSource, episode: int) -> np.ndarray | None:
    file = source.file(episode)
    mine = [("episode_index", "==", episode)]
    try:
        if "timestamp" not in pq.read_schema(file).names:
            return None
        table = pq.read_table(file, columns=["timestamp"], filters=mine, use_threads=False)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{file}: not readable as parquet: {error}") from error
    return as_numpy(table.column("timestamp").combine_chunks()).astype(np.float64).ravel()


def _of_folder(source: FolderSource, episode: int) -> np.ndarray | None:
    files = [source.file(episode) / f"steps{suffix}" for suffix in READERS]
    table = read_table(next(file for file in files if file.is_file()))
    return table.numbers([TIMESTAMP])[:, 0].astype(np.float64) if TIMESTAMP in table.columns else None


TIMES: dict[type, Callable[..., np.ndarray | None]] = {
    FolderSource: _of_folder,
    LeRobotSource: _of_lerobot,
    LeRobotV21Source: _of_lerobot,
}
