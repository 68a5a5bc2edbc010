"""Frames in mp4 files, written one after the other and read one by one.

Every frame is a key frame, so any frame costs one decode; in files of others, those since the key frame before it.
"""

import os
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter
from jaxtyping import Float, UInt8

from robovlms.errors import DataError

CODEC, PIXEL_FORMAT = "h264", "yuv420p"
_ENCODER = {"crf": "18", "preset": "veryfast", "tune": "fastdecode", "g": "1", "bf": "0", "rc-lookahead": "0"}
_ONE_THREAD = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}  # more are slower; before: always one
_BACK_OFF_S = (0.0, 1.0, 10.0, float("inf"))  # how far before a frame to look for its key frame


class VideoWriter:
    """Writes one mp4 file; the same frames give the same bytes.

    Args:
        path: file to write.
        height, width: of the frames in pixels; even.
        fps: frames per second.

    Attributes:
        num_frames: frames written so far.
        num_bytes: encoded size so far.
    """

    def __init__(self, path: Path, *, height: int, width: int, fps: float) -> None:
        self._container = av.open(str(path), "w", options={"fflags": "+bitexact"})
        self._rate = Fraction(fps).limit_denominator(1000)
        self._stream = self._container.add_stream("libx264", rate=self._rate, options=_ENCODER)
        self._stream.height, self._stream.width, self._stream.pix_fmt = height, width, PIXEL_FORMAT
        self._stream.codec_context.thread_count = 1  # the number of threads changes the bytes
        self._to_yuv = VideoReformatter()
        self.num_frames = self.num_bytes = 0

    def add(self, frames: UInt8[np.ndarray, "k h w 3"]) -> tuple[float, float]:
        """Append frames; return when the first begins and the last ends, in seconds of the file."""
        begin = self.num_frames
        for i, pixels in enumerate(frames):
            rgb = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame = self._to_yuv.reformat(rgb, format=PIXEL_FORMAT, **_ONE_THREAD)
            frame.pts, frame.time_base = begin + i, 1 / self._rate
            frame.pict_type = PictureType.I if i == 0 else PictureType.NONE
            self._mux(frame)
        self.num_frames += len(frames)
        return float(begin / self._rate), float(self.num_frames / self._rate)

    def close(self) -> None:
        """Write what the encoder holds back, and the index."""
        self._mux(None)
        self._container.close()

    def _mux(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            self.num_bytes += packet.size
            self._container.mux(packet)


_READERS: "weakref.WeakSet[VideoReader]" = weakref.WeakSet()


def _close_all() -> None:
    for reader in list(_READERS):
        reader.close()


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(before=_close_all)


class VideoReader:
    """Reads single frames of mp4 files, by time; keeps the last `max_open` files open.

    A reader can be pickled, without its open files, and used on both sides of a fork: every file is closed before
    one, because a child cannot end the decoder threads of its parent, nor share its file positions.
    """

    def __init__(self, max_open: int = 32) -> None:
        self.max_open = max_open
        self._videos: OrderedDict[Path, _OpenVideo] = OrderedDict()
        _READERS.add(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return VideoReader, (self.max_open,)

    @property
    def num_open(self) -> int:
        """Number of files open now."""
        return len(self._videos)

    def read(self, path: Path, times_s: Float[np.ndarray, "k"]) -> UInt8[np.ndarray, "k h w 3"]:
        """Return the frames shown at `times_s`, in that order; each is decoded once.

        Raises:
            DataError: if the file is damaged or shows no frame at one of the times.
        """
        try:
            return self._open(path).read(times_s)
        except (av.FFmpegError, OSError, IndexError, ValueError) as error:
            self._drop(path)
            raise DataError(f"not readable as video: {error}") from error

    def close(self) -> None:
        """Close all files."""
        for path in list(self._videos):
            self._drop(path)

    def _open(self, path: Path) -> "_OpenVideo":
        if path not in self._videos:
            while len(self._videos) >= self.max_open:
                self._drop(next(iter(self._videos)))
            self._videos[path] = _OpenVideo(path)
        self._videos.move_to_end(path)
        return self._videos[path]

    def _drop(self, path: Path) -> None:
        video = self._videos.pop(path, None)
        if video is not None:
            video.container.close()


class _OpenVideo:
    """One open file and the frame that was decoded last."""

    def __init__(self, path: Path) -> None:
        self.container = av.open(str(path))
        self.stream = self.container.streams.video[0]
        if self.stream.codec_context is None:  # so truncated that nobody knows the codec
            raise ValueError("its head does not say how it is encoded")
        self.stream.codec_context.thread_count = 1  # workers are the parallelism; threads would decode ahead in vain
        self.half_frame_s = float(0.5 / (self.stream.average_rate or 1))
        self.reach_s = 4 * self.half_frame_s  # seeking costs as much as decoding this far; a key frame is so near
        self.to_rgb = VideoReformatter()  # one for all frames: making one costs more than using it
        self.frames: Iterator[av.VideoFrame] = iter(())
        self.last: av.VideoFrame | None = None

    def read(self, times_s: np.ndarray) -> np.ndarray:
        """The frames nearest to `times_s`, uint8 [k, h, w, 3]."""
        out = np.empty((len(times_s), self.stream.height, self.stream.width, 3), np.uint8)
        before = None
        for i in np.argsort(times_s, kind="stable").tolist():
            frame = self._frame_at(float(times_s[i]))
            if before is not None and frame is before[0]:
                out[i] = out[before[1]]
            else:
                self._copy_rgb(frame, out[i])
            before = frame, i
        return out

    def _frame_at(self, time_s: float) -> av.VideoFrame:
        begin_s = time_s - self.half_frame_s
        ahead_s = begin_s - self.last.time if self.last is not None else -1.0
        frame = self.last if -2 * self.half_frame_s < ahead_s <= 0 else None
        if frame is None and 0 < ahead_s <= self.reach_s:
            frame = self._decode_until(begin_s)
        if frame is None:
            frame = self._seek(time_s, begin_s)
        if frame is None or abs(frame.time - time_s) > self.half_frame_s + 1e-6:
            raise DataError(f"no frame at {time_s:.3f} s")
        return frame

    def _seek(self, time_s: float, begin_s: float) -> av.VideoFrame | None:
        """Find the frame from the key frame before it; step back further where the index is in decoding order."""
        for back_off_s in _BACK_OFF_S:
            start = max(0, round((time_s - back_off_s) / self.stream.time_base)) if time_s > back_off_s else 0
            self.container.seek(start, stream=self.stream)
            self.frames, self.last = self.container.decode(self.stream), None
            first = next(self.frames, None)
            if first is None:
                continue
            self.last = first
            frame = first if first.time >= begin_s else self._decode_until(begin_s)
            self.reach_s = max(self.reach_s, time_s - first.time)  # so far apart are key frames, at least
            is_too_late = frame is not None and frame.time > time_s + self.half_frame_s
            if not is_too_late or start == 0:
                return frame
        return None

    def _decode_until(self, begin_s: float) -> av.VideoFrame | None:
        for frame in self.frames:
            self.last = frame
            if frame.time >= begin_s:
                return frame
        return None

    def _copy_rgb(self, frame: av.VideoFrame, out: np.ndarray) -> None:
        """Write the pixels of a frame to `out`, uint8 [h, w, 3]; a row in memory may end with padding."""
        plane = self.to_rgb.reformat(frame, format="rgb24", **_ONE_THREAD).planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        out.reshape(len(out), -1)[:] = rows[: len(out), : 3 * out.shape[1]]
