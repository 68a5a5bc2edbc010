"""What an instruction says in a mirror: left and right trade places, in English and Korean.

A mirrored picture with an instruction that was not teaches the wrong thing, so a text is refused unless every word in
it that may have to do with sides is understood::

    "Turn left at the door"           ─> "Turn right at the door"
    "rotate clockwise"                ─> "rotate counterclockwise"
    "왼쪽 상자로 가"                  ─> "오른쪽 상자로 가"
    "push the bright box"             ─> "push the bright box"      nothing to do with sides
    "go right now"                    ─> None                       may not be a direction
    "go left now"                     ─> None                       it would read "go right now"
    "go north", "go to 3 o'clock"     ─> None                       a mirror makes that wrong
    "gehe nach links", "向左转"        ─> None                       not understood

The words are data: `mirror_words.yaml`.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import yaml

_LETTER = r"[^\W\d_]"
_WORD_OR_MARK = re.compile(rf"{_LETTER}+(?:['’]{_LETTER}+)*|\d+|[^\w\s-]")
_SIGNED_NUMBER = re.compile(r"(?<![\w.,)])[-+−±]\s?\d")  # the sign of an angle would have to change
_NOTHING = "(?!)"


@lru_cache(maxsize=4096)  # a dataset says few things, many times
def mirror_instruction(text: str) -> str | None:
    """Return the instruction for the mirrored scene; None if it is not certain what that is.

    The case of each word is kept. Mirroring twice gives the text back, but for rarer spellings: "anticlockwise" comes
    back as "counterclockwise".

    >>> mirror_instruction("Turn LEFT, then take the right-hand door")
    'Turn RIGHT, then take the left-hand door'
    >>> mirror_instruction("pick the cup on the left"), mirror_instruction("pick whatever is left")
    ('pick the cup on the right', None)
    >>> mirror_instruction("우회전해서 왼쪽 문으로 들어가")
    '좌회전해서 오른쪽 문으로 들어가'
    """
    text = unicodedata.normalize("NFC", text)  # Hangul may come in pieces
    if _is_refused(text):
        return None
    for language in _languages():
        text = language.swap(text)
    return text


@dataclass(frozen=True, kw_only=True)
class _Language:
    """The words of one language; the head of the YAML file explains them.

    Attributes:
        mirrored: word or part -> what it turns into, in lower case.
        known: finds those.
        fixed: finds what a mirror makes wrong.
        stems: finds what should not be left over.
        innocent: finds what is taken out before that.
        sides: words with a second meaning.
        doubt: the words around them.
    """

    mirrored: Mapping[str, str]
    known: re.Pattern[str]
    fixed: re.Pattern[str]
    stems: re.Pattern[str]
    innocent: re.Pattern[str]
    sides: frozenset[str]
    doubt: Mapping[str, frozenset[str]]

    def swap(self, text: str) -> str:
        """Every known word turned into its counterpart."""
        return self.known.sub(lambda found: _in_case_of(found[0], self.mirrored[found[0].lower()]), text)

    def is_refused(self, text: str) -> bool:
        """Whether a word is fixed, doubtful or not known."""
        rest = self.innocent.sub("", self.known.sub(" ", text))
        return bool(self.fixed.search(text) or self.stems.search(rest)) or self._is_doubtful(text)

    def _is_doubtful(self, text: str) -> bool:
        words = ["", "", *_WORD_OR_MARK.findall(text.lower().replace("’", "'")), "", "", ""]
        sides = [i for i, word in enumerate(words) if word in self.sides]
        return any(self._may_mean_else(words[i - 2 : i], words[i + 1 : i + 4]) for i in sides)

    def _may_mean_else(self, before: list[str], after: list[str]) -> bool:
        """Whether a side between these words may be none."""
        doubt, (second, first), following = self.doubt, before, after[0]
        is_pair = following == "to" and after[1] in self.sides
        if following == "of" or is_pair:  # the cup left of the box; from left to right
            return False
        if first in doubt["before"] or following in doubt["after"] or " ".join(after[:2]) in doubt["phrases"]:
            return True
        is_led = first in doubt["led_by"] or (first in doubt["articles"] and second in doubt["led_by_place"])
        if following in doubt["after_unless_led"] and not is_led:
            return not (following == "by" and after[1].isdigit())  # move left by 5 cm
        is_interjection = first in ("", ".", "!", "?") and following == ","  # Right, go on
        return is_interjection or (first == "," and following in ("", "?"))  # turn left, right?


def _is_refused(text: str) -> bool:
    is_foreign = any(char.isalpha() and not (char.isascii() or _is_hangul(char)) for char in text)
    return is_foreign or bool(_SIGNED_NUMBER.search(text)) or any(one.is_refused(text) for one in _languages())


def _is_hangul(char: str) -> bool:
    return unicodedata.name(char, "").startswith("HANGUL")


@cache
def _languages() -> tuple[_Language, ...]:
    file = Path(__file__).with_name("mirror_words.yaml")
    return tuple(_language(lists) for lists in yaml.safe_load(file.read_text(encoding="utf-8")).values())


def _language(lists: Mapping[str, Any]) -> _Language:
    words, parts = lists.get("words", {}), lists.get("parts", {})
    words_to, parts_to = _mapping(words), _mapping(parts)
    return _Language(
        mirrored=words_to | parts_to,
        known=_any_of(words_to, parts_to),
        fixed=_any_of(words.get("fixed", ()), parts.get("fixed", ())),
        stems=_any_of((), lists["stems"]),
        innocent=_any_of((), lists["innocent"]),
        sides=frozenset(lists["sides"]),
        doubt={name: frozenset(entries) for name, entries in lists.get("doubt", {}).items()},
    )


def _mapping(lists: Mapping[str, Any]) -> dict[str, str]:
    swap = lists.get("swap", {})
    return {**lists.get("spellings", {}), **swap, **{right: left for left, right in swap.items()}}


def _any_of(words: Iterable[str], parts: Iterable[str]) -> re.Pattern[str]:
    """Finds whole words and parts of words, the longest first."""
    patterns = {word: rf"(?<!{_LETTER}){re.escape(word)}(?!{_LETTER})" for word in words}
    patterns |= {part: re.escape(part) for part in parts}
    return re.compile("|".join(patterns[key] for key in sorted(patterns, key=len, reverse=True)) or _NOTHING, re.I)


def _in_case_of(model: str, word: str) -> str:
    """`word` in lower case, Capitalised or in UPPER case, as `model` is."""
    if model.isupper() and len(model) > 1:
        return word.upper()
    return word[:1].upper() + word[1:] if model[:1].isupper() else word
