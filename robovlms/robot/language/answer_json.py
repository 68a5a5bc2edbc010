"""Actions written as JSON. Strict: what is malformed, unknown or contradicts itself is refused, with the reason.

Understood are one object, an array of objects or of texts, and `{"actions": [...]}`. An object has a type and what it
needs, nothing else::

    {"action": "turn", "direction": "left", "angle": 90}            ─> RobotAction, paced like a spoken command
    {"action_type": "move", "linear_x": 0.2, "confidence": 0.9}     ─> RobotAction with that velocity
    {"action": "turn left a little"}, "turn left a little"          ─> text, for the language to read

The validator and the shield stand behind: a velocity is taken as it is written.
"""

import dataclasses
import json
from typing import Any

from robovlms.errors import unknown_name
from robovlms.robot.action import MOVING_TYPES, ActionType, RobotAction
from robovlms.robot.language.clause import Clause, Direction, Verb
from robovlms.robot.language.interpret import FULL_CONFIDENCE, Pace, interpret

Step = str | RobotAction

MAX_DEPTH = 4
MAX_STEPS = 32
_TYPE_KEYS = ("action_type", "action", "type", "command")
_SYNONYMS = {"angle": "angle_deg", "distance": "distance_m", "target": "target_object", "object": "target_object"}
_REMARKS = ("description", "reason", "reasoning", "explanation", "thought")
_VELOCITIES = ("linear_x", "linear_y", "angular_z")
_OTHERS = (
    "direction",
    "angle_deg",
    "distance_m",
    "target_object",
    "confidence",
    "speed",
    "gripper",
    "sequence_index",
    "arm",
)
_KNOWN = (*_TYPE_KEYS, *_SYNONYMS, *_REMARKS, *_VELOCITIES, *_OTHERS)
_SPEEDS = ("slow", "normal", "fast")
_DIRECTIONS: dict[str, Direction] = {
    "forward": "forward",
    "forwards": "forward",
    "ahead": "forward",
    "back": "back",
    "backward": "back",
    "backwards": "back",
    "left": "left",
    "right": "right",
    "clockwise": "clockwise",
    "counterclockwise": "counterclockwise",
    "counter-clockwise": "counterclockwise",
    "around": "around",
}
_VERBS: dict[ActionType, Verb] = {
    ActionType.MOVE: "go",
    ActionType.TURN: "turn",
    ActionType.STOP: "stop",
    ActionType.GRAB: "grab",
    ActionType.RELEASE: "release",
    ActionType.POINT: "point",
    ActionType.LOOK: "look",
    ActionType.NAVIGATE: "navigate",
    ActionType.AVOID: "avoid",
}
_GRIPPERS = {ActionType.GRAB: "close", ActionType.RELEASE: "open"}
_AMOUNTS = ("distance_m", "angle_deg")
_ALL_KNOWN = {"num_words": 1, "num_understood": 1}  # nothing in a checked object is not understood
_MIN_AMOUNT, _MAX_NUMBER = 1e-6, 1e6
_MAX_CHARACTERS = 200  # of a name or a text; a command is shorter


class RefusedJsonError(ValueError):
    """JSON that is no action; says why."""


def find_json(text: str) -> tuple[int, int] | None:
    """Span of the first JSON object or array in a text; None if there is none.

    Raises:
        RefusedJsonError: if it does not end or is nested too deeply.
    """
    opens = (place for place, one in enumerate(text) if one == "{" or (one == "[" and _is_array(text, place)))
    start = next(opens, None)
    if start is None:
        return None
    depth, is_quoted, is_escaped = 0, False, False
    for place in range(start, len(text)):
        one = text[place]
        if is_quoted:
            is_quoted, is_escaped = one != '"' or is_escaped, one == "\\" and not is_escaped
        elif one == '"':
            is_quoted = True
        elif one in "{[":
            depth += 1
            if depth > MAX_DEPTH:
                raise RefusedJsonError(f"JSON is nested deeper than {MAX_DEPTH}")
        elif one in "}]":
            depth -= 1
            if depth == 0:
                return start, place + 1
    raise RefusedJsonError("JSON does not end")


def read_json(text: str, pace: Pace) -> list[Step]:
    """Return the steps of one JSON value: actions, and texts that a language has to read.

    Raises:
        RefusedJsonError: if it is anything but actions.
    """
    try:
        value = json.loads(text, object_pairs_hook=_without_repeats, parse_constant=_refuse_constant)
    except RefusedJsonError:
        raise
    except (ValueError, RecursionError) as error:
        raise RefusedJsonError(f"malformed JSON: {error}") from None
    if isinstance(value, dict) and list(value) == ["actions"]:
        value = value["actions"]
    entries = value if isinstance(value, list) else [value]
    if not 0 < len(entries) <= MAX_STEPS:
        raise RefusedJsonError(f"JSON: expected 1 to {MAX_STEPS} actions, got {len(entries)}")
    return [_step(entry, pace) for entry in entries]


def _is_array(text: str, place: int) -> bool:
    """Whether a bracket opens JSON and not a word in brackets: what follows is a text, an object or an array."""
    rest = text[place + 1 : place + 17].lstrip()
    return bool(rest) and rest[0] in ('"', "{", "[")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        raise RefusedJsonError(f"JSON: key {next(key for key in keys if keys.count(key) > 1)[:40]!r} comes twice")
    return values


def _refuse_constant(name: str) -> Any:
    raise RefusedJsonError(f"JSON: {name} is no number")


