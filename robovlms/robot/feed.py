"""The newest picture of each camera, taken in a thread so that nobody waits for a camera."""

import math
import threading
import time
from collections.abc import Callable, Mapping

from robovlms.errors import SafetyError, one_line
from robovlms.robot.cameras.base import Camera, CameraEnded, Frame
from robovlms.robot.cameras.frozen import FrozenFrameMonitor
from robovlms.robot.view import View

_LAST_READ_S = 1.0  # a camera that hangs for longer is not waited for


class CameraFeed:
    """Reads one camera as fast as it gives; only the newest frame is kept.

    A frozen camera, one that gives the same picture for too long, counts as one whose last picture is old.

    Args:
        camera: is read from `start` on, and closed with the feed.
        frozen_after_s: see `CameraPart`; None looks at no picture.

    Attributes:
        error: why there are no more frames; None while there are.
        is_over: the camera has come to its end, as a film does.
        num_frames: frames read so far.
    """

    def __init__(self, camera: Camera, frozen_after_s: float | None) -> None:
        self._camera = camera
        self._monitor = None if frozen_after_s is None else FrozenFrameMonitor(frozen_after_s)
        self._newest: tuple[Frame, float] | None = None
        self._is_closing = False
        self.error: str | None = None
        self.is_over = False
        self.num_frames = 0
        self._thread = threading.Thread(target=self._read, name="camera", daemon=True)

    def start(self) -> "CameraFeed":
        """Begin to read."""
        self._thread.start()
        return self

    @property
    def newest(self) -> tuple[Frame, float] | None:
        """The newest frame and the time it stands for, s on the monotonic clock; None before the first."""
        return self._newest

    def close(self) -> None:
        """Stop reading and close the camera; one that hangs in a read is left to the end of the process."""
        self._is_closing = True
        if self._thread.ident is not None:
            self._thread.join(_LAST_READ_S)
        if not self._thread.is_alive():
            self._camera.close()

    def _read(self) -> None:
        try:
            while not self._is_closing:
                frame = self._camera.read()
                self._newest = (frame, self._time_of(frame))
                self.num_frames += 1
        except CameraEnded:
            self.is_over = True
        except Exception as error:  # whatever a camera raises: the robot sees no more, and must hear why
            self.error = one_line(error)

    def _time_of(self, frame: Frame) -> float:
        if not math.isfinite(frame.captured_at):  # the oldest of several views is found by comparing
            raise SafetyError(f"a picture was taken at {frame.captured_at} s, which is no time")
        if self._monitor is None:
            return frame.captured_at
        return self._monitor.observed_at(frame.image, frame.captured_at)


def view_of(feeds: Mapping[str, CameraFeed]) -> View | None:
    """What all cameras show, as old as the oldest; None until each has shown something."""
    newest = {name: feed.newest for name, feed in feeds.items()}
    if any(one is None for one in newest.values()):
        return None
    images = {name: one[0].image for name, one in newest.items() if one is not None}
    return View(images=images, observed_at=min(one[1] for one in newest.values() if one is not None))


def wait_for_view(
    feeds: Mapping[str, CameraFeed], timeout_s: float, clock: Callable[[], float] = time.monotonic
) -> View | None:
    """Wait for the first picture of each camera; None if one shows none in time."""
    end = clock() + timeout_s
    while (view := view_of(feeds)) is None and clock() < end:
        if any(feed.error is not None or (feed.is_over and feed.newest is None) for feed in feeds.values()):
            return None
        time.sleep(0.01)
    return view
