"""Any object to bytes and back, every number bit for bit.

JSON has no NaN and no infinity, and what a model hands over may hold both; MessagePack keeps every double as it is.
What it has no word for is an extension type::

    1 tuple                         2 integer beyond 64 bits      3 NumPy number or array
    4 dataclass of `_DATACLASSES`   5 enum of `_ENUMS`            6 `Opaque`, for anything else

A shield takes many kinds of object. One that it could read (attributes `linear_x` …, a mapping, a tensor) comes back
as a mapping or list of the same values, which it reads alike; an `Opaque` is no command, and neither was what it stands
for.
"""

import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import msgpack
import numpy as np

from robovlms.errors import DataError, RoboVLMsError
from robovlms.robot.action import ActionType, RobotAction
from robovlms.robot.arm_motion import ArmMotion
from robovlms.robot.safety.command import JointCommand, Reason, VelocityCommand

_TUPLE, _INTEGER, _NUMPY, _DATACLASS, _ENUM, _OPAQUE = range(1, 7)
_DATACLASSES = {one.__name__: one for one in (RobotAction, ArmMotion, VelocityCommand, JointCommand)}
_ENUMS = {one.__name__: one for one in (ActionType, Reason)}
_AXES = ("linear_x", "linear_y", "angular_z")
_SETTLED = {type(None), bool, int, float, str, bytes, RobotAction, VelocityCommand, JointCommand}
_MAX_ARRAY_ITEMS = 4096  # more is no command of any robot
_NUMBER_KINDS = "biuf"  # of NumPy: bool, integers, floats


@dataclass(frozen=True)
class Opaque:
    """Stands for an object that cannot be written down.

    Attributes:
        type_name: name of its class.
        text: start of its repr.
    """

    type_name: str
    text: str


def pack(value: Any) -> bytes:
    """Bytes of any object; what cannot be written down becomes an `Opaque`. Never raises.

    >>> unpack(pack((0.1, float("nan"), "left")))
    (0.1, nan, 'left')
    """
    try:
        return _pack(value)
    except Exception:  # nested too deep, in a circle, or a stranger's class that raises
        return _pack(_opaque(value))


def pack_fields(values: Mapping[str, Any]) -> bytes:
    """As `pack`, for a record: of its fields, only one that cannot be written down becomes an `Opaque`."""
    try:
        return _pack(values)
    except Exception:  # as in `pack`
        return _pack({name: unpack(pack(value)) for name, value in values.items()})


def settled(value: Any) -> Any:
    """The value itself if nobody can change it, else what `pack` keeps of it now."""
    kind = type(value)
    if kind in _SETTLED or (kind is tuple and all(type(entry) in _SETTLED for entry in value)):
        return value
    return unpack(pack(value))


def unpack(data: bytes) -> Any:
    """Inverse of `pack`.

    Raises:
        DataError: if these bytes were not written by it.
    """
    try:
        return msgpack.unpackb(data, ext_hook=_decode, strict_map_key=False, unicode_errors="surrogatepass")
    except (
        RoboVLMsError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        RecursionError,
        msgpack.UnpackException,
    ) as error:
        raise DataError(f"{len(data)} bytes of a log cannot be read: {type(error).__name__}: {error}") from None


# ------------------------------------------------------------------------------------------------------------ to bytes


def _pack(value: Any) -> bytes:
    return msgpack.packb(value, default=_encode, strict_types=True, unicode_errors="surrogatepass")


def _encode(value: Any) -> Any:
    """A value of the types that MessagePack knows, for one that it does not."""
    encode = _ENCODERS.get(type(value))
    try:
        return encode(value) if encode else _encode_kind(value)
    except RecursionError:  # nested too deep: whoever holds the outermost of it has to give it up
        raise
    except Exception:  # of a stranger's class, which may raise anything
        return _opaque(value)


def _encode_kind(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return _encode_numpy(np.asarray(value), is_scalar=isinstance(value, np.generic))
    if isinstance(value, float):  # of a subclass
        return float.__float__(value)
    if isinstance(value, int):
        return _encode_integer(int.__int__(value))
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, tuple):
        return _encode_tuple(value)
    if isinstance(value, list):
        return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    return _stand_in(value)


def _stand_in(value: Any) -> Any:
    """What a shield reads in the same way as an object of a class that is not ours."""
    if isinstance(value, Real):
        return _float(value)
    if getattr(value, "shape", None) == (3,):
        return list(value.tolist())
    if all(hasattr(value, axis) for axis in _AXES):
        kind = getattr(value, "action_type", None)
        return {"action_type": kind} | {axis: getattr(value, axis) for axis in _AXES}
    return _opaque(value)


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _encode_tuple(value: tuple) -> msgpack.ExtType:
    return msgpack.ExtType(_TUPLE, _pack(list(value)))


def _encode_dataclass(value: Any) -> msgpack.ExtType:
    return msgpack.ExtType(_DATACLASS, _pack([type(value).__name__, vars(value)]))


def _encode_enum(value: Any) -> msgpack.ExtType:
    return msgpack.ExtType(_ENUM, _pack([type(value).__name__, str.__str__(value.value)]))


def _encode_integer(value: int) -> msgpack.ExtType:
    return msgpack.ExtType(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _encode_numpy(array: np.ndarray, *, is_scalar: bool) -> msgpack.ExtType:
    if array.dtype.kind not in _NUMBER_KINDS or array.size > _MAX_ARRAY_ITEMS:
        return _opaque(array)
    return msgpack.ExtType(_NUMPY, _pack([array.dtype.str, list(array.shape), is_scalar, array.tobytes()]))


def _encode_opaque(value: Opaque) -> msgpack.ExtType:
    return msgpack.ExtType(_OPAQUE, _pack([value.type_name, value.text]))


def _opaque(value: Any) -> msgpack.ExtType:
    try:
        text = reprlib.repr(value)[:200]
    except Exception as error:  # the object is not ours, and its repr may do anything
        text = f"<repr raised {type(error).__name__}>"
    return _encode_opaque(Opaque(type(value).__name__, text))


_ENCODERS: dict[type, Callable[[Any], Any]] = {
    tuple: _encode_tuple,
    int: _encode_integer,  # only one beyond 64 bits comes here, or of a subclass
    Opaque: _encode_opaque,
    **dict.fromkeys(_DATACLASSES.values(), _encode_dataclass),
    **dict.fromkeys(_ENUMS.values(), _encode_enum),
}


# ---------------------------------------------------------------------------------------------------------- from bytes


def _decode(code: int, data: bytes) -> Any:
    if code not in _DECODERS:
        raise ValueError(f"unknown extension type {code}")
    return _DECODERS[code](unpack(data) if code != _INTEGER else data)


def _decode_numpy(parts: list[Any]) -> Any:
    dtype, shape, is_scalar, values = parts
    if np.dtype(dtype).kind not in _NUMBER_KINDS:
        raise ValueError(f"dtype {dtype!r} is no number")
    array = np.frombuffer(values, np.dtype(dtype)).reshape(shape).copy()
    return array[()] if is_scalar else array


_DECODERS: dict[int, Callable[[Any], Any]] = {
    _TUPLE: tuple,
    _INTEGER: lambda data: int.from_bytes(data, "big", signed=True),
    _NUMPY: _decode_numpy,
    _DATACLASS: lambda parts: _DATACLASSES[parts[0]](**parts[1]),
    _ENUM: lambda parts: _ENUMS[parts[0]](parts[1]),
    _OPAQUE: lambda parts: Opaque(*parts),
}
