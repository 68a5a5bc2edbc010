"""What the log's channels hold, and the bytes of their messages.

::

    topic             encoding   what                                        opened by
    /ticks            msgpack    TickRecord, exact: what replay reads        robovlms, any MessagePack reader
    /commands         msgpack    CommandRecord, exact: as submitted          robovlms, any MessagePack reader
    /shield           json       the numbers of a tick, to be plotted        Foxglove
    /texts            json       prompt, model output, parsed action         Foxglove
    /timings          json       how long each part took                     Foxglove
    /log              json       foxglove.Log: warnings, drops, stops        Foxglove (Log panel)
    /camera/NAME      cdr        sensor_msgs/msg/CompressedImage             Foxglove (Image panel), ROS 2 tools

Images are the ROS 2 message and not JSON: its bytes go in as they are, where JSON would need base64, a third more to
encode and to read; Foxglove shows it in a panel, and ROS 2 tools read it, because its definition is in the file.
NaN and infinity become null in JSON; `/ticks` and `/commands` keep them.
"""

import json
import math
import struct
from dataclasses import dataclass
from typing import Any

from robovlms.robot.action import RobotAction
from robovlms.robot.output.record import TickRecord
from robovlms.robot.safety.command import JointCommand, VelocityCommand
from robovlms.robot.safety.reading import read_number

TICKS, COMMANDS, SHIELD, TEXTS, TIMINGS, LOG = "/ticks", "/commands", "/shield", "/texts", "/timings", "/log"
CAMERA_PREFIX = "/camera/"

# Source: foxglove.Log, https://docs.foxglove.dev/docs/visualization/message-schemas/log
LEVELS = {"debug": 1, "info": 2, "warning": 3, "error": 4, "fatal": 5}

# Source: https://docs.ros.org/en/rolling/p/sensor_msgs/msg/CompressedImage.html
COMPRESSED_IMAGE = f"""std_msgs/Header header
string format
uint8[] data
{"=" * 80}
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
{"=" * 80}
MSG: builtin_interfaces/Time
int32 sec
uint32 nanosec
"""


@dataclass(frozen=True)
class Channel:
    """How messages of one topic are encoded, in the terms of MCAP.

    Attributes:
        message_encoding: of its messages.
        schema_name: name of their type; empty if the messages describe themselves.
        schema_encoding: language of the schema.
        schema: its text.
    """

    message_encoding: str
    schema_name: str = ""
    schema_encoding: str = ""
    schema: str = ""


def _json_channel(title: str, /, **properties: dict[str, Any]) -> Channel:
    text = json.dumps({"title": title, "type": "object", "properties": properties})
    return Channel("json", title, "jsonschema", text)


def _text(description: str) -> dict[str, Any]:
    return {"type": ["string", "null"], "description": description}


def _number(description: str) -> dict[str, Any]:
    return {"type": ["number", "null"], "description": description}


def _list(description: str, kind: str = "number") -> dict[str, Any]:
    return {"type": ["array", "null"], "items": {"type": [kind, "null"]}, "description": description}


_TIME = {"type": "object", "title": "time", "properties": {"sec": {"type": "integer"}, "nsec": {"type": "integer"}}}

CHANNELS = {
    TICKS: Channel("msgpack"),
    COMMANDS: Channel("msgpack"),
    SHIELD: _json_channel(
        "robovlms.Shield",
        index={"type": "integer", "description": "number of the tick"},
        calls=_list("what was done with the shield", "string"),
        asked=_list("linear_x, linear_y (m/s), angular_z (rad/s), or positions; null if it was no list of numbers"),
        confidence=_number("of the command"),
        observation_age_s=_number("age of the observation behind it, s; null if infinite"),
        result=_list("what left the shield, in the same units"),
        reasons=_list("why it differs from what was asked", "string"),
        sent=_list("what was handed to the driver, in the same units"),
        estop=_text("why the emergency stop is latched; null if it is not"),
        lateness_s=_number("how late the tick began, s"),
        num_driver_errors=_number("sends that failed so far"),
    ),
    TEXTS: _json_channel(
        "robovlms.Text", kind=_text("prompt, output or action"), text=_text("what was said"), camera=_text("its image")
    ),
    TIMINGS: _json_channel(
        "robovlms.Timing", part=_text("camera, model, parse, …"), duration_s=_number("how long it took, s")
    ),
    LOG: _json_channel(
        "foxglove.Log",
        timestamp=_TIME,
        level={"type": "integer", "description": "1 debug, 2 info, 3 warning, 4 error, 5 fatal"},
        message=_text("what happened"),
        name=_text("which part says so"),
        file=_text("empty"),
        line={"type": "integer", "description": "0"},
    ),
}
CAMERA_CHANNEL = Channel("cdr", "sensor_msgs/msg/CompressedImage", "ros2msg", COMPRESSED_IMAGE)


