"""Reads the lines of `data/korean_lines.txt` and says whether actions are what a line wants."""

import math
from collections.abc import Sequence
from pathlib import Path

from robovlms.robot.action import RobotAction

LINES = Path(__file__).parents[1] / "data" / "korean_lines.txt"
_AXES = {"x": "linear_x", "y": "linear_y", "z": "angular_z"}


def read_lines() -> list[tuple[str, str, str]]:
    """Section, text and answer of each line."""
    section, found = "", []
    for line in LINES.read_text(encoding="utf-8").splitlines():
        if line.startswith("##"):
            section = line[2:].strip()
        elif line and not line.startswith("#"):
            text, _, answer = line.partition(" => ")
            found.append((section, text, answer.strip()))
    return found


def is_right(actions: Sequence[RobotAction], answer: str) -> bool:
    """Whether actions are one of the answers of a line."""
    return any(_matches(actions, one.strip()) for one in answer.split("|"))


def _matches(actions: Sequence[RobotAction], answer: str) -> bool:
    if answer == "still":
        return not any(any(action.velocity) for action in actions)
    wanted = [one.strip() for one in answer.split("/")]
    return len(wanted) == len(actions) and all(map(_is, actions, wanted))


def _is(action: RobotAction, wanted: str) -> bool:
    words, _, thing = wanted.partition(":")
    kind, *rest = words.split()
    signs = dict.fromkeys("xyz", 0)
    amounts: dict[str, float | None] = {"m": None, "deg": None}
    speed = "normal"
    for word in rest:
        if word[0] in "xyz":
            signs[word[0]] = {"+": 1, "-": -1, "?": 2}[word[1]]
        elif word in ("slow", "fast"):
            speed = word
        else:
            unit = "deg" if word.endswith("deg") else "m"
            amounts[unit] = float(word.removesuffix(unit))
    return (
        action.action_type.value == kind
        and all(_has_sign(getattr(action, _AXES[axis]), sign) for axis, sign in signs.items())
        and _is_near(action.distance_m, amounts["m"])
        and _is_near(action.angle_deg, amounts["deg"])
        and action.speed == speed
        and (not thing or action.target_object == thing)
    )


def _has_sign(value: float, sign: int) -> bool:
    return value != 0 if sign == 2 else math.copysign(bool(value), value) == sign


def _is_near(value: float | None, wanted: float | None) -> bool:
    return value is wanted if None in (value, wanted) else math.isclose(value, wanted, rel_tol=1e-4)
