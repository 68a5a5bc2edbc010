"""Commands as plain values, to cross a pipe or to be logged, and what counts as motion.

=====================================  =============================================
command                                plain
=====================================  =============================================
three velocities of a base             ``[x, y, yaw]`` (m/s, m/s, rad/s), NaN and all
anything with a ``velocity``           the same
positions of joints                    ``{"positions": [...], "gripper": "open"}``
anything else                          None, which every shield answers by holding
=====================================  =============================================
"""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

from robovlms.robot.action import MOVING_TYPES, RobotAction
from robovlms.robot.safety.command import Command, JointCommand, Reason, VelocityCommand

MAX_VALUES = 64  # more numbers than any arm has joints: what is longer is no command


def to_plain(command: object) -> list[float] | dict[str, Any] | None:
    """Return a command as plain values; None for what is no command.

    >>> to_plain((0.1, 0, 0))
    [0.1, 0.0, 0.0]
    >>> to_plain("forward")
    """
    if isinstance(command, RobotAction) and command.action_type not in MOVING_TYPES:
        return [0.0, 0.0, 0.0]
    if isinstance(command, JointCommand):
        positions = _numbers(command.positions)
        gripper = command.gripper if isinstance(command.gripper, str) else None
        return None if positions is None else {"positions": positions, "gripper": gripper}
    return _numbers(command.velocity if isinstance(command, RobotAction | VelocityCommand) else command)


def from_plain(values: object) -> tuple[float, ...] | JointCommand | None:
    """Return what the shield is given for plain values; None for what is none."""
    if isinstance(values, dict):
        positions, gripper = _numbers(values.get("positions")), values.get("gripper")
        known = positions is not None and set(values) == {"positions", "gripper"}
        return JointCommand(tuple(positions), gripper) if known and gripper in (None, "open", "close") else None
    numbers = _numbers(values)
    return None if numbers is None else tuple(numbers)


def is_motion(command: object, body: str) -> bool:
    """Whether a command asks for motion; everything else (zero, broken, unknown) is a wish to stop.

    Args:
        command: any object.
        body: "base" (velocities; zero is rest) or "arm" (positions; all of them are motion).
    """
    plain = to_plain(command)
    if body == "arm":
        return plain is not None
    return isinstance(plain, list) and all(map(math.isfinite, plain)) and any(plain)


def at_rest(command: Command | None) -> Command | None:
    """Return the command that stops: no velocity, or the joints stay where they were last sent to."""
    return VelocityCommand(reasons=command.reasons) if isinstance(command, VelocityCommand) else command


def command_to_dict(command: Command | None) -> dict[str, Any] | None:
    """What left the shield, as plain values; inverse of `command_from_dict`."""
    if command is None:
        return None
    reasons = [reason.value for reason in command.reasons]
    if isinstance(command, VelocityCommand):
        return {"velocity": list(command.velocity), "reasons": reasons}
    return {"positions": list(command.positions), "gripper": command.gripper, "reasons": reasons}


def command_from_dict(values: dict[str, Any] | None) -> Command | None:
    """Inverse of `command_to_dict`."""
    if values is None:
        return None
    reasons = tuple(map(Reason, values["reasons"]))
    if "velocity" in values:
        return VelocityCommand(*values["velocity"], reasons=reasons)
    return JointCommand(tuple(values["positions"]), values["gripper"], reasons)


def _numbers(values: object) -> list[float] | None:
    """Real numbers (no bool, no text) as floats; None if there is anything else among them."""
    if not isinstance(values, Sequence) or isinstance(values, str | bytes) or not 0 < len(values) <= MAX_VALUES:
        return None
    if not all(isinstance(value, Real) and not isinstance(value, bool) for value in values):
        return None
    try:
        return [float(value) for value in values]
    except OverflowError:  # an int beyond the range of a float
        return None
