"""Pictures as OpenCV has them, and cameras that break in other ways than by being pulled out."""

import sys
import time
import types

import numpy as np
import pytest

from robovlms.errors import ConfigError, SafetyError
from robovlms.robot.cameras import open_camera
from robovlms.robot.cameras.opencv import rgb_of


@pytest.mark.parametrize(
    ("picture", "rgb"),
    [
        (np.array([[[1, 2, 3]]], np.uint8), (3, 2, 1)),  # BGR
        (np.array([[[1, 2, 3, 255]]], np.uint8), (3, 2, 1)),  # BGRA
        (np.array([[7]], np.uint8), (7, 7, 7)),
        (np.array([[[7]]], np.uint8), (7, 7, 7)),
    ],
)
def test_rgb_of_all_that_cameras_give(picture, rgb):
    assert rgb_of(picture).tolist() == [[list(rgb)]]
    assert rgb_of(picture).flags.c_contiguous


@pytest.mark.parametrize("picture", [np.zeros((2, 2, 2), np.uint8), np.zeros(4, np.uint8), np.zeros((2, 2), np.uint16)])
def test_other_pictures_are_refused(picture):
    with pytest.raises(SafetyError, match="1, 3 or 4 bytes per pixel"):
        rgb_of(picture)


class Capture:
    """Opens, and then does what a test says."""

    def __init__(self, device: object, backend: int) -> None:
        self.is_released = False

    def isOpened(self) -> bool:
        return True

    def set(self, key: int, value: float) -> None:
        assert self.isOpened()

    def grab(self) -> bool:
        time.sleep(0.005)
        return True

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return True, np.zeros((2, 2, 3), np.uint8)

    def release(self) -> None:
        self.is_released = True


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch):
    def install(**methods: object) -> None:
        kind = type("Made", (Capture,), methods)
        constants = dict(CAP_ANY=0, CAP_GSTREAMER=1800, CAP_PROP_FRAME_WIDTH=3, CAP_PROP_FRAME_HEIGHT=4, CAP_PROP_FPS=5)
        registry = types.SimpleNamespace(hasBackend=lambda backend: backend != 1800)
        cv2 = types.SimpleNamespace(VideoCapture=kind, videoio_registry=registry, **constants)
        monkeypatch.setitem(sys.modules, "cv2", cv2)

    return install


def test_an_error_of_the_library_is_a_broken_camera(install):
    def grab(self: object) -> bool:
        raise RuntimeError("appsink: not\nnegotiated")

    install(grab=grab)
    camera = open_camera("opencv", {})
    with pytest.raises(SafetyError, match="0 gives no more pictures: RuntimeError: appsink: not negotiated"):
        camera.read()
    camera.close()


def test_a_picture_that_is_none_is_a_broken_camera(install):
    install(retrieve=lambda self: (True, np.zeros((2, 2), np.uint16)))
    camera = open_camera("opencv", {"device": "/dev/video0"})
    with pytest.raises(SafetyError, match="'/dev/video0' gives no more pictures: SafetyError: expected"):
        camera.read()
    camera.close()


def test_a_camera_that_hangs_is_told_and_not_released_under_its_grab(install, monkeypatch):
    monkeypatch.setattr("robovlms.robot.cameras.opencv._FIRST_S", 0.1)
    monkeypatch.setattr("robovlms.robot.cameras.opencv._SILENCE_S", 0.1)
    install(grab=lambda self: time.sleep(1.0) or False)
    camera = open_camera("opencv", {})
    with pytest.raises(SafetyError, match="gave no picture for 0.1 s"):
        camera.read()
    camera.close()
    assert not camera._capture.is_released
    camera._thread.join()


def test_a_camera_that_was_closed(install):
    install()
    camera = open_camera("opencv", {})
    camera.read()
    camera.close()
    assert camera._capture.is_released
    with pytest.raises(SafetyError, match="it was closed"):
        camera.read()


def test_a_pipeline_without_gstreamer_says_so(install):
    install(isOpened=lambda self: False)
    with pytest.raises(ConfigError, match="built without GStreamer"):
        open_camera("opencv", {"device": "nvarguscamerasrc ! appsink"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": 1.5}, "option 'device' must be of type int or str, got 1.5"),
        ({"width": "640"}, "option 'width' must be of type int or null, got '640'"),
        ({"fps": True}, "option 'fps' must be of type float or null, got True"),
    ],
)
def test_options_of_a_wrong_type(install, options, message):
    install()
    with pytest.raises(ConfigError, match=message):
        open_camera("opencv", options)


def test_the_real_one_names_the_cameras_there_are():
    pytest.importorskip("cv2", reason="OpenCV is not installed; pip install 'robovlms[robot]'")
    with pytest.raises(ConfigError, match=r"cannot open '/dev/video63'; there are (no cameras|/dev/video)"):
        open_camera("opencv", {"device": "/dev/video63"})
