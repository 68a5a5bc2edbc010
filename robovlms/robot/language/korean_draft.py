"""A Korean clause while it is read: what was said before its verb came, which in Korean is at the end."""

from dataclasses import dataclass, field
from typing import Literal

from robovlms.robot.language.clause import Clause, Direction, Mood, Side, Verb
from robovlms.robot.language.korean_vocabulary import KoreanVocabulary, Sense

MOVING = frozenset({"go", "slide", "turn", "curve"})
_SIDES: dict[Direction, Side] = {"left": "left", "right": "right", "forward": "front", "back": "back"}


@dataclass(frozen=True)
class Thing:
    """A noun phrase.

    Attributes:
        text: without particle; None for a pronoun.
        role: what its particle says; "" if it has none.
        is_known: all of its words are in the vocabulary.
        is_place: it is where something is, "책상 앞으로".
    """

    text: str | None
    role: str
    is_known: bool
    is_place: bool = False


@dataclass
class Draft:
    """What was read since the last clause."""

    words: list[str] = field(default_factory=list)
    directions: list[Direction] = field(default_factory=list)
    things: list[Thing] = field(default_factory=list)
    side: Side | None = None
    distance_m: float | None = None
    angle_deg: float | None = None
    speed: Literal["slow", "normal", "fast"] = "normal"
    num_unknown: int = 0
    is_straight: bool = False
    is_sideways: bool = False
    is_parallel: bool = False
    is_still: bool = False
    is_negated: bool = False
    is_choice: bool = False
    is_question: bool = False
    is_delayed: bool = False
    is_where: bool = False  # where something is, is asked for
    is_enough: bool = False  # 그만 was said: whatever verb comes is to end
    is_led: bool = False  # a direction has the particle 으로
    deed: Sense | None = None  # named before the rest of its clause: "전진 2미터"
    manner: Sense | None = None  # how it is to move: "게걸음으로"

    def set_side(self, direction: Direction) -> None:
        """Keep where the thing is that comes next."""
        self.side = _SIDES.get(direction)

    def note(self, kinds: tuple[str, ...]) -> None:
        """Keep what a word of these kinds adds."""
        for kind in kinds:
            self.is_straight |= kind == "forward"
            self.is_sideways |= kind == "sideways"
            self.is_parallel |= kind == "parallel"
            self.is_still |= kind in ("still", "here")
            self.is_negated |= kind == "not"
            self.is_choice |= kind == "or"
            self.is_where |= kind == "where"
            self.is_question |= kind == "question"
            self.num_unknown += kind in ("time", "question")
            if kind == "right_angle":
                self.angle_deg = 90.0
            elif kind == "endless":
                self.distance_m = float("inf")

    def thing(self, *roles: str) -> Thing | None:
        """The last thing with the first of these roles that any thing has."""
        return next((one for role in roles for one in reversed(self.things) if one.role == role), None)


def build_clause(draft: Draft, sense: Sense, mood: Mood, vocabulary: KoreanVocabulary) -> Clause:
    """Return the clause of a verb and what was said before it."""
    sense = _in_manner(draft, _of_itself(draft, sense, vocabulary))
    verb, thing = _resolve(draft, sense, vocabulary)
    directions = _directions(draft, sense, verb)
    if verb in MOVING and verb != "slide" and draft.is_parallel and directions:
        verb = "slide"
    num_words = len(draft.words)
    num_unknown = draft.num_unknown + sum(not one.is_known for one in draft.things if one is not thing)
    is_refused = verb in (*MOVING, "navigate", "avoid") and _is_doubtful(draft, verb, thing)
    if is_refused and mood != "prohibition":
        verb = None
    if verb in MOVING and verb != "turn" and mood in ("command", "condition") and draft.is_delayed:
        mood = "condition"
    return Clause(
        text=" ".join(draft.words),
        mood="condition" if draft.is_delayed and verb != "stop" and mood == "command" else mood,
        verb=verb,
        directions=directions,
        thing=thing.text if thing and verb not in ("stop", None) else None,
        has_pronoun=bool(thing and thing.text is None and verb != "stop"),
        side=draft.side,
        distance_m=draft.distance_m,
        angle_deg=draft.angle_deg,
        speed=draft.speed,
        num_words=num_words,
        num_understood=max(0, num_words - num_unknown) if verb else 0,
    )


def _of_itself(draft: Draft, sense: Sense, vocabulary: KoreanVocabulary) -> Sense:
    """ "로봇을 전진시켜" is to drive: who is spoken to does it."""
    target, caused = draft.thing("object"), vocabulary.deeds.get(sense.stem)
    if sense.verb != "other" or caused is None or target is None or target.text not in vocabulary.sets["self"]:
        return sense
    draft.things.remove(target)
    return caused


def _in_manner(draft: Draft, sense: Sense) -> Sense:
    """ "게걸음으로 가" is to slide."""
    if draft.manner is None or sense.verb not in ("go", "do"):
        draft.num_unknown += draft.manner is not None
        return sense
    return Sense(draft.manner.verb, sense.direction or draft.manner.direction, stem=sense.stem)


