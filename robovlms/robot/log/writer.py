"""Writes a run to one MCAP file without ever making the robot wait.

::

    control loop ─ tick ────────┐                                    ┌ chunk of 64 KiB ─ chunk ─ … ─> FILE.mcap
    brain ─ image, text, timing ┼─> bounded queue ─> writer's thread ┤
    anyone ─ event ─────────────┘         │                          └ closed once a second: a crash loses no more
                                full: the newest is dropped,
                                counted, and said in the log

A disk that is full or hangs, or a thread that dies, is reported once by `on_failure`, stays readable as `failure`, and
sets `must_stop` unless the run was declared to go on without its log. Source of the format: https://mcap.dev/spec.
"""

import itertools
import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import UInt8

from robovlms.errors import ConfigError
from robovlms.robot.log import schemas
from robovlms.robot.log.mcap_file import McapFile
from robovlms.robot.log.metadata import RunMetadata
from robovlms.robot.log.records import CommandRecord, record_to_bytes, settle
from robovlms.robot.output.record import TickRecord


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    """How a log behaves.

    Attributes:
        when_it_fails: "stop" brings the robot to rest when its log cannot be written; "go_on" drives without one.
        image_format: "jpeg" is small, "png" is exact.
        jpeg_quality: from 1 to 95.
        max_pending: messages that wait for the disk; beyond it they are dropped.
        max_pending_images: frames that wait, of all cameras together; each is some MB before it is compressed.
        flush_every_s: how often the open chunk is closed and handed to the disk, s.
        max_stall_s: a writer that is behind and makes no progress for this long counts as failed, s.
    """

    when_it_fails: Literal["stop", "go_on"] = "stop"
    image_format: Literal["jpeg", "png"] = "jpeg"
    jpeg_quality: int = 90
    max_pending: int = 4096
    max_pending_images: int = 8
    flush_every_s: float = 1.0
    max_stall_s: float = 5.0

    def __post_init__(self) -> None:
        for name in ("jpeg_quality", "max_pending", "max_pending_images", "flush_every_s", "max_stall_s"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"log: {name} must be positive and finite, got {getattr(self, name)}")
        if self.jpeg_quality > 95:
            raise ConfigError(f"log: jpeg_quality must be at most 95, got {self.jpeg_quality}")
        if not self.flush_every_s < self.max_stall_s:
            raise ConfigError(
                f"log: max_stall_s must be above flush_every_s, got {self.max_stall_s} and {self.flush_every_s}"
            )


@dataclass(frozen=True, kw_only=True)
class LogSummary:
    """What became of a log.

    Attributes:
        path: of the file.
        num_written: topic -> messages in the file.
        num_dropped: topic -> messages that are not.
        failure: why it could not be written to its end; empty if it was.
    """

    path: Path
    num_written: Mapping[str, int]
    num_dropped: Mapping[str, int]
    failure: str = ""


class _Pending(NamedTuple):
    topic: str
    sequence: int
    now_ns: int  # monotonic
    encode: Callable[[], bytes]
    encode_plot: Callable[[], bytes] | None = None  # of a tick: the same for `schemas.SHIELD`


