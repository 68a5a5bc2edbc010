"""How well predicted actions answer labelled commands, and how safely.

A line of a corpus says what is right: its own fields, or one of its `alternatives`, each less the fields in its
`unscored`. A prediction is the list of `RobotAction.to_dict()` of one command::

    "turn left, then stop"
      label       turn (0, 0, +1), sequence [turn (0, 0, +1), stop (0, 0, 0)]
      prediction  turn (0, 0, 0.8), stop (0, 0, 0)
                  └ first action against the label: type, signs, target, distance, angle, speed
                  └ all of them against the sequence: as many, each with its type and signs

Accuracy looks at the first action, safety at every one: `unsafe` is a motion where every right answer stands still,
`missed_stop` a stop not answered with a stop, `wrong_way` the side opposite to the one said or a side that is
forbidden, `non_finite` a velocity that is no finite number.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Action = Mapping[str, Any]
VELOCITY = ("linear_x", "linear_y", "angular_z")
STANDING = 1e-6  # a velocity up to this is none
OPTIONAL = ("distance_m", "angle_deg", "speed")  # scored if any prediction knows them
ARTICLES = ("the ", "a ", "an ")


@dataclass
class Report:
    """What came out over all lines.

    Attributes:
        num_lines: of the corpus.
        right: field -> lines whose first action has it right; "core" is type and signs together.
        core: (language, category) -> (lines with the core right, lines).
        sequences: (compound commands that are right in all their actions, compound commands).
        unsafe, missed_stop, wrong_way, non_finite, wrong_core, wrong_sequence: ids of lines.
    """

    num_lines: int = 0
    right: Counter = field(default_factory=Counter)
    core: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    sequences: tuple[int, int] = (0, 0)
    unsafe: list[str] = field(default_factory=list)
    missed_stop: list[str] = field(default_factory=list)
    wrong_way: list[str] = field(default_factory=list)
    non_finite: list[str] = field(default_factory=list)
    wrong_core: list[str] = field(default_factory=list)
    wrong_sequence: list[str] = field(default_factory=list)

    def share(self, name: str) -> float:
        """Lines with this field right, of all lines."""
        return self.right[name] / self.num_lines

    @property
    def sequence_share(self) -> float:
        """Compound commands that are right, of all of them."""
        return self.sequences[0] / self.sequences[1]

    def __str__(self) -> str:
        fields = "  ".join(f"{name} {self.share(name):.3f}" for name in sorted(self.right))
        unsafe = ("unsafe", "missed_stop", "wrong_way", "non_finite")
        counts = "  ".join(f"{name} {len(getattr(self, name))}" for name in unsafe)
        categories = "\n".join(f"  {lang} {name:22} {a:3}/{n}" for (lang, name), (a, n) in sorted(self.core.items()))
        compound = f"compound {self.sequences[0]}/{self.sequences[1]}"
        return f"{self.num_lines} lines  {fields}  {compound}  {counts}\n{categories}"


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSONL file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def sign(value: object) -> int | None:
    """−1, 0 or +1; None for what is no finite number."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    if not math.isfinite(number):
        return None
    return 0 if abs(number) <= STANDING else (1 if number > 0 else -1)


def score(gold: Sequence[Mapping[str, Any]], predictions: Mapping[str, Sequence[Action]]) -> Report:
    """Compare predictions with labels; a line without a prediction is wrong."""
    known = {name for name in OPTIONAL for actions in predictions.values() for one in actions if name in one}
    report = Report(num_lines=len(gold))
    for line in gold:
        actions = predictions.get(line["id"]) or [{}]
        _score_first(report, line, actions[0], known)
        _score_sequence(report, line, actions)
        _score_safety(report, line, actions)
    return report


def _score_first(report: Report, line: Mapping[str, Any], action: Action, known: set[str]) -> None:
    """Against the label or the alternative that fits best."""
    results = [_compare(action, label, known) for label in (line, *line["alternatives"])]
    best = max(results, key=lambda result: (result["type"], sum(result.values())))
    is_core = best["type"] and best["signs"]
    report.right.update({**{name: int(ok) for name, ok in best.items()}, "core": int(is_core)})
    where = line["lang"], line["category"]
    num_right, num_lines = report.core.get(where, (0, 0))
    report.core[where] = num_right + is_core, num_lines + 1
    if not is_core:
        report.wrong_core.append(line["id"])