def _resolve(draft: Draft, sense: Sense, vocabulary: KoreanVocabulary) -> tuple[Verb | None, Thing | None]:
    """The verb in its company: "몸을 돌려" turns, "왼쪽으로 돌려" does not."""
    target = draft.thing("object")
    name = target.text if target and target.text else (draft.thing("") or Thing("", "", True)).text or ""
    sets = vocabulary.sets
    if sense.stem in sets["steering"]:
        return _steered(draft, sense, name, target, vocabulary)
    if sense.stem in ("돌", "회전") and name in sets["gaze"]:
        return "look", None
    if sense.stem == "돌아보" and target is None and (draft.angle_deg is not None or draft.is_led):
        return "turn", None
    if sense.stem in sets["backing"] and target is None and draft.directions == ["back"]:
        return "go", None
    if sense.stem in sets["braking"] and _names_brake(name, vocabulary):
        return "stop", None
    if sense.verb in ("unknown", "do", ""):
        return None, None
    if sense.verb == "stay":
        return ("stop", None) if draft.is_still or (not draft.things and not draft.num_unknown) else (None, None)
    if sense.stem in sets["leaving"] and sets["untouched"] & set(draft.words):
        return None, None
    if sense.verb in ("grab", "release") and sets["abstract"].intersection(name.split()[-1:]):
        return "other", target
    if sense.stem in sets["halting"] and (sense.verb != "release" or not name or name in sets["vehicle"]):
        return ("stop", None) if not name or name in sets["vehicle"] else ("other", target)
    if name in sets["gripper"] and sense.stem in sets["opening"]:
        return "release", None
    if name in sets["gripper"] and sense.stem in sets["closing"]:
        return "grab", None
    if (sense.stem == "들" and (name in sets["heard"] or name in sets["limbs"])) or (
        sense.stem == "따르" and name in sets["liquids"]
    ):
        return "other", None
    if draft.is_where and sense.stem in sets["showing"]:
        return ("find" if sense.verb == "find" else "point"), draft.thing("subject", "topic", "")
    verb, thing = _with_goal(draft, sense)
    if thing and thing.text in sets["nowhere"]:
        return (None if verb == "navigate" else verb), None
    return verb, thing


def _names_brake(name: str, vocabulary: KoreanVocabulary) -> bool:
    """Whether a thing is a brake, or anything else whose name is a stop: "비상정지 버튼"."""
    deeds = [vocabulary.deeds.get(word) for word in name.split()]
    is_deed = any(deed is not None and deed.verb == "stop" for deed in deeds)
    return is_deed or any(word in vocabulary.sets["brakes"] for word in name.split())


def _steered(
    draft: Draft, sense: Sense, name: str, target: Thing | None, vocabulary: KoreanVocabulary
) -> tuple[Verb | None, Thing | None]:
    sets, word = vocabulary.sets, name.replace(" ", "")
    if name in sets["gaze"]:
        return "look", None
    is_body = word in sets["body"] or (sense.verb == "steer" and word in sets["wheels"])
    if is_body:
        draft.things = [one for one in draft.things if one.text != name]
    if is_body or (sense.verb == "steer" and target is None and draft.directions):
        return ("turn", None) if draft.directions or draft.angle_deg is not None else (None, None)
    return "other", target


def _with_goal(draft: Draft, sense: Sense) -> tuple[Verb | None, Thing | None]:
    verb: str = sense.verb
    goal = draft.thing("to")
    if verb == "go" and goal is None and not draft.directions and draft.distance_m is None:
        bare = draft.thing("")
        goal = bare if bare and bare.is_known else None
    if verb in ("go", "navigate") and sense.stem == "돌아가" and goal is None and draft.directions:
        return "turn", None
    if verb == "go" and goal is not None and sense.direction in (None, "forward"):
        return "navigate", goal
    if verb == "go" and draft.thing("object"):
        return None, None
    if verb == "go" and draft.is_sideways:
        return "slide", None
    if verb == "navigate":
        return "navigate", draft.thing("to", "object", "")
    if verb in ("go", "slide", "turn", "curve"):
        return _motion(draft, verb), None
    if verb in ("point", "look", "find"):
        return _known_verb(verb), draft.thing("object", "to", "", "topic")
    return _known_verb(verb), draft.thing("object", "", "topic", "also")


def _known_verb(verb: str) -> Verb | None:
    for known in ("grab", "release", "point", "look", "find", "avoid", "stop", "other"):
        if known == verb:
            return known
    return None


def _motion(draft: Draft, verb: str) -> Verb | None:
    if verb == "turn" and draft.thing("object"):
        return "other"  # going round a thing, or turning it
    if verb == "go" and draft.is_parallel:
        return "slide"
    for known in ("go", "slide", "turn", "curve"):
        if known == verb:
            return known
    return None


def _directions(draft: Draft, sense: Sense, verb: Verb | None) -> tuple[Direction, ...]:
    directions = list(draft.directions)
    if sense.direction is not None and sense.direction not in directions:
        directions.append(sense.direction)
    if verb == "turn":
        directions = ["around" if one == "back" else one for one in directions]
        if "around" in directions and len(set(directions)) > 1 and draft.angle_deg is None:
            directions = [one for one in directions if one != "around"]
    if verb == "go" and not directions and (draft.is_straight or draft.distance_m is not None):
        directions = ["forward"]
    if verb == "go" and "around" in directions:
        directions = []
    return tuple(directions)


def _is_doubtful(draft: Draft, verb: Verb | None, thing: Thing | None) -> bool:
    """Whether something was said that may change what the motion means."""
    if draft.num_unknown or draft.is_choice:
        return True
    others = [one for one in draft.things if one is not thing and one.role not in ("from", "with")]
    if verb in ("navigate", "avoid"):
        return any(one.role in ("subject", "topic", "also") for one in others)
    return bool(others)
