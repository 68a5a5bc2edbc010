"""Two libraries that decode films: OpenCV, which a robot has for its cameras, or else PyAV."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from robovlms.errors import ConfigError, SafetyError
from robovlms.robot.cameras.opencv import rgb_of

_MOST_FPS = 1000


class Decoder(ABC):
    """One film, one picture at a time.

    Attributes:
        period_s: time from one picture to the next, s.
    """

    period_s: float

    @abstractmethod
    def grab(self) -> bool:
        """Go to the next picture, at first to the first; False at the end."""

    @abstractmethod
    def picture(self) -> UInt8[np.ndarray, "h w 3"]:
        """The picture that was grabbed, RGB."""

    @abstractmethod
    def rewind(self) -> None:
        """Go before the first picture."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""


def open_film(path: str) -> Decoder:
    """Open a film with the first library that is installed.

    Raises:
        ConfigError: if it is no film.
        ModuleNotFoundError: if neither library is installed; names OpenCV.
    """
    if not Path(path).is_file():
        raise ConfigError(f"camera 'video': there is no file {path}")
    try:
        return OpenCvDecoder(path)
    except ModuleNotFoundError as error:
        try:
            return PyAvDecoder(path)
        except ModuleNotFoundError:
            raise error from None


class OpenCvDecoder(Decoder):
    """Decodes with OpenCV."""

    def __init__(self, path: str) -> None:
        import cv2

        self._cv2, self._capture = cv2, cv2.VideoCapture(path)
        self.period_s = _period_s(path, self._capture.get(cv2.CAP_PROP_FPS) if self._capture.isOpened() else 0.0)

    def grab(self) -> bool:
        return bool(self._capture.grab())

    def picture(self) -> UInt8[np.ndarray, "h w 3"]:
        is_there, bgr = self._capture.retrieve()
        if not is_there:
            raise SafetyError("camera 'video': a picture cannot be decoded")
        return rgb_of(bgr)

    def rewind(self) -> None:
        self._capture.set(self._cv2.CAP_PROP_POS_FRAMES, 0)

    def close(self) -> None:
        self._capture.release()


class PyAvDecoder(Decoder):
    """Decodes with PyAV."""

    def __init__(self, path: str) -> None:
        import av

        self._av, self._path = av, path
        self._open()

    def grab(self) -> bool:
        try:
            self._frame = next(self._frames, None)
        except self._av.FFmpegError as error:
            raise SafetyError(f"camera 'video': {self._path} is damaged: {error}") from error
        return self._frame is not None

    def picture(self) -> UInt8[np.ndarray, "h w 3"]:
        return self._frame.to_ndarray(format="rgb24")

    def rewind(self) -> None:
        self.close()
        self._open()

    def close(self) -> None:
        self._container.close()

    def _open(self) -> None:
        try:
            self._container = self._av.open(self._path)
        except self._av.FFmpegError as error:
            raise ConfigError(_not_a_film(self._path)) from error
        if not self._container.streams.video:
            self._container.close()
            raise ConfigError(_not_a_film(self._path))
        self.period_s = _period_s(self._path, float(self._container.streams.video[0].average_rate or 0))
        self._frames: Iterator[Any] = self._container.decode(video=0)
        self._frame: Any = None


def _period_s(path: str, fps: float) -> float:
    if not 0 < fps < _MOST_FPS:
        raise ConfigError(_not_a_film(path))
    return 1 / fps


def _not_a_film(path: str) -> str:
    return f"camera 'video': {path} is no film that can be read"
