"""A film, as if a camera took it now."""

import time

from robovlms.robot.cameras.base import Camera, CameraEnded, Frame
from robovlms.robot.cameras.decoders import open_film


class VideoCamera(Camera):
    """Plays a film at its own speed; a reader that is late misses pictures, as with a camera.

    Args:
        path: of the film.
        loop: begin again after the end.
        real_time: False gives every picture, as fast as they are read.

    Raises:
        ConfigError: if there is no such film.
    """

    def __init__(self, path: str, loop: bool = False, real_time: bool = True) -> None:
        self._film = open_film(path)
        self._path, self._loop, self._real_time = path, loop, real_time
        self._number = self._shown = 0
        self._started_at: float | None = None
        self._is_closed = False

    def read(self) -> Frame:
        if self._is_closed:
            raise CameraEnded("camera 'video': it was closed")
        while not self._grab():
            if not self._loop or not self._shown:
                raise CameraEnded(f"camera 'video': the end of {self._path}")
            self._film.rewind()
            self._shown, self._started_at = 0, None
        image = self._film.picture()
        if self._real_time:
            time.sleep(max(0.0, self._due(self._shown) - time.monotonic()))
        self._shown += 1
        self._number += 1
        return Frame(image=image, captured_at=time.monotonic(), number=self._number - 1)

    def close(self) -> None:
        if not self._is_closed:
            self._film.close()
        self._is_closed = True

    def _grab(self) -> bool:
        """Go to the picture that is to be shown now; False at the end."""
        now = time.monotonic()
        self._started_at = now if self._started_at is None else self._started_at
        while self._real_time and self._due(self._shown + 1) <= now:
            if not self._film.grab():
                return False
            self._shown += 1
        return self._film.grab()

    def _due(self, picture: int) -> float:
        assert self._started_at is not None
        return self._started_at + picture * self._film.period_s
