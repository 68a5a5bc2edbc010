"""Directions, amounts and manner of a motion.

::

    slowly turn  to the left  by  ninety degrees  at the lamp
           verb  direction        amount          place

A motion takes nothing else: a word whose part is not known ends the reading before it, and the clause is refused.
"""

from collections.abc import Sequence

from robovlms.robot.language.arguments import Arguments
from robovlms.robot.language.reader import YAW_DIRECTIONS
from robovlms.robot.language.things import ThingReader
from robovlms.robot.language.tokens import Token


class MotionReader(ThingReader):
    """Reads what may follow a verb of motion."""

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
            or self.longest(tokens, index, self.roles.fillers, self.roles.vague_amounts, self.roles.self)
            or self._place(tokens, index, args, verb)
            or self._unknown_adverb(tokens, index, args)
        )

    def _plain_filler(self, tokens: Sequence[Token], index: int, args: Arguments, verb: str) -> int | None:
        """Read "right now" as one, unless the motion still needs its side: "turn right now"."""
        found = self.roles.fillers.match(tokens, index)
        direction = self.words.directions.match(tokens, index)
        needs_side = verb in ("turn", "slide", "curve") and not args.directions
        return found[1] if found and direction and found[1] > direction[1] and not needs_side else None

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

    def _amount(self, tokens: Sequence[Token], index: int, args: Arguments, verb: str) -> int | None:
        is_late = tokens[index].text == ","
        index += is_late
        lead = self.roles.amount_leads.match(tokens, index)
        for place in (index, lead[1]) if lead else (index,):
            amount = self.numbers.read_amount(tokens, place)
            if amount is None:
                continue
            is_tail = self.is_tail(tokens, amount.end) and self.read_direction(tokens, amount.end) is None
            if is_late and not is_tail:
                return None  # a step of its own: ", 2 m forward"
            if amount.kind == "duration" and self.roles.delays.match(tokens, index) is not None:
                return None
            after, value = amount.end, amount.value
            if (
                self.numbers.is_article(tokens, place)
                and self.longest(tokens, place + 1, self.roles.turn_nouns) == after
            ):
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
        filler = self.roles.fillers.match(tokens, end)  # "right now"
        direction = self.read_direction(tokens, end) if filler is None else None
        is_noun = verb in ("turn", "") and args.directions and direction is None
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
        place_end = self.longest(tokens, index, roles.sources, *places) or index
        after = max(goal_end, place_end)
        if after == index:
            return None
        thing, has_pronoun, end = self.read_thing(tokens, after)
        if (thing is None and not has_pronoun) or not self._is_place(tokens, index, after, end, args):
            return None
        is_source = self.longest(tokens, index, roles.sources) == after
        leads_there = not is_source and (goal_end == after or (verb == "go" and not args.directions))
        if leads_there and verb in ("go", "turn") and not (verb == "turn" and args.directions):
            if args.thing is None and not args.has_pronoun:
                args.thing, args.has_pronoun = thing, has_pronoun
        else:
            args.num_unclear += end - index
        return end

    def _is_place(self, tokens: Sequence[Token], index: int, start: int, end: int, args: Arguments) -> bool:
        """Whether a thing after a preposition at `index` is where a robot can be: no time, no event.

        Beside a direction, what is "in", "on" or "into" something has to be an area ("turn left into a frog"), and so
        has a single word without an article ("at heart").
        """
        if self.is_time(tokens, start, end) or self.is_event(tokens, start, end):
            return False
        if not args.directions:
            return True
        is_bare = end - start == 1 and self.roles.pronouns.match(tokens, start) is None
        return self.is_area_if_inside(tokens, index, start, end) and (not is_bare or self.is_area(tokens, start, end))

    def _unknown_adverb(self, tokens: Sequence[Token], index: int, args: Arguments) -> int | None:
        if not self.is_adverb(tokens, index):
            return None
        args.num_unclear += 1
        return index + 1
