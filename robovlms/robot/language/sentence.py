"""The clauses of one sentence.

::

    please  don't  turn  right ,  then  turn left 90 degrees    while in "he turned left" no verb is where one must be
    └─── lead ───┘ verb  args  └ link ┘ verb ──── args ────┘
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from robovlms.robot.action import Speed
from robovlms.robot.language.arguments import YAW_DIRECTIONS, ArgumentReader, Arguments
from robovlms.robot.language.clause import Clause, Mood, Verb
from robovlms.robot.language.tokens import Token
from robovlms.robot.language.vocabulary import VerbSense, Vocabulary

MOTION_VERBS = frozenset({"go", "slide", "turn", "curve"})
GOAL_VERBS = frozenset({"point", "look", "find", "navigate", "other"})


@dataclass(frozen=True)
class _Lead:
    """What stands before a verb."""

    end: int
    num_negations: int = 0
    is_request: bool = False
    speed: Speed = "normal"


class SentenceReader:
    """Reads sentences of one language; keeps nothing between calls."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._words = vocabulary
        self._roles = vocabulary.roles
        self._arguments = ArgumentReader(vocabulary)

    def read(self, tokens: Sequence[Token], is_question: bool, clauses: list[Clause]) -> list[Clause]:
        """Return the clauses so far and those of one sentence, in the order they are to be acted on.

        Args:
            tokens: without the mark that ends the sentence.
            is_question: it ended with a question mark.
            clauses: of the sentences before; a correction ("no, right") takes back the last.
        """
        start = self._skip_fillers(tokens, 0)
        if start == len(tokens):
            return clauses
        if self._has(tokens, self._roles.reports):
            return [*clauses, self._whole(tokens, "statement")]
        if self._opens_question(tokens, start):
            return [*clauses, self._whole(tokens, "question"), *self._shouted_stop(tokens)]
        condition = self._condition(tokens)
        if condition is not None:
            return [*clauses, self._conditional(tokens, condition)]
        read = self._in_order(tokens, clauses)
        return self._questioned(tokens, read, len(clauses)) if is_question else read

    # Kinds of sentences

    def _skip_fillers(self, tokens: Sequence[Token], index: int) -> int:
        while index < len(tokens):
            filler = self._roles.fillers.match(tokens, index)
            is_opening = self._roles.observations.match(tokens, index) is not None
            if is_opening or (filler is None and tokens[index].text != ","):
                break
            index = filler[1] if filler else index + 1
        return index

    def _has(self, tokens: Sequence[Token], table: object) -> bool:
        """Whether a phrase of a table is somewhere in a sentence, outside of what leads in a command."""
        index = 0
        while index < len(tokens):
            leads = (self._roles.requests, self._roles.negations, self._roles.fillers, self._roles.corrections)
            lead = self._longest(tokens, index, *leads)
            if table.match(tokens, index) is not None and lead is None:  # type: ignore[attr-defined]
                return True
            index = lead or index + 1
        return False

    def _longest(self, tokens: Sequence[Token], index: int, *tables: object) -> int | None:
        ends = [found[1] for table in tables if (found := table.match(tokens, index)) is not None]  # type: ignore[attr-defined]
        return max(ends, default=None)

    def _opens_question(self, tokens: Sequence[Token], start: int) -> bool:
        question = self._roles.questions.match(tokens, start)
        others = (self._roles.requests, self._roles.negations, self._roles.conditions, self._roles.fillers)
        return question is not None and question[1] > (self._longest(tokens, start, *others) or 0)

    def _condition(self, tokens: Sequence[Token]) -> int | None:
        """Return where a condition begins; "until you reach" and "if you can" are none."""
        roles, index = self._roles, 0
        while index < len(tokens):
            found = roles.conditions.match(tokens, index)
            others = (roles.fillers, roles.destinations, roles.places, roles.then, roles.after, roles.requests)
            other = self._longest(tokens, index, *others)
            if found is not None and found[1] > (other or 0):
                return index
            index = max(found[1] if found else 0, other or 0, index + 1)
        return None

    def _conditional(self, tokens: Sequence[Token], condition: int) -> Clause:
        """A sentence with a condition; its verb is "stop" if a stop hangs on it, else it does not matter."""
        head = self._in_order(tokens[:condition], []) if condition else []
        is_stop = any(clause.verb == "stop" and clause.mood == "command" for clause in head)
        is_stop = is_stop or any(self._is_stop_at(tokens, index) for index in range(condition + 1, len(tokens)))
        return dataclasses.replace(self._whole(tokens, "condition"), verb="stop" if is_stop else None)

    def _questioned(self, tokens: Sequence[Token], clauses: list[Clause], start: int) -> list[Clause]:
        """ "Turn left?" asks; "could you turn left?" and "turn left, will you?" command, and so does a stop."""
        roles = self._roles
        if any(self._longest(tokens, index, roles.requests, roles.tags) for index in range(len(tokens))):
            return clauses
        return [
            dataclasses.replace(clause, mood="question") if index >= start and clause.verb != "stop" else clause
            for index, clause in enumerate(clauses)
        ]

    def _in_order(self, tokens: Sequence[Token], clauses: list[Clause]) -> list[Clause]:
        """Resolve "before" and "after", which tell steps in another order than they are done."""
        for index in range(len(tokens)):
            for table, is_after in ((self._roles.after, True), (self._roles.before, False)):
                found = table.match(tokens, index)
                if found is not None and self._opens_step(tokens, index, found[1]) and not self._is_then(tokens, index):
                    return self._reordered(tokens, clauses, index, found[1], is_after)
        return self._clauses(tokens, list(clauses))

    def _opens_step(self, tokens: Sequence[Token], start: int, index: int) -> bool:
        """Whether a verb follows "before" or "before you": after the single word a command is none."""
        if self._words.gerunds.match(tokens, index) is not None:
            return True
        return index - start > 1 and self._words.verbs.match(tokens, index) is not None

    def _is_then(self, tokens: Sequence[Token], index: int) -> bool:
        return self._roles.then.match(tokens, index) is not None

    def _reordered(
        self, tokens: Sequence[Token], clauses: list[Clause], start: int, end: int, is_after: bool
    ) -> list[Clause]:
        if self._skip_fillers(tokens, 0) >= start:
            pause = next((k for k in range(end, len(tokens)) if tokens[k].text == ","), None)
            if pause is None:
                return [*clauses, self._whole(tokens, "command")]
            inner, outer = tokens[end:pause], tokens[pause + 1 :]
        else:
            inner, outer = tokens[end:], tokens[:start]
        first, second = (inner, outer) if is_after else (outer, inner)
        read = self._clauses(first, list(clauses), first is inner)
        return self._clauses(second, read, second is inner)

    def _shouted_stop(self, tokens: Sequence[Token]) -> list[Clause]:
        """A stop after a pause counts whatever was said before ("there is a wall, stop")."""
        for index in range(1, len(tokens)):
            if tokens[index - 1].text == "," and self._is_stop_at(tokens, self._skip_fillers(tokens, index)):
                return [self._clause(tokens[index:], "command", VerbSense("stop"), Arguments())]
        return []

    def _is_stop_at(self, tokens: Sequence[Token], index: int) -> bool:
        """Whether a stop stands here as a verb: not denied, and neither "the stop" nor "stop sign"."""
        roles = self._roles
        found = self._words.verbs.match(tokens, index)
        if (found is None or found[0].verb != "stop") and roles.holds.match(tokens, index) is None:
            return False
        near = range(max(0, index - 4), index)
        if any(roles.negations.match(tokens, k) or roles.noun_negations.match(tokens, k) for k in near):
            return any(tokens[k].text == "," for k in near) and not roles.negations.match(tokens, index - 1)
        if index and self._longest(tokens, index - 1, roles.compounds, roles.determiners) is not None:
            return False
        return roles.compounds.match(tokens, index) is None

    # Clauses

    def _clauses(self, tokens: Sequence[Token], clauses: list[Clause], is_request: bool = False) -> list[Clause]:
        index, num_before = 0, len(clauses)
        while index < len(tokens):
            index, link = self._skip_links(tokens, index, clauses)
            if link == "correction":
                clauses = self._corrected(tokens, index, clauses)
            if index >= len(tokens):
                break
            clause, index = self._next(tokens, index, link, clauses, is_request)
            if clause is not None:
                clauses = self._joined(clauses, clause, link, num_before)
        return _without_echoed_directions(clauses)

    def _skip_links(self, tokens: Sequence[Token], index: int, clauses: list[Clause]) -> tuple[int, str]:
        """Return the index after all that joins two clauses, and what joins them."""
        roles, link = self._roles, ""
        tables = (("then", roles.then), ("contrary", roles.contrary), ("or", roles.alternatives), ("and", roles.joins))
        while index < len(tokens):
            if tokens[index].text == ",":
                index, link = index + 1, link or "pause"
                continue
            negation = self._negation(tokens, index)
            correction = roles.corrections.match(tokens, index) if negation is None else None
            found = next(((name, match) for name, table in tables if (match := table.match(tokens, index))), None)
            longer = self._longest(tokens, index, self._words.verbs, roles.negations)
            if correction is not None and (longer or 0) < correction[1]:
                index, link = correction[1], "correction" if clauses else link
            elif found is not None and (longer or 0) < found[1][1]:
                index, link = found[1][1], link if link in ("correction", "or") else found[0]
            else:
                break
        return index, link

    def _corrected(self, tokens: Sequence[Token], index: int, clauses: list[Clause]) -> list[Clause]:
        """Take back the last clause; with nothing in its place it is forbidden."""
        last = clauses[-1]
        if last.verb == "stop" and last.mood == "command" and len(clauses) > 1:
            return [*self._corrected(tokens, index, clauses[:-1]), last]
        if last.mood != "command" or last.verb == "stop":
            return clauses
        has_more = self._skip_fillers(tokens, index) < len(tokens)
        return [*clauses[:-1], dataclasses.replace(last, mood="statement" if has_more else "prohibition")]

    def _joined(self, clauses: list[Clause], clause: Clause, link: str, num_before: int) -> list[Clause]:
        """Return the clauses with a further one: a choice is refused, "and" carries a prohibition on."""
        last = clauses[-1] if len(clauses) > num_before else None
        if last is None:
            return [*clauses, clause]
        if link == "or" and last.mood == "command":
            chosen = [one if one.verb == "stop" else dataclasses.replace(one, verb=None) for one in (last, clause)]
            return [*clauses[:-1], *chosen]
        if link in ("or", "and") and last.mood == "prohibition" and clause.mood == "command":
            clause = dataclasses.replace(clause, mood="prohibition")
        is_afterthought = link == "pause" and clause.mood == "command" and clause.verb is None
        has_place = last.verb not in MOTION_VERBS or clause.num_words == 1
        if is_afterthought and not clause.directions and last.mood == "command" and last.verb is not None and has_place:
            words = last.num_words + clause.num_words
            return [*clauses[:-1], dataclasses.replace(last, text=f"{last.text}, {clause.text}", num_words=words)]
        return [*clauses, clause]

    def _next(
        self, tokens: Sequence[Token], start: int, link: str, clauses: list[Clause], is_request: bool
    ) -> tuple[Clause | None, int]:
        """Return the clause at `start` and the index after it."""
        begin = self._skip_opening(tokens, start)
        lead = self._lead(tokens, begin, is_request)
        index = lead.end
        if index >= len(tokens) or (lead.num_negations and tokens[index].text == ","):
            if not lead.num_negations:
                return None, index
            return self._clause(tokens[start:index], "prohibition", VerbSense("go"), Arguments()), index
        if not lead.num_negations and (end := self._no_command(tokens, index)) is not None:
            return self._clause(tokens[start:end], "statement", None, Arguments()), end
        read = self._verb(tokens, index, lead) or self._fragment(tokens, index, lead, link, clauses)
        if read is None:
            return self._not_understood(tokens, start, lead)
        sense, args, end = read
        args.num_unclear += begin - start
        if args.speed == "normal":
            args.speed = lead.speed
        mood: Mood = "prohibition" if lead.num_negations and not args.is_affirmed else "command"
        if lead.num_negations > 1:
            sense = None
        if sense is None and args.excluded and not args.directions and not args.num_unclear:
            mood = "statement"
        return self._clause(tokens[start:end], mood, sense, args), end

    def _skip_opening(self, tokens: Sequence[Token], start: int) -> int:
        """Skip a name or a place before a pause and a command ("Anna, stop", "at the door, turn left")."""
        end = start + 1 if tokens[start].text not in self._words.words and not tokens[start].is_number else start
        place = self._longest(tokens, start, self._roles.places, self._roles.loose_places, self._roles.destinations)
        if place is not None:
            end = self._arguments.read_thing(tokens, place)[2]
            end = end if end > place and not self._arguments.is_time(tokens, place, end) else start
        if start < end < len(tokens) and tokens[end].text == ",":
            after = self._skip_fillers(tokens, end)
            if self._longest(tokens, after, self._words.verbs, self._roles.requests, self._roles.negations):
                return after
        return start

    def _negation(self, tokens: Sequence[Token], index: int) -> int | None:
        """Return the end of a negation that forbids what follows: "no turning", "don't", but not "not left"."""
        roles, words = self._roles, self._words
        for table in (roles.negations, roles.noun_negations):
            found = table.match(tokens, index)
            if found is None:
                continue
            after = self._skip_adverbs(tokens, found[1])
            if words.gerunds.match(tokens, after) is not None:
                return found[1]
            direction = words.directions.match(tokens, after)
            nouns = (roles.turn_nouns, roles.step_nouns)
            if self._longest(tokens, direction[1] if direction else after, *nouns) is not None:
                return found[1]
            if table is roles.noun_negations and direction is not None and direction[0] in ("forward", "back"):
                return found[1]
            hidden = words.verbs.match(tokens, index)
            is_verb = table is roles.negations and (hidden is None or hidden[1] < found[1])
            following = (words.verbs, roles.requests, roles.aspects, roles.negations)
            if is_verb and (after >= len(tokens) or self._longest(tokens, after, *following) is not None):
                return found[1]
            contrast = roles.contrasts.match(tokens, index)
            is_said_out = contrast is None or contrast[1] < found[1]
            if is_verb and is_said_out and self._arguments.read_direction(tokens, after) is None:
                return found[1]
        return None

    def _skip_adverbs(self, tokens: Sequence[Token], index: int) -> int:
        while (after := self._longest(tokens, index, self._roles.fillers, self._words.speeds)) is not None:
            index = after
        return index

    def _lead(self, tokens: Sequence[Token], index: int, is_request: bool) -> _Lead:
        """Read all that may stand before a verb; the longest phrase wins, and then the verb."""
        roles, words, negations = self._roles, self._words, 0
        speed: Speed = "normal"
        while index < len(tokens):
            verb = self._longest(tokens, index, words.verbs, roles.compounds, roles.holds, roles.observations) or 0
            negation, aspect = self._negation(tokens, index) or 0, self._aspect(tokens, index) or 0
            request = self._longest(tokens, index, roles.requests) or 0
            paced, filler = words.speeds.match(tokens, index), self._longest(tokens, index, roles.fillers) or 0
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
        return _Lead(index, negations, is_request, speed)

    def _aspect(self, tokens: Sequence[Token], index: int) -> int | None:
        """Return the end of "start" in "start turning"; without a verb after it, it is one itself."""
        found = self._roles.aspects.match(tokens, index)
        if found is None:
            return None
        after = self._skip_adverbs(tokens, found[1])
        is_followed = self._longest(tokens, after, self._words.verbs, self._words.gerunds, self._roles.light_verbs)
        return found[1] if is_followed is not None else None

    def _no_command(self, tokens: Sequence[Token], index: int) -> int | None:
        """Return the end of what only looks like a command: "go ahead", "stop sign"."""
        compound, verb = self._roles.compounds.match(tokens, index), self._words.verbs.match(tokens, index)
        if compound is not None and compound[1] >= (verb[1] if verb else 0):
            return self._end_of_clause(tokens, index)
        idiom = self._roles.idioms.match(tokens, index)
        if idiom is not None and idiom[1] >= (verb[1] if verb else 0) and self._arguments.is_end(tokens, self._skip_adverbs(tokens, idiom[1])):
            return self._end_of_clause(tokens, index)
        return None

    def _end_of_clause(self, tokens: Sequence[Token], index: int) -> int:
        """Return where the next clause begins, after a pause or a connective; the end of the sentence if nowhere."""
        while index < len(tokens):
            index += 1
            if self._arguments.is_end(tokens, index) and index < len(tokens):
                after = self._skip_links(tokens, index, [])[0]
                if after > index and self._arguments.opens_clause(tokens, after):
                    return index
        return len(tokens)

    # Verbs

    def _verb(self, tokens: Sequence[Token], index: int, lead: _Lead) -> tuple[VerbSense | None, Arguments, int] | None:
        """Return what a clause with a verb at `index` says, and its end."""
        light = self._light_verb(tokens, index, lead)
        found = self._words.verbs.match(tokens, index)
        if lead.is_request:
            found = max((found, self._words.gerunds.match(tokens, index)), key=lambda one: one[1] if one else 0)
        hold = self._roles.holds.match(tokens, index)
        let = self._roles.lets.match(tokens, index)
        if let is not None and (letting := self._let(tokens, let[1])) is not None:
            return letting
        if hold is not None and (found is None or found[1] <= hold[1]):
            return self._hold(tokens, hold[1])
        if light is not None and (found is None or light[2] > found[1] and found[0].verb in ("grab", "other", "turn")):
            return light
        if found is None:
            return None
        sense, after = found
        if sense.verb in MOTION_VERBS:
            return self._motion(tokens, after, sense, lead)
        if sense.verb == "stop":
            return self._stop(tokens, after, sense, lead)
        args = Arguments()
        end = self._arguments.read_handling(tokens, after, args, sense.verb in GOAL_VERBS)
        return sense, args, self._finish(tokens, end, args)

    def _finish(self, tokens: Sequence[Token], end: int, args: Arguments) -> int:
        """Read past what is left of a clause; these words count as not understood."""
        if self._is_boundary(tokens, end):
            return end
        rest = self._end_of_clause(tokens, end)
        args.num_unclear += rest - end
        return rest

    def _is_boundary(self, tokens: Sequence[Token], index: int) -> bool:
        if self._arguments.is_end(tokens, index) or self._arguments.opens_purpose(tokens, index) is not None:
            return True
        roles = self._roles
        if self._opens_verb(tokens, index):
            return True
        return self._longest(tokens, index, roles.corrections, roles.tags, roles.negations) is not None

    def _motion(
        self, tokens: Sequence[Token], after: int, sense: VerbSense, lead: _Lead
    ) -> tuple[VerbSense | None, Arguments, int]:
        args = Arguments(directions=list(sense.directions))
        end = self._arguments.read_motion(tokens, after, args, sense.verb, lead.num_negations > 0)
        if self._is_boundary(tokens, end):
            return self._with_manner(sense, args), args, end
        if self._roles.faces.match(tokens, after - 1) is not None and not args.directions:
            args.thing, args.has_pronoun, end = self._arguments.read_thing(tokens, end)
            if args.thing or args.has_pronoun:
                return sense, args, self._finish(tokens, end, args)
        is_thing = end < len(tokens) and self._arguments.read_thing(tokens, end)[2] > end
        rest = self._end_of_clause(tokens, end)
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
        self, tokens: Sequence[Token], index: int, lead: _Lead
    ) -> tuple[VerbSense | None, Arguments, int] | None:
        """Read "make a left turn", "take two steps back"."""
        light = self._roles.light_verbs.match(tokens, index)
        if light is None:
            return None
        args = Arguments()
        end = self._arguments.read_motion(tokens, light[1], args, "turn", lead.num_negations > 0)
        if not self._is_boundary(tokens, end) or args.thing is not None or args.has_pronoun:
            return None
        verb = _verb_of_noun(args)
        return (VerbSense(verb), args, end) if verb else None

    def _let(self, tokens: Sequence[Token], after: int) -> tuple[VerbSense | None, Arguments, int] | None:
        """Read "let the cup go"."""
        args = Arguments()
        args.thing, args.has_pronoun, end = self._arguments.read_thing(tokens, after)
        go = self._roles.let_goes.match(tokens, end)
        if go is None or not (args.thing or args.has_pronoun):
            return None
        rest = self._arguments.read_handling(tokens, go[1], args, False)
        return VerbSense("release"), args, self._finish(tokens, rest, args)

    def _hold(self, tokens: Sequence[Token], after: int) -> tuple[VerbSense | None, Arguments, int]:
        """ "Hold" stops, "hold the cup" grabs."""
        args = Arguments()
        end = self._arguments.read_handling(tokens, after, args, False)
        return VerbSense("grab" if args.thing else "stop"), args, self._finish(tokens, end, args)

    def _stop(
        self, tokens: Sequence[Token], after: int, sense: VerbSense, lead: _Lead
    ) -> tuple[VerbSense | None, Arguments, int]:
        """A stop takes whatever follows; "don't stop moving forward" commands the motion."""
        args = Arguments()
        gerund = self._words.gerunds.match(tokens, after)
        if lead.num_negations and gerund is not None and gerund[0].verb in MOTION_VERBS:
            motion, args, end = self._motion(tokens, gerund[1], gerund[0], _Lead(after))
            args.is_affirmed = bool(args.directions or (motion and motion.directions))
            return (motion if args.is_affirmed else sense), args, end
        end = after
        while not self._arguments.is_end(tokens, end):
            if self._opens_verb(tokens, end) and (end > after or lead.num_negations):
                break
            args.speed = (self._words.speeds.match(tokens, end) or (args.speed,))[0]
            end += 1
        return sense, args, end

    def _opens_verb(self, tokens: Sequence[Token], index: int) -> bool:
        """Whether a verb stands here that is no direction ("forward" is both)."""
        is_direction = self._words.directions.match(tokens, index) is not None
        return not is_direction and self._words.verbs.match(tokens, index) is not None

    def _fragment(
        self, tokens: Sequence[Token], index: int, lead: _Lead, link: str, clauses: list[Clause]
    ) -> tuple[VerbSense | None, Arguments, int] | None:
        """Read a clause without a verb: "three metres forward", "half turn left", "then right"."""
        args = Arguments()
        end = self._arguments.read_motion(tokens, index, args, "", lead.num_negations > 0)
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
        if link in ("", "pause", "or") or last not in MOTION_VERBS:
            return None
        if directions <= YAW_DIRECTIONS:
            return "slide" if last == "slide" else "turn"
        return "go" if directions <= {"forward", "back"} else None

    def _not_understood(self, tokens: Sequence[Token], start: int, lead: _Lead) -> tuple[Clause, int]:
        """A statement, or a clause that is refused; a stop at a clause's end is still heard ("just bloody stop").

        After a negation all motion is forbidden if one is named ("do not ever in your life move").
        """
        index = lead.end
        end = self._end_of_clause(tokens, index)
        named = (self._words.verbs.match(tokens, k) for k in range(index, end))
        if lead.num_negations and any(verb and verb[0].verb in MOTION_VERBS for verb in named):
            return self._clause(tokens[start:end], "prohibition", VerbSense("go"), Arguments(num_unclear=end - index)), end
        is_statement = self._roles.subjects.match(tokens, index) is not None
        is_observation = self._roles.observations.match(tokens, index) is not None
        if is_statement and not is_observation:
            end = next((k for k in range(index, len(tokens)) if self._is_shouted_at(tokens, k)), len(tokens))
        inside = range(index, end)
        if not is_statement and any(
            self._is_stop_at(tokens, k) and self._arguments.is_tail(tokens, self._after_verb(tokens, k)) for k in inside
        ):
            return self._clause(tokens[start:end], "command", VerbSense("stop"), Arguments()), end
        mood: Mood = "statement" if is_statement else "command"
        return self._clause(tokens[start:end], mood, None, Arguments(num_unclear=end - start)), end

    def _is_shouted_at(self, tokens: Sequence[Token], index: int) -> bool:
        return tokens[index].text == "," and self._is_stop_at(tokens, self._skip_fillers(tokens, index))

    def _after_verb(self, tokens: Sequence[Token], index: int) -> int:
        found = self._words.verbs.match(tokens, index) or self._roles.holds.match(tokens, index)
        return found[1] if found else index

    # Building

    def _whole(self, tokens: Sequence[Token], mood: Mood) -> Clause:
        return self._clause(tokens, mood, None, Arguments())

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
        return sum(token.text in self._words.words for token in tokens) if mood != "command" else 0


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


def _without_echoed_directions(clauses: list[Clause]) -> list[Clause]:
    """Drop "right" before "turn right": a direction that the next command says again."""
    kept: list[Clause] = []
    for clause in clauses:
        last = kept[-1] if kept else None
        if last and last.verb is None and last.directions and set(last.directions) <= set(clause.directions):
            kept.pop()
        kept.append(clause)
    return kept
