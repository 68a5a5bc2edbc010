"""Checks of a plain folder's episodes, each by itself: opening the dataset ends at the first bad one."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np

from robovlms.data.checks.fault import Fault
from robovlms.data.checks.lerobot_videos import video_facts
from robovlms.data.sources.folder import TIMESTAMP
from robovlms.data.sources.folder_description import DESCRIPTION, FolderDescription, read_description
from robovlms.data.sources.folder_frames import frame_files, is_video
from robovlms.data.sources.folder_table import READERS, Table, read_table
from robovlms.errors import DataError

_FPS_TOLERANCE = 0.02  # share of 1 / control_hz by which the middle distance of timestamps may differ


def check_folder(path: Path, options: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what is wrong with each episode's table, pictures and videos."""
    del options
    file = path / DESCRIPTION
    try:
        description = read_description(file)
    except DataError as error:
        yield Fault(check="description", file=file, message=str(error))
        return
    episodes = path / "episodes"
    folders = sorted(one for one in episodes.iterdir() if one.is_dir()) if episodes.is_dir() else []
    for folder in folders:
        yield from _episode(description, folder)
    yield from _lacking(description, folders)


def _episode(description: FolderDescription, folder: Path) -> Iterator[Fault]:
    tables = [folder / f"steps{suffix}" for suffix in READERS if (folder / f"steps{suffix}").is_file()]
    if len(tables) != 1:
        text = f"{folder}: expected one table, steps{' or steps'.join(READERS)}; found {len(tables)}"
        yield Fault(check="missing_file", file=folder, expected="1 table", seen=str(len(tables)), message=text)
        return
    check = "damaged_file"
    try:
        table = read_table(tables[0])
        check = "columns"
        table.numbers((*description.action_space.names, *description.proprio))
        check = "timestamps"
        yield from _times(table, description.action_space.control_hz)
        check = "missing_file"
        for camera, pattern in description.cameras.items():
            yield from (
                _video(folder / pattern, camera) if is_video(pattern) else _pictures(folder, camera, pattern, table)
            )
    except DataError as error:
        file = folder if check == "missing_file" else tables[0]
        yield Fault(check=check, file=file, message=str(error))


def _times(table: Table, control_hz: float) -> Iterator[Fault]:
    if TIMESTAMP not in table.columns:
        return
    times = table.numbers([TIMESTAMP])[:, 0]
    distances = np.diff(times)
    falls = np.flatnonzero(~(distances > 0))
    if len(falls):
        step = int(falls[0]) + 1
        raise DataError(f"{table.path}, step {step}: timestamp {times[step]:g} does not come after {times[step - 1]:g}")
    middle = float(np.median(distances)) if len(distances) else 1 / control_hz
    if abs(middle * control_hz - 1) > _FPS_TOLERANCE:
        yield Fault(
            check="fps",
            file=table.path,
            key=TIMESTAMP,
            expected=f"{1 / control_hz:g} s",
            seen=f"{middle:g} s",
            message=f"{table.path}: timestamps are {middle:g} s apart, but control_hz is {control_hz:g}",
        )


def _pictures(folder: Path, camera: str, pattern: str, table: Table) -> Iterator[Fault]:
    count = len(frame_files(folder, pattern))
    if count not in (0, len(table)):
        yield Fault(
            check="lengths",
            file=folder,
            key=camera,
            expected=f"{len(table)} pictures",
            seen=f"{count} pictures",
            message=f"{folder}: camera {camera!r} has {count} pictures, but {table.path.name} has {len(table)} rows",
        )


def _video(file: Path, camera: str) -> Iterator[Fault]:
    if not file.is_file():
        return
    try:
        video_facts(file)
    except (av.FFmpegError, OSError, IndexError, ValueError) as error:
        text = " ".join(f"{file}: not readable as video: {error}".split())
        yield Fault(check="damaged_file", file=file, key=camera, message=text)


def _lacking(description: FolderDescription, folders: list[Path]) -> Iterator[Fault]:
    """Cameras that only some episodes have."""
    for camera, pattern in description.cameras.items():
        has = [(one / pattern).is_file() if is_video(pattern) else _has_pictures(one, pattern) for one in folders]
        for folder, is_there in zip(folders, has, strict=True):
            if not is_there and any(has):
                yield Fault(
                    check="missing_file",
                    severity="warning",
                    file=folder,
                    key=camera,
                    message=f"{folder}: has no frames of camera {camera!r}, which other episodes have",
                )


def _has_pictures(folder: Path, pattern: str) -> bool:
    try:
        return bool(frame_files(folder, pattern))
    except DataError:
        return True  # but not all of them, which has been reported
