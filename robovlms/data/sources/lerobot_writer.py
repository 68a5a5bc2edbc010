"""Write episodes in the LeRobot v3.0 layout; `lerobot_layout` draws the folder.

Everything goes into a temporary folder beside the target, is synced to disk and renamed when the last file is written:
a folder of that name is either complete or not there. The same episodes give the same bytes. With `settings` an
interrupted dataset is gone on with: `checkpoint` keeps what was written so far, and the next writer of the same folder
begins behind the last checkpoint.
"""

import json
import shutil
from pathlib import Path
from typing import Any, Literal, get_args

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
from robovlms.data.sources.lerobot_workplace import Workplace
from robovlms.data.sources.video import VideoWriter
from robovlms.data.statistics import PixelHistogram, summarize
from robovlms.errors import DataError, unknown_name

Storage = Literal["png", "raw", "video"]
_COMPRESSION = {"png": 1, "raw": 0}  # of PNG: 0 = the pixels as they are, between the marks of a file
_PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_MIB = 2**20
_PICTURES_PER_READ = _MIB  # size of a row group with pictures: a window of a few steps should not read hundreds


class LeRobotWriter:
    """Writes one dataset, episode by episode; `finish` makes it appear. As a context manager it finishes or discards.

    Args:
        path: folder to create; must not exist, or be empty.
        action_space: meaning of the action numbers.
        cameras: every camera; an episode may lack some.
        proprio_names: name of each proprioceptive number; empty if there is none.
        fps: steps per second.
        robot_type: name of the robot.
        storage: "png" keeps every pixel; "raw" does so without packing them, fastest to read and largest; "video" is
            lossy, a fifteenth of the size of png, and decoded twice as fast.
        provenance: how the data is made; anything that JSON can hold.
        data_file_mb: a parquet file is followed by the next one before it grows larger, MiB.
        video_file_mb: likewise for mp4 files.
        settings: what the dataset is made of, if an interrupted one is to be gone on with; None removes it.

    Attributes:
        rows: of the episode table; there are as many as episodes that were written, before an interruption or since.
        progress: what the last checkpoint was given; empty in a new dataset.

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
        storage: Storage = "png",
        provenance: dict[str, Any],
        data_file_mb: int | float = 100,
        video_file_mb: int | float = 200,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        self.action_space, self.proprio_names, self.robot_type = action_space, tuple(proprio_names), robot_type
        self.cameras = tuple(sorted(cameras, key=lambda camera: camera.name))
        self.fps = int(fps) if float(fps).is_integer() else float(fps)
        self.storage, self.provenance = storage, provenance
        self.data_file_mb, self.video_file_mb = data_file_mb, video_file_mb
        self._check_arguments()
        self._place = Workplace(self.path, settings)
        self.rows: list[dict[str, Any]] = []
        self.instructions: dict[str, int] = {}
        self.numbers: dict[str, list[np.ndarray]] = {layout.ACTION: []} | ({layout.STATE: []} if proprio_names else {})
        self.histograms = {layout.IMAGES + camera.name: PixelHistogram() for camera in self.cameras}
        self.num_frames = 0
        self.progress: dict[str, Any] = {}
        self._data = _DataFiles(self._place.folder, self.schema, int(data_file_mb * _MIB))
        self._videos = {
            layout.IMAGES + camera.name: _VideoFiles(self._place.folder, camera, float(fps), int(video_file_mb * _MIB))
            for camera in self.cameras
            if storage == "video"
        }
        self._kept = 0
        if settings is not None:
            self._go_on()

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
        pictures = [(layout.IMAGES + camera.name, _PICTURE) for camera in self.cameras if self.storage != "video"]
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
        try:
            self._close_files()
            write_meta(self._place.folder, self)
            self._place.publish()
        except BaseException:
            self.discard()
            raise
        return self.path

    def discard(self) -> None:
        """Remove all that was written; with `settings`, keep what the checkpoints hold."""
        self._close_files()
        if self._place.is_resumable:
            self._place.release()
        else:
            self._place.remove()

    def checkpoint(self, progress: dict[str, Any]) -> None:
        """Close all files and keep what was written so far; `progress` is handed to whoever goes on."""
        self._close_files()
        rows = self.rows[self._kept :]
        arrays = {key: np.concatenate(kept[self._kept :]) for key, kept in self.numbers.items()} if rows else {}
        arrays |= {f"histogram {key}": histogram.counts for key, histogram in self.histograms.items()}
        files = {"data": self._data.number} | {key: video.number for key, video in self._videos.items()}
        self._place.save(arrays, {"rows": rows, "files": files, "progress": progress})
        self._kept = len(self.rows)

    def _go_on(self) -> None:
        """Take up what the checkpoints hold, and remove what was written after the last one."""
        files: dict[str, int] = {}
        for arrays, content in self._place.load():
            files, self.progress = content["files"], content["progress"]
            for row in content["rows"]:
                self.instructions.setdefault(row["tasks"][0], len(self.instructions))
                self.num_frames = row["dataset_to_index"]
            self.rows += content["rows"]
            ends = np.cumsum([row["length"] for row in content["rows"]])[:-1]
            for key, kept in self.numbers.items():
                kept += np.split(arrays[key], ends) if content["rows"] else []
            for key, histogram in self.histograms.items():
                histogram.counts[:] = arrays[f"histogram {key}"]
        self._kept = len(self.rows)
        shutil.rmtree(self._place.folder / "meta", ignore_errors=True)
        self._data.go_on_after(files.get("data", -1))
        for key, video in self._videos.items():
            video.go_on_after(key, files.get(key, -1))

    def _close_files(self) -> None:
        self._data.close()
        for video in self._videos.values():
            video.close()

    def _check_arguments(self) -> None:
        names = [camera.name for camera in self.cameras]
        odd = [camera for camera in self.cameras if camera.height % 2 or camera.width % 2]
        if self.storage not in get_args(Storage):
            raise DataError("storage: " + unknown_name("storage", self.storage, get_args(Storage)))
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
        arrays = [
            _to_arrow(columns[field.name], field.type, _COMPRESSION.get(self.storage, 1)) for field in self.schema
        ]
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
    """Parquet files one after the other, one row group per episode, or more where that has many pictures."""

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
            numbers = [name for name in self.schema.names if not name.startswith(layout.IMAGES)]
            leaves = [name if name in numbers else f"{name}.bytes" for name in self.schema.names]
            packed = {name: "SNAPPY" if name in numbers else "NONE" for name in leaves}  # a picture is packed already
            self.writer = pq.ParquetWriter(
                path, self.schema, use_dictionary=False, write_statistics=numbers, compression=packed
            )
        self.writer.write_table(table, row_group_size=self._row_group_size(table))
        self.num_bytes += table.nbytes
        return self.number

    def go_on_after(self, number: int) -> None:
        """The next file is the one after `number`; those that exist from there on are removed."""
        self.number = number
        _remove_from(self.folder, layout.DATA, number + 1)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None

    def _row_group_size(self, table: pa.Table) -> int:
        has_pictures = any(name.startswith(layout.IMAGES) for name in self.schema.names)
        num_groups = -(-table.nbytes // _PICTURES_PER_READ) if has_pictures else 1
        return max(1, -(-len(table) // max(1, num_groups)))


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

    def go_on_after(self, key: str, number: int) -> None:
        """The next file is the one after `number`; those that exist from there on are removed."""
        self.number = number
        _remove_from(self.folder, layout.VIDEO.replace("{video_key}", key), number + 1)

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


def _to_arrow(values: Any, kind: pa.DataType, compress_level: int) -> pa.Array:
    if kind == _PICTURE:
        frames = (
            frame if frame is None else {"bytes": encode_png(frame, compress_level), "path": None} for frame in values
        )
        return pa.array(frames, type=kind)
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), type=kind.value_type), kind.list_size)
    return pa.array(values.ravel(), type=kind)


def _remove_from(folder: Path, pattern: str, number: int) -> None:
    while (file := folder / pattern.format(**layout.chunk_and_file(number))).exists():
        file.unlink()
        number += 1
