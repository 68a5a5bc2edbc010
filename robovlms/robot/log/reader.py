"""Reads a log, whole or cut, and says what is missing.

A run that ended badly leaves a file without its index. So the file is read from its head, record by record, as far as
the records go, each chunk checked against its checksum; nothing is sorted by time, which a cut file cannot do. Messages
of a topic are numbered when they are submitted: a gap in the numbers is a message that was dropped or damaged.
"""

import json
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from robovlms.errors import DataError
from robovlms.robot.log import schemas
from robovlms.robot.log.mcap_file import CHANNEL_IDS, END, RUN
from robovlms.robot.log.metadata import RunMetadata
from robovlms.robot.log.records import CommandRecord, record_from_bytes
from robovlms.robot.output.record import TickRecord


@dataclass(frozen=True, kw_only=True)
class Missing:
    """What a log does not hold.

    Attributes:
        is_cut: the file has no end: the run was killed, the disk was full, or the file was not copied whole.
        num_unread_bytes: bytes at the end that are no whole record; what was still in memory is not counted.
        num_damaged_chunks: chunks whose checksum is wrong; their messages are left out.
        num_gaps: topic -> numbers that no message has; of a cut file, of those before the last one that was found.
        num_dropped: topic -> messages that the writer says it dropped; empty if the file was cut.
    """

    is_cut: bool = False
    num_unread_bytes: int = 0
    num_damaged_chunks: int = 0
    num_gaps: Mapping[str, int] = field(default_factory=dict)
    num_dropped: Mapping[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.is_cut or self.num_damaged_chunks or self.num_gaps or self.num_dropped)

    def __str__(self) -> str:
        parts = []
        if self.is_cut:
            parts.append(f"the file is cut ({self.num_unread_bytes} bytes at its end are no whole record)")
        if self.num_damaged_chunks:
            parts.append(f"{self.num_damaged_chunks} chunks are damaged")
        if self.num_gaps:
            parts.append("messages that are not there: " + _counts(self.num_gaps))
        if self.num_dropped:
            parts.append("dropped while it was written: " + _counts(self.num_dropped))
        return "; ".join(parts) or "nothing"


@dataclass(frozen=True)
class Message:
    """One message of a log.

    Attributes:
        topic: see `schemas`.
        sequence: its number within the topic, from 0.
        log_time_ns: when it was submitted, ns since 1970.
        data: its bytes.
    """

    topic: str
    sequence: int
    log_time_ns: int
    data: bytes


@dataclass(frozen=True, kw_only=True)
class RunRecording:
    """A log in memory, without its images.

    Attributes:
        metadata: what the run was.
        ticks: number of the message -> tick of the output, in order.
        commands: as they were submitted.
        texts: kind, text and camera of each.
        timings: part and duration_s of each.
        events: level, message and name of each.
        num_images: camera -> frames.
        missing: what the log does not hold.
    """

    metadata: RunMetadata
    ticks: Mapping[int, TickRecord]
    commands: tuple[CommandRecord, ...]
    texts: tuple[dict[str, Any], ...]
    timings: tuple[dict[str, Any], ...]
    events: tuple[dict[str, Any], ...]
    num_images: Mapping[str, int]
    missing: Missing


def read_log(path: Path) -> RunRecording:
    """Return everything but the images.

    Raises:
        DataError: if the file is missing or no log of a run; a cut log is none of these.
    """
    try:
        return _read(_Scan(path))
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _read(scan: "_Scan") -> RunRecording:
    by_topic: dict[str, list[Message]] = {topic: [] for topic in schemas.CHANNELS}
    num_images: Counter[str] = Counter()
    for message in scan.messages():
        if message.topic.startswith(schemas.CAMERA_PREFIX):
            num_images[message.topic.removeprefix(schemas.CAMERA_PREFIX)] += 1
        elif message.topic in by_topic:
            by_topic[message.topic].append(message)
    ticks = sorted(by_topic[schemas.TICKS], key=lambda message: message.sequence)
    return RunRecording(
        metadata=scan.metadata(),
        ticks={message.sequence: record_from_bytes(TickRecord, message.data) for message in ticks},
        commands=tuple(record_from_bytes(CommandRecord, message.data) for message in by_topic[schemas.COMMANDS]),
        texts=_json(by_topic[schemas.TEXTS]),
        timings=_json(by_topic[schemas.TIMINGS]),
        events=_json(by_topic[schemas.LOG]),
        num_images=dict(num_images),
        missing=scan.missing(),
    )


