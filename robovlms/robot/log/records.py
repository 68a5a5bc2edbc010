"""The exact bytes of what is replayed: `TickRecord` of the output loop, and commands as they were submitted."""

import dataclasses
import reprlib
from dataclasses import dataclass
from typing import Any, TypeVar

from robovlms.errors import DataError, unknown_name
from robovlms.robot.log.exact import pack_fields, settled, unpack
from robovlms.robot.output.record import TickRecord
from robovlms.robot.safety.command import JointCommand, VelocityCommand

_Record = TypeVar("_Record", bound="TickRecord | CommandRecord")


@dataclass(frozen=True, kw_only=True)
class CommandRecord:
    """A command as it was submitted to the output loop, before any shield.

    Attributes:
        command: any object.
        confidence: any object.
        observed_at_s: monotonic time of the observation that it came from, s; any object.
        now_s: monotonic time at which it was submitted, s.
        source: who submitted it.
    """

    command: Any
    confidence: Any = None
    observed_at_s: Any = None
    now_s: float | None = None
    source: str = ""


def settle(record: _Record) -> _Record:
    """The record, safe from whoever still holds the objects that were handed over."""
    command, confidence = settled(record.command), settled(record.confidence)
    if command is record.command and confidence is record.confidence:
        return record
    return dataclasses.replace(record, command=command, confidence=confidence)


def record_to_bytes(record: TickRecord | CommandRecord) -> bytes:
    """A map of the fields; never raises, whatever was received. Inverse of `record_from_bytes`."""
    return pack_fields(vars(record))


def record_from_bytes(kind: type[_Record], data: bytes) -> _Record:
    """Inverse of `record_to_bytes`; a field that was added since the log was written has its default.

    Raises:
        DataError: if these are not the bytes of such a record.
    """
    values = unpack(data)
    if not isinstance(values, dict):
        raise DataError(f"{kind.__name__}: expected its fields, got {reprlib.repr(values)}")
    known = [field.name for field in dataclasses.fields(kind)]
    for name in values:
        if name not in known:
            raise DataError(unknown_name(f"field of a {kind.__name__}", name, known))
    try:
        record = kind(**values)
    except TypeError as error:
        raise DataError(f"{kind.__name__}: {error}") from None
    if isinstance(record, TickRecord):
        _check_tick(record)
    return record


def _check_tick(record: TickRecord) -> None:
    if type(record.index) is not int or not isinstance(record.calls, tuple):
        raise DataError(f"TickRecord: expected an index and calls, got {record.index!r} and {record.calls!r}")
    for command in (record.result, record.sent):
        if not isinstance(command, VelocityCommand | JointCommand):
            raise DataError(f"TickRecord {record.index}: expected a command, got {command!r}")
