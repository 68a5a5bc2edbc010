"""What comes in: velocities and numbers read from any object whatever, without ever raising.

Read are an object with attributes `linear_x`, `linear_y`, `angular_z`; three numbers (x, y, yaw) in a tuple, list or
array; a mapping `{"linear": {"x", "y"}, "angular": {"z"}}` or `{"linear_x", "linear_y", "angular_z"}`. With an
`action_type`, only the types that may move are let move. Everything else is no command.

>>> read_command((0.1, 0, -0.5)).velocity
(0.1, 0.0, -0.5)
>>> read_command({"linear": {"x": True, "y": 0}, "angular": {"z": 0}}).reason.value
'invalid'
"""

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any, NamedTuple

from robovlms.robot.action import MOVING_TYPES, ActionType
from robovlms.robot.safety.command import Reason

ZERO = (0.0, 0.0, 0.0)


class CommandReading(NamedTuple):
    """What a command says.

    Attributes:
        velocity: (x, y, yaw), finite; zero if it was refused.
        reason: why it was refused; None if it was not.
        is_stop: it asks for standing still; nothing may refuse that.
    """

    velocity: tuple[float, float, float]
    reason: Reason | None = None
    is_stop: bool = False


STOP = CommandReading(ZERO, is_stop=True)
INVALID = CommandReading(ZERO, Reason.INVALID)
NOT_FINITE = CommandReading(ZERO, Reason.NOT_FINITE)


def read_number(value: Any) -> float | None:
    """A real number as a float, infinite if it is too large for one; None for what is no real number.

    Booleans and decimals are none; the value of a float is taken, whatever its class makes of it.
    """
    if type(value) is float:
        return value
    try:
        if isinstance(value, float):
            return float.__float__(value)
        if isinstance(value, bool) or not isinstance(value, Real):
            return None
        number = float(value)
    except OverflowError:
        return math.inf
    except Exception:  # whatever a stranger's class raises
        return None
    return number if type(number) is float else float.__float__(number)


def read_command(command: Any) -> CommandReading:
    """What `command` says, refused if that is not clear."""
    try:
        kind, values = _parts(command)
        return _judge(kind, [read_number(value) for value in values])
    except Exception:  # whatever a stranger's class raises: not understood
        return INVALID


def read_triple(values: Any) -> tuple[float, float, float] | None:
    """Three finite numbers in a tuple, list or array; None for everything else."""
    numbers = read_numbers(values, 3)
    return None if numbers is None else (numbers[0], numbers[1], numbers[2])


def read_numbers(values: Any, length: int) -> list[float] | None:
    """So many finite numbers in a tuple, list or array; None for everything else."""
    try:
        if not isinstance(values, tuple | list) and getattr(values, "shape", None) == (length,):
            values = values.tolist()
        if not isinstance(values, tuple | list) or len(values) != length:
            return None
        numbers = [read_number(value) for value in values]
        return numbers if len(numbers) == length and all(n is not None and math.isfinite(n) for n in numbers) else None
    except Exception:  # whatever a stranger's class raises
        return None


def _judge(kind: Any, numbers: list[float | None]) -> CommandReading:
    if kind == ActionType.STOP:
        return STOP
    if len(numbers) != 3 or None in numbers:
        return INVALID
    if not all(map(math.isfinite, numbers)):
        return NOT_FINITE
    if not any(numbers):
        return STOP
    if kind is not None and kind not in MOVING_TYPES:
        return INVALID
    return CommandReading((numbers[0], numbers[1], numbers[2]))


def _parts(command: Any) -> tuple[Any, Any]:
    """Type of action, None if it has none, and what should be three numbers; raises for what has neither."""
    if isinstance(command, tuple | list):
        return None, command if len(command) == 3 else ()
    if isinstance(command, Mapping):
        if "linear" in command:
            linear, angular = command["linear"], command["angular"]
            return command.get("action_type"), (linear["x"], linear["y"], angular["z"])
        return command.get("action_type"), (command["linear_x"], command["linear_y"], command["angular_z"])
    if getattr(command, "shape", None) == (3,):
        return None, command.tolist()
    kind = getattr(command, "action_type", None)
    if kind == ActionType.STOP:
        return kind, ()
    return kind, (command.linear_x, command.linear_y, command.angular_z)
