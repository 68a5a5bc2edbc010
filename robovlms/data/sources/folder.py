"""A plain folder: frames as pictures or videos, numbers in a table, and one YAML that says what they mean.

::

    dataset.yaml                    see `FolderDescription`
    episodes/
      0000/                         one episode; any name, in natural order
        steps.csv                   or .json, .jsonl, .parquet: one row per step, columns by name
        front/000000.png, …         one picture per row: "front: front"
        wrist.mp4                   a video: "wrist: wrist.mp4"
        episode.yaml                or .json, may be left out: instruction, task

A column `timestamp` (s, rising) may be there. A video may have another rate than the table: of each row it shows the
frame nearest in time, counted from the first row, which the video's first frame belongs to; without timestamps row i is
at i / control_hz. Pictures are one per row, whatever the rate.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from robovlms.actions.contract import CameraSpec
from robovlms.data.sources.base import EpisodeSource, Steps
from robovlms.data.sources.episode_check import check_finite
from robovlms.data.sources.file_index import look_into
from robovlms.data.sources.folder_description import DESCRIPTION, EpisodeNote, read_description, read_note
from robovlms.data.sources.folder_frames import frame_files, is_video, read_picture
from robovlms.data.sources.folder_table import READERS, Table, read_table
from robovlms.data.sources.natural_order import natural
from robovlms.data.sources.video import VideoReader
from robovlms.errors import DataError, unknown_name

TIMESTAMP = "timestamp"
_NOTES = ("episode.yaml", "episode.json")
_KEPT = 128  # episodes whose numbers and names of frames are kept in memory
_RATE_TOLERANCE = 0.25  # by which the middle distance of timestamps may differ from 1 / control_hz


@dataclass(frozen=True, kw_only=True)
class _Numbers:
    """What is kept of an episode: float32 [n, a] and [n, p], times float64 [n], and files of pictures."""

    actions: np.ndarray
    proprio: np.ndarray
    times_s: np.ndarray
    pictures: dict[str, list[Path]]


class FolderSource(EpisodeSource):
    """Frames, a table and a YAML. Nothing has to be converted.

    The first opening looks into every table and counts the pictures; what it finds is kept in the user's cache folder.

    Args:
        path: folder with `dataset.yaml`.

    Raises:
        DataError: if it is no such folder, the YAML does not fit the tables, or pictures and rows are not equally many.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not (self.path / DESCRIPTION).is_file():
            raise DataError(f"no dataset in {self.path}: it has no {DESCRIPTION}")
        self.description = read_description(self.path / DESCRIPTION)
        self.action_space, self.proprio_names = self.description.action_space, self.description.proprio
        folder = self.path / "episodes"
        folders = [one for one in folder.iterdir() if one.is_dir()] if folder.is_dir() else []
        self._folders = sorted(folders, key=lambda one: natural(one.name))
        if not self._folders:
            raise DataError(f"{folder}: expected a folder per episode")
        described = hashlib.sha256((self.path / DESCRIPTION).read_bytes()).hexdigest()
        self._facts = look_into(self.path, self._folders, f"folder {described}", self._look, self._depends_on)
        self._lengths = np.array([facts["length"] for facts in self._facts], np.int64)
        self._videos = VideoReader()
        self.cameras = tuple(self._camera(name) for name in sorted(self.description.cameras))
        self.provenance = {"dataset": "folder", "robot": self.description.robot}
        self._kept: OrderedDict[int, _Numbers] = OrderedDict()

    @classmethod
    def is_at(cls, path: Path) -> bool:
        return (path / DESCRIPTION).is_file()

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def lengths(self) -> np.ndarray:
        return self._lengths

    @cached_property
    def fingerprint(self) -> str:
        tables = [_table_file(folder) for folder in self._folders]
        sizes = [[str(file.relative_to(self.path)), file.stat().st_size] for file in tables]
        described = json.dumps([sizes, self._facts], sort_keys=True).encode()
        return hashlib.sha256((self.path / DESCRIPTION).read_bytes() + described).hexdigest()

    def task(self, episode: int) -> str:
        return self._facts[episode]["task"]

    def instruction(self, episode: int) -> str:
        return self._facts[episode]["instruction"]

    def file(self, episode: int) -> Path:
        return self._folders[episode]

    def read(self, episode: int, frames: np.ndarray, steps: np.ndarray, cameras: tuple[str, ...]) -> Steps:
        folder, length = self._folders[episode], self._lengths[episode]
        for asked in (frames, steps):
            if len(asked) and not (asked.min() >= 0 and asked.max() < length):
                raise DataError(f"{folder}: has {length} steps, asked for {asked}")
        for name in cameras:
            if name not in self.description.cameras:
                raise DataError(unknown_name("camera", name, self.description.cameras))
        numbers = self._numbers(episode)
        check_finite(numbers.actions[steps], str(folder), "action", self.action_space.names, steps)
        check_finite(numbers.proprio[frames], str(folder), "proprio", self.proprio_names, frames)
        return Steps(
            images={
                name: self._frames(episode, name, frames)
                for name in cameras
                if self._facts[episode]["frames"][name] is not None
            },
            proprio=numbers.proprio[frames] if self.proprio_names else None,
            actions=numbers.actions[steps],
        )

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the numbers kept in memory."""
        return {**self.__dict__, "_kept": OrderedDict()}

    # ------------------------------------------------------------------------------------------------------- reading

    def _numbers(self, episode: int) -> _Numbers:
        if episode not in self._kept:
            self._kept[episode] = self._read_numbers(episode)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(episode)
        return self._kept[episode]

    def _read_numbers(self, episode: int) -> _Numbers:
        folder, length = self._folders[episode], int(self._lengths[episode])
        table = read_table(_table_file(folder))
        if len(table) != length:
            raise DataError(f"{table.path}: {len(table)} rows, but {length} when the dataset was opened")
        patterns = {name: one for name, one in self.description.cameras.items() if not is_video(one)}
        pictures = {name: frame_files(folder, pattern) for name, pattern in patterns.items()}
        return _Numbers(
            actions=table.numbers(self.action_space.names).astype(np.float32),
            proprio=table.numbers(self.proprio_names).astype(np.float32),
            times_s=_times(table, self.action_space.control_hz),
            pictures=pictures,
        )

    def _frames(self, episode: int, camera: str, steps: np.ndarray) -> np.ndarray:
        """Frames of one camera, uint8 [k, h, w, 3], each decoded once."""
        unique, inverse = np.unique(steps, return_inverse=True)
        spec = next(one for one in self.cameras if one.name == camera)
        pattern = self.description.cameras[camera]
        if is_video(pattern):
            frames = self._from_video(self._folders[episode] / pattern, self._numbers(episode).times_s[unique])
            if frames.shape[1:3] != (spec.height, spec.width):
                size = (spec.height, spec.width)
                raise DataError(f"{self._folders[episode] / pattern}: expected {size} pixels, got {frames.shape[1:3]}")
            return frames[inverse]
        files = self._numbers(episode).pictures[camera]
        if len(files) != self._lengths[episode]:
            raise DataError(
                f"{self._folders[episode]}: camera {camera!r} has {len(files)} pictures for {self._lengths[episode]} "
                "rows; some are gone since the dataset was opened"
            )
        return np.stack([read_picture(files[step], (spec.height, spec.width)) for step in unique])[inverse]

    def _from_video(self, file: Path, times_s: np.ndarray) -> np.ndarray:
        try:
            return self._videos.read(file, times_s)
        except DataError as error:
            raise DataError(f"{file}: {error}") from error

    # --------------------------------------------------------------------------------------------------- description

    def _depends_on(self, folder: Path) -> Sequence[Path]:
        """What an episode's facts are learned from; a folder changes when a file is put in or taken out."""
        parts = {folder / _parent(pattern) for pattern in self.description.cameras.values()}
        tables = [folder / f"steps{suffix}" for suffix in READERS]
        return [folder, *tables, *(folder / name for name in _NOTES), *sorted(parts)]

    def _look(self, folder: Path) -> dict[str, Any]:
        """Length, instruction, task, and how many frames each camera has; None = the episode lacks it."""
        table = read_table(_table_file(folder))
        table.numbers((*self.action_space.names, *self.proprio_names))
        _times(table, self.action_space.control_hz)
        note = _note(folder)
        instruction = note.instruction or self._said(table) or self.description.instruction
        if not instruction:
            raise DataError(
                f"{folder}: no instruction; write one into {folder.name}/episode.yaml, or give instruction or "
                f"instruction_column in {DESCRIPTION}"
            )
        frames = {name: _count(folder, name, pattern, table) for name, pattern in self.description.cameras.items()}
        return {"length": len(table), "instruction": instruction, "task": note.task or instruction, "frames": frames}

    def _said(self, table: Table) -> str | None:
        """The instruction in the table's column."""
        name = self.description.instruction_column
        if name is None:
            return None
        said = sorted({str(entry).strip() for entry in table.column(name)})
        if len(said) != 1:
            raise DataError(f"{table.path}: column {name!r}: an episode has one instruction, found {said[:3]}")
        return said[0]

    def _camera(self, name: str) -> CameraSpec:
        """Size of the first frame of the first episode that has the camera."""
        pattern = self.description.cameras[name]
        having = [
            one for one, facts in zip(self._folders, self._facts, strict=True) if facts["frames"][name] is not None
        ]
        if not having:
            found = sorted(one.name for one in self._folders[0].iterdir())
            raise DataError(
                f"{self.path}: no episode has frames of camera {name!r}: " + unknown_name("file", pattern, found)
            )
        if is_video(pattern):
            first = self._from_video(having[0] / pattern, np.zeros(1))[0]
        else:
            first = read_picture(frame_files(having[0], pattern)[0], None)
        return CameraSpec(
            name=name, height=first.shape[0], width=first.shape[1], source=f"{self.description.robot}/{name}"
        )


