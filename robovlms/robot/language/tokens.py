"""Text to words with their places in it.

::

    "Don’t turn—please—left 1½ m!"
      normalise   don't turn—please—left 1 1/2 m!
      tokenise    don't | turn | , | please | , | left | 1 | / … | m | .

Every mark that ends a sentence becomes ".", every other pause ",": the rest of the package knows only these two.
A question mark stays "?", because it tells a question.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

SENTENCE_ENDS = frozenset({".", "?"})
PAUSES = frozenset({",", *SENTENCE_ENDS})

_QUOTES = str.maketrans({"’": "'", "‘": "'", "`": "'", "´": "'", "′": "'", "“": '"', "”": '"', "″": '"', "⁄": "/"})
_VULGAR_FRACTION = re.compile("([\u00bc-\u00be\u2150-\u215e])")
_NUMBER = r"\d+(?:[.,]\d+)*(?:e[+-]?\d+)?(?![\d])|(?<![\w.])\.\d+"
_WORD = r"[^\W\d_]+(?:'[^\W\d_]+)*"
_TOKEN = re.compile(
    rf"(?P<number>{_NUMBER})|(?P<word>{_WORD}|[∞π])|(?P<end>[.!;\n¡。！]+)|(?P<question>[?¿]+)"
    r"|(?P<pause>[,:()\[\]{}|•…—–]+|(?<=\s)-+(?=\s))|(?P<minus>(?<![\w.])[-−](?=\s?[\d.∞]))|(?P<range>(?<=\d)[-~](?=\d))"
    r"|(?P<unit>(?<=\d)['\"]+|\A['\"]\Z|[°º/+%&])"
)
_STRETCHED = re.compile(r"(.)\1{2,}")


@dataclass(frozen=True, slots=True)
class Token:
    """One word, number or mark.

    Attributes:
        text: casefolded, without accents: what vocabularies are matched with.
        surface: casefolded, with accents: what people get to see.
        start: index of its first character in the normalised text.
        end: index after its last character.
        is_number: written in digits.
        gap: what stands between it and the token before: nothing, a hyphen, or else a space.
    """

    text: str
    surface: str
    start: int
    end: int
    is_number: bool = False
    gap: Literal["", "-", " "] = " "


def normalise(text: str) -> str:
    """Return text in one spelling: NFKC, casefolded, straight quotes, no invisible characters.

    >>> normalise("Don’t MOVE 1½ m")
    "don't move 1 1/2 m"
    """
    if text.isascii():
        return text.casefold().translate(_QUOTES)
    text = unicodedata.normalize("NFKC", _VULGAR_FRACTION.sub(r" \1", text)).casefold().translate(_QUOTES)
    return "".join(char for char in text if char in "\n\t" or unicodedata.category(char) not in ("Cf", "Mn", "Me"))


def tokenise(text: str) -> list[Token]:
    """Return the tokens of a normalised text; what is neither word, number nor mark is left out.

    >>> [token.text for token in tokenise("go 4m, then turn-left")]
    ['go', '4', 'm', ',', 'then', 'turn', 'left']
    """
    tokens: list[Token] = []
    for match in _TOKEN.finditer(text):
        kind, surface = match.lastgroup, match.group()
        spelled = _spell(kind or "", surface)
        between = text[tokens[-1].end : match.start()] if tokens else " "
        gap: Literal["", "-", " "] = "" if between == "" else "-" if between == "-" else " "
        tokens.append(Token(spelled, surface, match.start(), match.end(), kind == "number", gap))
    return tokens


def without_stretching(word: str) -> tuple[str, str]:
    """Return a stretched word in its two likely spellings.

    >>> without_stretching("stoooop")
    ('stop', 'stoop')
    """
    return _STRETCHED.sub(r"\1", word), _STRETCHED.sub(r"\1\1", word)


@lru_cache(maxsize=4096)
def without_accents(word: str) -> str:
    """Return a word without its accents: people leave them out.

    >>> without_accents("atrás")
    'atras'
    """
    if word.isascii():
        return word
    return "".join(char for char in unicodedata.normalize("NFKD", word) if not unicodedata.combining(char))


def _spell(kind: str, surface: str) -> str:
    if kind in _MARKS:
        return _MARKS[kind]
    if kind == "unit":
        return "°" if surface == "º" else '"' if surface == "''" else surface
    return without_accents(surface)


_MARKS = {"end": ".", "question": "?", "pause": ",", "minus": "minus-sign", "range": "range-sign"}
