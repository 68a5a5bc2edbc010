"""Messages between two processes of one machine: plain values and arrays, each with its length before it.

::

    4 bytes, big-endian: length │ msgpack map

An array is a map {"__array__": dtype, "shape": [...], "data": bytes}. What is read is checked before memory is taken:
the length, the depth, the type of number, and that the bytes are as many as the shape says.
"""

import math
import struct
from io import BufferedIOBase
from typing import Any

import msgpack
import numpy as np

from robovlms.errors import SafetyError

_LENGTH = struct.Struct(">I")
_LARGEST = 64 * 2**20  # bytes; two uncompressed 4K frames
_DTYPES = ("uint8", "int64", "float32", "float64", "bool")
_MOST_AXES = 5


def write_message(stream: BufferedIOBase, message: dict[str, Any]) -> None:
    """Write one message and flush.

    Raises:
        SafetyError: if it is too large, or holds what is no plain value.
        OSError: if nobody reads any more.
    """
    try:
        body = msgpack.packb(message, default=_pack_array)
    except (TypeError, ValueError, OverflowError) as error:
        raise SafetyError(f"cannot send a message with the keys {sorted(message)}: {error}") from error
    if len(body) > _LARGEST:
        raise SafetyError(f"a message may have {_LARGEST} bytes, this one has {len(body)}")
    stream.write(_LENGTH.pack(len(body)) + body)
    stream.flush()


def read_message(stream: BufferedIOBase) -> dict[str, Any] | None:
    """Read one message; None at the end of the stream, also if it ends in the middle of a message.

    Raises:
        SafetyError: if what comes is no message.
    """
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > _LARGEST:
        raise SafetyError(f"a message may have {_LARGEST} bytes, one of {length} was announced")
    body = stream.read(length)
    return decode(body) if len(body) == length else None


def decode(body: bytes) -> dict[str, Any]:
    """Read the body of a message.

    Raises:
        SafetyError: if it is none.
    """
    try:
        message = msgpack.unpackb(body, object_hook=_unpack_array, ext_hook=_no_extension, strict_map_key=True)
    except SafetyError:
        raise
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise SafetyError(f"not a message: {type(error).__name__}: {error}") from error
    if not isinstance(message, dict):
        raise SafetyError(f"a message must be a map, got {type(message).__name__}")
    return message


def _pack_array(value: object) -> dict[str, Any]:
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if not isinstance(value, np.ndarray) or value.dtype.name not in _DTYPES:
        raise TypeError(f"{type(value).__name__} is no plain value")
    return {"__array__": value.dtype.name, "shape": list(value.shape), "data": np.ascontiguousarray(value).tobytes()}


def _unpack_array(value: dict[str, Any]) -> Any:
    if "__array__" not in value:
        return value
    dtype, shape, data = value["__array__"], value.get("shape"), value.get("data")
    if dtype not in _DTYPES or not isinstance(data, bytes) or not isinstance(shape, list) or len(shape) > _MOST_AXES:
        raise SafetyError(f"not an array: dtype {dtype!r}, shape {shape!r}; expected one of {', '.join(_DTYPES)}")
    if not all(type(side) is int and side >= 0 for side in shape):
        raise SafetyError(f"not an array: shape {shape}")
    wanted = math.prod(shape) * np.dtype(dtype).itemsize
    if len(data) != wanted:
        raise SafetyError(f"an array {dtype} {shape} has {wanted} bytes, got {len(data)}")
    return np.frombuffer(data, dtype).reshape(shape)


def _no_extension(code: int, data: bytes) -> Any:
    raise SafetyError(f"unexpected msgpack extension {code} of {len(data)} bytes")
