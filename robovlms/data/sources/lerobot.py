"""Read a dataset in the LeRobot v3.0 layout, any steps of any episode; `lerobot_layout` draws the folder."""

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from robovlms.actions.normalize import FeatureStatistics
from robovlms.data.images import decode_png
from robovlms.data.sources import lerobot_layout as layout
from robovlms.data.sources.base import Episode, EpisodeSource, Steps
from robovlms.data.sources.episode_check import check_finite
from robovlms.data.sources.lerobot_episodes import Episodes, read_episodes, read_instructions, read_table
from robovlms.data.sources.parquet import ParquetColumns, as_numpy
from robovlms.data.sources.video import VideoReader
from robovlms.data.statistics import feature_statistics
from robovlms.errors import DataError, unknown_name


class LeRobotSource(EpisodeSource):
    """A LeRobot v3.0 dataset. Opening reads the episode table only; it can be pickled and used in worker processes.

    Args:
        path: dataset folder.
        cache_mb: most that is kept of row groups read last, in MiB and per process; pictures stay encoded.
        action_space: what the actions mean, where the folder has no `meta/robovlms.json`: its content, or a YAML or
            JSON file that holds it.

    Raises:
        DataError: if there is no dataset, it is of another version, or does not say what its actions mean.
    """

    format: ClassVar[str] = "lerobot"

    def __init__(
        self, path: Path | str, cache_mb: int | float = 256, action_space: Path | str | dict[str, Any] | None = None
    ) -> None:
        self.path = Path(path)
        self.description = layout.describe(self.path, self.format, action_space)
        self.action_space, self.cameras = self.description.action_space, self.description.cameras
        self.proprio_names, self.provenance = self.description.proprio_names, self.description.provenance
        self._episodes = self._read_episodes()
        self._columns = ParquetColumns(int(cache_mb * 2**20), together=self._number_columns())
        self._videos = VideoReader()
        self._trusted: set[int] = set()
        self._paths: dict[tuple[str, int, int, str], Path] = {}

    @classmethod
    def is_at(cls, path: Path) -> bool:
        return layout.format_of(path) == cls.format

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def fingerprint(self) -> str:
        described = [(self.path / layout.INFO).read_bytes(), json.dumps(self.description.ours).encode()]
        sizes = [f"{file.relative_to(self.path).as_posix()} {file.stat().st_size}" for file in self._all_files()]
        return hashlib.sha256(b"\n".join([*described, "\n".join(sizes).encode()])).hexdigest()

    @property
    def lengths(self) -> np.ndarray:
        return self._episodes.lengths

    @property
    def num_cached_bytes(self) -> int:
        """Bytes of row groups kept in memory."""
        return self._columns.num_bytes

    @cached_property
    def statistics(self) -> dict[str, FeatureStatistics]:
        """From `meta/stats.json`; where that lacks quantiles, from all numbers. No picture is decoded."""
        path = self.path / layout.STATS
        stored = layout.read_json(path) if path.is_file() else {}
        keys = {"action": layout.ACTION} | ({"proprio": layout.STATE} if self.proprio_names else {})
        try:
            return {name: feature_statistics(stored[key]) for name, key in keys.items()}
        except KeyError:
            return super().statistics

    def numbers(self) -> Iterator[dict[str, np.ndarray]]:
        """Yield all numbers, one data file after the other."""
        names = {"action": (layout.ACTION, self.action_space.names)}
        names |= {"proprio": (layout.STATE, self.proprio_names)} if self.proprio_names else {}
        for file in self._data_files():
            table = read_table(file, [key for key, _ in names.values()])
            columns = {name: as_numpy(table.column(key).combine_chunks()) for name, (key, _) in names.items()}
            yield {name: _checked_numbers(file, column, *names[name]) for name, column in columns.items()}

    def task(self, episode: int) -> str:
        name = None if self._episodes.tasks is None else self._episodes.tasks[episode]
        return self.instruction(episode) if name is None else name

    def instruction(self, episode: int) -> str:
        text = self._episodes.instructions[episode]
        return self._instruction_of_steps(episode) if text is None else text

    def seed(self, episode: int) -> int | None:
        """Seed of the simulator of an episode; None for a recording."""
        seed = np.nan if self._episodes.seeds is None else self._episodes.seeds[episode]
        return None if np.isnan(seed) else int(seed)

    def read_episode(self, episode: int, cameras: tuple[str, ...] | None = None) -> Episode:
        return dataclasses.replace(super().read_episode(episode, cameras), seed=self.seed(episode))

    def file(self, episode: int) -> Path:
        chunk, file = int(self._episodes.chunks[episode]), int(self._episodes.files[episode])
        return self._path(self.description.info["data_path"], chunk, file)

    def read(self, episode: int, frames: np.ndarray, steps: np.ndarray, cameras: tuple[str, ...]) -> Steps:
        for asked in (frames, steps):
            if len(asked) and not (asked.min() >= 0 and asked.max() < self.lengths[episode]):
                raise DataError(f"{self.path}: episode {episode} has {self.lengths[episode]} steps, asked for {asked}")
        file = self.file(episode)
        self._check_episode(episode, file)
        keys = tuple(map(self._camera_key, cameras))
        images = {name: self._frames(episode, file, key, frames, keys) for name, key in zip(cameras, keys, strict=True)}
        has_proprio = bool(self.proprio_names)
        return Steps(
            images={name: pixels for name, pixels in images.items() if pixels is not None},
            proprio=self._numbers(episode, file, layout.STATE, frames, self.proprio_names) if has_proprio else None,
            actions=self._numbers(episode, file, layout.ACTION, steps, self.action_space.names),
        )

    def _read_episodes(self) -> Episodes:
        return read_episodes(self.path, self.description.info, self.description.video_keys)

    def _instructions(self) -> dict[int, str]:
        """Instruction of each task_index."""
        return read_instructions(self.path)

    def _data_files(self) -> list[Path]:
        """Every parquet file with steps, each once, in order."""
        places = np.unique(np.stack([self._episodes.chunks, self._episodes.files]), axis=1).T.tolist()
        return [self._path(self.description.info["data_path"], chunk, file) for chunk, file in places]

    def _video(self, episode: int, key: str) -> tuple[Path, float] | None:
        """The mp4 file of an episode and the time at which the episode begins in it; None if it lacks the camera."""
        places = self._episodes.videos[key]
        begin_s = float(places.begins_s[episode])
        if np.isnan(begin_s):
            return None
        chunk, file = int(places.chunks[episode]), int(places.files[episode])
        return self._path(self.description.info["video_path"], chunk, file, key), begin_s

    def _path(self, pattern: str, chunk: int, file: int, key: str = "") -> Path:
        """A file of the dataset; made once, since windows ask for the same ones and making a path takes its time."""
        place = (pattern, chunk, file, key)
        if place not in self._paths:
            name = pattern.format(video_key=key, chunk_index=chunk, file_index=file)
            self._paths[place] = self.path / name
        return self._paths[place]

    def _all_files(self) -> list[Path]:
        """Every file with steps or frames."""
        return [*self._data_files(), *sorted((self.path / "videos").rglob("*.mp4"))]

    def _number_columns(self) -> tuple[str, ...]:
        """What a window needs, read together."""
        times = ("timestamp",) if self.description.video_keys else ()
        state = (layout.STATE,) if self.proprio_names else ()
        return ("episode_index", "task_index", *times, layout.ACTION, *state)

    def _camera_key(self, name: str) -> str:
        keys = self.description.camera_keys
        if name not in keys:
            raise DataError(unknown_name("camera", name, keys))
        return keys[name]

    def _check_episode(self, episode: int, file: Path) -> None:
        """The first row must say that it belongs to the episode, and all have one instruction; looked at once."""
        if episode in self._trusted:
            return
        row = self._episodes.begins[episode]
        found = self._columns.numbers(file, "episode_index", np.array([row]))[0]
        if found != episode:
            raise DataError(f"{file}: row {row} belongs to episode {found}, but meta/episodes says episode {episode}")
        self._task_index(episode, file)
        self._trusted.add(episode)

    def _task_index(self, episode: int, file: Path) -> int:
        """What every step of the episode must agree on."""
        rows = self._episodes.begins[episode] + np.arange(self.lengths[episode])
        found = self._columns.numbers(file, "task_index", rows)
        others = np.flatnonzero(found != found[0])
        if len(others):
            raise DataError(
                f"{file}: episode {episode} has several instructions, task_index {found[0]} first and "
                f"{found[others[0]]} from step {others[0]} on, expected one; split the episode there"
            )
        return int(found[0])

    def _instruction_of_steps(self, episode: int) -> str:
        """Where the episode table lists several instructions, or none, the steps decide."""
        index, known = self._task_index(episode, self.file(episode)), self._instructions()
        if index not in known:
            listed = ", ".join(str(number) for number in sorted(known)[:12])
            raise DataError(f"{self.file(episode)}: episode {episode} has task_index {index}, known are {listed}")
        return known[index]

    def _numbers(self, episode: int, file: Path, key: str, steps: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
        stored = self._columns.numbers(file, key, self._episodes.begins[episode] + steps)
        values = stored.reshape(len(steps), len(names)).astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            check_finite(values, f"{file}: episode {episode}", key, names, steps)
        return values

    def _frames(
        self, episode: int, file: Path, key: str, steps: np.ndarray, keys: tuple[str, ...]
    ) -> np.ndarray | None:
        """Frames of one of the cameras `keys`, uint8 [k, h, w, 3], each decoded once; None if the episode lacks it."""
        read = self._from_video if key in self.description.video_keys else self._from_pictures
        return read(episode, file, key, steps, keys)

    def _from_pictures(
        self, episode: int, file: Path, key: str, steps: np.ndarray, keys: tuple[str, ...]
    ) -> np.ndarray | None:
        others = tuple(one for one in keys if one not in self.description.video_keys)
        stored = self._columns.blobs(file, key, self._episodes.begins[episode] + steps, others)
        if all(data is None for data in stored):
            return None
        decoded: dict[int, np.ndarray] = {}
        for step, data in zip(steps.tolist(), stored, strict=True):
            if step not in decoded:
                try:
                    decoded[step] = self._checked(decode_png(data or b""), key)
                except DataError as error:
                    raise DataError(f"{file}: episode {episode}, step {step}, {key}: {error}") from error
        return decoded[step][None] if len(steps) == 1 else np.stack([decoded[step] for step in steps.tolist()])

    def _from_video(
        self, episode: int, file: Path, key: str, steps: np.ndarray, keys: tuple[str, ...]
    ) -> np.ndarray | None:
        place = self._video(episode, key)
        if place is None:
            return None
        video, begin_s = place
        times = self._columns.numbers(file, "timestamp", self._episodes.begins[episode] + steps).astype(np.float64)
        try:
            return self._checked(self._videos.read(video, begin_s + times), key)
        except DataError as error:
            raise DataError(f"{video}: episode {episode}, steps {steps.tolist()}, {key}: {error}") from error

    @cached_property
    def _frame_shapes(self) -> dict[str, tuple[int, int, int]]:
        keys = self.description.camera_keys
        return {keys[camera.name]: (camera.height, camera.width, 3) for camera in self.cameras}

    def _checked(self, frames: np.ndarray, key: str) -> np.ndarray:
        if frames.shape[-3:] != self._frame_shapes[key]:
            raise DataError(f"frame of shape {list(frames.shape[-3:])}, expected {list(self._frame_shapes[key])}")
        return frames


def _checked_numbers(file: Path, stored: np.ndarray, key: str, names: tuple[str, ...]) -> np.ndarray:
    """A column as float32 [k, p]; the episode of a number that is not finite is looked up only then."""
    values = stored.reshape(len(stored), len(names)).astype(np.float32, copy=False)
    bad = np.flatnonzero(~np.isfinite(values).all(1))
    if len(bad):
        table = read_table(file, ("episode_index", "frame_index")).slice(int(bad[0]), 1).to_pylist()[0]
        where = f"{file}: episode {table['episode_index']}"
        check_finite(values[bad[:1]], where, key, names, np.array([table["frame_index"]]))
    return values
