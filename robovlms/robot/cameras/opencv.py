"""A camera of the machine: USB and MIPI cameras through V4L2, or any GStreamer pipeline of a Jetson.

A thread takes every picture out of the driver's queue as it comes, so that `read` gives the newest and not one that
waited there; a queue of four pictures at 10 Hz would otherwise be 0.4 s old.
"""

import threading
import time
from glob import glob
from typing import Any

import numpy as np
from jaxtyping import UInt8

from robovlms.errors import ConfigError, SafetyError
from robovlms.robot.cameras.base import Camera, Frame

_FIRST_S, _SILENCE_S = 10.0, 3.0
_MOST_FAILURES = 10  # grabs in a row; a camera that was pulled out fails at once and for ever


class OpenCvCamera(Camera):
    """Opens a camera by its number, its path, or a pipeline.

    Args:
        device: 0 for /dev/video0, a path such as "/dev/video2", a network address, or a GStreamer pipeline that ends
            with "appsink", for example of `nvarguscamerasrc` on a Jetson.
        width, height: asked of the camera, px; None for its own. It may give another size.
        fps: asked of the camera; None for its own.

    Raises:
        ConfigError: if it cannot be opened; names the cameras that there are.
    """

    def __init__(
        self, device: int | str = 0, width: int | None = None, height: int | None = None, fps: float | None = None
    ) -> None:
        import cv2

        is_pipeline = isinstance(device, str) and "appsink" in device
        self._capture = cv2.VideoCapture(device, cv2.CAP_GSTREAMER if is_pipeline else cv2.CAP_ANY)
        if not self._capture.isOpened():
            self._capture.release()
            has_backend = not is_pipeline or cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER)
            raise ConfigError(f"camera 'opencv': cannot open {device!r}; {_hint(has_backend)}")
        wishes = {cv2.CAP_PROP_FRAME_WIDTH: width, cv2.CAP_PROP_FRAME_HEIGHT: height, cv2.CAP_PROP_FPS: fps}
        for key, value in wishes.items():
            if value is not None:
                self._capture.set(key, value)
        self._device, self._number, self._given = device, 0, 0
        self._newest: Frame | None = None
        self._error: str | None = None
        self._is_closing = False
        self._has_news = threading.Condition()
        self._thread = threading.Thread(target=self._grab, name=f"camera {device}", daemon=True)
        self._thread.start()

    def read(self) -> Frame:
        with self._has_news:
            patience_s = _SILENCE_S if self._given else _FIRST_S
            self._has_news.wait_for(lambda: self._error is not None or self._number > self._given, patience_s)
            if self._error is not None:
                raise SafetyError(f"camera 'opencv': {self._error}")
            if self._newest is None or self._number == self._given:
                raise SafetyError(f"camera 'opencv': {self._device!r} gave no picture for {patience_s:g} s")
            self._given = self._number
            return self._newest

    def close(self) -> None:
        self._is_closing = True
        self._thread.join(_SILENCE_S)
        if not self._thread.is_alive():  # releasing a camera under a grab crashes some drivers
            self._capture.release()

    def _grab(self) -> None:
        try:
            reason = self._grab_until_it_fails()
        except Exception as error:  # the classes of OpenCV's errors differ between its builds
            reason = f": {type(error).__name__}: {' '.join(str(error).split())}"
        with self._has_news:
            self._error = f"{self._device!r} gives no more pictures{reason}"
            self._has_news.notify_all()

    def _grab_until_it_fails(self) -> str:
        failures = 0
        while not self._is_closing and failures < _MOST_FAILURES:
            is_there = self._capture.grab()
            captured_at = time.monotonic()  # before it is decoded
            is_there, bgr = self._capture.retrieve() if is_there else (False, None)
            failures = 0 if is_there else failures + 1
            if is_there:
                self._show(rgb_of(bgr), captured_at)
            else:
                time.sleep(0.01)
        return ": it was closed" if self._is_closing else "; was it pulled out?"

    def _show(self, image: UInt8[np.ndarray, "h w 3"], captured_at: float) -> None:
        with self._has_news:
            self._newest = Frame(image=image, captured_at=captured_at, number=self._number)
            self._number += 1
            self._has_news.notify_all()


def _hint(has_backend: bool) -> str:
    if not has_backend:
        return "this OpenCV was built without GStreamer: use the one of JetPack, or of the system (python3-opencv)"
    found = sorted(glob("/dev/video*"))
    return f"there are {', '.join(found) if found else 'no cameras'}"


def rgb_of(picture: Any) -> UInt8[np.ndarray, "h w 3"]:
    """A picture as OpenCV has it, grey, BGR or BGRA, in RGB.

    Raises:
        SafetyError: if it is none of them.
    """
    channels = 1 if np.ndim(picture) == 2 else np.shape(picture)[2] if np.ndim(picture) == 3 else 0
    if channels not in (1, 3, 4) or picture.dtype != np.uint8:
        raise SafetyError(f"expected a picture of 1, 3 or 4 bytes per pixel, got {np.shape(picture)} {picture.dtype}")
    if channels == 1:
        return np.repeat(picture.reshape(*picture.shape[:2], 1), 3, axis=2)
    return np.ascontiguousarray(picture[..., 2::-1])
