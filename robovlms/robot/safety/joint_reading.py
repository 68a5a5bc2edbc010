"""What comes in for an arm: positions and a gripper read from any object whatever, without ever raising.

Read are an object with `positions` and `gripper`, a mapping with those keys, and positions alone in a tuple, list or
array. An object of `action_type` STOP asks to come to rest. Everything else is no command.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from robovlms.robot.action import ActionType
from robovlms.robot.safety.command import Reason
from robovlms.robot.safety.reading import read_number

GRIPPERS = ("open", "close")


class JointReading(NamedTuple):
    """What a command says.

    Attributes:
        positions: one per joint, finite, rad or m; None if it was refused, or asks to come to rest.
        gripper: "open", "close" or None for as it is.
        reason: why it was refused; None if it was not.
    """

    positions: tuple[float, ...] | None
    gripper: str | None = None
    reason: Reason | None = None


REST = JointReading(None)
INVALID = JointReading(None, reason=Reason.INVALID)
NOT_FINITE = JointReading(None, reason=Reason.NOT_FINITE)


def read_joint_command(command: Any, num_joints: int) -> JointReading:
    """What `command` says, refused if that is not clear.

    >>> read_joint_command({"positions": [0, 0.5], "gripper": "open"}, 2)
    JointReading(positions=(0.0, 0.5), gripper='open', reason=None)
    """
    try:
        if getattr(command, "action_type", None) == ActionType.STOP:
            return REST
        return _judge(*_parts(command), num_joints)
    except Exception:  # whatever a stranger's class raises: not understood
        return INVALID


def _parts(command: Any) -> tuple[Any, Any]:
    if isinstance(command, Mapping):
        return command["positions"], command.get("gripper")
    if isinstance(command, tuple | list) or hasattr(command, "shape"):
        return command, None
    return command.positions, getattr(command, "gripper", None)


def _judge(positions: Any, gripper: Any, num_joints: int) -> JointReading:
    if not isinstance(positions, tuple | list):
        positions = positions.tolist() if positions.shape == (num_joints,) else ()
    if len(positions) != num_joints or not (gripper is None or (type(gripper) is str and gripper in GRIPPERS)):
        return INVALID
    numbers = [read_number(value) for value in positions]
    if len(numbers) != num_joints or None in numbers:
        return INVALID
    return JointReading(tuple(numbers), gripper) if all(map(math.isfinite, numbers)) else NOT_FINITE
