"""Messages of the type tf.train.Example, read where they lie: a picture that is not asked for is not touched.

::

    Example ─ 1: Features ─ 1: entry, any number ─ 1: key
                                                 └ 2: Feature ─ 1: BytesList ─ 1: value, any number
                                                              ├ 2: FloatList ─ 1: values, packed or not
                                                              └ 3: Int64List ─ 1: values, packed or not

Every field begins with a tag, (number << 3) | wire type; those of wire type 2 with their length, so a list of pictures
is hopped over from length to length.

Source: https://protobuf.dev/programming-guides/encoding and tensorflow/core/example/{example,feature}.proto.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from robovlms.errors import DataError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_KINDS = {1: "bytes", 2: "float", 3: "int64"}


@dataclass(frozen=True)
class _Place:
    """Where the values of one key lie."""

    kind: str
    begin: int
    end: int


class Example:
    """One message.

    Args:
        data: its bytes; kept, not copied.

    Raises:
        DataError: if it is no such message.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        self.data = memoryview(data)
        self._places = dict(self._features())
        self._values: dict[str, list[tuple[int, int]]] = {}

    @property
    def keys(self) -> list[str]:
        """Every key, sorted."""
        return sorted(self._places)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def kind(self, key: str) -> str:
        """What the values of a key are: "bytes", "float" or "int64".

        Raises:
            DataError: if there is no such key.
        """
        return self._place(key).kind

    def count(self, key: str) -> int:
        """Number of values of a key; of pictures, only their lengths are read."""
        return len(self._spans(key)) if self.kind(key) == "bytes" else len(self.numbers(key))

    def blob(self, key: str, index: int) -> memoryview:
        """The `index`-th value of a key of bytes, not copied.

        Raises:
            DataError: if there is no such value.
        """
        if index == 0 and key not in self._values and self.kind(key) == "bytes":  # do not hop over all the others
            place = self._place(key)
            for number, _, begin, end in _fields(self.data, place.begin, place.end):
                if number == 1:
                    return self.data[begin:end]
        spans = self._spans(key)
        if not 0 <= index < len(spans):
            raise DataError(f"{key}: value {index} asked for, there are {len(spans)}")
        begin, end = spans[index]
        return self.data[begin:end]

    def numbers(self, key: str) -> np.ndarray:
        """Values of a key of numbers: float32 or int64 [k].

        Raises:
            DataError: if the key holds bytes, or there is none.
        """
        place = self._place(key)
        if place.kind == "bytes" and place.begin < place.end:
            raise DataError(f"{key}: expected numbers, it holds bytes")
        decode = _floats if place.kind == "float" else _integers
        pieces = [decode(self.data, *field) for field in _fields(self.data, place.begin, place.end) if field[0] == 1]
        dtype = np.float32 if place.kind == "float" else np.int64
        return np.concatenate(pieces) if pieces else np.zeros(0, dtype)

    def _place(self, key: str) -> _Place:
        if key not in self._places:
            raise DataError(f"no key {key!r}; there are {', '.join(self.keys[:12])}")
        return self._places[key]

    def _spans(self, key: str) -> list[tuple[int, int]]:
        if key not in self._values:
            place = self._place(key)
            if place.kind != "bytes":
                raise DataError(f"{key}: expected bytes, it holds {place.kind} numbers")
            fields = _fields(self.data, place.begin, place.end)
            self._values[key] = [(begin, end) for number, _, begin, end in fields if number == 1]
        return self._values[key]

    def _features(self) -> Iterator[tuple[str, _Place]]:
        for _, entry in self._inside(0, len(self.data), 1, 1):
            key, place = "", _Place("bytes", 0, 0)
            for number, wire, begin, end in _fields(self.data, *entry):
                if number == 1 and wire == _BYTES:
                    key = bytes(self.data[begin:end]).decode(errors="replace")
                elif number == 2 and wire == _BYTES:
                    place = self._list(begin, end)
            yield key, place

    def _inside(self, begin: int, end: int, *path: int) -> Iterator[tuple[int, tuple[int, int]]]:
        """Messages at a path of field numbers."""
        for number, wire, first, last in _fields(self.data, begin, end):
            if number == path[0] and wire == _BYTES:
                if len(path) == 1:
                    yield number, (first, last)
                else:
                    yield from self._inside(first, last, *path[1:])

    def _list(self, begin: int, end: int) -> _Place:
        """The list of a feature; an empty feature holds no bytes."""
        place = _Place("bytes", end, end)
        for number, wire, first, last in _fields(self.data, begin, end):
            if number in _KINDS and wire == _BYTES:
                place = _Place(_KINDS[number], first, last)
        return place


def _fields(data: memoryview, begin: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(number, wire type, first byte, end) of each field of a message."""
    at = begin
    while at < end:
        tag, at = _varint(data, at, end)
        number, wire = tag >> 3, tag & 7
        if wire == _BYTES:
            length, at = _varint(data, at, end)
        elif wire == _VARINT:
            length = _varint(data, at, end)[1] - at
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise DataError(f"not a tf.train.Example: wire type {wire} at byte {at}")
        if at + length > end:
            raise DataError(f"not a tf.train.Example: a field at byte {at} reaches {at + length - end} bytes too far")
        yield number, wire, at, at + length
        at += length


def _varint(data: memoryview, at: int, end: int) -> tuple[int, int]:
    """A number and where the next one begins."""
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise DataError(f"not a tf.train.Example: a number at byte {at} does not end")


def _floats(data: memoryview, number: int, wire: int, begin: int, end: int) -> np.ndarray:
    if wire not in (_BYTES, _FIXED32) or (end - begin) % 4:
        raise DataError(f"not a tf.train.Example: {end - begin} bytes of wire type {wire} are no float numbers")
    return np.frombuffer(data[begin:end], "<f4").astype(np.float32, copy=False)


def _integers(data: memoryview, number: int, wire: int, begin: int, end: int) -> np.ndarray:
    """Packed or single varints: seven bits a byte, the last one below 128; negative numbers take ten bytes.

    >>> _integers(memoryview(bytes([5, 0xAC, 2, 0x7F])), 1, 2, 0, 4).tolist()
    [5, 300, 127]
    """
    if wire not in (_BYTES, _VARINT):
        raise DataError(f"not a tf.train.Example: wire type {wire} is no whole number")
    stored = np.frombuffer(data[begin:end], np.uint8)
    ends = np.flatnonzero(stored < 0x80)
    if not len(stored):
        return np.zeros(0, np.int64)
    if not len(ends) or ends[-1] != len(stored) - 1:
        raise DataError(f"not a tf.train.Example: the last number of the list at byte {begin} does not end")
    begins = np.concatenate([[0], ends[:-1] + 1])
    if (ends - begins).max() > 9:
        raise DataError(f"not a tf.train.Example: a number of the list at byte {begin} has more than ten bytes")
    shifts = (np.arange(len(stored)) - np.repeat(begins, ends - begins + 1)).astype(np.uint64) * np.uint64(7)
    bits = (stored & 0x7F).astype(np.uint64) << shifts
    return np.bitwise_or.reduceat(bits, begins).astype(np.int64)
