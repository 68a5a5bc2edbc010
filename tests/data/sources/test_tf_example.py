from typing import Any

import numpy as np
import pytest
from data.sources.rlds_fixture import encode, example_class
from hypothesis import given
from hypothesis import strategies as st

from robovlms.data.sources.tf_example import Example
from robovlms.errors import DataError

MESSAGE = example_class()
INTEGERS = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20)
FLOATS = st.lists(st.floats(width=32, allow_nan=False), max_size=20)
VALUES = st.one_of(
    st.lists(st.binary(max_size=300), max_size=6),
    FLOATS.map(lambda x: np.array(x, np.float32)),
    INTEGERS.map(lambda x: np.array(x, np.int64)),
)


@given(st.dictionaries(st.text(min_size=1, max_size=10), VALUES, max_size=6))
def test_whatever_protobuf_writes_is_read(values: dict[str, Any]) -> None:
    example = Example(encode(values, MESSAGE))
    assert example.keys == sorted(values)
    for key, expected in values.items():
        assert key in example
        if isinstance(expected, np.ndarray):
            if len(expected):  # an empty list does not say what of
                assert example.kind(key) == ("float" if expected.dtype.kind == "f" else "int64")
                np.testing.assert_array_equal(example.numbers(key), expected)
                assert example.count(key) == len(expected)
        else:
            assert [bytes(example.blob(key, i)) for i in range(example.count(key))] == expected


@given(INTEGERS.filter(bool))
def test_numbers_that_are_not_packed(values: list[int]) -> None:
    def varint(value: int) -> bytes:
        value &= 2**64 - 1
        out = b""
        while value > 127:
            out, value = out + bytes([value & 127 | 128]), value >> 7
        return out + bytes([value])

    listed = b"".join(b"\x08" + varint(value) for value in values)
    assert _only(b"\x1a", listed).numbers("k").tolist() == values


def test_floats_that_are_not_packed() -> None:
    values = np.array([1.5, -2.25], np.float32)
    listed = b"".join(b"\x0d" + value.tobytes() for value in values)
    np.testing.assert_array_equal(_only(b"\x12", listed).numbers("k"), values)


def _only(tag: bytes, listed: bytes) -> Example:
    """A message of one key "k" whose feature is a list, written by hand."""
    feature = tag + _sized(listed)
    entry = b"\x0a\x01k" + b"\x12" + _sized(feature)
    return Example(b"\x0a" + _sized(b"\x0a" + _sized(entry)))


def _sized(data: bytes) -> bytes:
    length, out = len(data), b""
    while length > 127:
        out, length = out + bytes([length & 127 | 128]), length >> 7
    return out + bytes([length]) + data


def test_pictures_are_hopped_over() -> None:
    pictures = [bytes([100 + i]) * 100_000 for i in range(20)]
    data = bytearray(encode({"image": pictures, "n": np.arange(20)}, MESSAGE))
    for picture in range(100, 120):  # whatever the pixels are, they are not looked at
        begin = data.find(bytes([picture]) * 1000)
        data[begin : begin + 100_000] = b"\xff" * 100_000
    example = Example(bytes(data))
    assert example.count("image") == 20
    assert example.numbers("n").tolist() == list(range(20))
    assert bytes(example.blob("image", 7)) == b"\xff" * 100_000


@given(st.binary(max_size=60))
def test_other_bytes_are_refused_or_harmless(data: bytes) -> None:
    try:
        example = Example(data)
        for key in example.keys:
            example.count(key)
    except DataError:
        pass


@given(st.integers(0, 200))
def test_a_truncated_message_is_refused(cut: int) -> None:
    data = encode({"a": [b"xyz"], "b": np.arange(30)}, MESSAGE)
    if 0 < cut < len(data):
        with pytest.raises(DataError, match=r"not a tf\.train\.Example"):
            Example(data[:-cut]).numbers("b")


def test_wrong_questions() -> None:
    example = Example(encode({"a": [b"xyz"], "b": np.arange(3)}, MESSAGE))
    with pytest.raises(DataError, match="no key 'c'; there are a, b"):
        example.kind("c")
    with pytest.raises(DataError, match="a: expected numbers, it holds bytes"):
        example.numbers("a")
    with pytest.raises(DataError, match="b: expected bytes, it holds int64 numbers"):
        example.blob("b", 0)
    with pytest.raises(DataError, match="a: value 1 asked for, there are 1"):
        example.blob("a", 1)
