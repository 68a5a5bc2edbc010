"""Messages between the brain and its guard: neither can make the other wait.

A pair of connected sockets that keep the bounds of messages (``SOCK_SEQPACKET``, unix(7)): a message is sent as a whole
or, if the other side does not read, not at all. That is what a length before each message in a byte stream cannot give
without blocking: the half of a message that still fits is sent, and the rest must follow. A message is a msgpack list
of a name and plain values. What is read is checked; nothing is ever unpickled.
"""

import socket
from typing import Any

import msgpack

from robovlms.errors import SafetyError

VERSION = 1
MAX_BYTES = 32 * 1024


class ChannelClosedError(SafetyError):
    """The other side has closed its end, or its process has ended."""


class Channel:
    """One end.

    Args:
        connection: of type ``SOCK_SEQPACKET``.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._connection = connection

    def fileno(self) -> int:
        """For `select` and `poll`."""
        return self._connection.fileno()

    def send(self, *message: Any) -> bool:
        """Send a name and plain values; False if the other side does not read, or is gone.

        Raises:
            SafetyError: if it is too large, or holds what is no plain value.
        """
        try:
            data = msgpack.packb(message)
        except (TypeError, ValueError, OverflowError) as error:
            raise SafetyError(f"cannot send {message[0]!r} between the processes: {error}") from error
        if len(data) > MAX_BYTES:
            raise SafetyError(f"a message may have {MAX_BYTES} bytes, {message[0]!r} has {len(data)}")
        try:
            self._connection.send(data)
        except OSError:  # full, or gone: the reader's end of this channel says which
            return False
        return True

    def receive(self) -> list[Any] | None:
        """Return the next message; None if none waits.

        Raises:
            ChannelClosedError: if the other side has closed and everything was read.
            SafetyError: if what came is no message; the next call goes on after it.
        """
        try:
            data, _, flags, _ = self._connection.recvmsg(MAX_BYTES)
        except BlockingIOError:
            return None
        except OSError as error:
            raise ChannelClosedError(f"closed: {error}") from error
        if not data:
            raise ChannelClosedError("closed")
        if flags & socket.MSG_TRUNC:
            raise SafetyError(f"a message may have {MAX_BYTES} bytes, a larger one came")
        return decode(data)

    def close(self) -> None:
        """Close this end."""
        self._connection.close()


def decode(data: bytes) -> list[Any]:
    """Return the name and the values of a message.

    >>> decode(msgpack.packb(["estop", 1, "why"]))
    ['estop', 1, 'why']

    Raises:
        SafetyError: if it is none.
    """
    try:
        message = msgpack.unpackb(data, ext_hook=_refuse_extension, strict_map_key=True)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise SafetyError(f"not a message: {type(error).__name__}: {error}") from error
    if not isinstance(message, list) or not message or not isinstance(message[0], str):
        raise SafetyError("not a message: expected a list that begins with a name")
    return message


def _refuse_extension(code: int, data: bytes) -> Any:
    raise SafetyError(f"unexpected msgpack extension {code} of {len(data)} bytes")
