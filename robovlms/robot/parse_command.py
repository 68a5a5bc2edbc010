"""`robovlms robot parse`: what texts become, action by action, before and behind the validator. Nothing moves."""

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from robovlms.errors import ConfigError
from robovlms.robot.action import RobotAction
from robovlms.robot.boxes import parse_boxes
from robovlms.robot.language.languages import LANGUAGES
from robovlms.robot.parser import VLAActionParser
from robovlms.robot.safety.validator import ActionValidator

_SHOWN = 60  # characters of a text in the table


def add_parse_flags(parser: ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("text", nargs="+", metavar="TEXT", help="a text, each one on its own; - reads lines from stdin")
    parser.add_argument("--prompt", default="", help="what the model was asked, and may have echoed")
    parser.add_argument("--language", metavar="NAME", help=f"read as this language alone: {', '.join(LANGUAGES)}")
    parser.add_argument("--boxes", action="store_true", help="the texts are location tokens of a detection")
    parser.add_argument("--width", type=int, help="of the picture that the model saw, pixels; with --boxes")
    parser.add_argument("--height", type=int, help="of the picture that the model saw, pixels; with --boxes")
    parser.add_argument("--query", metavar="LABEL", help="label of the thing that is wanted; with --boxes")
    parser.add_argument("--json", action="store_true", help="print one JSON object per text")


def run_parse(flags: Namespace) -> None:
    """Print what the texts become.

    Raises:
        ConfigError: if flags contradict each other, or the language is unknown.
    """
    read = _reader(flags)
    validator = ActionValidator()
    rows = (
        (text, actions, [validator.validate_action(one) for one in actions]) for text, actions in _read_all(flags, read)
    )
    if flags.json:
        for text, actions, safe in rows:
            entry = {"text": text, "actions": [a.to_dict() for a in actions], "safe": [a.to_dict() for a in safe]}
            print(json.dumps(entry, ensure_ascii=False, allow_nan=False), flush=True)
        return
    table = actions_table()
    for text, actions, safe in rows:
        add_actions(table, text, actions, safe)
    Console().print(table)


def actions_table() -> Table:
    """An empty table for `add_actions`."""
    table = Table(show_lines=True)
    for name in ("text", "action", "x, y (m/s), yaw (rad/s)", "about", "confidence", "behind the validator"):
        table.add_column(name, overflow="fold")
    return table


def add_actions(table: Table, text: str, actions: list[RobotAction], safe: list[RobotAction]) -> None:
    """Add a row per action."""
    for index, (action, other) in enumerate(zip(actions, safe, strict=True)):
        shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
        table.add_row(
            escape(_printable(shown)) if index == 0 else "",
            action.action_type.value,
            _velocity(action),
            escape(_printable(_details(action))),
            f"{action.confidence:.2f}",
            "the same" if other == action else f"{other.action_type.value} {_velocity(other)}",
        )


def _reader(flags: Namespace) -> Callable[[str], list[RobotAction]]:
    """Text -> actions, as the flags ask for."""
    if not flags.boxes:
        stray = next((name for name in ("width", "height", "query") if getattr(flags, name) is not None), None)
        if stray:
            raise ConfigError(f"--{stray} belongs to --boxes, which is not given")
        languages = tuple(LANGUAGES) if flags.language is None else (flags.language,)
        parser = VLAActionParser(languages)
        return lambda text: parser.parse_sequence(text, flags.prompt)
    if flags.language is not None or flags.prompt:
        raise ConfigError("--boxes takes no --language and no --prompt: location tokens are of no language")
    for name in ("width", "height"):
        size = getattr(flags, name)
        if size is None or size <= 0:
            raise ConfigError(f"--boxes needs --{name}, a positive number of pixels, got {size}")
    return lambda text: [parse_boxes(text, flags.width, flags.height, flags.query)]


def _read_all(flags: Namespace, read: Callable[[str], list[RobotAction]]) -> Iterator[tuple[str, list[RobotAction]]]:
    for text in flags.text:
        for one in _stdin_lines() if text == "-" else [text]:
            clean = one.encode("utf-8", "replace").decode()  # bytes of the command line that are no UTF-8
            yield clean, read(clean)


def _stdin_lines() -> Iterator[str]:
    """Lines that are not blank; a reader of a file that is no UTF-8 sees "?" there, and no traceback."""
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    return (line.rstrip("\r\n") for line in sys.stdin if line.strip())


def _velocity(action: RobotAction) -> str:
    return ", ".join(f"{value + 0.0:.2f}" for value in action.velocity) if any(action.velocity) else "0"


def _details(action: RobotAction) -> str:
    parts = [
        action.target_object,
        None if action.distance_m is None else f"{action.distance_m:g} m",
        None if action.angle_deg is None else f"{action.angle_deg:g}°",
        None if action.speed == "normal" else action.speed,
        action.description if action.confidence == 0 else None,
    ]
    return ", ".join(part for part in parts if part)


def _printable(text: str) -> str:
    """Control characters, which would move the cursor of a terminal, as they are written in Python."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)
