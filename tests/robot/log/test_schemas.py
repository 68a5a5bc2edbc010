"""A log is read by tools that are not ours."""

import json
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from robot.log.runs import base_metadata, steady_run, tick_record

from robovlms.robot.log.records import CommandRecord
from robovlms.robot.log.schemas import CHANNELS, compressed_image_cdr, read_compressed_image, shield_json
from robovlms.robot.log.writer import RunLog
from robovlms.robot.safety.command import JointCommand, Reason, VelocityCommand


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with a message on every channel."""
    path = tmp_path_factory.mktemp("log") / "run.mcap"
    with RunLog(path, base_metadata()) as log:
        for record in steady_run(30):
            log.tick(record)
        log.command(CommandRecord(command=None))
        log.text("output", "go")
        log.timing("camera", 0.01)
        log.event("error", "no link")
        log.image("front", np.full((48, 64, 3), (255, 0, 0), np.uint8), time.monotonic())
    return path


def _read(path: Path) -> dict[str, tuple[Any, Any, list[bytes]]]:
    from mcap.reader import make_reader

    topics: dict[str, tuple[Any, Any, list[bytes]]] = {}
    with path.open("rb") as stream:
        for schema, channel, message in make_reader(stream, validate_crcs=True).iter_messages():
            topics.setdefault(channel.topic, (schema, channel, []))[2].append(message.data)
    return topics


def test_the_plain_reader_finds_everything_by_its_index(path: Path) -> None:
    from mcap.reader import make_reader

    topics = _read(path)
    assert set(topics) == {*CHANNELS, "/camera/front"}
    assert {topic: len(messages) for topic, (_, _, messages) in topics.items()} == {
        **dict.fromkeys(topics, 1),
        "/ticks": 30,
        "/shield": 30,
    }
    with path.open("rb") as stream:
        reader = make_reader(stream)
        statistics = reader.get_summary().statistics
        assert (statistics.message_count, statistics.channel_count, statistics.metadata_count) == (65, 7, 2)
        assert [record.name for record in reader.iter_metadata()] == ["run", "end"]


def test_any_messagepack_reader_reads_the_exact_channels(path: Path) -> None:
    import msgpack

    schema, channel, messages = _read(path)["/ticks"]
    assert (schema, channel.message_encoding) == (None, "msgpack")
    record = msgpack.unpackb(messages[7])
    assert record["index"] == 7
    assert record["now"] == 7 / 50


def test_json_messages_are_strict_json_and_have_the_fields_of_their_schema(path: Path) -> None:
    def refuse(text: str) -> None:
        raise AssertionError(text)

    for topic, (schema, channel, messages) in _read(path).items():
        if channel.message_encoding != "json":
            continue
        assert schema.encoding == "jsonschema"
        described = json.loads(schema.data)
        assert (described["title"], described["type"]) == (schema.name, "object")
        for data in messages:
            values = json.loads(data, parse_constant=refuse)
            assert list(values) == list(described["properties"]), topic


def test_the_log_panels_message_is_as_foxglove_describes_it(path: Path) -> None:
    """Source: https://docs.foxglove.dev/docs/visualization/message-schemas/log"""
    schema, _, (data,) = _read(path)["/log"]
    assert schema.name == "foxglove.Log"
    values = json.loads(data)
    assert set(values) == {"timestamp", "level", "message", "name", "file", "line"}
    assert set(values["timestamp"]) == {"sec", "nsec"}
    assert (values["level"], values["message"]) == (4, "no link")


def test_an_image_has_the_bytes_of_the_ros_message() -> None:
    data = compressed_image_cdr("ab", 1_500_000_001, "png", b"\x01\x02\x03\x04\x05")
    assert data == (
        b"\x00\x01\x00\x00"  # little-endian CDR
        b"\x01\x00\x00\x00\x01\x65\xcd\x1d"  # 1 s, 500000001 ns
        b"\x03\x00\x00\x00ab\x00\x00"  # length with the ending zero, text, padding to 4
        b"\x04\x00\x00\x00png\x00"
        b"\x05\x00\x00\x00\x01\x02\x03\x04\x05"
    )
    assert read_compressed_image(data) == (1_500_000_001, "ab", "png", b"\x01\x02\x03\x04\x05")


@pytest.mark.parametrize("name", ["", "a", "ab", "abc", "front"])
@pytest.mark.parametrize("image_format", ["jpeg", "png"])
def test_rosbags_reads_and_writes_the_same_image(name: str, image_format: str) -> None:
    typesys = pytest.importorskip("rosbags.typesys")
    store = typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)
    data = compressed_image_cdr(name, 1_700_000_000_123_456_789, image_format, bytes(range(17)))
    kind = "sensor_msgs/msg/CompressedImage"
    message = store.deserialize_cdr(data, kind)
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1_700_000_000, 123_456_789)
    assert (message.header.frame_id, message.format, bytes(message.data)) == (name, image_format, bytes(range(17)))
    assert bytes(store.serialize_cdr(message, kind)) == data


def test_rosbags_reads_the_schema_and_the_picture_from_the_file(path: Path) -> None:
    typesys = pytest.importorskip("rosbags.typesys")
    schema, channel, (data,) = _read(path)["/camera/front"]
    assert (schema.encoding, channel.message_encoding) == ("ros2msg", "cdr")
    types = typesys.get_types_from_msg(schema.data.decode(), schema.name)
    known = typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)
    for name in ("sensor_msgs/msg/CompressedImage", "std_msgs/msg/Header", "builtin_interfaces/msg/Time"):
        assert types[name][1] == known.fielddefs[name][1], name
    store = typesys.get_typestore(typesys.Stores.EMPTY)
    store.register(types)
    message = store.deserialize_cdr(data, schema.name)
    pixels = np.asarray(Image.open(BytesIO(bytes(message.data))))
    assert pixels.shape == (48, 64, 3)
    assert np.abs(pixels.astype(int) - (255, 0, 0)).max() <= 3


def test_the_plot_of_a_tick_has_its_numbers() -> None:
    result = VelocityCommand(0.1, 0.0, -0.2, (Reason.CLAMPED,))
    values = json.loads(shield_json(tick_record(3, result, command=(0.4, float("nan"), -0.8), estop="button")))
    assert values["asked"] == [0.4, None, -0.8]
    assert values["result"] == values["sent"] == [0.1, 0.0, -0.2]
    assert (values["index"], values["reasons"], values["estop"]) == (3, ["clamped"], "button")
    arm = json.loads(shield_json(tick_record(3, JointCommand((0.5, 0.6), "open"), command="go", confidence=None)))
    assert (arm["asked"], arm["confidence"], arm["result"]) == (None, None, [0.5, 0.6])
