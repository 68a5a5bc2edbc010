"""Write episodes in the LeRobot v3.0 layout; `lerobot_layout` draws the folder.

Everything goes into a temporary folder beside the target, is synced to disk and renamed when the last file is written:
a folder of that name is either complete or not there. The same episodes give the same bytes.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from robovlms.actions.contract import CameraSpec
from robovlms.actions.space import ActionSpace
from robovlms.data.images import encode_png
from robovlms.data.sources import lerobot_layout as layout
from robovlms.data.sources.base import Episode
from robovlms.data.sources.episode_check import check_episode
from robovlms.data.sources.lerobot_meta import write_meta
from robovlms.data.sources.video import VideoWriter
from robovlms.data.statistics import PixelHistogram, summarize
from robovlms.errors import DataError

_PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_MIB = 2**20


class LeRobotWriter:
    """Writes one dataset, episode by episode; `finish` makes it appear. As a context manager it finishes or discards.

    Args:
        path: folder to create; must not exist, or be empty.
        action_space: meaning of the action numbers.
        cameras: every camera; an episode may lack some.
        proprio_names: name of each proprioceptive number; empty if there is none.
        fps: steps per second.
        robot_type: name of the robot.
        storage: "png" keeps every pixel; "video" is lossy, smaller for large frames, and slower to read at random.
        provenance: how the data is made; anything that JSON can hold.
        data_file_mb: a parquet file is followed by the next one before it grows larger, MiB.
        video_file_mb: likewise for mp4 files.

    Raises:
        DataError: if the folder exists, or an argument cannot be recorded.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        action_space: ActionSpace,
        cameras: tuple[CameraSpec, ...],
        proprio_names: tuple[str, ...],
        fps: int | float,
        robot_type: str,
        storage: Literal["png", "video"] = "png",
        provenance: dict[str, Any],
        data_file_mb: int | float = 100,
        video_file_mb: int | float = 200,
    ) -> None:
        self.path = Path(path)
        self.action_space, self.proprio_names, self.robot_type = action_space, tuple(proprio_names), robot_type
        self.cameras = tuple(sorted(cameras, key=lambda camera: camera.name))
        self.fps = int(fps) if float(fps).is_integer() else float(fps)
        self.storage, self.provenance = storage, provenance
        self.data_file_mb, self.video_file_mb = data_file_mb, video_file_mb
        self._check_arguments()
        self._folder = _temporary_beside(self.path)
        self.rows: list[dict[str, Any]] = []
        self.instructions: dict[str, int] = {}
        self.numbers: dict[str, list[np.ndarray]] = {layout.ACTION: []} | ({layout.STATE: []} if proprio_names else {})
        self.histograms = {layout.IMAGES + camera.name: PixelHistogram() for camera in self.cameras}
        self.num_frames = 0
        self._data = _DataFiles(self._folder, self.schema, int(data_file_mb * _MIB))
        self._videos = {
            layout.IMAGES + camera.name: _VideoFiles(self._folder, camera, float(fps), int(video_file_mb * _MIB))
            for camera in self.cameras
            if storage == "video"
        }

    def __enter__(self) -> "LeRobotWriter":
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        if error_type is None:
            self.finish()
        else:
            self.discard()

    @property
    def schema(self) -> pa.Schema:
        """Columns of the data files."""
        pictures = [(layout.IMAGES + camera.name, _PICTURE) for camera in self.cameras if self.storage == "png"]
        state = [(layout.STATE, _vector(len(self.proprio_names)))] if self.proprio_names else []
        indices = [(name, getattr(pa, dtype)()) for name, dtype in layout.INDEX_FEATURES.items()]
        return pa.schema([*state, (layout.ACTION, _vector(self.action_space.size)), *pictures, *indices])

    def add_episode(self, episode: Episode) -> None:
        """Append one episode.

        Raises:
            DataError: names episode, step and key of what does not fit; nothing of the episode is written then.
        """
        index = len(self.rows)
        check_episode(episode, f"episode {index}", self.action_space, self.cameras, self.proprio_names)
        task_index = self.instructions.setdefault(episode.instruction, len(self.instructions))
        data_file = self._data.add(self._table(episode, index, task_index))
        row = {
            "episode_index": index,
            "tasks": [episode.instruction],
            "length": len(episode),
            **{f"data/{name}": number for name, number in layout.chunk_and_file(data_file).items()},
            "dataset_from_index": self.num_frames,
            "dataset_to_index": self.num_frames + len(episode),
            "task_name": episode.task,
            "seed": episode.seed,
        }
        for key, video in self._videos.items():
            row |= video.add(key, episode.steps.images.get(layout.camera_name(key)))
        self.rows.append(row | self._gather_statistics(episode))
        self.num_frames += len(episode)

    def finish(self) -> Path:
        """Write the metadata and give the folder its name; return it.

        Raises:
            DataError: if there is no episode.
        """
        if not self.rows:
            self.discard()
            raise DataError(f"{self.path}: no episode was added, so there is no dataset to write")
        self._data.close()
        for video in self._videos.values():
            video.close()
        write_meta(self._folder, self)
        _sync(self._folder)
        os.replace(self._folder, self.path)
        _sync_folder(self.path.parent)
        return self.path

    def discard(self) -> None:
        """Remove all that was written."""
        self._data.close()
        for video in self._videos.values():
            video.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _check_arguments(self) -> None:
        names = [camera.name for camera in self.cameras]
        odd = [camera for camera in self.cameras if camera.height % 2 or camera.width % 2]
        if self.storage not in ("png", "video"):
            raise DataError(f"storage must be png or video, got {self.storage!r}")
        if len(set(names)) != len(names) or any(not name or set("/.") & set(name) for name in names):
            raise DataError(f"camera names must be unique and free of '/' and '.', got {names}")
        if self.storage == "video" and odd:
            raise DataError(f"video needs frames of even height and width, got {odd[0]}; use storage='png'")
        if not 0 < self.fps < float("inf"):
            raise DataError(f"fps must be positive, got {self.fps}")
        try:
            json.dumps(self.provenance)
        except (TypeError, ValueError) as error:
            raise DataError(f"provenance cannot be written as JSON: {error}") from error

    def _table(self, episode: Episode, index: int, task_index: int) -> pa.Table:
        length = len(episode)
        frame_index = np.arange(length)
        columns = {
            layout.ACTION: episode.steps.actions,
            layout.STATE: episode.steps.proprio,
            "timestamp": (frame_index / self.fps).astype(np.float32),
            "frame_index": frame_index,
            "episode_index": np.full(length, index),
            "index": self.num_frames + frame_index,
            "task_index": np.full(length, task_index),
        }
        for camera in self.cameras:
            frames = episode.steps.images.get(camera.name)
            columns[layout.IMAGES + camera.name] = [None] * length if frames is None else frames
        arrays = [_to_arrow(columns[field.name], field.type) for field in self.schema]
        return pa.Table.from_arrays(arrays, schema=self.schema)

    def _gather_statistics(self, episode: Episode) -> dict[str, Any]:
        """Add the episode to the statistics of the dataset; return its own, as columns of the episode's row."""
        numbers = {layout.ACTION: episode.steps.actions, layout.STATE: episode.steps.proprio}
        summaries = {key: summarize(numbers[key]) for key in self.numbers}
        for key, kept in self.numbers.items():
            kept.append(np.array(numbers[key]))
        for key, total in self.histograms.items():
            frames = episode.steps.images.get(layout.camera_name(key))
            if frames is not None:
                histogram = PixelHistogram().add(frames)
                total.merge(histogram)
                summaries[key] = histogram.summarize(len(frames))
        return {f"stats/{key}/{name}": value for key, stats in summaries.items() for name, value in stats.items()}