def shield_json(record: TickRecord) -> bytes:
    """The numbers of a tick, for a plot."""
    values = {
        "index": record.index,
        "calls": list(record.calls),
        "asked": _numbers(record.command),
        "confidence": _plain(record.confidence),
        "observation_age_s": _plain(record.observation_age_s),
        "result": _numbers(record.result),
        "reasons": [reason.value for reason in record.result.reasons],
        "sent": _numbers(record.sent),
        "estop": record.estop,
        "lateness_s": _plain(record.lateness_s),
        "num_driver_errors": record.num_driver_errors,
    }
    return to_json(values)


def timing_json(part: str, duration_s: float) -> bytes:
    """How long a part of the run took."""
    return to_json({"part": part, "duration_s": _plain(duration_s)})


def log_json(level: str, message: str, name: str, log_time_ns: int) -> bytes:
    """A foxglove.Log message."""
    seconds, nanoseconds = divmod(log_time_ns, 10**9)
    time = {"sec": seconds, "nsec": nanoseconds}
    return to_json({"timestamp": time, "level": LEVELS[level], "message": message, "name": name, "file": "", "line": 0})


def to_json(values: dict[str, Any]) -> bytes:
    """JSON as every reader takes it: no NaN, and no half of a surrogate pair."""
    return json.dumps(values, allow_nan=False).encode()


def _numbers(command: Any) -> list[float | None] | None:
    if isinstance(command, RobotAction | VelocityCommand):
        command = command.velocity
    elif isinstance(command, JointCommand):
        command = command.positions
    return [_plain(value) for value in command] if isinstance(command, list | tuple) else None


def _plain(value: Any) -> float | None:
    number = read_number(value)
    return number if number is not None and math.isfinite(number) else None


def compressed_image_cdr(camera: str, log_time_ns: int, image_format: str, data: bytes) -> bytes:
    """The bytes of a sensor_msgs/msg/CompressedImage; inverse of `read_compressed_image`.

    Little-endian CDR: a header of 4 bytes, then each number at a multiple of its size counted from there.

    Source: OMG DDS-XTypes 1.3, section 7.4.1; RTPS 2.5, section 10.2.
    """
    seconds, nanoseconds = divmod(log_time_ns, 10**9)
    body = struct.pack("<iI", seconds, nanoseconds)
    for text in (camera, image_format):
        body += _cdr_sequence(text.encode() + b"\0", len(body))
    return b"\0\1\0\0" + body + _cdr_sequence(data, len(body))


def _cdr_sequence(data: bytes, position: int) -> bytes:
    return bytes(-position % 4) + struct.pack("<I", len(data)) + data


def read_compressed_image(message: bytes) -> tuple[int, str, str, bytes]:
    """(log_time_ns, camera, format, data) of the bytes that `compressed_image_cdr` made."""
    body = memoryview(message)[4:]
    seconds, nanoseconds = struct.unpack_from("<iI", body)
    position, parts = 8, []
    for _ in range(3):
        position += -position % 4
        (length,) = struct.unpack_from("<I", body, position)
        parts.append(bytes(body[position + 4 : position + 4 + length]))
        position += 4 + length
    camera, image_format = (part.rstrip(b"\0").decode() for part in parts[:2])
    return seconds * 10**9 + nanoseconds, camera, image_format, parts[2]
