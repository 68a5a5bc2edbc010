"""Films as files: pictures with the times at which they are to be seen, so that a slow machine makes no fast film."""

import os
from abc import ABC, abstractmethod
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from robovlms.errors import ConfigError

_GIF_S = 0.2  # a picture
_GIF_COLOURS, _GIF_STEP = 64, 16  # grey levels that count as one: the camera's noise would triple the file
_MS = Fraction(1, 1000)


class FilmFile(ABC):
    """Is at `path` as a whole when it is closed, and not before.

    Args:
        path: of the file; its folder is made.

    Raises:
        ConfigError: if there can be no such folder.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"film: there is no place for {path}: {error}") from error
        self._path, self._part = path, path.with_name(f".{path.name}.part")
        self._first_s: float | None = None
        self._last_ms = -1

    def add(self, picture: UInt8[np.ndarray, "h w 3"], at_s: float) -> None:
        """Show a picture from `at_s` on; later than the last, and of its size."""
        self._first_s = at_s if self._first_s is None else self._first_s
        at_ms = max(self._last_ms + 1, round(1000 * (at_s - self._first_s)))
        if self._write(picture, at_ms):
            self._last_ms = at_ms

    def close(self) -> Path | None:
        """Finish the file; return where it is, or None if there was no picture."""
        if self._first_s is None:
            return None
        self._finish()
        os.replace(self._part, self._path)
        return self._path

    @abstractmethod
    def _write(self, picture: UInt8[np.ndarray, "h w 3"], at_ms: int) -> bool:
        """Take a picture; False if it was left out."""

    @abstractmethod
    def _finish(self) -> None:
        """Write what is left to the unfinished file."""


class GifFile(FilmFile):
    """Every browser and README shows it; five pictures a second in few colours, which are kept until the end."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._pictures: list[Image.Image] = []
        self._times_ms: list[int] = []

    def _write(self, picture: UInt8[np.ndarray, "h w 3"], at_ms: int) -> bool:
        if self._times_ms and at_ms - self._times_ms[-1] < 0.95e3 * _GIF_S:  # a little early is on time
            return False
        flat = np.minimum((picture.astype(np.uint16) + _GIF_STEP // 2) // _GIF_STEP * _GIF_STEP, 255).astype(np.uint8)
        few = Image.fromarray(flat).quantize(_GIF_COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        self._pictures.append(few)
        self._times_ms.append(at_ms)
        return True

    def _finish(self) -> None:
        first, *rest = self._pictures
        durations = [*np.diff(self._times_ms).tolist(), round(1e3 * _GIF_S)]
        first.save(self._part, "GIF", save_all=True, append_images=rest, duration=durations, loop=0)


class Mp4File(FilmFile):
    """H.264, every picture, written as it comes; needs PyAV."""

    def __init__(self, path: Path) -> None:
        import av

        super().__init__(path)
        self._av = av
        self._container: Any = None
        self._stream: Any = None

    def _write(self, picture: UInt8[np.ndarray, "h w 3"], at_ms: int) -> bool:
        if self._stream is None:
            self._begin(*picture.shape[:2])
        frame = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame = frame.reformat(self._stream.width, self._stream.height, format="yuv420p")
        frame.pts, frame.time_base = at_ms, _MS
        self._container.mux(self._stream.encode(frame))
        return True

    def _begin(self, height: int, width: int) -> None:
        self._container = self._av.open(str(self._part), "w", "mp4", options={"movflags": "+faststart"})
        self._stream = self._container.add_stream("libx264", options={"crf": "23", "preset": "veryfast"})
        self._stream.width, self._stream.height = width // 2 * 2, height // 2 * 2  # as H.264 needs
        self._stream.pix_fmt, self._stream.codec_context.time_base = "yuv420p", _MS

    def _finish(self) -> None:
        self._container.mux(self._stream.encode())
        self._container.close()


_FILES = {".gif": GifFile, ".mp4": Mp4File}


def open_film_file(path: Path) -> FilmFile:
    """Begin a film.

    Raises:
        ConfigError: if the file is of no known kind.
    """
    if path.suffix not in _FILES:
        raise ConfigError(f"film: expected a file that ends with {' or '.join(_FILES)}, got {path.name}")
    return _FILES[path.suffix](path)