def _step(entry: Any, pace: Pace) -> Step:
    """One entry: a text, or an object."""
    if isinstance(entry, str):
        return _words("action", entry)
    if not isinstance(entry, dict):
        raise RefusedJsonError(f"JSON: expected an object, got {type(entry).__name__}")
    unknown = [key for key in entry if key not in _KNOWN]
    if unknown:
        raise RefusedJsonError("JSON: " + unknown_name("key", unknown[0][:40], _KNOWN))
    values = _renamed(entry)
    named = [key for key in _TYPE_KEYS if key in values]
    if len(named) != 1:
        raise RefusedJsonError(f"JSON: expected one of {list(_TYPE_KEYS)}, got {named}")
    words = _words(named[0], values.pop(named[0]))
    kinds = {kind.value: kind for kind in ActionType}
    if words in kinds:
        return _action(kinds[words], values, pace)
    if values:
        raise RefusedJsonError(
            f"JSON: {unknown_name('action', words[:40], kinds)}; a text stands alone, got {list(values)}"
        )
    return words.replace("_", " ")


def _renamed(entry: dict[str, Any]) -> dict[str, Any]:
    """Synonyms replaced, what says nothing (null, remarks, a place in a list) left out."""
    values: dict[str, Any] = {}
    for key, value in entry.items():
        if value is None:
            continue
        if key in _REMARKS:
            if not isinstance(value, str):
                raise RefusedJsonError(f"JSON: {key} must be a text, got {type(value).__name__}")
            continue
        if key == "sequence_index":
            _number(key, value)
            continue
        name = _SYNONYMS.get(key, key)
        if name in values:
            raise RefusedJsonError(f"JSON: {name} is given twice, once as {key!r}")
        values[name] = value
    return values


def _action(kind: ActionType, values: dict[str, Any], pace: Pace) -> RobotAction:
    """An action of a known type."""
    if "arm" in values:
        raise RefusedJsonError("JSON: a text moves no arm; arm must be null")
    velocity = {name: _number(name, values.pop(name)) for name in _VELOCITIES if name in values}
    stated = _ranged("confidence", values.pop("confidence", 1.0), 0.0, 1.0)
    gripper = _choice("gripper", values.pop("gripper", None), (None, _GRIPPERS.get(kind)))
    said: dict[str, Any] = {"speed": _choice("speed", values.pop("speed", "normal"), _SPEEDS)}
    said |= {name: _ranged(name, values.pop(name), _MIN_AMOUNT, _MAX_NUMBER) for name in _AMOUNTS if name in values}
    direction = values.pop("direction", None)
    directions = () if direction is None else (_DIRECTIONS[_choice("direction", direction, tuple(_DIRECTIONS))],)
    thing = _thing(values.pop("target_object", None))
    if any(velocity.values()):
        if directions:
            raise RefusedJsonError("JSON: a direction and a velocity; one of them says where to")
        action = _driven(kind, velocity, {**said, "target_object": thing})
    elif kind == ActionType.UNKNOWN:
        return RobotAction(kind, description="the model does not know")
    else:
        clause = Clause(
            text=kind.value, mood="command", verb=_VERBS[kind], directions=directions, thing=thing, **said, **_ALL_KNOWN
        )
        action = interpret([clause], pace)[0]
    return dataclasses.replace(action, confidence=min(action.confidence, stated), gripper=gripper or action.gripper)


def _driven(kind: ActionType, velocity: dict[str, float], said: dict[str, Any]) -> RobotAction:
    """An action whose velocity is written out."""
    if kind not in MOVING_TYPES:
        raise RefusedJsonError(f"JSON: {kind.value} has no velocity, got {velocity}")
    if kind == ActionType.TURN and (velocity.get("linear_x") or velocity.get("linear_y")):
        raise RefusedJsonError(f"JSON: a turn is on the spot, got {velocity}")
    wrong = {ActionType.TURN: "distance_m", ActionType.MOVE: "angle_deg"}.get(kind)
    if wrong in said:
        raise RefusedJsonError(f"JSON: {wrong} does not belong to {kind.value}")
    words = ", ".join(f"{name} {value:g}" for name, value in velocity.items())
    return RobotAction(kind, **velocity, **said, confidence=FULL_CONFIDENCE, description=f"{kind.value} {words}")


def _words(key: str, value: Any) -> str:
    """A text, folded."""
    if not isinstance(value, str):
        raise RefusedJsonError(f"JSON: {key} must be a text, got {type(value).__name__}")
    words = " ".join(value.split())
    if not 0 < len(words) <= _MAX_CHARACTERS:
        raise RefusedJsonError(f"JSON: {key} must have 1 to {_MAX_CHARACTERS} characters, got {len(words)}")
    return words.lower()


def _thing(value: Any) -> str | None:
    """A name without article."""
    if value is None:
        return None
    words = _words("target_object", value)
    for article in ("the ", "a ", "an "):
        words = words.removeprefix(article)
    return words


def _choice(key: str, value: Any, choices: tuple[Any, ...]) -> Any:
    folded = value.strip().lower() if isinstance(value, str) else value
    if not isinstance(folded, (str, type(None))) or folded not in choices:
        raise RefusedJsonError("JSON: " + unknown_name(key, str(value)[:40], [str(one) for one in choices]))
    return folded


def _number(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise RefusedJsonError(f"JSON: {key} must be a number, got {type(value).__name__}")
    if not abs(value) <= _MAX_NUMBER:  # catches NaN, infinity and integers that no float holds
        raise RefusedJsonError(f"JSON: {key} is not finite or larger than {_MAX_NUMBER:g}")
    return float(value)


def _ranged(key: str, value: Any, low: float, high: float) -> float:
    number = _number(key, value)
    if not low <= number <= high:
        raise RefusedJsonError(f"JSON: {key} must be in [{low:g}, {high:g}], got {number:g}")
    return number
