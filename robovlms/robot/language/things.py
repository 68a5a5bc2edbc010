"""Things and what a verb that handles, seeks or approaches one takes.

::

    pick up  the red cup   from the table          bring  me         the cup      avoid  the cone  on your left
    verb     thing         place of the thing      verb   recipient  thing        verb   thing     side
"""

from collections.abc import Sequence

from robovlms.robot.language.arguments import Arguments
from robovlms.robot.language.clause import Direction, Side
from robovlms.robot.language.reader import Reader
from robovlms.robot.language.tokens import Token

MAX_THING_WORDS = 8  # longer ones are sentences
_SIDES: dict[Direction, Side] = {"left": "left", "right": "right", "forward": "front", "back": "back"}


class ThingReader(Reader):
    """Reads things."""

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
        if has_word and tokens[index].gap != " ":
            return False
        roles = self.roles
        join = roles.joins.match(tokens, index)
        if join is not None and has_word:
            return self.opens_clause(tokens, join[1])
        if self.is_end(tokens, index):
            return True
        if not has_word:
            return False
        if (
            self.longest(tokens, index, *self._prepositions, roles.relatives, roles.copulas, roles.contrasts)
            is not None
        ):
            return not self._is_inside(tokens, index)
        if self.roles.purposes.match(tokens, index) is not None:
            return True
        tail = self.longest(tokens, index, roles.fillers, self.words.speeds, roles.particles)
        return tail is not None and (self.is_tail(tokens, index) or self._is_preposition(tokens, tail))

    def _is_inside(self, tokens: Sequence[Token], index: int) -> bool:
        """Whether a preposition belongs to a thing ("cup of tea"), or only leads in amounts elsewhere ("a", "only")."""
        roles = self.roles
        genitive = roles.genitives.match(tokens, index)
        if genitive is not None and genitive[1] >= (self.longest(tokens, index, *self._prepositions[:-1]) or 0):
            return True
        others = (
            roles.destinations,
            roles.ways,
            roles.places,
            roles.loose_places,
            roles.sources,
            roles.other_prepositions,
        )
        others += (roles.sought, roles.relatives, roles.copulas, roles.contrasts)
        return self.longest(tokens, index, *others) is None and not self._has_unit_ahead(tokens, index)

    def _has_unit_ahead(self, tokens: Sequence[Token], index: int) -> bool:
        lead = self.roles.amount_leads.match(tokens, index)
        amount = self.numbers.read_amount(tokens, lead[1]) if lead else None
        return amount is not None and amount.kind != "bare"

    def _is_preposition(self, tokens: Sequence[Token], index: int) -> bool:
        return self.longest(tokens, index, *self._prepositions) is not None

    def _surface(self, tokens: Sequence[Token]) -> str:
        text = ""
        for token in tokens:
            text += token.gap + token.surface if text else token.surface
        return text

    def is_time(self, tokens: Sequence[Token], start: int, end: int) -> bool:
        """Whether a thing is none, but a time ("after lunch", "at the beep", "at 5", "after five seconds")."""
        determiner = self.roles.determiners.match(tokens, start)
        number = self.numbers.read_number(tokens, determiner[1] if determiner else start)
        if number is not None and number[1] == end:
            return True
        tables = (self.roles.times, self.words.units["duration"])
        return any(self.longest(tokens, index, *tables) is not None for index in range(start, end))

    def is_event(self, tokens: Sequence[Token], start: int, end: int) -> bool:
        """Whether a thing is none, but something that happens ("after he leaves", "after the door opens")."""
        words = [token.text for token in tokens[start:end]]
        if len(words) < 2:
            return False
        has_actor = self.roles.subjects.match(tokens, start) is not None and not self._is_determined(tokens, start)
        acts = (word.removesuffix("s") for word in words[2:] if word.endswith("s"))
        has_verb = any(word in self.words.verbs.first_words for word in acts)
        return has_actor or has_verb or any(word in self.roles.questions.first_words for word in words[1:])

    def _is_determined(self, tokens: Sequence[Token], index: int) -> bool:
        return self.roles.determiners.match(tokens, index) is not None

    def is_area_if_inside(self, tokens: Sequence[Token], index: int, start: int, end: int) -> bool:
        """Whether a thing is an area, if the preposition before it, at `index`, asks for one."""
        found = self.roles.insides.match(tokens, index)
        return found is None or found[1] != start or self.is_area(tokens, start, end)

    def is_area(self, tokens: Sequence[Token], start: int, end: int) -> bool:
        """Whether a thing ends like something that a robot can be in ("living room", "room 12")."""
        last = (self.roles.areas.match(tokens, k) for k in range(start, end))
        named = (self.roles.areas.match(tokens, k) is not None for k in range(start, end - 1))
        is_numbered = tokens[end - 1].is_number and any(named)
        return is_numbered or any(area is not None and area[1] == end for area in last)

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
        if index >= len(tokens):
            return index
        return self._speed(tokens, index, args) or self._excluded_thing(tokens, index) or index

    def _handling_part(self, tokens: Sequence[Token], index: int, args: Arguments, takes_goal: bool) -> int | None:
        roles = self.roles
        return (
            self._speed(tokens, index, args)
            or self._excluded_thing(tokens, index)
            or self._recipient(tokens, index, args)
            or self._side(tokens, index, args)
            or (self.longest(tokens, index, roles.fillers, roles.particles) if self.is_tail(tokens, index) else None)
            or self._relative(tokens, index, args)
            or self._prepositional(tokens, index, args, takes_goal)
            or self._plain_amount(tokens, index)
            or self._thing(tokens, index, args)
            or self.longest(tokens, index, roles.particles, roles.fillers, roles.sideways)
        )

    def _speed(self, tokens: Sequence[Token], index: int, args: Arguments) -> int | None:
        is_late = tokens[index].text == ","
        found = self.words.speeds.match(tokens, index + is_late)
        if found is None or (is_late and not self.is_tail(tokens, found[1])):
            return None
        args.speed = found[0]
        return found[1]

    def _excluded_thing(self, tokens: Sequence[Token], index: int) -> int | None:
        """Read "not the blue one", after a pause or not."""
        contrast = self.roles.contrasts.match(tokens, index + (tokens[index].text == ","))
        end = self.read_thing(tokens, contrast[1])[2] if contrast else index
        is_whole = tokens[index].text != "," or self.is_end(tokens, end)
        return end if contrast and end > contrast[1] and is_whole else None

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
        if found is None or self.roles.pronouns.match(tokens, index) is not None:
            return None
        if args.thing is None and not args.has_pronoun:
            copula = self.roles.copulas.match(tokens, found[1])
            thing, has_pronoun, index = self.read_thing(tokens, copula[1] if copula else found[1])
            args.thing, args.has_pronoun = thing, has_pronoun
        while not self.is_end(tokens, index):
            index = self._side(tokens, index, args) or index + 1
        return index

    def _prepositional(self, tokens: Sequence[Token], index: int, args: Arguments, takes_goal: bool) -> int | None:
        after = self.longest(tokens, index, *self._prepositions[:-1])
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
