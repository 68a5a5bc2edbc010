"""What happened at one tick, and its exact bytes.

JSON has no NaN and no infinity, and what a model hands over may hold both; MessagePack keeps every double bit for bit.
What it has no word for is an extension type::

    tuple ─ 1    integer beyond 64 bits ─ 2    NumPy number or array ─ 3
    RobotAction, VelocityCommand, JointCommand ─ 4    anything else ─ 5, as `Opaque`: its type and the start of its repr
    a field packed apart, because another field of its record could not be packed ─ 6

An `Opaque` is no command to any shield, and neither was the object that it stands for.
"""

import dataclasses
import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import msgpack
import numpy as np

from robovlms.errors import DataError, unknown_name
from robovlms.robot.action import ActionType, RobotAction
from robovlms.robot.safety.command import Command, JointCommand, Reason, VelocityCommand

Event = Literal["step", "estop", "reset", "hold"]

_TUPLE, _INTEGER, _NUMPY, _DATACLASS, _OPAQUE, _APART = range(1, 7)
_DATACLASSES = {one.__name__: one for one in (RobotAction, VelocityCommand, JointCommand)}
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


@dataclass(frozen=True, kw_only=True)
class TickRecord:
    """What one call of a shield was given and what it returned, in the order of the calls.

    Attributes:
        tick: number of the tick, from 0; events between two ticks carry the number of the later one.
        now_s: what the shield was told the time is, s; any object.
        event: "step" for `step`, or the method that was called instead.
        command: what was asked for, as it was received: any object.
        confidence: as it was received: any object.
        observation_age_s: as it was received, s: any object.
        output: (linear_x, linear_y, angular_z) of a base in m/s and rad/s, or positions of joints; empty for an event
            that returned nothing.
        gripper: "open", "close", or None for as it is.
        reasons: values of `Reason`.
        sent: the driver took the output.
        lateness_s: how late the tick began, s.
    """

    tick: int
    now_s: Any = None
    event: Event = "step"
    command: Any = None
    confidence: Any = None
    observation_age_s: Any = None
    output: tuple[float, ...] = ()
    gripper: str | None = None
    reasons: tuple[str, ...] = ()
    sent: bool = False
    lateness_s: float = 0.0

    @classmethod
    def of(cls, shielded: Command | None, **fields: Any) -> "TickRecord":
        """Record of what a shield returned; None for an event that returned nothing."""
        if shielded is None:
            return cls(**fields)
        reasons = tuple(reason.value for reason in shielded.reasons)
        if isinstance(shielded, VelocityCommand):
            return cls(output=shielded.velocity, reasons=reasons, **fields)
        return cls(output=shielded.positions, gripper=shielded.gripper, reasons=reasons, **fields)

    def to_bytes(self) -> bytes:
        """MessagePack map of the fields; never raises, whatever was received. Inverse of `from_bytes`."""
        return _pack_fields({**vars(self), "output": list(self.output), "reasons": list(self.reasons)})

    @classmethod
    def from_bytes(cls, data: bytes) -> "TickRecord":
        """Inverse of `to_bytes`.

        Raises:
            DataError: if these are not the bytes of a tick.
        """
        fields = _unpack_fields(cls, data)
        for name, kind in (("tick", int), ("output", list), ("reasons", list), ("sent", bool)):
            if type(fields[name]) is not kind:
                raise DataError(f"tick record: expected {name} to be {kind.__name__}, got {fields[name]!r}")
        if not all(isinstance(number, int | float) for number in [*fields["output"], fields["lateness_s"]]):
            raise DataError(f"tick record: expected numbers, got {fields['output']!r}, {fields['lateness_s']!r}")
        if fields["event"] not in get_args(Event):
            raise DataError("tick record: " + unknown_name("event", fields["event"], get_args(Event)))
        return cls(**{**fields, "output": tuple(fields["output"]), "reasons": tuple(fields["reasons"])})


@dataclass(frozen=True, kw_only=True)
class CommandRecord:
    """A command as it was submitted to the output loop, before any shield.

    Attributes:
        command: any object.
        confidence: any object.
        observed_at_s: monotonic time of the observation that it came from, s; any object.
        source: who submitted it.
    """

    command: Any
    confidence: Any = None
    observed_at_s: Any = None
    source: str = ""

    def to_bytes(self) -> bytes:
        """MessagePack map of the fields; never raises. Inverse of `from_bytes`."""
        return _pack_fields(vars(self))

    @classmethod
    def from_bytes(cls, data: bytes) -> "CommandRecord":
        """Inverse of `to_bytes`.

        Raises:
            DataError: if these are not the bytes of a command.
        """
        return cls(**_unpack_fields(cls, data))


# ---------------------------------------------------------------------------------------------------------- the bytes


