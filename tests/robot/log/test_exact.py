import math
import struct
from enum import IntEnum
from fractions import Fraction
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robovlms.errors import DataError
from robovlms.robot.action import ActionType, RobotAction
from robovlms.robot.arm_motion import ArmMotion
from robovlms.robot.log.exact import Opaque, pack, pack_fields, settled, unpack
from robovlms.robot.safety.command import JointCommand, Reason, VelocityCommand
from robovlms.robot.safety.reading import read_command, read_number

FLOATS = st.floats(allow_nan=True, allow_infinity=True)
MOTION = ArmMotion(
    translation=(0.1, 0.0, -0.1), rotation=(0.0, 0.0, 0.5), rotation_kind="euler_xyz", frame="tcp", is_delta=True
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | st.text() | st.binary(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple) | st.dictionaries(st.text(), inner)
    ),
    max_leaves=8,
)


def same(one: Any, other: Any) -> bool:
    """Equal in type and in every bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return struct.pack("<d", one) == struct.pack("<d", other)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return one == other


@given(PLAIN)
def test_plain_values_come_back_as_they_were(value: Any) -> None:
    assert same(unpack(pack(value)), value)


@pytest.mark.parametrize("bits", [0x7FF8000000000000, 0x7FF8000000000001, 0xFFF8000000000000, 0x8000000000000000, 1])
def test_every_bit_of_a_double_is_kept(bits: int) -> None:
    (number,) = struct.unpack("<d", struct.pack("<Q", bits))
    assert same(unpack(pack((number,))), (number,))


@pytest.mark.parametrize(
    "value",
    [
        RobotAction(ActionType.MOVE, 0.1, target_object="cup", confidence=0.9),
        RobotAction(ActionType.GRAB, arm=MOTION),
        VelocityCommand(0.1, -0.0, 1e300, (Reason.CLAMPED, Reason.RATE_LIMITED)),
        JointCommand((0.1, 0.2), "open", (Reason.HOLD,)),
        ActionType.STOP,
        Reason.STALE,
        Opaque("Thing", "<a thing>"),
        10**400,
        -(2**63) - 1,
        2**64,
        "half of a pair \ud800",
        b"\xff",
    ],
    ids=lambda value: type(value).__name__,
)
def test_our_own_types_and_odd_ones_come_back(value: Any) -> None:
    back = unpack(pack(value))
    assert type(back) is type(value)
    assert back == value


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "float32", "float64", ">f4"])
def test_numpy_comes_back_with_type_and_shape(dtype: str) -> None:
    array = np.arange(6).astype(dtype).reshape(2, 3)
    back = unpack(pack(array))
    assert back.dtype == array.dtype
    assert back.shape == (2, 3)
    assert back.tobytes() == array.tobytes()
    scalar = unpack(pack(array[1, 2]))
    assert type(scalar) is type(array[1, 2])
    assert scalar == array[1, 2]


class Hostile:
    """Raises whatever it is asked."""

    def __getattribute__(self, name: str) -> Any:
        raise ZeroDivisionError(name)

    def __repr__(self) -> str:
        raise ZeroDivisionError


def _circle() -> list:
    circle: list = []
    circle.append(circle)
    return circle


def _deep() -> list:
    deep: list = []
    for _ in range(5000):
        deep = [deep]
    return deep


@pytest.mark.parametrize(
    "make",
    [
        object,
        Hostile,
        lambda: 1 + 2j,
        lambda: print,
        lambda: type,
        lambda: np.array(["a"]),
        lambda: np.array([object()]),
        lambda: np.zeros(5000),
        lambda: {1, 2},
    ],
)
def test_what_cannot_be_written_becomes_opaque(make: Any) -> None:
    value = make()
    back = unpack(pack((0.5, value)))
    assert back[0] == 0.5
    assert type(back[1]) is Opaque
    assert back[1].type_name == type(value).__name__


@pytest.mark.parametrize("make", [_circle, _deep])
def test_a_field_without_end_costs_only_itself(make: Any) -> None:
    back = unpack(pack_fields({"index": 3, "command": make(), "now": math.inf}))
    assert type(back["command"]) is Opaque
    assert back["index"] == 3
    assert back["now"] == math.inf


class _Number(IntEnum):
    TWO = 2


class _Loud(float):
    def __float__(self) -> float:
        raise ZeroDivisionError


# What a shield reads from strange objects, it must read from what the log gives back.
STRANGE_NUMBERS = [0.1, -0.0, 1, True, None, "1", math.nan, math.inf, 10**400, Fraction(1, 3), Fraction(10**400)]
STRANGE_NUMBERS += [np.float32(0.1), np.float64(0.1), np.int8(1), np.bool_(True), _Number.TWO, _Loud(0.25), 1j]


@given(st.lists(st.sampled_from(STRANGE_NUMBERS), min_size=2, max_size=4), st.sampled_from([*ActionType, None, "move"]))
def test_a_shield_reads_the_logged_command_like_the_original(numbers: list[Any], kind: Any) -> None:
    x, y, yaw = (*numbers, 0.0)[:3]
    axes = {"linear_x": x, "linear_y": y, "angular_z": yaw}
    commands = [
        numbers,
        tuple(numbers),
        axes,
        MappingProxyType(axes),
        {"action_type": kind, **axes},
        {"linear": {"x": x, "y": y}, "angular": {"z": yaw}},
        SimpleNamespace(**axes),
        SimpleNamespace(action_type=kind, **axes),
        SimpleNamespace(action_type=kind, linear_x=x),
        SimpleNamespace(shape=(3,), tolist=lambda: [x, y, yaw]),
    ]
    if isinstance(kind, ActionType) and all(type(number) is float for number in (x, y, yaw)):
        commands += [VelocityCommand(x, y, yaw), RobotAction(kind, x, y, yaw)]
    for command in commands:
        was, now = read_command(command), read_command(unpack(pack(command)))
        assert same(was.velocity, now.velocity), command
        assert was[1:] == now[1:], command


@pytest.mark.parametrize("number", STRANGE_NUMBERS, ids=repr)
def test_a_shield_reads_the_logged_number_like_the_original(number: Any) -> None:
    was, now = read_number(number), read_number(unpack(pack(number)))
    assert same(was, now)


@given(st.binary(max_size=40))
def test_any_other_bytes_are_a_data_error(data: bytes) -> None:
    try:
        unpack(data)
    except DataError:
        return


@given(PLAIN, st.data())
def test_a_damaged_byte_is_another_value_or_a_data_error(value: Any, data: st.DataObject) -> None:
    good = bytearray(pack((value, np.float32(1), ActionType.MOVE, Opaque("a", "b"))))
    good[data.draw(st.integers(0, len(good) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        unpack(bytes(good))
    except DataError:
        return


@pytest.mark.parametrize("value", [None, 1.0, "a", (0.1, 0.2, 0.3), RobotAction(ActionType.STOP)])
def test_what_nobody_can_change_is_not_copied(value: Any) -> None:
    assert settled(value) is value


def test_what_may_change_is_copied() -> None:
    command = [0.1, 0.2, 0.3]
    kept = settled(command)
    command[0] = 9.0
    assert kept == [0.1, 0.2, 0.3]
    nested = ([0.1],)
    kept = settled(nested)
    nested[0][0] = 9.0
    assert kept == ([0.1],)
