"""Pictures to files: whole or not at all, and never over another."""

import os
import re
import tempfile
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from robovlms.errors import ConfigError, DataError

_NAME = re.compile(r"[\w][\w .()+-]{0,99}\.png", re.ASCII)
_MAX_NUMBER = 9999


def checked_frame(frame: object) -> UInt8[np.ndarray, "h w 3"]:
    """Return the frame.

    Raises:
        DataError: if it is not uint8 [h, w, 3] with at least one pixel.
    """
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        seen = f"{frame.dtype} {list(frame.shape)}" if isinstance(frame, np.ndarray) else type(frame).__name__
        raise DataError(f"frame: expected uint8 [h, w, 3], got {seen}")
    if not frame.size:
        raise DataError(f"frame: expected at least one pixel, got {list(frame.shape)}")
    return frame


def save_picture(frame: UInt8[np.ndarray, "h w 3"], folder: Path, name: str | None = None) -> Path:
    """Write a PNG and return its path.

    It is written beside its place and put there when it is whole; a file that is there stays as it is.

    Args:
        frame: RGB.
        folder: made if it is missing.
        name: a plain file name ending with ".png"; None takes the next free "picture_0001.png".

    Raises:
        ConfigError: if the name is none, or leads out of the folder.
        DataError: if the frame is none, a file of that name is there, or it cannot be written.
    """
    if name is not None and not _NAME.fullmatch(name):
        raise ConfigError(f"file_name: expected a plain name ending with '.png', got {name[:120]!r}")
    frame = checked_frame(frame)
    names = [name] if name is not None else [f"picture_{number:04d}.png" for number in range(1, _MAX_NUMBER + 1)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        whole = _write(frame, folder)
        try:
            return _put(whole, folder, names)
        finally:
            whole.unlink()
    except OSError as error:
        raise DataError(f"{folder}: cannot save a picture: {error.strerror or error}") from None


def _write(frame: np.ndarray, folder: Path) -> Path:
    """Write a file that nobody looks for, down to the disk."""
    from PIL import Image

    descriptor, path = tempfile.mkstemp(prefix=".picture-", suffix=".part", dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as file:
            Image.fromarray(frame).save(file, format="PNG")
            file.flush()
            os.fsync(file.fileno())
        os.chmod(path, 0o644)
    except BaseException:
        os.unlink(path)
        raise
    return Path(path)


def _put(whole: Path, folder: Path, names: list[str]) -> Path:
    """Give the file the first free name. A link fails where a name is taken; a rename would not."""
    for name in names:
        try:
            os.link(whole, folder / name)
        except FileExistsError:
            continue
        return folder / name
    raise DataError(f"{folder / names[-1]}: is there already; a picture is never written over another")
