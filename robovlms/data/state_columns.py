"""Which numbers of a state or of an action are the position, the orientation and the opening of the gripper.

Names decide, and only names that leave no doubt; everything else is nothing that is known. A name is split into words
at "_", "." and spaces, whatever their case; "robot0_eef_pos_x" is robot0, eef, pos, x::

    position      x y z             after words of _PLACE only: x, tcp_x, eef_pos_x, robot0_eef_pos_x, delta_x, …
                  pos_0 pos_1 pos_2  numbers need "pos" or "position" before them
    orientation   roll pitch yaw    Euler angles, after the same words
                  quat_x … quat_w, qx … qw   a quaternion; quat_0 … is unknown, as it may begin with w
                  rot_x rot_y rot_z with rot, rotvec, axisangle or ori before the axis: a rotation vector
    rotation      rx ry rz          of an action only: three numbers of whatever meaning
    opening       gripper_width, gripper_opening, gripper_open, finger_1 and finger_2 (together): grow as it opens
                  gripper_closed    shrinks as it opens
                  gripper, gripper_state, gripper_position, gripper_qpos: it is not said which way they grow
    none          gripper_action, gripper_command: what the gripper is told, not what it does; left_x, object_x, …

>>> columns = state_columns(["tcp_x", "tcp_y", "tcp_z", "roll", "pitch", "yaw", "gripper_width", "joint_0"])
>>> columns.position, columns.orientation, columns.orientation_kind, columns.opening
((0, 1, 2), (3, 4, 5), 'euler', (6,))
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

_PLACE = {"", "tcp", "eef", "ee", "end", "effector", "hand", "robot", "robot0", "arm", "pos", "position", "pose"}
_PLACE |= {"state", "cartesian", "xyz", "delta", "d", "world", "action", "target", "rel", "rpy", "euler", "observation"}
_ROTATION_VECTOR = {"rot", "rotvec", "axisangle", "ori"}
_QUATERNION = {"quat", "quaternion"}
_OPENING = {"width", "opening", "open", "openness", "aperture"}
_CLOSING = {"closed", "closedness", "closure"}
_UNSURE = {"", "state", "position", "pos", "qpos", "0"}


@dataclass(frozen=True, kw_only=True)
class StateColumns:
    """Columns by meaning; None = not there, or not known.

    Attributes:
        position: x, y, z.
        orientation: three columns, or four of a quaternion in the order x, y, z, w.
        orientation_kind: how they are to be read; "unknown" for rx, ry, rz.
        opening: one column, or those of two fingers.
        opening_sign: 1 if the column grows as the gripper opens, -1 if it shrinks, 0 if that is not known.
    """

    position: tuple[int, int, int] | None = None
    orientation: tuple[int, ...] | None = None
    orientation_kind: Literal["euler", "quaternion", "rotation_vector", "unknown"] = "unknown"
    opening: tuple[int, ...] | None = None
    opening_sign: int = 0


def state_columns(names: Sequence[str]) -> StateColumns:
    """Find the columns by their names; see the module."""
    words = [[word for word in re.split(r"[_.\s]+", name.lower()) if word] for name in names]
    kind, orientation = _orientation(words)
    sign, opening = _opening(words)
    return StateColumns(
        position=_position(words),
        orientation=orientation,
        orientation_kind=kind,
        opening=opening,
        opening_sign=sign,
    )


def _position(words: list[list[str]]) -> tuple[int, int, int] | None:
    named = _axes(words, "xyz", lambda before: set(before) <= _PLACE)
    numbered = _axes(words, "012", lambda before: set(before) <= _PLACE and bool({"pos", "position"} & set(before)))
    return named or numbered


def _orientation(words: list[list[str]]) -> tuple[str, tuple[int, ...] | None]:
    """How to read it, and the columns."""
    known = (
        ("euler", ("roll", "pitch", "yaw"), lambda before: set(before) <= _PLACE),
        ("quaternion", tuple("xyzw"), lambda before: _after(before, _QUATERNION)),
        ("quaternion", ("qx", "qy", "qz", "qw"), lambda before: set(before) <= _PLACE),
        ("rotation_vector", tuple("xyz"), lambda before: _after(before, _ROTATION_VECTOR)),
        ("unknown", ("rx", "ry", "rz"), lambda before: set(before) <= _PLACE),
    )
    for kind, axes, fits in known:
        found = _axes(words, axes, fits)
        if found is not None:
            return kind, found
    return "unknown", None


def _after(before: list[str], last: set[str]) -> bool:
    return bool(before) and before[-1] in last and set(before[:-1]) <= _PLACE


def _axes(words: list[list[str]], axes: Sequence[str], fits: Callable[[list[str]], bool]) -> tuple[int, ...] | None:
    """One column for each axis; None if there is none, or more than one."""
    found = [[i for i, split in enumerate(words) if split and split[-1] == axis and fits(split[:-1])] for axis in axes]
    return tuple(columns[0] for columns in found) if all(len(columns) == 1 for columns in found) else None


def _opening(words: list[list[str]]) -> tuple[int, tuple[int, ...] | None]:
    """Which way it grows, and the columns."""
    fingers = [i for i, split in enumerate(words) if split[:-1] == ["finger"]]
    if len(fingers) == 2:
        return 1, tuple(fingers)
    for sign, endings in ((1, _OPENING), (-1, _CLOSING), (0, _UNSURE)):
        found = [i for i, split in enumerate(words) if _is_gripper(split, endings)]
        if len(found) == 1:
            return sign, (found[0],)
    return 0, None


def _is_gripper(split: list[str], endings: set[str]) -> bool:
    if "gripper" not in split:
        return False
    at = split.index("gripper")
    ending = split[at + 1 :] or [""]
    return set(split[:at]) <= _PLACE and len(ending) == 1 and ending[0] in endings
