"""Cameras: the newest picture, its true colours and time, and a clear line when there is none."""

import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robovlms.errors import ConfigError, SafetyError
from robovlms.robot.cameras import CAMERAS, Camera, CameraEnded, Frame, open_camera


def all_of(camera: Camera, frames: list[Frame] | None = None) -> None:
    """Read until there is nothing more to read."""
    while True:
        frame = camera.read()
        if frames is not None:
            frames.append(frame)


# ----------------------------------------------------------------------------------------------------------- folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(3):
        Image.fromarray(np.full((4, 6, 3), 10 * number, np.uint8)).save(tmp_path / f"{number:02}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def test_a_folder_in_the_order_of_names(folder: Path) -> None:
    with open_camera("folder", {"path": str(folder), "fps": 100.0}) as camera:
        frames = [camera.read() for _ in range(3)]
        assert [int(frame.image.mean()) for frame in frames] == [0, 10, 20]
        assert [frame.number for frame in frames] == [0, 1, 2]
        times = [frame.captured_at for frame in frames]
        assert times == sorted(times)
        assert times[2] - times[0] >= 0.02 - 1e-3
        with pytest.raises(CameraEnded, match="3 pictures"):
            camera.read()


def test_a_loop_begins_again(folder: Path) -> None:
    camera = open_camera("folder", {"path": str(folder), "fps": 1000.0, "loop": True})
    assert [int(camera.read().image.mean()) for _ in range(5)] == [0, 10, 20, 0, 10]


def test_a_damaged_picture_is_named(folder: Path) -> None:
    file = folder / "01.png"
    file.write_bytes(file.read_bytes()[:40])
    camera = open_camera("folder", {"path": str(folder), "fps": 1000.0})
    camera.read()
    with pytest.raises(SafetyError, match=r"01\.png is no picture"):
        camera.read()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("foldr", {}, "did you mean 'folder'"),
        ("folder", {"pth": "x"}, "unknown option of the camera 'folder' 'pth'; did you mean 'path'"),
        ("folder", {}, "option 'path' is missing"),
        ("folder", {"path": "nowhere"}, "nowhere is no folder"),
        ("folder", {"path": ".", "fps": 0}, "fps must be positive"),
        ("simulator", {"port": 1}, "nobody gives pictures on port 1"),
    ],
)
def test_wrong_cameras(name: str, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_camera(name, options)


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no picture"):
        open_camera("folder", {"path": str(tmp_path)})


# ------------------------------------------------------------------------------------------------------ OpenCV, fake


class FakeCapture:
    """A camera with a picture every 10 ms; blue is the number of the picture."""

    unplugged_after = 10**9
    opens = True

    def __init__(self, device: object, backend: int) -> None:
        self.device, self.backend, self.number, self.settings = device, backend, 0, {}

    def isOpened(self) -> bool:
        return self.opens

    def set(self, key: int, value: float) -> None:
        self.settings[key] = value

    def grab(self) -> bool:
        time.sleep(0.01)
        self.number += 1
        return self.number <= self.unplugged_after

    def retrieve(self) -> tuple[bool, np.ndarray]:
        image = np.zeros((2, 2, 3), np.uint8)
        image[..., 0] = self.number % 256  # OpenCV's order is blue, green, red
        return True, image

    def release(self) -> None:
        self.opens = False


@pytest.fixture
def cv2(monkeypatch: pytest.MonkeyPatch) -> type[FakeCapture]:
    kind = type("Capture", (FakeCapture,), {})
    constants = dict(CAP_ANY=0, CAP_GSTREAMER=1800, CAP_PROP_FRAME_WIDTH=3, CAP_PROP_FRAME_HEIGHT=4, CAP_PROP_FPS=5)
    monkeypatch.setitem(sys.modules, "cv2", types.SimpleNamespace(VideoCapture=kind, **constants))
    return kind


def test_the_newest_picture_and_not_the_next(cv2) -> None:
    with open_camera("opencv", {"device": 0, "width": 640}) as camera:
        first = camera.read()
        time.sleep(0.2)
        later = camera.read()
        assert later.number - first.number > 5
        assert time.monotonic() - later.captured_at < 0.1
        assert (later.image[0, 0, 0], later.image[0, 0, 2]) == (0, (later.number + 1) % 256)  # red, blue
        assert camera._capture.settings == {3: 640}


def test_a_reader_that_is_faster_waits_for_a_new_picture(cv2) -> None:
    with open_camera("opencv", {}) as camera:
        numbers = [camera.read().number for _ in range(5)]
        assert numbers == sorted(set(numbers))


def test_a_camera_that_is_pulled_out(cv2) -> None:
    cv2.unplugged_after = 3
    camera = open_camera("opencv", {"device": "/dev/video7"})
    with pytest.raises(SafetyError, match="'/dev/video7' gives no more pictures"):
        all_of(camera)
    camera.close()


def test_a_camera_that_is_not_there(cv2) -> None:
    cv2.opens = False
    with pytest.raises(ConfigError, match=r"cannot open 3; there are "):
        open_camera("opencv", {"device": 3})


def test_a_pipeline_goes_to_gstreamer(cv2) -> None:
    with open_camera("opencv", {"device": "nvarguscamerasrc ! appsink"}) as camera:
        assert camera._capture.backend == 1800


# ------------------------------------------------------------------------------------------------------- OpenCV, real


@pytest.fixture
def film(tmp_path: Path) -> Path:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed; pip install 'robovlms[robot]'")
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 20.0, (64, 48))
    for number in range(10):
        image = np.zeros((48, 64, 3), np.uint8)
        image[..., 2] = 200  # red, in OpenCV's order
        image[..., 0] = 10 * number
        writer.write(image)
    writer.release()
    return path


def test_a_film_plays_at_its_own_speed(film: Path) -> None:
    with open_camera("video", {"path": str(film)}) as camera:
        start, frames = time.monotonic(), []
        with pytest.raises(CameraEnded):
            all_of(camera, frames)
        assert time.monotonic() - start == pytest.approx(0.45, abs=0.2)
        red, _, blue = frames[-1].image.mean((0, 1))
        assert red == pytest.approx(200, abs=10)
        assert blue == pytest.approx(90, abs=12)


def test_a_late_reader_misses_pictures_as_with_a_camera(film: Path) -> None:
    with open_camera("video", {"path": str(film)}) as camera:
        first = camera.read().image[..., 2].mean()
        time.sleep(0.25)
        assert camera.read().image[..., 2].mean() - first > 30


def test_a_film_in_a_loop(film: Path) -> None:
    with open_camera("video", {"path": str(film), "loop": True}) as camera:
        assert [camera.read().number for _ in range(13)] == list(range(13))


def test_no_film(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="OpenCV is not installed; pip install 'robovlms[robot]'")
    (tmp_path / "film.mp4").write_bytes(b"no film")
    with pytest.raises(ConfigError, match="no film that can be read"):
        open_camera("video", {"path": str(tmp_path / "film.mp4")})
    with pytest.raises(ConfigError, match="there is no file"):
        open_camera("video", {"path": str(tmp_path / "other.mp4")})


def test_every_camera_of_the_table_exists() -> None:
    for name in CAMERAS:
        with pytest.raises((ConfigError, TypeError, ModuleNotFoundError)):
            open_camera(name, {"no such option": 1})
