"""What follows a verb: directions, amounts and speeds of a motion, or the thing that is handled.

::

    slowly turn  to the left  by  ninety degrees  at the lamp          pick up  the red cup  from the table
           verb  direction        amount          place                verb     thing        place of the thing

A motion takes nothing else: a word whose part is not known ends the reading before it, and the clause is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from robovlms.robot.action import Speed
from robovlms.robot.language.clause import Direction, Side
from robovlms.robot.language.numbers import NumberReader
from robovlms.robot.language.tokens import Token
from robovlms.robot.language.vocabulary import VerbSense, Vocabulary

MAX_THING_WORDS = 8  # longer ones are sentences
YAW_DIRECTIONS = frozenset({"left", "right", "clockwise", "counterclockwise"})
_SIDES: dict[Direction, Side] = {"left": "left", "right": "right", "forward": "front", "back": "back"}


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


class ArgumentReader:
    """Reads what follows a verb. Every method returns the index after what it read, or None if it is not there."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.words = vocabulary
        self.roles = vocabulary.roles
        self.numbers = NumberReader(vocabulary.numbers, vocabulary.units, vocabulary.before_unit)
        roles = self.roles
        self._connectives = (roles.then, roles.joins, roles.contrary, roles.alternatives, roles.meanwhile)
        self._prepositions = (
            *(roles.destinations, roles.ways, roles.places, roles.loose_places, roles.sources),
            *(roles.other_prepositions, roles.sought, roles.amount_leads),
        )

    # Ends

    def is_end(self, tokens: Sequence[Token], index: int) -> bool:
        """A pause, a connective or the end of the sentence."""
        if index >= len(tokens) or tokens[index].text == ",":
            return True
        return any(words.match(tokens, index) for words in self._connectives)

    def is_tail(self, tokens: Sequence[Token], index: int) -> bool:
        """Nothing but fillers, speeds and particles until the end of the clause."""
        while not self.is_end(tokens, index):
            after = self._any(tokens, index, self.roles.fillers, self.words.speeds, self.roles.particles)
            if after is None:
                return False
            index = after
        return True

    def _any(self, tokens: Sequence[Token], index: int, *tables: object) -> int | None:
        """Return the end of the longest match among several tables."""
        ends = [found[1] for table in tables if (found := table.match(tokens, index)) is not None]  # type: ignore[attr-defined]
        return max(ends, default=None)

    # Motions

    def read_motion(self, tokens: Sequence[Token], index: int, args: Arguments, verb: str, is_forbidden: bool) -> int:
        """Read what may follow a verb of motion; return the index of the first word that may not."""
        while index < len(tokens):
            after = self._motion_part(tokens, index, args, verb, is_forbidden)
            if after is None:
                return index
            index = after
        return index

    def _motion_part(
        self, tokens: Sequence[Token], index: int, args: Arguments, verb: str, is_forbidden: bool
    ) -> int | None:
        return (
            self._speed(tokens, index, args)
            or self._contrast(tokens, index, args)
            or self._plain_filler(tokens, index, args, verb)
            or self._direction(tokens, index, args)
            or self._joined_direction(tokens, index, args, verb, is_forbidden)
            or self._amount(tokens, index, args, verb)
            or self._noun(tokens, index, args, verb)
            or self._sideways(tokens, index, args)
            or self._meanwhile(tokens, index, args)
            or self._any(tokens, index, self.roles.fillers, self.roles.vague_amounts, self.roles.self)
            or self._place(tokens, index, args, verb)
            or self._unknown_adverb(tokens, index, args)
        )

    def _speed(self, tokens: Sequence[Token], index: int, args: Arguments) -> int | None:
        is_late = tokens[index].text == ","
        found = self.words.speeds.match(tokens, index + is_late)
        if found is None or (is_late and not self.is_tail(tokens, found[1])):
            return None
        args.speed = found[0]
        return found[1]

    def _plain_filler(self, tokens: Sequence[Token], index: int, args: Arguments, verb: str) -> int | None:
        """Read "right now" as one, unless the motion still needs its side: "turn right now"."""
        found = self.roles.fillers.match(tokens, index)
        direction = self.words.directions.match(tokens, index)
        needs_side = verb in ("turn", "slide", "curve") and not args.directions
        return found[1] if found and direction and found[1] > direction[1] and not needs_side else None

    def read_direction(self, tokens: Sequence[Token], index: int) -> tuple[Direction, int] | None:
        """Return the direction at `index` ("to the left hand side") and the index after it.

        It is one only if the clause can go on after it: in "to the left door" and "left the bag" it is none.
        """
        lead = self.roles.direction_leads.match(tokens, index)
        places = (lead[1], index) if lead else (index,)
        for place in places:
            found = self.words.directions.match(tokens, place)
            if found is None:
                continue
            direction, after = found
            noun = self.roles.direction_nouns.match(tokens, after)
            after = noun[1] if noun else after
            has_article = place > index and self.roles.determiners.match(tokens, place - 1) is not None
            if has_article and not noun and direction not in YAW_DIRECTIONS:
                continue
            if self._can_follow_direction(tokens, after):
                return direction, after
        return None

    def _can_follow_direction(self, tokens: Sequence[Token], index: int) -> bool:
        verbs = self.words.verbs, self.words.gerunds
        if self.is_end(tokens, index) or self._any(tokens, index, *verbs) is not None:
            return True
        roles = self.roles
        tables = (roles.fillers, roles.vague_amounts, roles.self, roles.contrasts, roles.corrections, roles.sideways)
        tables += (roles.destinations, roles.ways, roles.places, roles.loose_places, roles.sources, roles.turn_nouns)
        tables += (roles.step_nouns, roles.before, roles.after, roles.tags, self.words.speeds, roles.negations)
        if self._any(tokens, index, *tables) is not None or self._is_adverb(tokens, index):
            return True
        lead = self._any(tokens, index, roles.direction_leads)
        has_direction = any(self.words.directions.match(tokens, place) for place in (index, lead or index))
        return has_direction or self._has_amount(tokens, index)

    def _direction(self, tokens: Sequence[Token], index: int, args: Arguments) -> int | None:
        found = self.read_direction(tokens, index)
        if found is None:
            return None
        if found[0] not in args.directions:
            args.directions.append(found[0])
        return found[1]

    def _contrast(self, tokens: Sequence[Token], index: int, args: Arguments) -> int | None:
        """Read ", not right", "instead of turning right" and, after them, "but left"."""
        start = index + 1 if tokens[index].text == "," else index
        contrast = self.roles.contrasts.match(tokens, start)
        if contrast is not None:
            verb = self.words.gerunds.match(tokens, contrast[1]) or self.words.verbs.match(tokens, contrast[1])
            for place in (contrast[1], verb[1] if verb else contrast[1]):
                found = self.read_direction(tokens, place)
                if found is not None:
                    args.excluded.append(found[0])
                    return found[1]
            if verb is not None and verb[0].directions and self.is_end(tokens, verb[1]):
                args.excluded.extend(verb[0].directions)
                return verb[1]
            return self._excluded_goal(tokens, contrast[1]) if args.thing is not None else None
        contrary = self.roles.contrary.match(tokens, start) if args.excluded else None
        return self._direction(tokens, contrary[1], args) if contrary is not None else None

    def _excluded_goal(self, tokens: Sequence[Token], index: int) -> int | None:
        """Read "not the bedroom" or "not to the bedroom" after "go to the kitchen"."""
        goal = self.roles.destinations.match(tokens, index)
        end = self.read_thing(tokens, goal[1] if goal else index)[2]
        return end if end > index and self.is_end(tokens, end) else None

    def _joined_direction(
        self, tokens: Sequence[Token], index: int, args: Arguments, verb: str, is_forbidden: bool
    ) -> int | None:
        """Read "and to the left" after "forward"; what has its own amount is a step of its own."""
        start = index + 1 if tokens[index].text == "," else index
        join = self.roles.joins.match(tokens, start)
        if join is None and is_forbidden:
            join = self.roles.alternatives.match(tokens, start)
        if join is None or not args.directions or args.distance_m is not None or args.angle_deg is not None:
            return None
        found = self.read_direction(tokens, join[1])
        if found is None or not self.is_tail(tokens, found[1]):
            return None
        if verb == "turn" and found[0] not in YAW_DIRECTIONS:
            return None
        return self._direction(tokens, join[1], args)

    def _has_amount(self, tokens: Sequence[Token], index: int) -> bool:
        lead = self.roles.amount_leads.match(tokens, index)
        places = (index, lead[1]) if lead else (index,)
        return any(self.numbers.read_amount(tokens, place) is not None for place in places)

    def _amount(self, tokens: Sequence[Token], index: int, args: Arguments, verb: str) -> int | None:
        index += tokens[index].text == ","
        lead = self.roles.amount_leads.match(tokens, index)
        for place in (index, lead[1]) if lead else (index,):
            amount = self.numbers.read_amount(tokens, place)
            if amount is None:
                continue
            if tokens[index - 1].text == "," and not self.is_tail(tokens, amount.end):
                return None
            if amount.kind == "duration" and self.roles.delays.match(tokens, index) is not None:
                return None
            after, value = amount.end, amount.value
            if self.numbers.is_article(tokens, place) and self._any(tokens, place + 1, self.roles.turn_nouns) == after:
                return None  # "a turn" has no angle, "one turn" has
            if amount.kind == "duration":
                args.num_unclear += after - index
                return after
            if amount.kind == "bare" and not self._is_bare_angle(tokens, after, verb):
                return None
            if amount.kind == "bare" and value < 1:
                if tokens[place].is_number:
                    return None
                value *= 360  # "turn left a quarter"
            name = "distance_m" if amount.kind == "distance" else "angle_deg"
            if getattr(args, name) is not None:
                return None
            setattr(args, name, value)
            args.has_turn_noun = args.has_turn_noun or amount.kind != "distance"
            return after
        return None

    def _is_bare_angle(self, tokens: Sequence[Token], after: int, verb: str) -> bool:
        """ "Turn left 90" is said of degrees, "two steps" is not."""
        is_counted = self.roles.step_nouns.match(tokens, after) is not None
        return verb == "turn" and not is_counted and self._can_follow_direction(tokens, after)

    def _noun(self, tokens: Sequence[Token], index: int, args: Arguments, verb: str) -> int | None:
        """Read "a sharp left turn", "two steps": adjectives, direction, noun."""
        roles, start = self.roles, index
        while (adjective := roles.noun_adjectives.match(tokens, index)) is not None:
            index = adjective[1]
        place = self.words.directions.match(tokens, index)
        for after in (index, place[1] if place else index):
            turn, step = roles.turn_nouns.match(tokens, after), roles.step_nouns.match(tokens, after)
            found = turn or step
            if found is None or (after == start and self._is_next_verb(tokens, start, found[1], args, verb)):
                continue
            if place is not None and after == place[1]:
                args.directions.append(place[0])
            args.has_turn_noun = args.has_turn_noun or turn is not None
            args.has_step_noun = args.has_step_noun or turn is None
            named = self.words.verbs.match(tokens, after)
            args.directions.extend(named[0].directions if named and named[0].verb == "turn" else ())
            return found[1]
        return None

    def _is_next_verb(self, tokens: Sequence[Token], start: int, end: int, args: Arguments, verb: str) -> bool:
        """Whether "turn" is no noun but the verb of the next clause: "go forward turn left", not "make a left turn"."""
        if self.words.verbs.match(tokens, start) is None:
            return False
        is_noun = verb in ("turn", "") and args.directions and self.read_direction(tokens, end) is None
        return not is_noun

    def _sideways(self, tokens: Sequence[Token], index: int, args: Arguments) -> int | None:
        found = self.roles.sideways.match(tokens, index)
        if found is None:
            return None
        args.is_sideways = True
        return found[1]

    def _meanwhile(self, tokens: Sequence[Token], index: int, args: Arguments) -> int | None:
        start = index + 1 if tokens[index].text == "," else index
        found = self.roles.meanwhile.match(tokens, start)
        verb = found and (self.words.gerunds.match(tokens, found[1]) or self.words.verbs.match(tokens, found[1]))
        if found is None and args.directions:
            verb = self.words.gerunds.match(tokens, index)
        if not verb or args.meanwhile is not None or verb[0].verb not in ("go", "turn", "curve"):
            return None
        args.meanwhile = verb[0]
        return verb[1]

    def _place(self, tokens: Sequence[Token], index: int, args: Arguments, verb: str) -> int | None:
        """Read where a motion takes place, or where it leads.

        Where it leads is what a going is about. Any other place is passed over: nothing here can tell when it is
        reached, so these words count as not understood.
        """
        roles = self.roles
        if self.opens_purpose(tokens, index):
            return None
        goal = roles.destinations.match(tokens, index)
        goal_end = goal[1] if goal else index
        places = [roles.ways, roles.places] + ([roles.loose_places] if verb == "turn" or not args.directions else [])
        place_end = self._any(tokens, index, roles.sources, *places) or index
        after = max(goal_end, place_end)
        if after == index:
            return None
        thing, has_pronoun, end = self.read_thing(tokens, after)
        if (thing is None and not has_pronoun) or self.is_time(tokens, after, end):
            return None
        is_source = self._any(tokens, index, roles.sources) == after
        leads_there = not is_source and (goal_end == after or (verb == "go" and not args.directions))
        if leads_there and verb in ("go", "turn") and not (verb == "turn" and args.directions):
            if args.thing is None and not args.has_pronoun:
                args.thing, args.has_pronoun = thing, has_pronoun
        else:
            args.num_unclear += end - index
        return end

    def is_time(self, tokens: Sequence[Token], start: int, end: int) -> bool:
        """Whether a thing is none, but a time ("after lunch", "at the beep", "after five seconds")."""
        tables = (self.roles.times, self.words.units["duration"])
        return any(self._any(tokens, index, *tables) is not None for index in range(start, end))

    def opens_purpose(self, tokens: Sequence[Token], index: int) -> int | None:
        """Return where the verb of "to pick up the cup" is; "to work" and "to point A" are places."""
        found = self.roles.purposes.match(tokens, index)
        verb = self.words.verbs.match(tokens, found[1]) if found else None
        if found is None or verb is None:
            return None
        has_object = self._any(tokens, verb[1], self.roles.determiners, self.roles.pronouns) is not None
        return found[1] if has_object else None

    def _is_adverb(self, tokens: Sequence[Token], index: int) -> bool:
        text = tokens[index].text
        return len(text) > 4 and text.endswith(self.roles.adverb_endings) and text not in self.words.words

    def _unknown_adverb(self, tokens: Sequence[Token], index: int, args: Arguments) -> int | None:
        if not self._is_adverb(tokens, index):
            return None
        args.num_unclear += 1
        return index + 1

    # Things

    def read_thing(self, tokens: Sequence[Token], start: int) -> tuple[str | None, bool, int]:
        """Return the thing at `start`, whether it is a pronoun, and the index after it; (None, False, start) if none.

        Articles are left out, adjectives kept: "the red cup from the table" gives "red cup".
        """
        pronoun = self.roles.pronouns.match(tokens, start)
        if pronoun is not None and self._ends_thing(tokens, pronoun[1], True):
            return None, True, pronoun[1]
        index = start
        while (determiner := self.roles.determiners.match(tokens, index)) is not None:
            index = determiner[1]
        first = index
        while index < len(tokens) and not self._ends_thing(tokens, index, index > first):
            index += 1
        if index == first or index - first > MAX_THING_WORDS:
            return None, False, start
        return self._surface(tokens[first:index]), False, index

    def _ends_thing(self, tokens: Sequence[Token], index: int, has_word: bool) -> bool:
        if index >= len(tokens) or tokens[index].text == ",":
            return True
        roles = self.roles
        join = roles.joins.match(tokens, index)
        if join is not None and has_word:
            return self.opens_clause(tokens, join[1])
        if self.is_end(tokens, index):
            return True
        if not has_word:
            return False
        if self._any(tokens, index, *self._prepositions, roles.relatives, roles.copulas, roles.contrasts) is not None:
            return not self._is_inside(tokens, index)
        if self.roles.purposes.match(tokens, index) is not None:
            return True
        tail = self._any(tokens, index, roles.fillers, self.words.speeds, roles.particles)
        return tail is not None and (self.is_tail(tokens, index) or self._is_preposition(tokens, tail))

    def _is_inside(self, tokens: Sequence[Token], index: int) -> bool:
        """Whether a preposition belongs to a thing ("cup of tea"), or only leads in amounts elsewhere ("a", "only")."""
        roles = self.roles
        genitive = roles.genitives.match(tokens, index)
        if genitive is not None and genitive[1] >= (self._any(tokens, index, *self._prepositions[:-1]) or 0):
            return True
        others = (roles.destinations, roles.ways, roles.places, roles.loose_places, roles.sources, roles.other_prepositions)
        others += (roles.sought, roles.relatives, roles.copulas, roles.contrasts)
        return self._any(tokens, index, *others) is None and not self._has_unit_ahead(tokens, index)

    def _has_unit_ahead(self, tokens: Sequence[Token], index: int) -> bool:
        lead = self.roles.amount_leads.match(tokens, index)
        amount = self.numbers.read_amount(tokens, lead[1]) if lead else None
        return amount is not None and amount.kind != "bare"

    def _is_preposition(self, tokens: Sequence[Token], index: int) -> bool:
        return self._any(tokens, index, *self._prepositions) is not None

    def _surface(self, tokens: Sequence[Token]) -> str:
        text = ""
        for token in tokens:
            text += token.gap + token.surface if text else token.surface
        return text

    def opens_clause(self, tokens: Sequence[Token], index: int) -> bool:
        """Whether what stands here begins a clause of its own, not a further part of a thing."""
        roles = self.roles
        while (filler := self._any(tokens, index, roles.fillers, self.words.speeds)) is not None:
            index = filler
        if index >= len(tokens):
            return True
        tables = (self.words.verbs, roles.requests, roles.negations, roles.questions, roles.then, roles.corrections)
        if self._any(tokens, index, *tables) is not None:
            return True
        return self.read_direction(tokens, index) is not None

    def read_handling(self, tokens: Sequence[Token], index: int, args: Arguments, takes_goal: bool) -> int:
        """Read what may follow a verb that handles, seeks or approaches a thing.

        Args:
            tokens: a sentence.
            index: where to begin.
            args: what is read goes there.
            takes_goal: the thing may follow a preposition ("look at the clock", "return to the door").
        """
        while not self.is_end(tokens, index):
            after = self._handling_part(tokens, index, args, takes_goal)
            if after is None:
                return index
            index = after
        return index if index >= len(tokens) else self._speed(tokens, index, args) or index

    def _handling_part(self, tokens: Sequence[Token], index: int, args: Arguments, takes_goal: bool) -> int | None:
        roles = self.roles
        return (
            self._speed(tokens, index, args)
            or self._excluded_thing(tokens, index)
            or self._recipient(tokens, index, args)
            or self._side(tokens, index, args)
            or (self._any(tokens, index, roles.fillers, roles.particles) if self.is_tail(tokens, index) else None)
            or self._relative(tokens, index, args)
            or self._prepositional(tokens, index, args, takes_goal)
            or self._plain_amount(tokens, index)
            or self._thing(tokens, index, args)
            or self._any(tokens, index, roles.particles, roles.fillers, roles.sideways)
        )

    def _excluded_thing(self, tokens: Sequence[Token], index: int) -> int | None:
        contrast = self.roles.contrasts.match(tokens, index)
        end = self.read_thing(tokens, contrast[1])[2] if contrast else index
        return end if end > index else None

    def _recipient(self, tokens: Sequence[Token], index: int, args: Arguments) -> int | None:
        """Read "me" in "bring me the cup"."""
        found = self.roles.recipients.match(tokens, index)
        if found is None or args.thing is not None or self._ends_thing(tokens, found[1], True):
            return None
        return found[1]

    def _side(self, tokens: Sequence[Token], index: int, args: Arguments) -> int | None:
        """Read a direction beside a thing: where it is, or where a gaze goes."""
        for table, side in ((self.roles.front, "front"), (self.roles.behind, "back")):
            found = table.match(tokens, index)
            if found is not None and self._ends_thing(tokens, found[1], True):
                args.side = args.side or side  # type: ignore[assignment]
                return found[1]
        direction = self.read_direction(tokens, index)
        if direction is None:
            return None
        args.side = args.side or _SIDES.get(direction[0])
        return direction[1]

    def _relative(self, tokens: Sequence[Token], index: int, args: Arguments) -> int | None:
        """Read what is told about a thing; after "where" the thing itself ("where the exit is")."""
        found = self.roles.relatives.match(tokens, index)
        if found is None:
            return None
        if args.thing is None and not args.has_pronoun:
            copula = self.roles.copulas.match(tokens, found[1])
            thing, has_pronoun, index = self.read_thing(tokens, copula[1] if copula else found[1])
            args.thing, args.has_pronoun = thing, has_pronoun
        while not self.is_end(tokens, index):
            index = self._side(tokens, index, args) or index + 1
        return index

    def _prepositional(self, tokens: Sequence[Token], index: int, args: Arguments, takes_goal: bool) -> int | None:
        after = self._any(tokens, index, *self._prepositions[:-1])
        if after is None:
            return None
        copied = Arguments()
        side = self._side(tokens, index, copied) or self._side(tokens, after, copied)
        if side is not None:
            args.side = args.side or copied.side
            return side
        thing, has_pronoun, end = self.read_thing(tokens, after)
        is_sought = takes_goal and self.roles.sought.match(tokens, index) is not None
        is_free = args.thing is None and not args.has_pronoun
        if takes_goal and (is_free or is_sought) and (thing is not None or has_pronoun):
            args.thing, args.has_pronoun = thing, has_pronoun
        return end if end > after else after

    def _plain_amount(self, tokens: Sequence[Token], index: int) -> int | None:
        lead = self.roles.amount_leads.match(tokens, index)
        for place in (index, lead[1]) if lead else (index,):
            amount = self.numbers.read_amount(tokens, place)
            if amount is not None and amount.kind != "bare":
                return amount.end
        return None

    def _thing(self, tokens: Sequence[Token], index: int, args: Arguments) -> int | None:
        if args.thing is not None or args.has_pronoun:
            return None
        thing, has_pronoun, end = self.read_thing(tokens, index)
        if thing is None and not has_pronoun:
            return None
        args.thing, args.has_pronoun = thing, has_pronoun
        return end