def pack(value: Any) -> bytes:
    """MessagePack of any object; what cannot be written down becomes an `Opaque`."""
    try:
        return _pack(value)
    except Exception:  # nested too deep or in a circle; the object is not ours, and may raise anything
        return msgpack.packb(_opaque(value))


def unpack(data: bytes) -> Any:
    """Inverse of `pack`.

    Raises:
        DataError: if these bytes were not written by it.
    """
    try:
        return msgpack.unpackb(data, ext_hook=_decode, strict_map_key=False, unicode_errors="surrogatepass")
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, msgpack.UnpackException) as error:
        raise DataError(f"record of {len(data)} bytes cannot be read: {type(error).__name__}: {error}") from None


def _pack(value: Any) -> bytes:
    return msgpack.packb(value, default=_encode, strict_types=True, unicode_errors="surrogatepass")


def _pack_fields(values: dict[str, Any]) -> bytes:
    try:
        return _pack(values)
    except Exception:  # as in `pack`; only the field that cannot be written is lost
        return _pack({name: msgpack.ExtType(_APART, pack(value)) for name, value in values.items()})


def _unpack_fields(cls: type, data: bytes) -> dict[str, Any]:
    values = unpack(data)
    names = [field.name for field in dataclasses.fields(cls)]
    if not isinstance(values, dict) or sorted(map(str, values)) != sorted(names):
        raise DataError(f"{cls.__name__}: expected the fields {', '.join(names)}, got {reprlib.repr(values)}")
    return values


def _encode(value: Any) -> Any:
    """What MessagePack has no word for."""
    if isinstance(value, tuple):
        return msgpack.ExtType(_TUPLE, _pack(list(value)))
    if isinstance(value, np.generic | np.ndarray):
        return _encode_numpy(np.asarray(value), is_scalar=isinstance(value, np.generic))
    if type(value).__name__ in _DATACLASSES and isinstance(value, _DATACLASSES[type(value).__name__]):
        return msgpack.ExtType(_DATACLASS, _pack([type(value).__name__, dict(vars(value))]))
    if isinstance(value, int):
        return _encode_integer(int(value))
    if isinstance(value, float):  # of a subclass
        return float.__float__(value)
    if isinstance(value, str):  # an Enum of texts, say
        return str.__str__(value)
    return _opaque(value)


def _encode_integer(value: int) -> Any:
    if -(2**63) <= value < 2**64:  # of a subclass, an IntEnum say
        return value
    return msgpack.ExtType(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _encode_numpy(array: np.ndarray, *, is_scalar: bool) -> Any:
    if array.dtype.kind not in _NUMBER_KINDS or array.size > _MAX_ARRAY_ITEMS:
        return _opaque(array)
    return msgpack.ExtType(_NUMPY, _pack([array.dtype.str, list(array.shape), is_scalar, array.tobytes()]))


def _opaque(value: Any) -> msgpack.ExtType:
    if type(value) is Opaque:
        return msgpack.ExtType(_OPAQUE, msgpack.packb([value.type_name, value.text]))
    try:
        text = reprlib.repr(value)
    except Exception as error:  # the object is not ours, and its repr may do anything
        text = f"<repr raised {type(error).__name__}>"
    safe = text[:200].encode("utf-8", "replace").decode()
    return msgpack.ExtType(_OPAQUE, msgpack.packb([type(value).__name__, safe]))


def _decode(code: int, data: bytes) -> Any:
    if code not in _DECODERS:
        raise ValueError(f"unknown extension type {code}")
    return _DECODERS[code](data)


def _decode_numpy(data: bytes) -> Any:
    dtype, shape, is_scalar, values = unpack(data)
    if np.dtype(dtype).kind not in _NUMBER_KINDS:
        raise ValueError(f"dtype {dtype!r} is no number")
    array = np.frombuffer(values, np.dtype(dtype)).reshape(shape).copy()
    return array[()] if is_scalar else array


def _decode_dataclass(data: bytes) -> Any:
    name, fields = unpack(data)
    if fields.get("action_type") in [one.value for one in ActionType]:
        fields["action_type"] = ActionType(fields["action_type"])
    if name != RobotAction.__name__ and set(fields["reasons"]) <= {one.value for one in Reason}:
        fields["reasons"] = tuple(Reason(reason) for reason in fields["reasons"])
    return _DATACLASSES[name](**fields)


_DECODERS: dict[int, Callable[[bytes], Any]] = {
    _TUPLE: lambda data: tuple(unpack(data)),
    _INTEGER: lambda data: int.from_bytes(data, "big", signed=True),
    _NUMPY: _decode_numpy,
    _DATACLASS: _decode_dataclass,
    _OPAQUE: lambda data: Opaque(*unpack(data)),
    _APART: lambda data: unpack(data),
}
