"""What the ROS 2 drivers say, byte by byte; no ROS is needed."""

import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robovlms.errors import SafetyError
from robovlms.robot.drivers.ros2_messages import check_near, fill, joint_trajectory, time_values, twist, twist_stamped
from robovlms.robot.safety.command import VelocityCommand

FINITE = st.floats(allow_nan=False, allow_infinity=False)
HEADER = b"\x00\x01\x00\x00"  # little-endian CDR


@pytest.fixture(scope="module")
def store() -> Any:
    typesys = pytest.importorskip("rosbags.typesys")
    return typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)


def build(store: Any, kind: str, values: dict[str, Any]) -> Any:
    """A message of rosbags from plain values; every field has to be there."""
    _, fields = store.fielddefs[kind]
    assert set(values) == {name for name, _ in fields}, kind
    return store.types[kind](**{name: _field(store, definition, values[name]) for name, definition in fields})


def _field(store: Any, definition: Any, value: Any) -> Any:
    import numpy as np

    node, detail = int(definition[0]), definition[1]
    if node == 1:  # a plain value
        return value
    if node == 2:  # a message
        return build(store, detail, value)
    inner = detail[0]  # a sequence
    if int(inner[0]) == 2:
        return [build(store, inner[1], item) for item in value]
    return np.array(value, np.float64) if inner[1][0] == "float64" else value


def cdr(store: Any, kind: str, values: dict[str, Any]) -> bytes:
    return bytes(store.serialize_cdr(build(store, kind, values), kind))


@given(FINITE, FINITE, FINITE)
def test_a_twist_is_52_bytes(x: float, y: float, yaw: float) -> None:
    typesys = pytest.importorskip("rosbags.typesys")
    store = typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)
    data = cdr(store, "geometry_msgs/msg/Twist", twist(VelocityCommand(x, y, yaw)))
    assert data == HEADER + struct.pack("<6d", x, y, 0.0, 0.0, 0.0, yaw)
    assert len(data) == 52


def test_a_stamped_twist(store: Any) -> None:
    values = twist_stamped(VelocityCommand(0.25, -0.5, 1.0), "base_link", 1_700_000_000_000_000_005)
    expected = (
        HEADER
        + struct.pack("<iI", 1_700_000_000, 5)
        + struct.pack("<I", 10)
        + b"base_link\x00"
        + bytes(2)  # doubles begin at a multiple of 8: 8 + 4 + 10 + 2 = 24
        + struct.pack("<6d", 0.25, -0.5, 0.0, 0.0, 0.0, 1.0)
    )
    kind = "geometry_msgs/msg/TwistStamped"
    assert cdr(store, kind, values) == expected
    back = store.deserialize_cdr(expected, kind)
    assert (back.header.frame_id, back.twist.linear.x, back.twist.angular.z) == ("base_link", 0.25, 1.0)


def test_a_trajectory(store: Any) -> None:
    values = joint_trajectory(["a", "bc"], [(0.0, (0.1, 0.2)), (0.02, (0.3, 0.4))])
    kind = "trajectory_msgs/msg/JointTrajectory"
    data = cdr(store, kind, values)
    names = struct.pack("<I", 2) + struct.pack("<I", 2) + b"a\x00" + bytes(2) + struct.pack("<I", 3) + b"bc\x00"
    begin = struct.pack("<iI", 0, 0) + struct.pack("<I", 1) + b"\x00" + bytes(3) + names + bytes(1)
    assert data.startswith(HEADER + begin)
    # Of a point: four sequences (length, padding to 8 before doubles; empty ones are a length only), then a duration.
    position = len(begin)
    body, numbers, times = data[4:], [], []
    (count,) = struct.unpack_from("<I", body, position)
    position += 4
    for _ in range(count):
        assert struct.unpack_from("<I", body, position) == (2,)
        position += 4
        position += -position % 8
        numbers.append(struct.unpack_from("<2d", body, position))
        position += 16
        assert struct.unpack_from("<3I", body, position) == (0, 0, 0)
        times.append(struct.unpack_from("<iI", body, position + 12))
        position += 20
    assert position == len(body)
    assert numbers == [(0.1, 0.2), (0.3, 0.4)]
    assert times == [(0, 0), (0, 20_000_000)]


@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, 10**9 - 1))
def test_times_are_whole_seconds_and_nanoseconds(seconds: int, nanoseconds: int) -> None:
    assert time_values(seconds * 10**9 + nanoseconds) == {"sec": seconds, "nanosec": nanoseconds}


@pytest.mark.parametrize("spoiled", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("axis", range(3))
def test_what_is_not_finite_is_never_a_message(spoiled: float, axis: int) -> None:
    velocity = [0.1, 0.1, 0.1]
    velocity[axis] = spoiled
    with pytest.raises(SafetyError, match="finite"):
        twist(VelocityCommand(*velocity))


@pytest.mark.parametrize(
    ("names", "points", "text"),
    [
        ([], [(0.1, ())], "at least one"),
        (["a", "a"], [(0.1, (0.0, 0.0))], "different joints"),
        (["a"], [], "at least one point"),
        (["a"], [(0.1, (0.0, 1.0))], "expected 1 positions, got 2"),
        (["a", "b"], [(0.1, (0.0,))], "expected 2 positions, got 1"),
        (["a"], [(0.1, (math.nan,))], "finite"),
        (["a"], [(math.nan, (0.0,))], "finite"),
        (["a"], [(0.1, (0.0,)), (0.1, (0.1,))], "increasing"),
        (["a"], [(0.2, (0.0,)), (0.1, (0.1,))], "increasing"),
        (["a"], [(0.1, (0.0,)), (0.1 + 1e-12, (0.1,))], "increasing"),  # the same nanosecond
        (["a"], [(-0.1, (0.0,))], "increasing"),
    ],
)
def test_a_trajectory_that_is_none_is_refused(names: list[str], points: list[Any], text: str) -> None:
    with pytest.raises(SafetyError, match=text):
        joint_trajectory(names, points)


@given(st.lists(st.tuples(st.floats(0, 1e6), st.tuples(FINITE, FINITE)), min_size=1, max_size=5))
def test_a_trajectory_has_increasing_times_or_is_refused(points: list[Any]) -> None:
    try:
        values = joint_trajectory(["a", "b"], points)
    except SafetyError:
        return
    starts = [point["time_from_start"] for point in values["points"]]
    times_ns = [start["sec"] * 10**9 + start["nanosec"] for start in starts]
    assert times_ns == sorted(set(times_ns))
    assert all(len(point["positions"]) == 2 for point in values["points"])


def test_near_is_within_the_tolerance() -> None:
    check_near("start", (0.5, 1.0), (0.25, 1.25), ("a", "b"), 0.25)
    for position in (0.7500001, math.nan, math.inf):
        with pytest.raises(SafetyError, match="start of b"):
            check_near("start", (0.5, position), (0.25, 0.5), ("a", "b"), 0.25)
    with pytest.raises(SafetyError):
        check_near("start", (0.5,), (math.nan,), ("a",), 0.25)


def test_fill_sets_what_is_inside() -> None:
    class Leaf:
        x: float = 9.0

    class Message:
        def __init__(self) -> None:
            self.leaf, self.items, self.numbers = Leaf(), [], None

    values = {"leaf": {"x": 1.0}, "items": [{"x": 2.0}, {"x": 3.0}], "numbers": [4.0]}
    message = fill(Message(), values, {"items": Leaf})
    assert (message.leaf.x, [item.x for item in message.items], message.numbers) == (1.0, [2.0, 3.0], [4.0])
