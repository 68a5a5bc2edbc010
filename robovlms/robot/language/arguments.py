"""What follows a verb, as far as it was read."""

from dataclasses import dataclass, field

from robovlms.robot.action import Speed
from robovlms.robot.language.clause import Direction, Side
from robovlms.robot.language.vocabulary import VerbSense


@dataclass
class Arguments:
    """What was read so far of one clause; see `Clause` for the fields of the same name.

    Attributes:
        excluded: directions that were named as not meant.
        is_sideways: "sideways" was said.
        has_turn_noun: "turn" was said as a noun.
        has_step_noun: "step" was said as a noun.
        moves_thing: a thing follows the verb directly, so that it is what moves.
        meanwhile: the second motion ("while turning left").
        is_affirmed: a negation before it was taken up by another verb ("don't stop turning").
        num_unclear: words that were read past without acting on them.
    """

    directions: list[Direction] = field(default_factory=list)
    excluded: list[Direction] = field(default_factory=list)
    thing: str | None = None
    has_pronoun: bool = False
    side: Side | None = None
    distance_m: float | None = None
    angle_deg: float | None = None
    speed: Speed = "normal"
    is_sideways: bool = False
    has_turn_noun: bool = False
    has_step_noun: bool = False
    moves_thing: bool = False
    meanwhile: VerbSense | None = None
    is_affirmed: bool = False
    num_unclear: int = 0
