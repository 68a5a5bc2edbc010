"""Pictures of one camera in an episode's folder: one file each, or a video."""

import re
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from robovlms.data.sources.natural_order import natural
from robovlms.errors import DataError

PICTURES = (".jpg", ".jpeg", ".png")
VIDEOS = (".mp4", ".mov", ".mkv", ".avi", ".webm")


def is_video(pattern: str) -> bool:
    """Whether a camera's frames are one video."""
    return pattern.lower().endswith(VIDEOS)


def frame_files(episode: Path, pattern: str) -> list[Path]:
    """Pictures that a pattern names, in natural order; none if the episode lacks the camera.

    Args:
        episode: its folder.
        pattern: a folder in it, all of whose pictures are meant, or a pattern with "*".

    Raises:
        DataError: if names that count from 0 or 1 leave a number out.
    """
    found = list(episode.glob(pattern)) if "*" in pattern else list(_files_in(episode / pattern))
    files = sorted((file for file in found if file.suffix.lower() in PICTURES), key=lambda file: natural(file.name))
    _check_numbers(files)
    return files


def read_picture(file: Path, size: tuple[int, int] | None) -> UInt8[np.ndarray, "h w 3"]:
    """A picture as RGB.

    Args:
        file: any picture that Pillow reads.
        size: expected height and width; None = any.

    Raises:
        DataError: if it is damaged or of another size.
    """
    try:
        with Image.open(file) as picture:
            pixels = np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{file}: not readable as a picture: {error}") from error
    if size is not None and pixels.shape[:2] != size:
        raise DataError(f"{file}: expected height and width {size}, got {pixels.shape[:2]}")
    return pixels


def _files_in(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if file.is_file()] if folder.is_dir() else []


def _check_numbers(files: list[Path]) -> None:
    """Names that count from 0 or 1 must not skip; other names (times, for example) are only ordered."""
    matches = [re.findall(r"[0-9]+", file.stem)[-1:] for file in files]
    if not files or not all(matches) or int(matches[0][0]) not in (0, 1):
        return
    for (before,), (number,), file in zip(matches, matches[1:], files[1:], strict=False):
        if int(number) != int(before) + 1:
            raise DataError(f"{file}: frame {int(before) + 1} is missing before it, the last one is {int(before)}")
