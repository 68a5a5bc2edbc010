"""What goes over UDP and serial lines: one JSON object per command, for firmware to read.

One datagram, or one line that ends with a line feed; ASCII, at most 1 KiB; numbers without exponents. A base::

    {"v":1,"session":"9f3c21d0","seq":17,"t":1234.567890,"stop":false,"linear":[0.2,0.0],"angular":0.1,"crc":"…"}

and an arm has ``"joints":[0.1,-0.2],"gripper":"open"`` in place of `linear` and `angular`.

========  ======================================================================================================
field     meaning
========  ======================================================================================================
v         version, 1; ignore any other
session   who sends, eight hex digits, drawn when the driver is opened
seq       counts from 0 within a session
t         monotonic clock of the sender, s; only differences within a session mean something
stop      true if nothing is to move: brake now
linear    forward and left, m/s (frame of ROS REP-103, https://www.ros.org/reps/rep-0103.html)
angular   counter-clockwise, rad/s
joints    target position of each joint, rad or m
gripper   "open", "close", or null for as it is
crc       always last: CRC-32 (as in zlib) of all bytes before ``,"crc"``, eight lower-case hex digits
========  ======================================================================================================

What the receiver must do, in this order:

1. Drop what is no such object, has another `v`, or a wrong `crc` (a line that was cut must not become 10 × the speed).
2. If `stop` is true: stop, whatever `session` and `seq` say. A second sender sends zero when the first one died.
3. Drop what has the `session` of the last accepted message but no greater `seq`: datagrams may overtake each other.
   Another `session` is a sender that was started again: take it.
4. Limit the speed itself.
5. **Watch the line itself**: without an accepted message for 0.2 s of its own clock, stop. Nothing on the sender's side
   can stop a robot when the cable is out. Messages come at a fixed rate, also while the robot stands.
"""

import binascii
import json
import math
import secrets
from typing import Any, Literal

from robovlms.errors import ConfigError, DataError, SafetyError, unknown_name
from robovlms.robot.safety.command import Command, VelocityCommand

VERSION = 1
MAX_BYTES = 1024
Body = Literal["base", "arm"]


class WireWriter:
    """Writes the messages of one session."""

    def __init__(self) -> None:
        self.session = secrets.token_hex(4)
        self.sequence = 0

    def encode(self, command: Command, now: float) -> bytes:
        """Return the next message.

        Args:
            command: finite; what the shield let through.
            now: monotonic time, s.

        Raises:
            SafetyError: if a number is not finite, or it does not fit into one message.
        """
        head = {"v": VERSION, "session": self.session, "seq": self.sequence, "t": round(now, 6)}
        try:
            text = json.dumps({**head, **_fields(command)}, allow_nan=False, separators=(",", ":"))
        except ValueError:
            raise SafetyError(f"will not send a command that is not finite: {command}") from None
        start = text[:-1].encode()
        message = start + f',"crc":"{binascii.crc32(start):08x}"}}'.encode()
        if len(message) > MAX_BYTES:
            raise SafetyError(f"a message may have {MAX_BYTES} bytes, this one has {len(message)}")
        self.sequence += 1
        return message


def decode(message: bytes) -> dict[str, Any]:
    """Return the fields of a message, for receivers in Python.

    >>> decode(WireWriter().encode(VelocityCommand(0.2), now=1.5))["linear"]
    [0.2, 0.0]

    Raises:
        DataError: if it is none, or was damaged.
    """
    start, separator, end = message.strip().rpartition(b',"crc":"')
    if not separator or end != f'{binascii.crc32(start):08x}"}}'.encode():
        raise DataError(f"not a message, or damaged: {message[:60]!r}")
    fields = json.loads(start + b"}")
    if fields.get("v") != VERSION:
        raise DataError(f"expected messages of version {VERSION}, got {fields.get('v')!r}")
    return fields


def check_body(body: str) -> Body:
    """Return `body`.

    Raises:
        ConfigError: if it is neither "base" nor "arm".
    """
    if body not in ("base", "arm"):
        raise ConfigError(unknown_name("body of a driver", body, ("base", "arm")))
    return body


def _fields(command: Command) -> dict[str, Any]:
    if isinstance(command, VelocityCommand):
        values = [_written(value) for value in command.velocity]
        return {"stop": not any(values), "linear": values[:2], "angular": values[2]}
    return {"stop": False, "joints": list(map(_written, command.positions)), "gripper": command.gripper}


def _written(value: float) -> float:
    """A number as it is sent: parsers of small boards read no exponents, and JSON writes 0.00002 with one."""
    return round(value, 4) + 0.0 if math.isfinite(value) else value  # + 0.0: no -0.0