class RunLog:
    """The log of one run; every method may be called from any thread, returns at once and raises nothing.

    Args:
        path: of the new file; one that exists is never overwritten.
        metadata: what the run is.
        settings: how the log behaves.
        on_failure: called once, from whichever thread notices, with one line.

    Raises:
        ConfigError: if the file cannot be made.
    """

    def __init__(
        self,
        path: Path,
        metadata: RunMetadata,
        settings: LogSettings | None = None,
        on_failure: Callable[[str], None] | None = None,
    ) -> None:
        self.path, self.metadata, self.settings = path, metadata, settings or LogSettings()
        self.failure = ""
        self._on_failure = on_failure
        self._queue: SimpleQueue[_Pending | None] = SimpleQueue()
        self._image_slots = threading.BoundedSemaphore(self.settings.max_pending_images)
        self._sequences: defaultdict[str, itertools.count] = defaultdict(itertools.count)
        self._lock = threading.Lock()  # of the counts of drops and of the first failure: held for microseconds
        self._num_dropped: Counter[str] = Counter()
        self._num_written: Counter[str] = Counter()
        self._progress_s = time.monotonic()
        self._file = McapFile(path, metadata)
        self._thread = threading.Thread(target=self._run, name="run-log", daemon=True)
        self._thread.start()

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def must_stop(self) -> bool:
        """The log failed, and the run is not to go on without it."""
        return bool(self.failure) and self.settings.when_it_fails != "go_on"

    @property
    def now_s(self) -> float:
        """The clock of the log: monotonic, s."""
        return time.monotonic()

    @property
    def num_dropped(self) -> dict[str, int]:
        """Topic -> messages that were dropped so far."""
        with self._lock:
            return dict(self._num_dropped)

    # ------------------------------------------------------------------------------------------- what may be logged

    def tick(self, record: TickRecord) -> None:
        """Log a tick of the output; what it holds may change afterwards. For `ShieldedOutput(on_record=…)`."""
        record = settle(record)
        self._put(schemas.TICKS, partial(record_to_bytes, record), partial(schemas.shield_json, record))

    def command(self, record: CommandRecord) -> None:
        """Log a command as it was submitted."""
        self._put(schemas.COMMANDS, partial(record_to_bytes, settle(record)))

    def text(self, kind: Literal["prompt", "output", "action"], text: str, camera: str = "") -> None:
        """Log what a model was asked, what it said, or what was understood."""
        self._put(schemas.TEXTS, lambda: schemas.to_json({"kind": kind, "text": text, "camera": camera}))

    def timing(self, part: str, duration_s: float) -> None:
        """Log how long a part of the run took."""
        self._put(schemas.TIMINGS, lambda: schemas.timing_json(part, duration_s))

    def event(self, level: Literal["debug", "info", "warning", "error", "fatal"], message: str, name: str = "") -> None:
        """Log what happened, for people."""
        now_ns = self._now_ns()
        self._put(schemas.LOG, lambda: schemas.log_json(level, message, name, now_ns))

    def image(self, camera: str, frame: UInt8[np.ndarray, "h w 3"], captured_s: float) -> None:
        """Log an RGB frame, captured at this monotonic time, s; nobody may write to the frame afterwards."""
        topic = schemas.CAMERA_PREFIX + camera
        if not self._image_slots.acquire(blocking=False):
            next(self._sequences[topic])
            self._drop(topic)
            return
        if not self._put(topic, partial(self._encode_image, camera, frame, captured_s)):
            self._image_slots.release()

    def close(self, timeout_s: float = 10.0) -> LogSummary:
        """Write what waits, finish the file and return what became of it; calling it again changes nothing."""
        self._queue.put(None)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._fail(f"was not finished within {timeout_s:g} s")
        return LogSummary(
            path=self.path, num_written=dict(self._num_written), num_dropped=self.num_dropped, failure=self.failure
        )

    # -------------------------------------------------------------------------------------------- the caller's thread

    def _put(self, topic: str, encode: Callable[[], bytes], encode_plot: Callable[[], bytes] | None = None) -> bool:
        sequence = next(self._sequences[topic])  # a dropped message leaves its number free: a reader sees the gap
        if self.failure or not self._thread.is_alive() or self._queue.qsize() >= self.settings.max_pending:
            self._drop(topic)
            return False
        self._queue.put(_Pending(topic, sequence, time.monotonic_ns(), encode, encode_plot))
        return True

    def _now_ns(self) -> int:
        return self.metadata.log_time_ns(time.monotonic_ns())

    def _drop(self, topic: str) -> None:
        with self._lock:
            self._num_dropped[topic] += 1
        if not self.failure and time.monotonic() - self._progress_s > self.settings.max_stall_s:
            self._fail(f"the disk took nothing for {self.settings.max_stall_s:g} s")

    def _fail(self, why: str) -> None:
        with self._lock:
            if self.failure:
                return
            self.failure = f"log {self.path.name}: {why}"
        if self._on_failure is not None:
            self._on_failure(self.failure)

    # ------------------------------------------------------------------------------------------- the writer's thread

    def _run(self) -> None:
        try:
            self._write_until_closed()
            self._file.finish(self._summary_texts())
        except BaseException as error:  # whatever it is, a full disk or a fault of ours: the robot has to hear of it
            why = error.strerror if isinstance(error, OSError) else str(error)
            self._fail(f"{type(error).__name__}: {why}")
            self._file.abandon()

    def _write_until_closed(self) -> None:
        flush_s, num_reported, is_closing = 0.0, 0, False
        while not (is_closing and self._queue.empty()):
            self._progress_s = now_s = time.monotonic()
            if now_s >= flush_s:
                num_reported = self._report_drops(num_reported)
                self._file.flush()
                flush_s = time.monotonic() + self.settings.flush_every_s
            try:
                pending = self._queue.get(timeout=max(0.0, flush_s - now_s))
            except Empty:
                continue
            if pending is None:
                is_closing = True
            else:
                self._write(pending)
        self._report_drops(num_reported)

    def _write(self, pending: _Pending) -> None:
        log_time_ns = self.metadata.log_time_ns(pending.now_ns)
        try:
            data = pending.encode()
            plot = None if pending.encode_plot is None else pending.encode_plot()
        except Exception as error:  # what a caller handed over may be anything; one message is lost, not the log
            self._drop(pending.topic)
            message = f"a message of {pending.topic} could not be encoded: {type(error).__name__}: {error}"
            self._write_event("error", message)
            return
        finally:
            if pending.topic.startswith(schemas.CAMERA_PREFIX):
                self._image_slots.release()
        self._write_message(pending.topic, pending.sequence, log_time_ns, data)
        if plot is not None:
            self._write_message(schemas.SHIELD, pending.sequence, log_time_ns, plot)

    def _write_message(self, topic: str, sequence: int, log_time_ns: int, data: bytes) -> None:
        self._file.write(topic, sequence, log_time_ns, data)
        self._num_written[topic] += 1

    def _write_event(self, level: str, message: str) -> None:
        now_ns, sequence = self._now_ns(), next(self._sequences[schemas.LOG])
        self._write_message(schemas.LOG, sequence, now_ns, schemas.log_json(level, message, "log", now_ns))

    def _report_drops(self, num_reported: int) -> int:
        num_dropped = sum(self.num_dropped.values())
        if num_dropped > num_reported:
            self._write_event("warning", f"dropped so far: {json.dumps(self.num_dropped)}")
        return num_dropped

    def _encode_image(self, camera: str, frame: np.ndarray, captured_s: float) -> bytes:
        from PIL import Image

        buffer = BytesIO()
        options = {"quality": self.settings.jpeg_quality} if self.settings.image_format == "jpeg" else {}
        Image.fromarray(frame).save(buffer, self.settings.image_format, **options)
        captured_ns = self.metadata.log_time_ns(int(captured_s * 1e9))
        return schemas.compressed_image_cdr(camera, captured_ns, self.settings.image_format, buffer.getvalue())

    def _summary_texts(self) -> dict[str, str]:
        return {"num_written": json.dumps(self._num_written), "num_dropped": json.dumps(self.num_dropped)}
