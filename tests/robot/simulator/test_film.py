"""Films last as long as what they show, whatever the machine's speed."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robovlms.errors import ConfigError, SafetyError, SimulatorError
from robovlms.robot.cameras.simulator import SimulatorCamera
from robovlms.robot.simulator.film import Film, compose
from robovlms.robot.simulator.film_file import open_film_file
from robovlms.robot.simulator.process import Gallery

TIMES_S = [5.0, 5.1, 5.2, 5.3, 5.4, 6.4, 6.5, 6.6]  # the machine had no time for a second


def picture(number: int, height: int = 31, width: int = 41) -> np.ndarray:
    return np.full((height, width, 3), (25 * number, 0, 200), np.uint8)


def test_a_gif_has_five_pictures_a_second_and_its_true_length(tmp_path: Path) -> None:
    film = open_film_file(tmp_path / "new" / "run.gif")
    for number, at_s in enumerate(TIMES_S):
        film.add(picture(number), at_s)
    assert not (tmp_path / "new" / "run.gif").exists()
    assert film.close() == tmp_path / "new" / "run.gif"
    with Image.open(tmp_path / "new" / "run.gif") as gif:
        reds, durations = [], []
        for number in range(gif.n_frames):
            gif.seek(number)
            durations.append(gif.info["duration"])
            reds.append(int(np.asarray(gif.convert("RGB"))[0, 0, 0]))
    assert durations == [200, 200, 1000, 200, 200]
    assert reds == pytest.approx([0, 50, 100, 125, 175], abs=8)
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new" / "run.gif"]


def test_an_mp4_has_every_picture_at_its_time(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="PyAV is not installed; pip install 'robovlms[sim]'")
    film = open_film_file(tmp_path / "run.mp4")
    for number, at_s in enumerate(TIMES_S):
        film.add(picture(number), at_s)
    film.close()
    with av.open(str(tmp_path / "run.mp4")) as container:
        frames = list(container.decode(video=0))
    assert [frame.time for frame in frames] == pytest.approx([at_s - 5 for at_s in TIMES_S], abs=0.002)
    assert (frames[0].width, frames[0].height) == (40, 30)
    last = frames[-1].to_ndarray(format="rgb24").mean((0, 1))
    assert last == pytest.approx((175, 0, 200), abs=12)


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_no_picture_is_no_film(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("av", reason="PyAV is not installed; pip install 'robovlms[sim]'")
    assert open_film_file(tmp_path / f"run{suffix}").close() is None
    assert list(tmp_path.iterdir()) == []


def test_wrong_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ends with \.gif or \.mp4, got run\.avi"):
        open_film_file(tmp_path / "run.avi")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="no place for"):
        open_film_file(tmp_path / "file" / "run.gif")


def seen(number: int) -> dict[str, object]:
    view = np.full((24, 32, 3), 100, np.uint8)
    at_s = time.monotonic()
    return dict(image=view, map=view[:, :24], velocity=[0.25, 0, -1.0], captured_at=at_s, number=number, pose=[0, 0, 0])


def test_the_bar_is_above_camera_and_map() -> None:
    frame = compose(seen(0), "task")
    assert frame.shape == (28 + 24, 32 + 24, 3)
    assert (frame[28:] == 100).all()
    assert frame[:28].max() > 200, "text"


@pytest.fixture
def gallery() -> Iterator[Gallery]:
    one = Gallery()
    yield one
    one._server.close()


def test_a_film_of_what_a_simulator_shows(gallery: Gallery, tmp_path: Path) -> None:
    film = Film(gallery.port, tmp_path / "run.gif", "빨간 상자: go to the red box")
    for number in range(12):
        gallery.show(seen(number))
        time.sleep(0.05)
    gallery.show(seen(12))
    assert close(film, gallery) == tmp_path / "run.gif"
    with Image.open(tmp_path / "run.gif") as gif:
        assert gif.size == (56, 52)


def test_a_film_that_cannot_be_written_is_one_line(gallery: Gallery, tmp_path: Path) -> None:
    film = Film(gallery.port, tmp_path / "run.gif", "")
    gallery.show(seen(0))
    time.sleep(0.2)
    tmp_path.rename(tmp_path.with_name("moved away"))
    with pytest.raises(SimulatorError, match="film: cannot be written"):
        close(film, gallery)


@pytest.mark.parametrize("port", [0, 65536, 10**6])
def test_a_port_that_is_none(port: int) -> None:
    with pytest.raises(ConfigError, match=f"nobody gives pictures on port {port}"):
        SimulatorCamera(port)


def test_what_is_no_picture(gallery: Gallery) -> None:
    gallery.show({"number": 0, "captured_at": 1.0})
    with SimulatorCamera(gallery.port) as camera, pytest.raises(SafetyError, match="no picture: no 'image'"):
        camera.read()


def close(film: Film, gallery: Gallery) -> Path | None:
    """Close the film; it waits for one more picture, as from a simulator that lives."""
    film._is_closing = True
    gallery.show(seen(99))
    return film.close()
