"""Commands as plain values, to cross a pipe, and what counts as motion.

==================================  =========================================================
command                             plain
==================================  =========================================================
of a base, as the shield reads it   ``[x, y, yaw]`` (m/s, m/s, rad/s); three NaN if not finite
of an arm                           ``{"positions": [...], "gripper": "open"}``
anything else                       None, which every shield answers by holding
==================================  =========================================================
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from robovlms.robot.safety.command import Command, JointCommand, Reason, VelocityCommand
from robovlms.robot.safety.joint_reading import read_joint_command
from robovlms.robot.safety.reading import read_command, read_number

MAX_VALUES = 64  # more numbers than any arm has joints: what is longer is no command


def to_plain(command: object, body: str) -> list[float] | dict[str, Any] | None:
    """Return a command as plain values; None for what is no command of this body.

    >>> to_plain((0.1, 0, 0), "base")
    [0.1, 0.0, 0.0]
    >>> to_plain("forward", "base")

    Args:
        command: any object.
        body: "base" or "arm".
    """
    if body == "arm":
        reading = read_joint_command(command, _num_positions(command))
        positions = [math.nan] if reading.reason is Reason.NOT_FINITE else reading.positions
        return None if not positions else {"positions": list(positions), "gripper": reading.gripper}
    reading = read_command(command)
    if reading.reason is Reason.NOT_FINITE:
        return [math.nan] * 3
    return None if reading.reason else list(reading.velocity)


def from_plain(values: object) -> tuple[float, ...] | JointCommand | None:
    """Return what the shield is given for plain values; None for what is none."""
    if not isinstance(values, dict):
        numbers = _numbers(values)
        return tuple(numbers) if numbers is not None and len(numbers) == 3 else None
    if set(values) != {"positions", "gripper"} or values["gripper"] not in (None, "open", "close"):
        return None
    positions = _numbers(values["positions"])
    return None if positions is None else JointCommand(tuple(positions), values["gripper"])


def is_motion(command: object, body: str) -> bool:
    """Whether a command asks for motion; everything else (zero, broken, unknown) is a wish to stop.

    Args:
        command: any object.
        body: "base" (velocities; zero is rest) or "arm" (positions; all of them are motion).
    """
    plain = to_plain(command, body)
    if isinstance(plain, dict):
        return all(map(math.isfinite, plain["positions"]))
    return plain is not None and all(map(math.isfinite, plain)) and any(plain)


def _num_positions(command: Any) -> int:
    """How many joints a command speaks of; the shield knows how many there are."""
    try:
        values = command["positions"] if isinstance(command, Mapping) else getattr(command, "positions", command)
        return len(values) if len(values) <= MAX_VALUES else 0
    except Exception:  # whatever a stranger's class raises: not understood
        return 0


def at_rest(command: Command) -> Command:
    """Return the command that stops: no velocity, or the joints stay where they were last sent to."""
    if not isinstance(command, VelocityCommand) or not any(command.velocity):
        return command
    return VelocityCommand(reasons=command.reasons)


def command_to_dict(command: Command) -> dict[str, Any]:
    """What left the shield, as plain values; inverse of `command_from_dict`."""
    reasons = [reason.value for reason in command.reasons]
    if isinstance(command, VelocityCommand):
        return {"velocity": list(command.velocity), "reasons": reasons}
    return {"positions": list(command.positions), "gripper": command.gripper, "reasons": reasons}


def command_from_dict(values: dict[str, Any]) -> Command:
    """Inverse of `command_to_dict`."""
    reasons = tuple(map(Reason, values["reasons"]))
    if "velocity" in values:
        return VelocityCommand(*values["velocity"], reasons=reasons)
    return JointCommand(tuple(values["positions"]), values["gripper"], reasons)


def _numbers(values: object) -> list[float] | None:
    """Real numbers (no bool, no text) as floats; None if there is anything else among them."""
    if not isinstance(values, Sequence) or isinstance(values, str | bytes) or not 0 < len(values) <= MAX_VALUES:
        return None
    numbers = [read_number(value) for value in values]
    return None if None in numbers else numbers
