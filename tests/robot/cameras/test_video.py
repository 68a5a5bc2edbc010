"""Films through both libraries, and pictures as they were held."""

import contextlib
import math
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robovlms.errors import ConfigError, SafetyError
from robovlms.robot.cameras import CameraEnded, open_camera
from robovlms.robot.cameras.decoders import Decoder, OpenCvDecoder, PyAvDecoder, open_film

LIBRARIES = {"cv2": OpenCvDecoder, "av": PyAvDecoder}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten pictures at 20 Hz, ever redder, blue all over."""
    av = pytest.importorskip("av", reason="PyAV is not installed; pip install 'robovlms[train]'")
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=20)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(10):
            image = np.full((48, 64, 3), (20 * number, 0, 150), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(params=sorted(LIBRARIES))
def only(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[Decoder]:
    """The decoder of one library, the other is not there."""
    pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    for other in set(LIBRARIES) - {request.param}:
        monkeypatch.setitem(sys.modules, other, None)
    return LIBRARIES[request.param]


def test_every_picture_in_its_colours(film: Path, only: type[Decoder]) -> None:
    start = time.monotonic()
    with open_camera("video", {"path": str(film), "real_time": False}) as camera:
        assert type(camera._film) is only
        frames = [camera.read() for _ in range(10)]
        with pytest.raises(CameraEnded, match="the end of"):
            camera.read()
    assert time.monotonic() - start < 0.4, "nobody waits"
    assert [frame.number for frame in frames] == list(range(10))
    for number, frame in enumerate(frames):
        assert frame.image.shape == (48, 64, 3)
        assert frame.image.mean((0, 1)) == pytest.approx((20 * number, 0, 150), abs=12)
    with pytest.raises(CameraEnded, match="closed"):
        camera.read()


def test_a_loop_begins_with_the_first_picture(film: Path, only: type[Decoder]) -> None:
    with open_camera("video", {"path": str(film), "real_time": False, "loop": True}) as camera:
        frames = [camera.read() for _ in range(23)]
    reds = [round(frame.image[..., 0].mean() / 20) for frame in frames]
    assert reds == [*range(10), *range(10), 0, 1, 2]
    assert [frame.number for frame in frames] == list(range(23))


def test_its_own_speed(film: Path, only: type[Decoder]) -> None:
    with open_camera("video", {"path": str(film)}) as camera:
        first, second = camera.read(), camera.read()
        time.sleep(0.3)
        later = camera.read()
    assert second.captured_at - first.captured_at == pytest.approx(0.05, abs=0.03)
    assert later.image[..., 0].mean() > 20 * 5.5, "what was due while nobody read is gone"


def test_what_is_no_film(tmp_path: Path, only: type[Decoder]) -> None:
    (tmp_path / "film.mp4").write_bytes(b"no film")
    with pytest.raises(ConfigError, match="no film that can be read"):
        open_film(str(tmp_path / "film.mp4"))


def test_a_sound_is_no_film(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="PyAV is not installed; pip install 'robovlms[train]'")
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(ConfigError, match="no film that can be read"):
        PyAvDecoder(str(tmp_path / "sound.wav"))


def numbers_of(path: Path) -> list[int]:
    """Read until something is raised, at most 20 pictures."""
    numbers: list[int] = []
    with open_camera("video", {"path": str(path), "real_time": False}) as camera, contextlib.suppress(SafetyError):
        while len(numbers) < 20:
            numbers.append(camera.read().number)
    return numbers


def test_a_damaged_film_ends_as_a_camera_does(film: Path, tmp_path: Path, only: type[Decoder]) -> None:
    whole = bytearray(film.read_bytes())
    start = whole.index(b"mdat") + 4
    size = int.from_bytes(whole[start - 8 : start - 4], "big") - 8
    whole[start + size // 4 : start + size] = b"\xff" * (size - size // 4)
    (tmp_path / "damaged.mp4").write_bytes(whole)
    assert len(numbers_of(film)) == 10
    assert len(numbers_of(tmp_path / "damaged.mp4")) <= 10


def test_without_any_library_the_extra_is_named(film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LIBRARIES:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError) as raised:
        open_camera("video", {"path": str(film)})
    assert raised.value.name == "cv2"


def test_a_picture_is_turned_as_it_was_held(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 2), (255, 0, 0))
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees, https://www.cipa.jp/std/documents/e/DC-008-2012_E.pdf
    image.save(tmp_path / "0.jpg", exif=exif)
    with open_camera("folder", {"path": str(tmp_path), "fps": math.inf}) as camera:
        assert camera.read().image.shape == (4, 2, 3)