class _DataFiles:
    """Parquet files one after the other, one row group per episode."""

    def __init__(self, folder: Path, schema: pa.Schema, limit_bytes: int) -> None:
        self.folder, self.schema, self.limit_bytes = folder, schema, limit_bytes
        self.number, self.num_bytes = -1, 0
        self.writer: pq.ParquetWriter | None = None

    def add(self, table: pa.Table) -> int:
        """Write one episode; return the number of the file it went into."""
        if self.writer is None or self.num_bytes + table.nbytes > self.limit_bytes:
            self.close()
            self.number, self.num_bytes = self.number + 1, 0
            path = self.folder / layout.DATA.format(**layout.chunk_and_file(self.number))
            path.parent.mkdir(parents=True, exist_ok=True)
            with_extremes = [name for name in self.schema.names if not name.startswith(layout.IMAGES)]
            self.writer = pq.ParquetWriter(path, self.schema, use_dictionary=False, write_statistics=with_extremes)
        self.writer.write_table(table, row_group_size=max(1, len(table)))
        self.num_bytes += table.nbytes
        return self.number

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None


class _VideoFiles:
    """The mp4 files of one camera, one after the other."""

    def __init__(self, folder: Path, camera: CameraSpec, fps: float, limit_bytes: int) -> None:
        self.folder, self.camera, self.fps, self.limit_bytes = folder, camera, fps, limit_bytes
        self.number = -1
        self.writer: VideoWriter | None = None

    def add(self, key: str, frames: np.ndarray | None) -> dict[str, Any]:
        """Write one episode; return where it lies, as columns of the episode's row."""
        names = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
        if frames is None:
            return {f"videos/{key}/{name}": None for name in names}
        if self.writer is None or self._expected_bytes(len(frames)) > self.limit_bytes:
            self._next_file(key)
        begin, end = self.writer.add(frames)
        place = (*layout.chunk_and_file(self.number).values(), begin, end)
        return {f"videos/{key}/{name}": value for name, value in zip(names, place, strict=True)}

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None

    def _expected_bytes(self, num_more: int) -> float:
        """Size of the file with `num_more` frames of the average size."""
        return self.writer.num_bytes * (1 + num_more / self.writer.num_frames)

    def _next_file(self, key: str) -> None:
        self.close()
        self.number += 1
        path = self.folder / layout.VIDEO.format(video_key=key, **layout.chunk_and_file(self.number))
        path.parent.mkdir(parents=True, exist_ok=True)
        self.writer = VideoWriter(path, height=self.camera.height, width=self.camera.width, fps=self.fps)


def _vector(size: int) -> pa.DataType:
    """LeRobot stores vectors of one number as scalars."""
    return pa.float32() if size == 1 else pa.list_(pa.float32(), size)


def _to_arrow(values: Any, kind: pa.DataType) -> pa.Array:
    if kind == _PICTURE:
        frames = (frame if frame is None else {"bytes": encode_png(frame), "path": None} for frame in values)
        return pa.array(frames, type=kind)
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), type=kind.value_type), kind.list_size)
    return pa.array(values.ravel(), type=kind)


def _temporary_beside(path: Path) -> Path:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise DataError(f"{path} already exists; choose another folder, or remove it first")
    path.absolute().parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.absolute().parent))
    folder.chmod(0o755)
    return folder


def _sync(folder: Path) -> None:
    """Have the disk hold every file below `folder` before it gets its name."""
    for file in sorted(folder.rglob("*")):
        _sync_folder(file)
    _sync_folder(folder)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
