"""Read a dataset in the LeRobot v3.0 layout, any steps of any episode; `lerobot_layout` draws the folder."""

import hashlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from robovlms.actions.normalize import FeatureStatistics
from robovlms.data.images import decode_png
from robovlms.data.sources import lerobot_layout as layout
from robovlms.data.sources.base import EpisodeSource, Steps
from robovlms.data.sources.episode_check import check_finite
from robovlms.data.sources.parquet import ParquetColumns, as_numpy
from robovlms.data.sources.video import VideoReader
from robovlms.data.statistics import feature_statistics, summarize
from robovlms.errors import DataError, unknown_name


class LeRobotSource(EpisodeSource):
    """A LeRobot v3.0 dataset. Opening reads the episode table only; it can be pickled and used in worker processes.

    Args:
        path: dataset folder.
        cache_mb: most that is kept of row groups read last, in MiB and per process; pictures stay encoded.

    Raises:
        DataError: if there is no dataset, it is of another version, or does not say what its actions mean.
    """

    def __init__(self, path: Path | str, cache_mb: int | float = 256) -> None:
        self.path = Path(path)
        self.description = layout.describe(self.path)
        self.action_space, self.cameras = self.description.action_space, self.description.cameras
        self.proprio_names, self.provenance = self.description.proprio_names, self.description.provenance
        self._episodes = _read_episodes(self.path, self.description.info)
        self._files, self._file_number, self._first_row = _place_episodes(self.path, self.description, self._episodes)
        self._columns = ParquetColumns(int(cache_mb * 2**20))
        self._videos = VideoReader()
        self._trusted: set[int] = set()

    @classmethod
    def is_at(cls, path: Path) -> bool:
        return (path / layout.INFO).is_file()

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def fingerprint(self) -> str:
        described = [(self.path / name).read_bytes() for name in (layout.INFO, layout.ROBOVLMS)]
        sizes = [f"{file.relative_to(self.path)} {file.stat().st_size}" for file in sorted(self._files)]
        return hashlib.sha256(b"\n".join([*described, "\n".join(sizes).encode()])).hexdigest()

    def file(self, episode: int) -> Path:
        return self._data_file(episode)

    @property
    def lengths(self) -> np.ndarray:
        return self._episodes["length"]

    @property
    def num_cached_bytes(self) -> int:
        """Bytes of row groups kept in memory."""
        return self._columns.num_bytes

    @cached_property
    def statistics(self) -> dict[str, FeatureStatistics]:
        """From `meta/stats.json`; computed from the numbers where that lacks them. No picture is decoded."""
        path = self.path / layout.STATS
        stored = layout.read_json(path) if path.is_file() else {}
        keys = {"action": layout.ACTION} | ({"proprio": layout.STATE} if self.proprio_names else {})
        return {name: self._statistics_of(key, stored.get(key, {})) for name, key in keys.items()}

    def task(self, episode: int) -> str:
        name = self._episodes["task_name"][episode] if "task_name" in self._episodes else None
        return self.instruction(episode) if name is None else name

    def instruction(self, episode: int) -> str:
        instructions = list(self._episodes["tasks"][episode])
        if len(instructions) != 1:
            raise DataError(f"{self.path}: episode {episode} has {len(instructions)} instructions, expected one")
        return instructions[0]

    def seed(self, episode: int) -> int | None:
        """Seed of the simulator of an episode; None for a recording."""
        seed = self._episodes["seed"][episode] if "seed" in self._episodes else None
        return None if seed is None or np.isnan(seed) else int(seed)

    def read(self, episode: int, frames: np.ndarray, steps: np.ndarray, cameras: tuple[str, ...]) -> Steps:
        for asked in (frames, steps):
            if len(asked) and not (asked.min() >= 0 and asked.max() < self.lengths[episode]):
                raise DataError(f"{self.path}: episode {episode} has {self.lengths[episode]} steps, asked for {asked}")
        self._check_episode(episode)
        images = {name: self._frames(episode, self._camera_key(name), frames) for name in cameras}
        return Steps(
            images={name: pixels for name, pixels in images.items() if pixels is not None},
            proprio=self._numbers(episode, layout.STATE, frames, self.proprio_names) if self.proprio_names else None,
            actions=self._numbers(episode, layout.ACTION, steps, self.action_space.names),
        )

    def _camera_key(self, name: str) -> str:
        keys = self.description.camera_keys
        if name not in keys:
            raise DataError(unknown_name("camera", name, keys))
        return keys[name]

    def _data_file(self, episode: int) -> Path:
        return self._files[self._file_number[episode]]

    def _check_episode(self, episode: int) -> None:
        """The first row must say that it belongs to the episode; looked at once."""
        if episode in self._trusted:
            return
        row = self._first_row[episode]
        found = self._columns.numbers(self._data_file(episode), "episode_index", np.array([row]))[0]
        if found != episode:
            file = self._data_file(episode)
            raise DataError(f"{file}: row {row} belongs to episode {found}, but meta/episodes says episode {episode}")
        self._trusted.add(episode)

    def _numbers(self, episode: int, key: str, steps: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
        file = self._data_file(episode)
        stored = self._columns.numbers(file, key, self._first_row[episode] + steps)
        values = stored.reshape(len(steps), len(names)).astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            check_finite(values, f"{file}: episode {episode}", key, names, steps)
        return values

    def _frames(self, episode: int, key: str, steps: np.ndarray) -> np.ndarray | None:
        """Frames of one camera, uint8 [k, h, w, 3], each decoded once; None if the episode lacks it."""
        read = self._from_video if key in self.description.video_keys else self._from_png
        if len(steps) == 1:
            return read(episode, key, steps)
        unique, inverse = np.unique(steps, return_inverse=True)
        frames = read(episode, key, unique)
        return frames if frames is None else frames[inverse]

    def _from_png(self, episode: int, key: str, steps: np.ndarray) -> np.ndarray | None:
        file = self._data_file(episode)
        stored = self._columns.blobs(file, key, self._first_row[episode] + steps)
        if all(data is None for data in stored):
            return None
        frames = []
        for step, data in zip(steps.tolist(), stored, strict=True):
            try:
                frames.append(self._checked(decode_png(data or b""), key))
            except DataError as error:
                raise DataError(f"{file}: episode {episode}, step {step}, {key}: {error}") from error
        return frames[0][None] if len(frames) == 1 else np.stack(frames)

    def _from_video(self, episode: int, key: str, steps: np.ndarray) -> np.ndarray | None:
        begin = self._episodes[f"videos/{key}/from_timestamp"][episode]
        if begin is None or np.isnan(begin):
            return None
        place = {name: int(self._episodes[f"videos/{key}/{name}"][episode]) for name in ("chunk_index", "file_index")}
        file = self.path / self.description.info["video_path"].format(video_key=key, **place)
        rows = self._first_row[episode] + steps
        times = self._columns.numbers(self._data_file(episode), "timestamp", rows).astype(np.float64)
        try:
            return self._checked(self._videos.read(file, begin + times), key)
        except DataError as error:
            raise DataError(f"{file}: episode {episode}, steps {steps.tolist()}, {key}: {error}") from error

    @cached_property
    def _frame_shapes(self) -> dict[str, tuple[int, int, int]]:
        keys = self.description.camera_keys
        return {keys[camera.name]: (camera.height, camera.width, 3) for camera in self.cameras}

    def _checked(self, frames: np.ndarray, key: str) -> np.ndarray:
        if frames.shape[-3:] != self._frame_shapes[key]:
            raise DataError(f"frame of shape {list(frames.shape[-3:])}, expected {list(self._frame_shapes[key])}")
        return frames

    def _statistics_of(self, key: str, stored: dict[str, Any]) -> FeatureStatistics:
        try:
            return feature_statistics(stored)
        except KeyError:
            return feature_statistics(summarize(np.concatenate([_read_numbers(file, key) for file in self._files])))


def _read_table(file: Path, is_wanted: Callable[[str], bool]) -> pa.Table:
    try:
        parquet = pq.ParquetFile(file)
        return parquet.read(columns=[name for name in parquet.schema_arrow.names if is_wanted(name)], use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{file}: not readable as parquet: {error}") from error


def _read_numbers(file: Path, key: str) -> np.ndarray:
    values = as_numpy(_read_table(file, key.__eq__).column(key).combine_chunks())
    return values.reshape(len(values), -1)


def _read_episodes(path: Path, info: dict[str, Any]) -> dict[str, np.ndarray]:
    """Columns of the episode table but the statistics, in the order of the episodes."""
    files = sorted(path.glob("meta/episodes/*/*.parquet"))
    if not files:
        raise DataError(f"{path}: no episode table, expected {layout.EPISODES.format(chunk_index=0, file_index=0)}")
    parts = [_read_table(file, lambda name: not name.startswith("stats/")) for file in files]
    table = pa.concat_tables(parts, promote_options="permissive").sort_by("episode_index")
    columns = {name: table.column(name).to_numpy(zero_copy_only=False) for name in table.column_names}
    if not np.array_equal(columns["episode_index"], np.arange(info["total_episodes"])):
        raise DataError(
            f"{path}: {layout.INFO} says {info['total_episodes']} episodes, but meta/episodes does not hold each of "
            f"them once ({len(columns['episode_index'])} rows)"
        )
    return columns


def _place_episodes(
    path: Path, description: layout.Description, episodes: dict[str, np.ndarray]
) -> tuple[list[Path], np.ndarray, np.ndarray]:
    """Return the data files and, per episode, which one holds it and in which row of it the episode begins."""
    begins = episodes["dataset_from_index"]
    places, number = np.unique(
        np.stack([episodes["data/chunk_index"], episodes["data/file_index"]]), axis=1, return_inverse=True
    )
    files = [path / description.info["data_path"].format(chunk_index=c, file_index=f) for c, f in places.T.tolist()]
    first = np.full(len(files), np.iinfo(np.int64).max)
    np.minimum.at(first, number, begins)
    return files, number, begins - first[number]
