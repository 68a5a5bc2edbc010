"""Actions in one line of text, as the files of commands have them, and those files."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from robovlms.robot.action import ActionType, RobotAction

DATA = Path(__file__).parents[1] / "data"


def in_words(actions: Sequence[RobotAction]) -> str:
    """Return "move +00 2 m slow; stop": type, signs of the velocities, thing, amounts, speed."""
    return "; ".join(_one(action) for action in actions)


def _one(action: RobotAction) -> str:
    kind = action.action_type
    if kind in (ActionType.STOP, ActionType.UNKNOWN) and not any(action.velocity):
        return kind.value
    signs = "".join("+" if value > 0 else "-" if value < 0 else "0" for value in action.velocity)
    parts = [kind.value, signs]
    parts += [f"<{action.target_object}>"] if action.target_object is not None else []
    parts += [f"{action.distance_m:.6g} m"] if action.distance_m is not None else []
    parts += [f"{action.angle_deg:.6g} degrees"] if action.angle_deg is not None else []
    return " ".join([*parts, *([action.speed] if action.speed != "normal" else [])])


def lines(name: str) -> list[tuple[str, str, str]]:
    """Return rule, text and answer of every line of a file."""
    rules = yaml.safe_load((DATA / f"{name}.yaml").read_text(encoding="utf-8"))
    return [(rule, str(text), answer) for rule, said in rules.items() for text, answer in said.items()]
