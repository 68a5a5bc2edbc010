"""Numbers with units in Korean text: "3미터", "두 바퀴", "백팔십 도", "1.5m", "4분의 1 바퀴", "마이너스 2미터".

Each is replaced by one private character, so that what is left is words only, also where no space was typed.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

_FIRST_MARK = 0xE000  # private use area of Unicode: no text has a meaning there
MAX_QUANTITIES = 200
_DIGITS = r"\d[\d,]{0,20}(?:\.\d{1,20})?(?:e[+-]?\d{1,5})?|\.\d{1,20}"  # bounded, so that no text takes long
_BEFORE_WORD, _BEFORE_DIGIT = r"(?:(?<![가-힣\w])|(?<=으로))", r"(?<![a-z0-9.,])"
_AFTER_A_COUNT = frozenset(
    ("만", "간", "동안", "동안만", "씩", "정도", "쯤", "을", "를", "로", "후", "뒤", "후에", "뒤에")
)
_DIGITS_AND_POWER = re.compile(r"(\d+)(\D?)")
_REST = re.compile(r"[가-힣]*")


@dataclass(frozen=True)
class Quantity:
    """A number with its unit.

    Attributes:
        kind: "distance" in metres, "angle" in degrees, or "other" (steps, seconds), which is understood but not used.
        value: as said; NaN for what is no single number ("1~2미터").
        text: as written.
    """

    kind: Literal["distance", "angle", "other"]
    value: float
    text: str


class QuantityFinder:
    """Finds quantities in text."""

    def __init__(self, numbers: Mapping[str, Any], units: Mapping[str, Any], can_follow: Callable[[str], bool]) -> None:
        """Compile the patterns.

        Args:
            numbers: of the vocabulary.
            units: of the vocabulary.
            can_follow: whether letters written onto a unit are a particle or words, and not the rest of a longer noun.
        """
        self._numbers, self._can_follow = numbers, can_follow
        self._factors: dict[str, tuple[Literal["distance", "angle", "other"], float]] = {
            **{str(unit): ("distance", float(factor)) for unit, factor in units["metres"].items()},
            **{str(unit): ("angle", float(factor)) for unit, factor in units["degrees"].items()},
            **dict.fromkeys(str(units["nothing"]).split(), ("other", 1.0)),
        }
        sino = "".join(numbers["sino_digits"]) + "".join(numbers["sino_powers"]) + numbers["ten_thousand"]
        self._sino = frozenset(sino)
        self._special = {
            **dict.fromkeys(str(numbers["infinite"]).split(), math.inf),
            **dict.fromkeys(str(numbers["not_a_number"]).split(), math.nan),
        }
        native, special = _alternatives(numbers["native"]), _alternatives(self._special)
        tens = _alternatives(word for word, value in numbers["native"].items() if value >= 10)
        words = rf"{special}|(?:{tens}\s?)?{native}|[{sino}]{{1,12}}(?:\s[{sino}]{{1,12}})?"
        spelled = rf"(?:{words})(?:\s?{numbers['point']}\s?[{sino}](?:\s?[{sino}]){{0,6}})?"
        powers = "".join(numbers["sino_powers"]) + numbers["ten_thousand"]
        mixed = rf"{_BEFORE_DIGIT}(?:\d{{1,4}}[{powers}]){{1,4}}\d{{0,3}}"
        minus = _alternatives(str(numbers["minus"]).split())
        self._pattern = re.compile(
            rf"(?:(?P<minus>{minus}\s*|(?<![\da-z])[-−–]\s*))?"
            rf"(?:(?P<range>{_BEFORE_DIGIT}\d{{1,12}}(?:\.\d{{1,12}})?\s*[-−–~∼]\s*)?"
            rf"(?P<whole>(?:{_BEFORE_DIGIT}\d{{1,6}}|{_BEFORE_WORD}[{sino}]{{1,6}})\s?분의\s?)?"
            rf"(?:(?P<mixed>{mixed})|{_BEFORE_DIGIT}(?P<digits>{_DIGITS})(?:\s?/\s?(?P<divisor>\d{{1,6}}))?|{_BEFORE_WORD}(?P<spelled>{spelled}))"
            rf")\s*(?P<unit>{_alternatives(self._factors)})(?P<half>\s?반(?![가-힣]))?",
        )

    def replace(self, text: str) -> tuple[str, dict[str, Quantity]]:
        """Return the text with each quantity as one character between spaces, and what the characters stand for."""
        found: dict[str, Quantity] = {}
        parts, end = [], 0
        for match in self._pattern.finditer(text):
            quantity = self._read(match) if len(found) < MAX_QUANTITIES else None
            rest = _REST.match(text, match.end())
            letters = rest[0] if rest else ""
            if quantity is None or not self._may_be_followed(match, quantity, letters):
                continue
            mark = chr(_FIRST_MARK + len(found))
            found[mark] = quantity
            parts += [text[end : match.start()], f" {mark} "]
            end = match.end()
        return "".join([*parts, text[end:]]), found

    def _may_be_followed(self, match: re.Match[str], quantity: Quantity, letters: str) -> bool:
        """Whether this is a quantity, and not the beginning of other words: "이 도로" is this road, "한도" a limit."""
        unit, spelled = match["unit"], match["spelled"]
        behind = match.string[match.end() : match.end() + 1]
        if unit.isascii() and behind.isascii() and behind.isalnum():
            return False
        if unit == "도" and spelled and not set(spelled) & set(self._numbers["sino_powers"]):
            return not letters and spelled[-1] in self._numbers["sino_digits"] and match[0][-2].isspace()
        if quantity.kind == "other" and letters:
            return letters in _AFTER_A_COUNT
        return not letters or self._can_follow(letters)

    def _read(self, match: re.Match[str]) -> Quantity | None:
        """The quantity of a match; None for what only looks like one, as "이 도로" ("this road") does."""
        kind, factor = self._factors[match["unit"]]
        if match["mixed"]:
            value: float | None = self._mixed_value(match["mixed"])
        elif match["digits"]:
            value = _divide(match["digits"], match["divisor"])
        else:
            value = self.read_number(match["spelled"])
        if value is None:
            return None
        if match["whole"]:
            whole = self.read_number(match["whole"].replace("분의", "").strip())
            value = value / whole if whole else math.nan
        if match["half"]:
            value += 0.5
        if match["range"]:
            value = math.nan
        return Quantity(kind, (-value if match["minus"] else value) * factor, match[0])

    def read_number(self, words: str) -> float | None:
        """Return the value of digits or number words; None if they are not a number.

        >>> from robovlms.robot.language.hangul import is_hangul
        >>> numbers = {"sino_digits": {"삼": 3}, "sino_powers": {"십": 10}, "native": {"열": 10, "두": 2}}
        >>> rest = {"ten_thousand": "만", "infinite": "무한", "not_a_number": "nan", "minus": "음의", "point": "점"}
        >>> finder = QuantityFinder({**numbers, **rest}, {"metres": {}, "degrees": {}, "nothing": "보"}, is_hangul)
        >>> finder.read_number("삼십삼"), finder.read_number("열두"), finder.read_number("삼점삼")
        (33.0, 12.0, 3.3)
        """
        compact = "".join(words.split())
        if compact in self._special:
            return self._special[compact]
        if compact[:1].isdigit():
            return _divide(compact, None)
        whole, point, decimals = compact.partition(self._numbers["point"])
        value = self._native(whole) if whole[-1:] not in self._sino or whole in self._numbers["native"] else None
        value = self._sino_value(whole) if value is None else value
        if value is None or not point:
            return value
        digits = self._numbers["sino_digits"]
        if not decimals or any(character not in digits for character in decimals):
            return None
        return float(f"{value:.0f}." + "".join(str(digits[character]) for character in decimals))

    def _mixed_value(self, words: str) -> float:
        """ "1천2백" → 1200."""
        powers = {**self._numbers["sino_powers"], self._numbers["ten_thousand"]: 10_000}
        return sum(float(digits) * powers.get(power, 1) for digits, power in _DIGITS_AND_POWER.findall(words))

    def _native(self, word: str) -> float | None:
        native = self._numbers["native"]
        if word in native:
            return float(native[word])
        for cut in range(1, len(word)):
            if word[:cut] in native and word[cut:] in native and native[word[:cut]] >= 10 > native[word[cut:]]:
                return float(native[word[:cut]] + native[word[cut:]])
        return None

    def _sino_value(self, word: str) -> float | None:
        """ "백팔십" → 180; digits said one by one ("구공", 90) as well."""
        digits, powers = self._numbers["sino_digits"], self._numbers["sino_powers"]
        if not word or any(character not in self._sino for character in word):
            return None
        if len(word) > 1 and all(character in digits for character in word):
            return float("".join(str(digits[character]) for character in word))
        total, section, digit = 0.0, 0, None
        for character in word:
            if character in digits:
                digit = digits[character]
            elif character in powers:
                section, digit = section + (1 if digit is None else digit) * powers[character], None
            else:
                total, section, digit = total + max(1, section + (digit or 0)) * 10_000, 0, None
        return total + section + (digit or 0)


def _alternatives(words: Any) -> str:
    return "(?:" + "|".join(re.escape(str(word)) for word in sorted(map(str, words), key=len, reverse=True)) + ")"


def _divide(digits: str, divisor: str | None) -> float:
    value = float(digits.replace(",", ""))
    if divisor is None:
        return value
    return value / float(divisor) if float(divisor) else math.nan
