"""A film, as if a camera took it now."""

import time
from pathlib import Path

import numpy as np

from robovlms.errors import ConfigError
from robovlms.robot.cameras.base import Camera, CameraEnded, Frame


class VideoCamera(Camera):
    """Plays a film at its own speed; a reader that is late misses pictures, as with a camera.

    Args:
        path: of the film.
        loop: begin again after the end.

    Raises:
        ConfigError: if there is no such film.
    """

    def __init__(self, path: str, loop: bool = False) -> None:
        import cv2

        self._cv2, self._path, self._loop = cv2, path, loop
        if not Path(path).is_file():
            raise ConfigError(f"camera 'video': there is no file {path}")
        self._capture = cv2.VideoCapture(path)
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        if not self._capture.isOpened() or not 0 < fps < 1000:
            raise ConfigError(f"camera 'video': {path} is no film that can be read")
        self._period_s = 1 / fps
        self._number = self._shown = 0
        self._started_at: float | None = None

    def read(self) -> Frame:
        now = time.monotonic()
        self._started_at = now if self._started_at is None else self._started_at
        while self._started_at + (self._shown + 1) * self._period_s <= now and self._capture.grab():
            self._shown += 1
        is_there, bgr = self._capture.read()
        if not is_there:
            return self._begin_again()
        time.sleep(max(0.0, self._started_at + self._shown * self._period_s - time.monotonic()))
        self._shown += 1
        self._number += 1
        image = np.ascontiguousarray(bgr[..., ::-1])
        return Frame(image=image, captured_at=time.monotonic(), number=self._number - 1)

    def close(self) -> None:
        self._capture.release()

    def _begin_again(self) -> Frame:
        if not self._loop or not self._shown:
            raise CameraEnded(f"camera 'video': the end of {self._path}")
        self._capture.set(self._cv2.CAP_PROP_POS_FRAMES, 0)
        self._shown, self._started_at = 0, None
        return self.read()
