"""One clause: what leads in its verb, the verb, and what it says.

::

    please  don't  turn  right ,  then  turn left 90 degrees    while in "he turned left" no verb is where one must be
    └─── lead ───┘ verb  args  └ link ┘ verb ──── args ────┘
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from robovlms.robot.action import Speed
from robovlms.robot.language.arguments import Arguments
from robovlms.robot.language.clause import Clause, Mood, Verb
from robovlms.robot.language.motions import MotionReader
from robovlms.robot.language.reader import MOTION_VERBS, YAW_DIRECTIONS
from robovlms.robot.language.tokens import Token
from robovlms.robot.language.vocabulary import VerbSense

GOAL_VERBS = frozenset({"point", "look", "find", "navigate", "other"})


@dataclass(frozen=True)
class Lead:
    """What stands before a verb."""

    end: int
    num_negations: int = 0
    is_request: bool = False
    speed: Speed = "normal"


class ClauseReader(MotionReader):
    """Reads a clause from its lead to its end."""

    def denied_motion(self, tokens: Sequence[Token], index: int) -> int | None:
        """Return the end of "no" in "no go forward", without a pause, when there is nothing that it could correct."""
        found = self.roles.noun_negations.match(tokens, index)
        verb = self.words.verbs.match(tokens, found[1]) if found else None
        return found[1] if found and verb and verb[0].verb in MOTION_VERBS else None

    def _lead(self, tokens: Sequence[Token], index: int, is_request: bool, is_first: bool) -> Lead:
        """Read all that may stand before a verb; the longest phrase wins, and then the verb."""
        roles, words, negations = self.roles, self.words, 0
        speed: Speed = "normal"
        while index < len(tokens):
            verb = self.longest(tokens, index, words.verbs, roles.compounds, roles.holds, roles.observations) or 0
            negation, aspect = self.negation(tokens, index) or 0, self._aspect(tokens, index) or 0
            negation = negation or (self.denied_motion(tokens, index) if is_first else None) or 0
            request = self.longest(tokens, index, roles.requests) or 0
            paced, filler = words.speeds.match(tokens, index), self.longest(tokens, index, roles.fillers) or 0
            end = max(negation, request, aspect, paced[1] if paced else 0, filler)
            if end == 0 or verb > end or (verb == end and end not in (negation, request, aspect)):
                break
            negations += end == negation
            is_request = is_request or end in (negation, request, aspect)
            if paced and end == paced[1]:
                speed = paced[0]
            index = end
            if index < len(tokens) and tokens[index].text == "," and not negations:
                index = self._skip_fillers(tokens, index)
        return Lead(index, negations, is_request, speed)

    def _aspect(self, tokens: Sequence[Token], index: int) -> int | None:
        """Return the end of "start" in "start turning"; without a verb after it, it is one itself."""
        found = self.roles.aspects.match(tokens, index)
        if found is None:
            return None
        after = self.skip_adverbs(tokens, found[1])
        is_followed = self.longest(tokens, after, self.words.verbs, self.words.gerunds, self.roles.light_verbs)
        return found[1] if is_followed is not None else None

    def negation(self, tokens: Sequence[Token], index: int) -> int | None:
        """Return the end of a negation that forbids what follows: "no turning", "don't", but not "not left"."""
        roles, words = self.roles, self.words
        for table in (roles.negations, roles.noun_negations):
            found = table.match(tokens, index)
            if found is None:
                continue
            after = self.skip_adverbs(tokens, found[1])
            if words.gerunds.match(tokens, after) is not None:
                return found[1]
            direction = words.directions.match(tokens, after)
            nouns = (roles.turn_nouns, roles.step_nouns)
            if self.longest(tokens, direction[1] if direction else after, *nouns) is not None:
                return found[1]
            if table is roles.noun_negations and direction is not None and direction[0] in ("forward", "back"):
                return found[1]
            hidden = words.verbs.match(tokens, index)
            is_verb = table is roles.negations and (hidden is None or hidden[1] < found[1])
            following = (words.verbs, roles.requests, roles.aspects, roles.negations)
            if is_verb and (after >= len(tokens) or self.longest(tokens, after, *following) is not None):
                return found[1]
            contrast = roles.contrasts.match(tokens, index)
            is_said_out = contrast is None or contrast[1] < found[1]
            if is_verb and is_said_out:
                return found[1]
        return None

    def _verb(self, tokens: Sequence[Token], index: int, lead: Lead) -> tuple[VerbSense | None, Arguments, int] | None:
        """Return what a clause with a verb at `index` says, and its end."""
        light = self._light_verb(tokens, index, lead)
        found = self.words.verbs.match(tokens, index)
        if lead.is_request:
            found = max((found, self.words.gerunds.match(tokens, index)), key=lambda one: one[1] if one else 0)
        hold = self.roles.holds.match(tokens, index)
        let = self.roles.lets.match(tokens, index)
        if let is not None and (letting := self._let(tokens, let[1])) is not None:
            return letting
        if hold is not None and (found is None or found[1] <= hold[1]):
            return self._hold(tokens, hold[1])
        if light is not None and (
            found is None or (light[2] > found[1] and found[0].verb in ("grab", "other", "turn"))
        ):
            return light
        if found is None:
            return None
        sense, after = found
        if sense.verb in MOTION_VERBS:
            return self._motion(tokens, after, sense, lead)
        if sense.verb == "stop":
            return self._stop(tokens, after, sense, lead)
        args = Arguments()
        end = self.read_handling(tokens, after, args, sense.verb in GOAL_VERBS)
        return sense, args, self._finish(tokens, end, args)

    def _finish(self, tokens: Sequence[Token], end: int, args: Arguments) -> int:
        """Read past what is left of a clause; these words count as not understood."""
        if self._is_boundary(tokens, end):
            return end
        rest = self.end_of_clause(tokens, end)
        args.num_unclear += rest - end
        return rest

    def _is_boundary(self, tokens: Sequence[Token], index: int) -> bool:
        if self.is_end(tokens, index) or self.opens_purpose(tokens, index) is not None:
            return True
        roles = self.roles
        if self.opens_step(tokens, index):
            return True
        return self.longest(tokens, index, roles.corrections, roles.tags, roles.negations) is not None

    def end_of_clause(self, tokens: Sequence[Token], index: int) -> int:
        """Return where the next clause begins, after a pause or a connective; the end of the sentence if nowhere."""
        while index < len(tokens):
            index += 1
            if self.is_end(tokens, index) and index < len(tokens):
                after = self.skip_links(tokens, index, [])[0]
                if after > index and self.opens_clause(tokens, after):
                    return index
        return len(tokens)

    def skip_links(self, tokens: Sequence[Token], index: int, clauses: list[Clause]) -> tuple[int, str]:
        """Return the index after all that joins two clauses, and what joins them."""
        roles, link = self.roles, ""
        tables = (("then", roles.then), ("contrary", roles.contrary), ("or", roles.alternatives), ("and", roles.joins))
        while index < len(tokens):
            if tokens[index].text == ",":
                index, link = index + 1, link or "pause"
                continue
            counted = self._enumerator(tokens, index)
            if counted is not None:
                index, link = counted, "then" if clauses else link
                continue
            negation = self.negation(tokens, index) or (None if clauses else self.denied_motion(tokens, index))
            correction = roles.corrections.match(tokens, index) if negation is None else None
            found = next(((name, match) for name, table in tables if (match := table.match(tokens, index))), None)
            longer = self.longest(tokens, index, self.words.verbs, roles.negations, *self._linking)
            if correction is not None and (longer or 0) <= correction[1]:
                index, link = correction[1], "correction" if clauses else link
            elif found is not None and (longer or 0) < found[1][1]:
                index, link = found[1][1], link if link in ("correction", "or") else found[0]
            else:
                break
        return index, link

    def _enumerator(self, tokens: Sequence[Token], index: int) -> int | None:
        """Return the end of "second" or "step 2" before a pause or a command; "second left" counts no step."""
        numbered = self.roles.numbered.match(tokens, index)
        number = self.numbers.read_number(tokens, numbered[1]) if numbered else None
        found = number or self.roles.enumerators.match(tokens, index)
        if found is None or found[1] >= len(tokens):
            return None
        is_before = tokens[found[1]].text == "," or self.opens_verb(tokens, found[1])
        leads = (self.roles.requests, self.roles.negations)
        return found[1] if is_before or self.longest(tokens, found[1], *leads) is not None else None

    def _motion(
        self, tokens: Sequence[Token], after: int, sense: VerbSense, lead: Lead
    ) -> tuple[VerbSense | None, Arguments, int]:
        args = Arguments(directions=list(sense.directions))
        end = self.read_motion(tokens, after, args, sense.verb, lead.num_negations > 0)
        if self._is_boundary(tokens, end):
            return self._with_manner(sense, args), args, end
        if self.roles.faces.match(tokens, after - 1) is not None and not args.directions:
            args.thing, args.has_pronoun, end = self.read_thing(tokens, end)
            if args.thing or args.has_pronoun:
                return sense, args, self._finish(tokens, end, args)
        is_thing = end < len(tokens) and self.read_thing(tokens, end)[2] > end
        rest = self.end_of_clause(tokens, end)
        args.num_unclear += rest - end
        if is_thing and not args.directions:
            return VerbSense("other"), args, rest
        return (VerbSense(sense.verb) if lead.num_negations else None), Arguments(num_unclear=args.num_unclear), rest

    def _with_manner(self, sense: VerbSense, args: Arguments) -> VerbSense | None:
        """Resolve "sideways" and "while turning left"."""
        if args.meanwhile is not None:
            if {sense.verb, args.meanwhile.verb} not in ({"go", "turn"}, {"go", "curve"}):
                return None
            return VerbSense("curve", (*sense.directions, *args.meanwhile.directions), sense.speed)
        if sense.verb == "go" and args.is_sideways and {"left", "right"} & set(args.directions):
            return dataclasses.replace(sense, verb="slide")
        return sense

    def _light_verb(
        self, tokens: Sequence[Token], index: int, lead: Lead
    ) -> tuple[VerbSense | None, Arguments, int] | None:
        """Read "make a left turn", "take two steps back"."""
        light = self.roles.light_verbs.match(tokens, index)
        if light is None:
            return None
        args = Arguments()
        end = self.read_motion(tokens, light[1], args, "turn", lead.num_negations > 0)
        if not self._is_boundary(tokens, end) or args.thing is not None or args.has_pronoun:
            return None
        verb = _verb_of_noun(args)
        return (VerbSense(verb), args, end) if verb else None

    def _let(self, tokens: Sequence[Token], after: int) -> tuple[VerbSense | None, Arguments, int] | None:
        """Read "let the cup go"."""
        args = Arguments()
        args.thing, args.has_pronoun, end = self.read_thing(tokens, after)
        go = self.roles.let_goes.match(tokens, end)
        if go is None or not (args.thing or args.has_pronoun):
            return None
        rest = self.read_handling(tokens, go[1], args, False)
        return VerbSense("release"), args, self._finish(tokens, rest, args)

    def _hold(self, tokens: Sequence[Token], after: int) -> tuple[VerbSense | None, Arguments, int]:
        """ "Hold" stops, "hold the cup" grabs."""
        args = Arguments()
        end = self.read_handling(tokens, after, args, False)
        return VerbSense("grab" if args.thing or args.has_pronoun else "stop"), args, self._finish(tokens, end, args)

    def _stop(
        self, tokens: Sequence[Token], after: int, sense: VerbSense, lead: Lead
    ) -> tuple[VerbSense | None, Arguments, int]:
        """A stop takes whatever follows; "don't stop moving forward" commands the motion."""
        args = Arguments()
        gerund = self.words.gerunds.match(tokens, after)
        if lead.num_negations and gerund is not None and gerund[0].verb in MOTION_VERBS:
            motion, args, end = self._motion(tokens, gerund[1], gerund[0], Lead(after))
            args.is_affirmed = bool(args.directions or (motion and motion.directions))
            return (motion if args.is_affirmed else sense), args, end
        end = after
        while not self.is_end(tokens, end):
            is_purpose = end > after and self.roles.purposes.match(tokens, end - 1) is not None
            if self.opens_verb(tokens, end) and (end > after or lead.num_negations) and not is_purpose:
                break
            args.speed = (self.words.speeds.match(tokens, end) or (args.speed,))[0]
            end += 1
        return sense, args, end

    def _fragment(
        self, tokens: Sequence[Token], index: int, lead: Lead, link: str, clauses: list[Clause]
    ) -> tuple[VerbSense | None, Arguments, int] | None:
        """Read a clause without a verb: "three metres forward", "half turn left", "then right"."""
        args = Arguments()
        end = self.read_motion(tokens, index, args, "", lead.num_negations > 0)
        is_something = args.directions or args.excluded or args.distance_m is not None or args.has_turn_noun
        if not is_something or not self._is_boundary(tokens, end) or args.thing is not None:
            return None
        verb = _verb_of_noun(args) if args.has_turn_noun or args.has_step_noun else None
        if verb is None and args.directions:
            verb = "go" if args.distance_m is not None else self._carried(args, link, clauses)
        return (VerbSense(verb) if verb else None), args, end

    def _carried(self, args: Arguments, link: str, clauses: list[Clause]) -> Verb | None:
        """Return the verb that a clause without one takes over from the last: "turn left, then right"."""
        last = clauses[-1].verb if clauses else None
        directions = set(args.directions)
        if link in ("", "pause", "or"):
            return None
        if last in ("look", "point"):
            return last
        if last not in MOTION_VERBS:
            return None
        if directions <= YAW_DIRECTIONS:
            return "slide" if last == "slide" else "turn"
        return "go" if directions <= {"forward", "back"} else None

    def _clause(self, tokens: Sequence[Token], mood: Mood, sense: VerbSense | None, args: Arguments) -> Clause:
        num_words = sum(token.text != "," for token in tokens)
        said = [*(sense.directions if sense else ()), *args.directions]
        directions = tuple(dict.fromkeys(one for one in said if one not in args.excluded))
        verb = sense.verb if sense else None
        if verb in MOTION_VERBS and args.excluded and not directions:
            mood = "prohibition"
        if verb in MOTION_VERBS - {"curve"} and _steps_aside(args, directions):
            verb = "slide"
        num_clear = num_words - args.num_unclear if verb is not None else self._num_known(tokens, mood)
        return Clause(
            text=" ".join(token.surface for token in tokens),
            mood=mood,
            verb=verb,
            directions=directions,
            thing=args.thing,
            has_pronoun=args.has_pronoun,
            side=args.side,
            distance_m=args.distance_m,
            angle_deg=args.angle_deg,
            speed=args.speed if args.speed != "normal" or sense is None else sense.speed,
            num_words=num_words,
            num_understood=max(0, min(num_words, num_clear)),
        )

    def _num_known(self, tokens: Sequence[Token], mood: Mood) -> int:
        """Words of what is no command count if they are in the vocabulary; of what is refused none counts."""
        return sum(token.text in self.words.words for token in tokens) if mood != "command" else 0


def _verb_of_noun(args: Arguments) -> Verb | None:
    """Return what a noun with its directions asks for: "a left" and "a turn" turn, "two steps left" slides."""
    if args.has_step_noun and not args.has_turn_noun:
        if not args.directions:
            return None
        return "slide" if set(args.directions) <= {"left", "right"} else "go"
    has_side = bool(args.directions) and set(args.directions) <= YAW_DIRECTIONS | {"around"}
    return "turn" if args.has_turn_noun or has_side else None


def _steps_aside(args: Arguments, directions: Sequence[str]) -> bool:
    return args.has_step_noun and bool(directions) and set(directions) <= {"left", "right"}