def read_images(path: Path, camera: str) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (time of capture in ns since 1970, RGB frame uint8 [h, w, 3]) of one camera, in the order of the log.

    Raises:
        DataError: if the file is missing or no log of a run.
    """
    from PIL import Image

    try:
        for message in _Scan(path).messages():
            if message.topic == schemas.CAMERA_PREFIX + camera:
                captured_ns, _, _, data = schemas.read_compressed_image(message.data)
                yield captured_ns, np.asarray(Image.open(BytesIO(data)).convert("RGB"))
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


class _Scan:
    """One pass over a file; what is missing is known when it is over."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._texts: dict[str, dict[str, str]] = {}  # of the metadata records, by name
        self._topics: dict[int, str] = {}  # by channel
        self._sequences: dict[str, set[int]] = {}
        self._is_cut, self._num_unread_bytes, self._num_damaged_chunks = True, 0, 0

    def messages(self) -> Iterator[Message]:
        """Yield every message that can be read."""
        from mcap.records import Chunk, Metadata

        for record in self._records():
            if isinstance(record, Metadata):
                self._texts[record.name] = record.metadata
                if record.name == RUN:
                    self._topics = _channels(record.metadata)
            elif isinstance(record, Chunk):
                yield from self._chunk(record)

    def metadata(self) -> RunMetadata:
        """What the run was.

        Raises:
            DataError: if the head of the file does not say it.
        """
        if RUN not in self._texts:
            raise DataError("no log of a run: its head does not say what the run was")
        return RunMetadata.from_texts(self._texts[RUN])

    def missing(self) -> Missing:
        """What was not found."""
        end = self._texts.get(END, {})
        written, dropped = (_counts_of(end.get(name, "{}")) for name in ("num_written", "num_dropped"))
        found = {topic: len(numbers) for topic, numbers in self._sequences.items()}
        submitted = {topic: max(numbers) + 1 for topic, numbers in self._sequences.items()}
        for topic, number in written.items():
            submitted[topic] = max(submitted.get(topic, 0), number + dropped.get(topic, 0))
        gaps = {topic: number - found.get(topic, 0) for topic, number in submitted.items()}
        return Missing(
            is_cut=self._is_cut,
            num_unread_bytes=self._num_unread_bytes,
            num_damaged_chunks=self._num_damaged_chunks,
            num_gaps={topic: number for topic, number in gaps.items() if number > 0},
            num_dropped=dropped,
        )

    def _records(self) -> Iterator[Any]:
        """Yield the records of the file up to its end, or to where it is cut."""
        from mcap.exceptions import InvalidMagic, McapError
        from mcap.stream_reader import StreamReader

        try:
            size, stream = self.path.stat().st_size, self.path.open("rb")
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}") from None
        with stream:
            position = 0
            try:
                for record in StreamReader(stream, emit_chunks=True, record_size_limit=size).records:
                    position = stream.tell()
                    yield record
                self._is_cut = END not in self._texts
            except InvalidMagic as error:
                if position == 0:
                    raise DataError(f"no MCAP file: {error}") from None
            except (McapError, ValueError, struct.error, OverflowError):  # cut, or damaged between two records
                if position == 0:
                    raise DataError("no MCAP file: it ends before its first record") from None
            self._num_unread_bytes = size - position if self._is_cut else 0

    def _chunk(self, chunk: Any) -> Iterator[Message]:
        from mcap.exceptions import McapError
        from mcap.records import Channel
        from mcap.records import Message as McapMessage
        from mcap.stream_reader import breakup_chunk
        from zstandard import ZstdError

        try:
            records = breakup_chunk(chunk, validate_crc=True)
        except (McapError, ValueError, struct.error, OverflowError, ZstdError):
            self._num_damaged_chunks += 1
            return
        for record in records:
            if isinstance(record, Channel):
                self._topics[record.id] = record.topic
            elif isinstance(record, McapMessage) and record.channel_id in self._topics:
                topic = self._topics[record.channel_id]
                self._sequences.setdefault(topic, set()).add(record.sequence)
                yield Message(topic, record.sequence, record.log_time, record.data)


def _channels(texts: Mapping[str, str]) -> dict[int, str]:
    """Channel -> topic, as the head of the file says it; the chunks say it again."""
    try:
        return {number: topic for topic, number in json.loads(texts.get(CHANNEL_IDS, "{}")).items()}
    except (ValueError, AttributeError, TypeError):  # damaged
        return {}


def _counts_of(text: str) -> dict[str, int]:
    try:
        return {str(topic): int(number) for topic, number in json.loads(text).items()}
    except (ValueError, AttributeError, TypeError):  # damaged
        return {}


def _json(messages: list[Message]) -> tuple[dict[str, Any], ...]:
    return tuple(json.loads(message.data) for message in messages)


def _counts(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number} of {topic}" for topic, number in sorted(numbers.items()))