def _table_file(folder: Path) -> Path:
    """The episode's only table."""
    found = [folder / f"steps{suffix}" for suffix in READERS if (folder / f"steps{suffix}").is_file()]
    if len(found) != 1:
        seen = " and ".join(file.name for file in found) or "none"
        raise DataError(f"{folder}: expected one table, steps{' or steps'.join(READERS)}; found {seen}")
    return found[0]


def _note(folder: Path) -> EpisodeNote:
    found = [folder / name for name in _NOTES if (folder / name).is_file()]
    if len(found) > 1:
        raise DataError(f"{folder}: has {' and '.join(_NOTES)}; keep one of them")
    return read_note(found[0]) if found else EpisodeNote()


def _parent(pattern: str) -> Path:
    """The folder whose change may change what a pattern finds; of a video, itself."""
    return Path(pattern).parent if "*" in pattern else Path(pattern)


def _count(folder: Path, camera: str, pattern: str, table: Table) -> int | None:
    """Number of pictures, which must be that of the rows; of a video, 0, because its frames are found by time."""
    if is_video(pattern):
        return 0 if (folder / pattern).is_file() else None
    count = len(frame_files(folder, pattern))
    if count not in (0, len(table)):
        raise DataError(
            f"{folder}: camera {camera!r} has {count} pictures in {pattern!r}, but {table.path.name} has {len(table)} "
            "rows"
        )
    return count or None


def _times(table: Table, control_hz: float) -> np.ndarray:
    """Time of each row in s, from 0."""
    if TIMESTAMP not in table.columns:
        return np.arange(len(table)) / control_hz
    times = table.numbers([TIMESTAMP])[:, 0]
    check_finite(times[:, None], str(table.path), TIMESTAMP, (TIMESTAMP,), np.arange(len(times)))
    distances = np.diff(times)
    if (distances <= 0).any():
        row = int(np.flatnonzero(distances <= 0)[0]) + 1
        raise DataError(f"{table.path}, step {row}: timestamp {times[row]:g} does not come after {times[row - 1]:g}")
    middle = float(np.median(distances)) if len(distances) else 1 / control_hz
    if abs(middle * control_hz - 1) > _RATE_TOLERANCE:
        raise DataError(
            f"{table.path}: timestamps are {middle:g} s apart, but control_hz = {control_hz:g} means "
            f"{1 / control_hz:g} s"
        )
    return times - times[0]
