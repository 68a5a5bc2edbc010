"""One MCAP file being written: which channels it has, and when its bytes are safe."""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from robovlms.errors import ConfigError
from robovlms.robot.log.metadata import RunMetadata
from robovlms.robot.log.schemas import CAMERA_CHANNEL, CHANNELS

CHUNK_BYTES = 64 * 1024
RUN, END = "run", "end"  # names of the metadata records that a file opens with, and a finished file closes with
CHANNEL_IDS = "channel_ids"  # in RUN: topic -> number of its channel


class McapFile:
    """A new file, written by one thread.

    Args:
        path: of the file; one that exists is never overwritten.
        metadata: written at its head at once, so that a disk that takes nothing is noticed before the robot moves.

    Raises:
        ConfigError: if the file cannot be made.
    """

    def __init__(self, path: Path, metadata: RunMetadata) -> None:
        from mcap.writer import Writer

        try:
            if path.exists():
                raise ConfigError(f"log {path}: exists already; a log is never overwritten, give another name")
            path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = path.open("xb")
        except OSError as error:
            raise ConfigError(f"log {path}: cannot be made: {error.strerror}") from None
        self._writer = Writer(self._stream, chunk_size=CHUNK_BYTES)
        self._channel_ids: dict[str, int] = {}
        self._schema_ids: dict[str, int] = {}
        self._writer.start(library="robovlms")
        for topic in CHANNELS:
            self._channel_ids[topic] = self._register(topic)
        # The first chunk says which channel is which; were it damaged, the others could not be read without this.
        self._writer.add_metadata(RUN, {**metadata.to_texts(), CHANNEL_IDS: json.dumps(self._channel_ids)})
        self._sync(path)

    def write(self, topic: str, sequence: int, log_time_ns: int, data: bytes) -> None:
        """Append one message to the open chunk.

        Raises:
            OSError: if a chunk is full and the disk does not take it.
        """
        if topic not in self._channel_ids:
            self._channel_ids[topic] = self._register(topic)
        self._writer.add_message(self._channel_ids[topic], log_time_ns, data, log_time_ns, sequence)

    def flush(self) -> None:
        """Close the open chunk and hand it to the disk."""
        self._writer.flush()
        os.fsync(self._stream.fileno())

    def finish(self, summary: Mapping[str, str]) -> None:
        """Close the file with the index that makes it quick to open."""
        self._writer.flush()
        self._writer.add_metadata(END, dict(summary))
        self._writer.finish()
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()

    def abandon(self) -> None:
        """Let go of a file that cannot be written any more; it stays as a cut one."""
        with contextlib.suppress(OSError):  # why it cannot be written was reported already
            self._stream.close()

    def _register(self, topic: str) -> int:
        channel = CHANNELS.get(topic, CAMERA_CHANNEL)
        schema_id = 0
        if channel.schema_name:
            if channel.schema_name not in self._schema_ids:
                values = channel.schema_name, channel.schema_encoding, channel.schema.encode()
                self._schema_ids[channel.schema_name] = self._writer.register_schema(*values)
            schema_id = self._schema_ids[channel.schema_name]
        return self._writer.register_channel(topic, channel.message_encoding, schema_id)

    def _sync(self, path: Path) -> None:
        try:
            self.flush()
        except OSError as error:
            self.abandon()
            raise ConfigError(f"log {path}: cannot be written: {error.strerror}") from None