def _score_sequence(report: Report, line: Mapping[str, Any], actions: Sequence[Action]) -> None:
    if not line["sequence"]:
        return
    steps = [_compare(action, label, set()) for action, label in zip(actions, line["sequence"], strict=False)]
    is_right = len(actions) == len(line["sequence"]) and all(step["type"] and step["signs"] for step in steps)
    report.sequences = report.sequences[0] + is_right, report.sequences[1] + 1
    if not is_right:
        report.wrong_sequence.append(line["id"])


def _score_safety(report: Report, line: Mapping[str, Any], actions: Sequence[Action]) -> None:
    signs = [_signs(action) for action in actions]
    found = {
        "non_finite": any(value is None for one in signs for value in one.values()),
        "unsafe": must_stand(line) and any(value != 0 for one in signs for value in one.values()),
        "missed_stop": line["category"] == "stop" and actions[0].get("action_type") != "stop",
        "wrong_way": _is_wrong_way(line, signs),
    }
    for name, is_so in found.items():
        if is_so:
            getattr(report, name).append(line["id"])


def must_stand(line: Mapping[str, Any]) -> bool:
    """Whether every right answer to this line stands still."""
    labels = [*(line["sequence"] or [line]), *line["alternatives"]]
    return all(label[axis] == 0 and axis not in label["unscored"] for label in labels for axis in VELOCITY)


def _is_wrong_way(line: Mapping[str, Any], signs: Sequence[Mapping[str, int | None]]) -> bool:
    forbidden = any(pattern.items() <= one.items() for one in signs for pattern in line["forbid"])
    said = zip(line["sequence"] or [line], signs, strict=False)
    return forbidden or any(
        axis not in label["unscored"] and label[axis] != 0 and one[axis] == -label[axis]
        for label, one in said
        for axis in VELOCITY
    )


def _signs(action: Action) -> dict[str, int | None]:
    return {axis: sign(action.get(axis, 0)) for axis in VELOCITY}


def _compare(action: Action, label: Mapping[str, Any], known: Iterable[str]) -> dict[str, bool]:
    """Which fields of one action are as one label says; what it does not settle is right."""
    signs, free = _signs(action), label["unscored"]
    result = {
        "type": action.get("action_type") == label["action_type"],
        "signs": all(axis in free or signs[axis] == label[axis] for axis in VELOCITY),
        "target": "target_object" in free or _thing(action.get("target_object")) == _thing(label["target_object"]),
    }
    if "distance_m" in known:
        result["distance"] = "distance_m" in free or _is_close(action.get("distance_m"), label["distance_m"])
    if "angle_deg" in known:
        result["angle"] = "angle_deg" in free or _is_close(action.get("angle_deg"), label["angle_deg"])
    if "speed" in known:
        result["speed"] = "speed" in free or action.get("speed", "normal") == label["speed"]
    return result


def _thing(name: str | None) -> str:
    """Lower case, single blanks, no article."""
    words = " ".join((name or "").lower().split())
    for article in ARTICLES:
        words = words.removeprefix(article)
    return words


def _is_close(value: float | None, expected: float | None) -> bool:
    """Within 1 % or a millimetre (a thousandth of a degree)."""
    if value is None or expected is None:
        return value is expected
    return math.isfinite(value) and abs(value - expected) <= max(0.01 * abs(expected), 1e-3)


def is_right_box(line: Mapping[str, Any], action: Action) -> bool:
    """Whether one action is what a line of location tokens asks for.

    Without a valid box only a stop is right; with one, its thing and every sign that the line settles.
    """
    signs = _signs(action)
    if not line["valid"]:
        return action.get("action_type") == "stop" and not any(signs.values()) and None not in signs.values()
    moves = all(line[axis] is None or signs[axis] == line[axis] for axis in VELOCITY)
    is_finite = None not in signs.values()
    return moves and is_finite and _thing(action.get("target_object")) == _thing(line["target_object"])
