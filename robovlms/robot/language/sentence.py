"""The clauses of a sentence, in the order they are to be acted on.

::

    sentence ─ tells what was said, asks, or hangs on a condition? ─> one clause of that mood
             ─ "before", "after" ─ clauses one by one, with what links them ─> clauses
"""

import dataclasses
from collections.abc import Sequence

from robovlms.robot.language.arguments import Arguments
from robovlms.robot.language.clause import Clause, Direction, Mood
from robovlms.robot.language.clause_reader import ClauseReader, Lead
from robovlms.robot.language.phrase_table import Phrases
from robovlms.robot.language.reader import MOTION_VERBS, YAW_DIRECTIONS
from robovlms.robot.language.things import MAX_THING_WORDS
from robovlms.robot.language.tokens import Token
from robovlms.robot.language.vocabulary import VerbSense


class SentenceReader(ClauseReader):
    """Reads sentences of one language; keeps nothing between calls."""

    def read(self, tokens: Sequence[Token], is_question: bool, clauses: list[Clause]) -> list[Clause]:
        """Return the clauses so far and those of one sentence, in the order they are to be acted on.

        Args:
            tokens: without the mark that ends the sentence.
            is_question: it ended with a question mark.
            clauses: of the sentences before; a correction ("no, right") takes back the last.
        """
        tokens = self._without_opener(tokens)
        start = self._skip_fillers(tokens, 0)
        if start == len(tokens):
            return clauses
        if self._has(tokens, self.roles.reports):
            return [*clauses, self._whole(tokens, "statement")]
        if self._opens_question(tokens, start):
            return [*clauses, self._whole(tokens, "question"), *self._shouted_stop(tokens)]
        condition = self._condition(tokens)
        if condition is not None:
            return [*clauses, self._conditional(tokens, condition)]
        read = self._in_order(tokens, clauses)
        return self._questioned(tokens, read, len(clauses)) if is_question else read

    def _without_opener(self, tokens: Sequence[Token]) -> Sequence[Token]:
        """Leave out "right," before a command, unless that names another side, and a "ready" that stands alone."""
        starts = (0, self._skip_fillers(tokens, 0))  # some begin like a filler
        start, opener = next(((k, found) for k in starts if (found := self.roles.openers.match(tokens, k))), (0, None))
        if opener is None:
            return tokens
        sides = {found[0] for k in range(start, opener[1]) if (found := self.words.directions.match(tokens, k))}
        after = self._skip_fillers(tokens, opener[1])
        if after == len(tokens):
            return tokens if sides else ()
        if tokens[opener[1]].text != "," or self._names_another_side(tokens, after, sides):
            return tokens
        leads = (self.words.verbs, self.roles.requests, self.roles.negations)
        return tokens[after:] if self.longest(tokens, after, *leads) is not None else tokens

    def _names_another_side(self, tokens: Sequence[Token], index: int, sides: set[Direction]) -> bool:
        while sides and not self.is_end(tokens, index):
            found = self.words.directions.match(tokens, index)
            if found is not None and found[0] in YAW_DIRECTIONS:
                return True
            index += 1
        return False

    def _skip_fillers(self, tokens: Sequence[Token], index: int) -> int:
        while index < len(tokens):
            filler = self.roles.fillers.match(tokens, index)
            is_opening = self.roles.observations.match(tokens, index) is not None
            if is_opening or (filler is None and tokens[index].text != ","):
                break
            index = filler[1] if filler else index + 1
        return index

    def _has(self, tokens: Sequence[Token], table: Phrases) -> bool:
        """Whether a phrase of a table is somewhere in a sentence, outside of what leads in a command."""
        index = 0
        while index < len(tokens):
            leads = (self.roles.requests, self.roles.negations, self.roles.fillers, self.roles.corrections)
            lead = self.longest(tokens, index, *leads)
            if table.match(tokens, index) is not None and lead is None:
                return True
            index = lead or index + 1
        return False

    def _opens_question(self, tokens: Sequence[Token], start: int) -> bool:
        question = self.roles.questions.match(tokens, start)
        others = (self.roles.requests, self.roles.negations, self.roles.conditions, self.roles.fillers)
        if question is None or question[1] <= (self.longest(tokens, start, *others) or 0):
            return False
        return question[1] >= (self.longest(tokens, start, self.words.verbs) or 0)  # "have a look" is none

    def _condition(self, tokens: Sequence[Token]) -> int | None:
        """Return where a condition begins; "until you reach" and "if you can" are none."""
        roles, index = self.roles, 0
        while index < len(tokens):
            found = roles.conditions.match(tokens, index)
            others = (roles.fillers, roles.destinations, roles.places, roles.then, roles.after, roles.requests)
            other = self.longest(tokens, index, *others)
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
        roles = self.roles
        if any(self.longest(tokens, index, roles.requests, roles.tags) for index in range(len(tokens))):
            return clauses
        return [
            dataclasses.replace(clause, mood="question") if index >= start and clause.verb != "stop" else clause
            for index, clause in enumerate(clauses)
        ]

    def _in_order(self, tokens: Sequence[Token], clauses: list[Clause]) -> list[Clause]:
        """Resolve "before" and "after", which tell steps in another order than they are done."""
        for index in range(len(tokens)):
            for table, is_after in ((self.roles.after, True), (self.roles.before, False)):
                found = table.match(tokens, index)
                if found is not None and self._opens_step(tokens, index, found[1]) and not self._is_then(tokens, index):
                    return self._reordered(tokens, clauses, index, found[1], is_after)
        return self._clauses(tokens, list(clauses))

    def _opens_step(self, tokens: Sequence[Token], start: int, index: int) -> bool:
        """Whether a verb follows "before" or "before you": after the single word a command is none."""
        if self.words.gerunds.match(tokens, index) is not None:
            return True
        return index - start > 1 and self.words.verbs.match(tokens, index) is not None

    def _is_then(self, tokens: Sequence[Token], index: int) -> bool:
        return self.roles.then.match(tokens, index) is not None

    def _reordered(
        self, tokens: Sequence[Token], clauses: list[Clause], start: int, end: int, is_after: bool
    ) -> list[Clause]:
        if self._skip_fillers(tokens, 0) >= start:
            pause = next((k for k in range(end, len(tokens)) if tokens[k].text == ","), None)
            step = next((k for k in range(end + 1, len(tokens)) if self.opens_step(tokens, k)), None)
            if pause is None and step is None:
                return [*clauses, self._whole(tokens, "command")]
            split = pause if pause is not None else step
            inner, outer = tokens[end:split], tokens[split:]
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
        roles = self.roles
        found = self.words.verbs.match(tokens, index)
        if (found is None or found[0].verb != "stop") and roles.holds.match(tokens, index) is None:
            return False
        near = range(max(0, index - 4), index)
        if any(roles.negations.match(tokens, k) or roles.noun_negations.match(tokens, k) for k in near):
            return any(tokens[k].text == "," for k in near) and not roles.negations.match(tokens, index - 1)
        if index and self.longest(tokens, index - 1, roles.compounds, roles.determiners) is not None:
            return False
        return roles.compounds.match(tokens, index) is None

    def _clauses(self, tokens: Sequence[Token], clauses: list[Clause], is_request: bool = False) -> list[Clause]:
        index, num_before = 0, len(clauses)
        while index < len(tokens):
            index, link = self.skip_links(tokens, index, clauses)
            if link == "correction":
                clauses = self._corrected(tokens, index, clauses)
            if index >= len(tokens):
                break
            clause, index = self._next(tokens, index, link, clauses, is_request)
            if clause is not None:
                clauses = self._joined(clauses, clause, link, num_before)
        return _without_echoed_directions(clauses)

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
        lead = self._lead(tokens, begin, is_request, not clauses)
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
        end = start + 1 if tokens[start].text not in self.words.words and not tokens[start].is_number else start
        place = self.longest(tokens, start, self.roles.places, self.roles.loose_places, self.roles.destinations)
        if place is not None:
            end = self.read_thing(tokens, place)[2]
            end = end if end > place and not self.is_time(tokens, place, end) else start
        if start < end < len(tokens) and tokens[end].text == ",":
            after = self._skip_fillers(tokens, end)
            if self.longest(tokens, after, self.words.verbs, self.roles.requests, self.roles.negations):
                return after
        return self._after_bare_place(tokens, start) or start

    def _after_bare_place(self, tokens: Sequence[Token], start: int) -> int | None:
        """Return where the command after "at the door turn left" begins: a motion that says where to."""
        roles = self.roles
        place = self.longest(tokens, start, roles.places, roles.loose_places, roles.insides)
        others = self.longest(tokens, start, roles.fillers, self.words.speeds, self.words.verbs, roles.then)
        if place is None or (others or 0) >= place or self.negation(tokens, start) is not None:
            return None
        for index in range(place + 1, min(len(tokens), place + MAX_THING_WORDS + 2)):
            if self.is_end(tokens, index):
                return None
            verb = self.words.verbs.match(tokens, index)
            if verb is None or verb[0].verb not in MOTION_VERBS or not self.opens_step(tokens, index):
                continue
            if not verb[0].directions and self.read_direction(tokens, verb[1]) is None:
                continue
            is_place = not self.is_time(tokens, place, index) and not self.is_event(tokens, place, index)
            return index if is_place and self.is_area_if_inside(tokens, start, place, index) else None
        return None

    def _no_command(self, tokens: Sequence[Token], index: int) -> int | None:
        """Return the end of what only looks like a command: "go ahead", "stop sign"."""
        compound, verb = self.roles.compounds.match(tokens, index), self.words.verbs.match(tokens, index)
        if compound is not None and compound[1] >= (verb[1] if verb else 0):
            return self.end_of_clause(tokens, index)
        idiom = self.roles.idioms.match(tokens, index)
        if (
            idiom is not None
            and idiom[1] >= (verb[1] if verb else 0)
            and self.is_end(tokens, self.skip_adverbs(tokens, idiom[1]))
        ):
            return self.end_of_clause(tokens, index)
        return None

    def _not_understood(self, tokens: Sequence[Token], start: int, lead: Lead) -> tuple[Clause, int]:
        """A statement, or a clause that is refused; a stop at a clause's end is still heard ("just bloody stop").

        After a negation all motion is forbidden if one is named ("do not ever in your life move").
        """
        index = lead.end
        end = self.end_of_clause(tokens, index)
        named = (self.words.verbs.match(tokens, k) for k in range(index, end))
        if lead.num_negations and any(verb and verb[0].verb in MOTION_VERBS for verb in named):
            return self._clause(
                tokens[start:end], "prohibition", VerbSense("go"), Arguments(num_unclear=end - index)
            ), end
        is_statement = self.roles.subjects.match(tokens, index) is not None
        is_observation = self.roles.observations.match(tokens, index) is not None
        if is_statement and not is_observation:
            end = next((k for k in range(index, len(tokens)) if self._is_shouted_at(tokens, k)), len(tokens))
        inside = range(index, end)
        if not is_statement and any(
            self._is_stop_at(tokens, k) and self.is_tail(tokens, self._after_verb(tokens, k)) for k in inside
        ):
            return self._clause(tokens[start:end], "command", VerbSense("stop"), Arguments()), end
        mood: Mood = "statement" if is_statement else "command"
        return self._clause(tokens[start:end], mood, None, Arguments(num_unclear=end - start)), end

    def _is_shouted_at(self, tokens: Sequence[Token], index: int) -> bool:
        return tokens[index].text == "," and self._is_stop_at(tokens, self._skip_fillers(tokens, index))

    def _after_verb(self, tokens: Sequence[Token], index: int) -> int:
        found = self.words.verbs.match(tokens, index) or self.roles.holds.match(tokens, index)
        return found[1] if found else index

    def _whole(self, tokens: Sequence[Token], mood: Mood) -> Clause:
        return self._clause(tokens, mood, None, Arguments())


def _without_echoed_directions(clauses: list[Clause]) -> list[Clause]:
    """Drop "right" before "turn right": a direction that the next command says again."""
    kept: list[Clause] = []
    for clause in clauses:
        last = kept[-1] if kept else None
        if last and last.verb is None and last.directions and set(last.directions) <= set(clause.directions):
            kept.pop()
        kept.append(clause)
    return kept
