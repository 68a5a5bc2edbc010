"""What one clause of a command says: the meeting place of all languages.

A language's analyser turns text into clauses, `interpret` turns clauses into actions and knows no language::

    "don't turn right, turn left by 90 degrees"
      └ Clause(mood="prohibition", verb="turn", directions=("right",))
      └ Clause(mood="command", verb="turn", directions=("left",), angle_deg=90.0)
"""

from dataclasses import dataclass
from typing import Literal

Mood = Literal["command", "prohibition", "condition", "question", "statement"]
Direction = Literal["forward", "back", "left", "right", "clockwise", "counterclockwise", "around"]
Side = Literal["left", "right", "front", "back"]
Verb = Literal[
    "go",  # drive, move: a direction makes it a move, a destination a navigation
    "slide",  # sideways without turning
    "turn",  # on the spot
    "curve",  # driving and turning at once
    "stop",
    "grab",
    "release",
    "point",
    "look",  # gaze, search
    "find",  # look for; a look
    "navigate",  # approach, follow, come, return: the goal is a thing or a person
    "avoid",
    "other",  # a known verb that moves no base: open, push, rotate a thing, switch on …
]


@dataclass(frozen=True, kw_only=True)
class Clause:
    """One clause, with its negation, contrast and numbers resolved.

    Attributes:
        text: its words.
        mood: "command" asks for it; "prohibition" forbids it; "condition" makes it hang on something that one step
            cannot check ("if the door opens, go"), for the condition and for what hangs on it; "question" and
            "statement" ask for nothing.
        verb: what to do; None if no verb was understood.
        directions: where to, affirmed ones only: "right, not left" has ("right",).
        thing: what it is about, without article and particle, adjectives kept; None if nothing was named.
        has_pronoun: the thing is a pronoun ("it", "그것", "me").
        side: where the thing is ("the cone on your left").
        distance_m: metres, as said, sign and all; may be infinite or NaN if that was said.
        angle_deg: degrees, as said.
        speed: how fast.
        num_words: words that were looked at.
        num_understood: of them, those whose part in the clause is known.
    """

    text: str
    mood: Mood
    verb: Verb | None = None
    directions: tuple[Direction, ...] = ()
    thing: str | None = None
    has_pronoun: bool = False
    side: Side | None = None
    distance_m: float | None = None
    angle_deg: float | None = None
    speed: Literal["slow", "normal", "fast"] = "normal"
    num_words: int = 0
    num_understood: int = 0
