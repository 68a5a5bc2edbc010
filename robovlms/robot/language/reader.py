"""Looking at the words of a sentence: which phrases stand where, and where something ends.

The readers build on each other, each reads something larger::

    Reader ─ ThingReader ─ MotionReader ─ ClauseReader ─ SentenceReader
    words    "the red cup"  "to the left   "please don't   "after going forward,
                            by 90 degrees"  turn left"      turn left"
"""

from collections.abc import Sequence

from robovlms.robot.language.clause import Direction
from robovlms.robot.language.numbers import NumberReader
from robovlms.robot.language.phrase_table import Phrases
from robovlms.robot.language.tokens import Token
from robovlms.robot.language.vocabulary import Vocabulary

MOTION_VERBS = frozenset({"go", "slide", "turn", "curve"})
YAW_DIRECTIONS = frozenset({"left", "right", "clockwise", "counterclockwise"})


class Reader:
    """Looks at words; keeps nothing between calls. Reading returns the index after what was read, None for nothing."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.words = vocabulary
        self.roles = vocabulary.roles
        self.numbers = NumberReader(vocabulary.numbers, vocabulary.units, vocabulary.before_unit)
        roles = self.roles
        self._connectives = (roles.then, roles.joins, roles.contrary, roles.alternatives, roles.meanwhile)
        self._linking = (roles.places, roles.loose_places, roles.after, roles.before)  # some begin like a connective
        self._prepositions = (
            *(roles.destinations, roles.ways, roles.places, roles.loose_places, roles.sources),
            *(roles.other_prepositions, roles.sought, roles.amount_leads),
        )

    def longest(self, tokens: Sequence[Token], index: int, *tables: Phrases) -> int | None:
        """Return the end of the longest phrase of several tables at `index`; None if there is none."""
        if index >= len(tokens):
            return None
        end, first = 0, tokens[index].text
        for table in tables:
            if first in table.first_words:  # in most tables nothing begins with this word
                found = table.match(tokens, index)
                if found is not None and found[1] > end:
                    end = found[1]
        return end or None

    def is_end(self, tokens: Sequence[Token], index: int) -> bool:
        """A pause, a connective or the end of the sentence."""
        if index >= len(tokens) or tokens[index].text == ",":
            return True
        connective = self.longest(tokens, index, *self._connectives)
        return connective is not None and connective >= (self.longest(tokens, index, *self._linking) or 0)

    def is_tail(self, tokens: Sequence[Token], index: int) -> bool:
        """Nothing but fillers, speeds and particles until the end of the clause."""
        while not self.is_end(tokens, index):
            after = self.longest(tokens, index, self.roles.fillers, self.words.speeds, self.roles.particles)
            if after is None:
                return False
            index = after
        return True

    def skip_adverbs(self, tokens: Sequence[Token], index: int) -> int:
        while (after := self.longest(tokens, index, self.roles.fillers, self.words.speeds)) is not None:
            index = after
        return index

    def opens_verb(self, tokens: Sequence[Token], index: int) -> bool:
        """Whether a verb stands here that is no direction ("forward" is both)."""
        is_direction = self.words.directions.match(tokens, index) is not None
        return not is_direction and self.words.verbs.match(tokens, index) is not None

    def opens_step(self, tokens: Sequence[Token], index: int) -> bool:
        """Whether a further step begins here without a connective ("go forward turn left").

        Nouns look like verbs ("turn right answer"): only motions, stops and what has a thing after it are steps.
        """
        found = self.words.verbs.match(tokens, index)
        if found is None or not self.opens_verb(tokens, index) or self.roles.compounds.match(tokens, index) is not None:
            return False
        has_thing = self.longest(tokens, found[1], self.roles.determiners, self.roles.pronouns) is not None
        return has_thing or found[0].verb in MOTION_VERBS or found[0].verb == "stop"

    def opens_clause(self, tokens: Sequence[Token], index: int) -> bool:
        """Whether what stands here begins a clause of its own, not a further part of a thing."""
        roles = self.roles
        while (filler := self.longest(tokens, index, roles.fillers, self.words.speeds)) is not None:
            index = filler
        if index >= len(tokens):
            return True
        tables = (self.words.verbs, roles.requests, roles.negations, roles.questions, roles.then, roles.corrections)
        if self.longest(tokens, index, *tables) is not None:
            return True
        return self.read_direction(tokens, index) is not None

    def opens_purpose(self, tokens: Sequence[Token], index: int) -> int | None:
        """Return where the verb of "to pick up the cup" is; "to work" and "to point A" are places."""
        found = self.roles.purposes.match(tokens, index)
        verb = self.words.verbs.match(tokens, found[1]) if found else None
        if found is None or verb is None:
            return None
        has_object = self.longest(tokens, verb[1], self.roles.determiners, self.roles.pronouns) is not None
        return found[1] if has_object else None

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
        if self.is_end(tokens, index) or self.opens_step(tokens, index):
            return True
        if self.words.gerunds.match(tokens, index) is not None:
            return True
        roles = self.roles
        tables = (roles.fillers, roles.vague_amounts, roles.self, roles.contrasts, roles.corrections, roles.sideways)
        tables += (roles.destinations, roles.ways, roles.places, roles.loose_places, roles.sources, roles.turn_nouns)
        tables += (roles.step_nouns, roles.before, roles.after, roles.tags, self.words.speeds, roles.negations)
        if self.longest(tokens, index, *tables) is not None or self.is_adverb(tokens, index):
            return True
        lead = self.longest(tokens, index, roles.direction_leads)
        has_direction = any(self.words.directions.match(tokens, place) for place in (index, lead or index))
        return has_direction or self.has_amount(tokens, index)

    def has_amount(self, tokens: Sequence[Token], index: int) -> bool:
        lead = self.roles.amount_leads.match(tokens, index)
        places = (index, lead[1]) if lead else (index,)
        return any(self.numbers.read_amount(tokens, place) is not None for place in places)

    def is_adverb(self, tokens: Sequence[Token], index: int) -> bool:
        text = tokens[index].text
        return len(text) > 4 and text.endswith(self.roles.adverb_endings) and text not in self.words.words
