"""Frames of mp4 files: the ones asked for, and no others."""

import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from robovlms.data.sources.base import Episode
from robovlms.data.sources.lerobot import LeRobotSource
from robovlms.data.sources.video import VideoReader, VideoWriter
from robovlms.errors import DataError

FPS, SIZE = 25.0, 32


def numbered(count: int, first: int = 0) -> np.ndarray:
    """Frame i holds the bits of i as black and white squares of 8 pixels, so that compression does not matter."""
    bits = (np.arange(first, first + count)[:, None] >> np.arange(16)) & 1
    squares = bits.reshape(-1, 4, 4).repeat(8, axis=1).repeat(8, axis=2) * 255
    return np.repeat(squares[..., None], 3, axis=3).astype(np.uint8)


def numbers(frames: np.ndarray) -> list[int]:
    bits = frames[:, 4::8, 4::8, 0].reshape(-1, 16) > 127
    return (bits << np.arange(16)).sum(1).tolist()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "own.mp4"
    writer = VideoWriter(path, height=SIZE, width=SIZE, fps=FPS)
    assert writer.add(numbered(60)) == (0.0, 2.4)
    assert writer.add(numbered(40, 60)) == (2.4, 4.0)
    writer.close()
    return path


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Long groups of pictures with frames that depend on later ones."""
    path = tmp_path_factory.mktemp("video") / "foreign.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "40", "bf": "3"})
        stream.width, stream.height, stream.pix_fmt = SIZE, SIZE, "yuv420p"
        for pixels in numbered(100):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("name", ["video", "foreign"])
def test_every_frame_alone_and_in_any_order(request: pytest.FixtureRequest, name: str) -> None:
    path, reader = request.getfixturevalue(name), VideoReader()
    order = np.random.default_rng(0).permutation(100)
    for start in range(0, 100, 10):
        wanted = order[start : start + 10]
        assert numbers(reader.read(path, wanted / FPS)) == wanted.tolist()
    for i in order[:30].tolist():
        assert numbers(reader.read(path, np.array([i / FPS]))) == [i]
    assert numbers(reader.read(path, np.array([3, 3, 2, 99, 0]) / FPS)) == [3, 3, 2, 99, 0]


ENCODED = {
    "h264, 2": ("libx264", {"g": "2", "bf": "0"}),
    "h264, 250": ("libx264", {"g": "250", "x264-params": "scenecut=0"}),
    "av1, 2": ("libsvtav1", {"g": "2", "crf": "30", "preset": "12"}),
    "av1, 250": ("libsvtav1", {"g": "250", "crf": "30", "preset": "12"}),
}


@pytest.fixture(scope="module", params=ENCODED)
def encoded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """A file of another encoder, as LeRobot users have them, and all of its frames as decoding in order gives them."""
    codec, options = ENCODED[request.param]
    path = tmp_path_factory.mktemp("video") / "encoded.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for pixels in np.random.default_rng(0).integers(0, 256, (300, 8, 8, 3), np.uint8):
            large = pixels.repeat(8, axis=0).repeat(8, axis=1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(large, format="rgb24")))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        return path, np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_windows_of_any_codec_are_those_of_decoding_in_order(encoded: tuple[Path, np.ndarray]) -> None:
    path, frames = encoded
    assert len(frames) == 300
    reader = VideoReader()
    for start in [0, 1, 137, 138, 249, 251, 292, 3, 120, 144, 100]:
        steps = np.arange(start, start + 8)
        np.testing.assert_array_equal(reader.read(path, steps / 30), frames[steps])
    steps = np.array([0, 0, 0, 1, 2])  # the window of an early step
    np.testing.assert_array_equal(reader.read(path, steps / 30), frames[steps])
    steps = np.arange(290, 10, -40)
    np.testing.assert_array_equal(reader.read(path, steps / 30), frames[steps])


def test_distant_frames_are_sought_and_near_ones_decoded(encoded: tuple[Path, np.ndarray]) -> None:
    """In long groups of pictures it is cheaper to decode on than to seek; in short ones the other way round."""
    path, _ = encoded
    reader = VideoReader()
    reader.read(path, np.array([100.0]) / 30)
    opened = reader._open(path)
    seeks: list[int] = []
    original = opened.container.seek

    class Counted:
        decode, close = opened.container.decode, opened.container.close

        def seek(self, offset: int, **options: object) -> None:
            seeks.append(offset)
            original(offset, **options)

    opened.container = Counted()
    reader.read(path, np.arange(101, 109) / 30)
    assert seeks == []
    reader.read(path, np.array([130.0]) / 30)
    is_long = opened.reach_s > 1  # it has seen that key frames are far apart
    assert len(seeks) == (0 if is_long else 1)


def test_rows_with_padding(tmp_path: Path) -> None:
    """Frames whose rows are not a multiple of what the decoder likes."""
    path = tmp_path / "narrow.mp4"
    pixels = np.random.default_rng(0).integers(0, 256, (5, 10, 6, 3), np.uint8)
    writer = VideoWriter(path, height=10, width=6, fps=FPS)
    writer.add(pixels)
    writer.close()
    with av.open(str(path)) as container:
        expected = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    np.testing.assert_array_equal(VideoReader().read(path, np.arange(5) / FPS), expected)


@pytest.mark.parametrize("offset_s", [-0.015, 0.015])
def test_the_nearest_frame_is_taken(video: Path, offset_s: float) -> None:
    assert numbers(VideoReader().read(video, np.array([7, 50]) / FPS + offset_s)) == [7, 50]


def test_no_frame_at_that_time(video: Path) -> None:
    with pytest.raises(DataError, match=r"no frame at 4\.000 s"):
        VideoReader().read(video, np.array([4.0]))


def test_few_frames_are_decoded(video: Path) -> None:
    """Every frame is a key frame, so no other frame is in the way."""

    class Counted:
        def __init__(self, container: av.container.InputContainer) -> None:
            self.container, self.seek, self.close, self.count = container, container.seek, container.close, 0

        def decode(self, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
            for frame in self.container.decode(stream):
                self.count += 1
                yield frame

    reader = VideoReader()
    reader.read(video, np.array([0.0]))
    opened = reader._open(video)
    opened.container = counted = Counted(opened.container)
    for i in (90, 33, 70):
        assert numbers(reader.read(video, np.array([i / FPS]))) == [i]
    assert counted.count == 3


def test_open_files_are_bounded(video: Path, foreign: Path, tmp_path: Path) -> None:
    reader = VideoReader(max_open=2)
    copies = [tmp_path / f"{i}.mp4" for i in range(4)]
    for copy in copies:
        copy.write_bytes(video.read_bytes())
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    for _ in range(2):
        for copy in copies:
            assert numbers(reader.read(copy, np.array([0.4]))) == [10]
            assert reader.num_open <= 2
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before + 2
    assert pickle.loads(pickle.dumps(reader)).num_open == 0
    reader.close()
    assert reader.num_open == 0


def test_truncated_file(writable: Callable[..., Path]) -> None:
    path = writable(storage="video")
    file = path / "videos/observation.images.static/chunk-000/file-000.mp4"
    data = file.read_bytes()
    for damaged in (b"", data[:-200], data[:48] + bytes(3000) + data[3048:]):
        file.write_bytes(damaged)
        message = r"file-000.mp4: episode 0, steps \[1, 2\], observation.images.static: not readable as video"
        with pytest.raises(DataError, match=message) as error:
            LeRobotSource(path).read(0, np.array([1, 2]), np.array([0]), ("static",))
        assert "\n" not in str(error.value)


def test_files_roll_over_and_episodes_find_their_frames(tmp_path: Path, make: SimpleNamespace) -> None:
    def episode(index: int, length: int) -> Episode:
        plain = make.episode(index, length)
        return make.replaced(plain, images={"static": numbered(length, 100 * index)})

    camera = make.STATIC.__class__(name="static", height=SIZE, width=SIZE, source="test")
    episodes = [episode(i, length) for i, length in enumerate((20, 7, 12, 9))]
    path = make.write(tmp_path / "rolled", episodes, cameras=(camera,), storage="video", video_file_mb=0.0015)
    assert len(list(path.rglob("*.mp4"))) > 1
    source = LeRobotSource(path)
    for i in (3, 0, 2, 1):
        steps = np.random.default_rng(i).permutation(source.lengths[i])
        found = source.read(i, steps, steps, ("static",)).images["static"]
        assert numbers(found) == (100 * i + steps).tolist()
