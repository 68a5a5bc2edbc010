"""Checks of limits as they are made: one clear line per wrong value.

Limits come from files and from people. Their fields are annotated as `float | Any`: what they hold in the end, and that
anything may be given, so that a value of another type gets here and is refused by name.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from robovlms.errors import SafetyError, unknown_name
from robovlms.robot.safety.reading import read_number


def finite(name: str, value: Any) -> float:
    """`value` as a float, if it is a finite number.

    Raises:
        SafetyError: if it is not.
    """
    number = read_number(value)
    if number is None or not math.isfinite(number):
        raise SafetyError(f"{name}: expected a finite number, got {value!r}")
    return number


def positive(name: str, value: Any, allow_zero: bool = False) -> float:
    """`value` as a float, if it is a finite number above 0 (or 0 itself, if allowed).

    Raises:
        SafetyError: if it is not.
    """
    number = read_number(value)
    if number is None or not math.isfinite(number) or number < 0.0 or (number == 0.0 and not allow_zero):
        least = ">= 0" if allow_zero else "> 0"
        raise SafetyError(f"{name}: expected a finite number {least}, got {value!r}")
    return number + 0.0  # no -0.0


def fraction(name: str, value: Any) -> float:
    """`value` as a float, if it is a number in (0, 1].

    Raises:
        SafetyError: if it is not.
    """
    number = read_number(value)
    if number is None or not 0.0 < number <= 1.0:
        raise SafetyError(f"{name}: expected a number in (0, 1], got {value!r}")
    return number


def listed(value: Any) -> list[Any] | None:
    """The entries of a sequence or an array; None if it is neither."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else None


def check_keys(what: str, values: Any, kind: type) -> None:
    """Refuse `values` unless it is a mapping of fields of the dataclass `kind` that has all required ones.

    Raises:
        SafetyError: naming the first key that is unknown or missing.
    """
    if not isinstance(values, Mapping):
        raise SafetyError(f"{what}: expected a mapping, got {values!r}")
    fields = dataclasses.fields(kind)
    known = [entry.name for entry in fields]
    unknown = [key for key in values if key not in known]
    if unknown:
        raise SafetyError(unknown_name(what, unknown[0], known))
    required = [entry.name for entry in fields if entry.default is dataclasses.MISSING]
    missing = [name for name in required if name not in values]
    if missing:
        raise SafetyError(f"{what}: {missing[0]!r} is missing; required are {', '.join(required)}")
