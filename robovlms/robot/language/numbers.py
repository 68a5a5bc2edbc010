"""Numbers and amounts, in digits and words.

::

    two and a half metres     1/2 m     half a turn     3'     5 feet 6 inches     pi/2 radians     minus one metre
    └───── number ────┘ └unit┘                                                                 └sign, kept as said┘
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from robovlms.robot.language.phrase_table import Phrases
from robovlms.robot.language.tokens import Token

_THOUSANDS = re.compile(r"\d{1,3}(,\d{3})+(\.\d+)?")
_DECIMAL_COMMA = re.compile(r"\d+,\d+")


@dataclass(frozen=True, kw_only=True)
class NumberWords:
    """The words of numbers in one language.

    Attributes:
        values: words that count ("one", "twenty", "a couple of").
        multipliers: words that multiply what is before them ("hundred").
        fractions: parts of one ("half", "quarters"), after a number or alone.
        articles: words that say one before a unit ("a metre").
        joins: words between parts ("two hundred and five", "two and a half").
        points: words of the decimal point.
        minus: words of a negative sign.
        special: words of what is no finite number ("infinity", "nan").
        constants: words of constants ("pi").
        over: words of a division ("pi over two").
        uses_decimal_comma: "1,500" is one and a half.
    """

    values: Phrases
    multipliers: Phrases
    fractions: Phrases
    articles: Phrases
    joins: Phrases
    points: Phrases
    minus: Phrases
    special: Phrases
    constants: Phrases
    over: Phrases
    uses_decimal_comma: bool


@dataclass(frozen=True, kw_only=True)
class Amount:
    """A number with its unit.

    Attributes:
        kind: "distance" in m, "angle" in degrees, "duration" in s, "bare" without a unit.
        value: as said, sign and all.
        end: index after its last token.
    """

    kind: str
    value: float
    end: int


def read_digits(text: str, uses_decimal_comma: bool) -> float:
    """Return the value of digits; NaN if they are no number ("1.2.3").

    >>> read_digits("1,5", True), read_digits("1,500", False), read_digits("1.2.3", False)
    (1.5, 1500.0, nan)
    """
    if not uses_decimal_comma and _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    elif _DECIMAL_COMMA.fullmatch(text):
        text = text.replace(",", ".")
    try:
        return float(text)
    except ValueError:
        return math.nan


class NumberReader:
    """Reads numbers and amounts at a place in a list of tokens; keeps nothing between calls.

    Args:
        words: the words of numbers.
        units: kind of amount -> its units, each with what one of it is in m, degrees or s.
        before_unit: words that may stand between number and unit ("of a", "full").
    """

    def __init__(self, words: NumberWords, units: Mapping[str, Phrases], before_unit: Phrases) -> None:
        self._words = words
        self._units = units
        self._before_unit = before_unit

    def read_amount(self, tokens: Sequence[Token], start: int) -> Amount | None:
        """Return the amount at `start`; of kind "bare" if a number has no unit; None if there is no number.

        An article is a number only before a unit: "a metre", not "a cup".
        """
        number = self.read_number(tokens, start)
        if number is not None:
            value, index = number
        elif (after := self._words.articles.match(tokens, start)) is not None:
            value, index = 1.0, after[1]
        elif self._is_unit_and_a_half(tokens, start):
            value, index = 1.0, start
        else:
            return None
        unit = self._read_unit(tokens, index)
        if unit is None:
            return Amount(kind="bare", value=value, end=index) if number is not None else None
        kind, scale, index = unit
        half = self._read_joined_fraction(tokens, index)
        if half is not None and self._read_unit(tokens, half[1]) is None:
            value, index = value + half[0], half[1]
        amount = Amount(kind=kind, value=value * scale, end=index)
        return self._add_smaller(tokens, amount) if kind == "distance" else amount

    def is_article(self, tokens: Sequence[Token], start: int) -> bool:
        """Whether an article stands at `start`."""
        return self._words.articles.match(tokens, start) is not None

    def read_number(self, tokens: Sequence[Token], start: int) -> tuple[float, int] | None:
        """Return the number at `start`, without a unit, and the index after it."""
        minus = self._words.minus.match(tokens, start)
        index = minus[1] if minus else start
        if index < len(tokens) and tokens[index].text == "minus-sign":
            minus, index = ("", index + 1), index + 1
        read = self._special(tokens, index) or self._digits(tokens, index) or self._spoken(tokens, index)
        read = self._with_constant(tokens, index, read)
        if read is None:
            return None
        return (-read[0] if minus else read[0]), read[1]

    def _is_unit_and_a_half(self, tokens: Sequence[Token], start: int) -> bool:
        unit = self._read_unit(tokens, start)
        return unit is not None and self._read_joined_fraction(tokens, unit[2]) is not None

    def _read_unit(self, tokens: Sequence[Token], index: int) -> tuple[str, float, int] | None:
        between = self._before_unit.match(tokens, index)
        for place in (index, between[1] if between else index):
            for kind, units in self._units.items():
                unit = units.match(tokens, place)
                if unit is not None:
                    return kind, unit[0], unit[1]
        return None

    def _add_smaller(self, tokens: Sequence[Token], amount: Amount) -> Amount:
        """Add "6 inches" to "5 feet"."""
        join = self._words.joins.match(tokens, amount.end)
        index = join[1] if join else amount.end
        number = self.read_number(tokens, index)
        unit = self._read_unit(tokens, number[1]) if number else None
        if number is None or unit is None or unit[0] != "distance":
            return amount
        return Amount(kind="distance", value=amount.value + number[0] * unit[1], end=unit[2])

    def _special(self, tokens: Sequence[Token], index: int) -> tuple[float, int] | None:
        return self._words.special.match(tokens, index)

    def _digits(self, tokens: Sequence[Token], index: int) -> tuple[float, int] | None:
        value = self._plain_digits(tokens, index)
        if value is None:
            return None
        index += 1
        divisor = self._divisor(tokens, index)
        if divisor is not None:
            return value / divisor[0], divisor[1]
        numerator = self._plain_digits(tokens, index)
        divisor = self._divisor(tokens, index + 1) if numerator is not None else None
        if numerator is not None and divisor is not None:
            return value + numerator / divisor[0], divisor[1]
        multiplier = self._words.multipliers.match(tokens, index)
        if multiplier is not None:
            value, index = value * multiplier[0], multiplier[1]
        return self._with_fraction(tokens, value, index)

    def _divisor(self, tokens: Sequence[Token], index: int) -> tuple[float, int] | None:
        """Return the number after "/" and the index after it; NaN instead of a division by zero."""
        if index + 1 >= len(tokens) or tokens[index].text != "/":
            return None
        value = self._plain_digits(tokens, index + 1)
        return None if value is None else (value or math.nan, index + 2)

    def _plain_digits(self, tokens: Sequence[Token], index: int) -> float | None:
        if index < len(tokens) and tokens[index].is_number:
            return read_digits(tokens[index].text, self._words.uses_decimal_comma)
        return None

    def _spoken(self, tokens: Sequence[Token], start: int) -> tuple[float, int] | None:
        total, index = self._whole(tokens, start)
        if index == start:
            return self._fraction(tokens, start)
        point = self._words.points.match(tokens, index)
        if point is not None:
            total, index = self._decimals(tokens, total, point[1])
        part = self._words.fractions.match(tokens, index)
        if part is not None and part[0] < 1:
            return total * part[0], part[1]
        return self._with_fraction(tokens, total, index)

    def _whole(self, tokens: Sequence[Token], start: int) -> tuple[float, int]:
        """Return a number like "two hundred and five"; its end is `start` if there is none."""
        total, group, index, can_join = 0.0, 0.0, start, False
        while True:
            join = self._words.joins.match(tokens, index) if can_join else None
            article = self._words.articles.match(tokens, index) if index == start else None
            after_article = self._words.multipliers.match(tokens, article[1]) if article else None
            value = self._words.values.match(tokens, join[1] if join else index)
            multiplier = self._words.multipliers.match(tokens, index)
            if after_article is not None:
                group, index = after_article
            elif multiplier is not None and (index > start or multiplier[0] >= 1000):
                group, index = (group or 1.0) * multiplier[0], multiplier[1]
            elif value is not None and (index == start or (total + group >= 20 and value[0] < 1000)):
                group, index = group + value[0], value[1]
            else:
                return total + group, index
            if group >= 1000:
                total, group = total + group, 0.0
            can_join = total + group >= 20

    def _decimals(self, tokens: Sequence[Token], whole: float, index: int) -> tuple[float, int]:
        scale = 0.1
        while (digit := self._words.values.match(tokens, index)) is not None and 0 <= digit[0] <= 9:
            whole, index, scale = whole + digit[0] * scale, digit[1], scale / 10
        return whole, index

    def _fraction(self, tokens: Sequence[Token], index: int) -> tuple[float, int] | None:
        article = self._words.articles.match(tokens, index)
        return self._words.fractions.match(tokens, article[1] if article else index)

    def _with_fraction(self, tokens: Sequence[Token], value: float, index: int) -> tuple[float, int]:
        part = self._read_joined_fraction(tokens, index)
        return (value + part[0], part[1]) if part is not None else (value, index)

    def _read_joined_fraction(self, tokens: Sequence[Token], index: int) -> tuple[float, int] | None:
        """Return "and a half" or "and three quarters"."""
        join = self._words.joins.match(tokens, index)
        if join is None:
            return None
        part = self._fraction(tokens, join[1])
        if part is not None:
            return part if part[0] < 1 else None
        count = self._words.values.match(tokens, join[1])
        part = self._words.fractions.match(tokens, count[1]) if count else None
        return (count[0] * part[0], part[1]) if count and part and part[0] < 1 else None

    def _with_constant(
        self, tokens: Sequence[Token], start: int, read: tuple[float, int] | None
    ) -> tuple[float, int] | None:
        constant = self._words.constants.match(tokens, read[1] if read else start)
        if constant is None:
            return read
        value, index = (read[0] if read else 1.0) * constant[0], constant[1]
        divisor = self._divisor(tokens, index)
        over = self._words.over.match(tokens, index)
        if divisor is None and over is not None:
            divisor = self._digits(tokens, over[1]) or self._spoken(tokens, over[1])
        return (value / (divisor[0] or math.nan), divisor[1]) if divisor else (value, index)
