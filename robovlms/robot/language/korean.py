"""Korean text to clauses.

::

    "왼쪽으로 돌지 말고 컵 앞으로 천천히 가 주세요"
      words     왼쪽으로 │ 돌지 │ 말고 │ 컵 │ 앞으로 │ 천천히 │ 가 │ 주세요
      parts     direction  verb   aux   noun  place    slow     verb  aux
      clauses   prohibition(turn left) ────┘  command(navigate 컵, slow) ┘

The verb comes last, so a draft gathers what was said until a verb closes it; the last verb of a sentence then says
whether those before it were asked for, told or denied.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from robovlms.robot.language.analyser import Analyser
from robovlms.robot.language.clause import Clause
from robovlms.robot.language.korean_moods import settle, take_back
from robovlms.robot.language.korean_numbers import Quantity, QuantityFinder
from robovlms.robot.language.korean_sentence import read_sentence
from robovlms.robot.language.korean_verbs import VerbGroups
from robovlms.robot.language.korean_vocabulary import read_vocabulary
from robovlms.robot.language.korean_words import Part, WordReader

_TOKEN = re.compile(r"(?P<end>[.!?;\n…。]+)|(?P<comma>,)|(?P<word>[\ue000-\uf8ff]|[^\W_]+(?:\.\d+)?)")
_SPELLED_OUT = re.compile(r"(?<![\w가-힣])[가-힣](?: [가-힣]){1,5}(?![\w가-힣])")
_REPEATED = re.compile(r"(?<![가-힣])([가-힣]{2,6}?)\1{1,20}(?![가-힣])")
_ALSO_WORDS = ("가", "이", "앞에", "방향", "쪽")  # particles that are something else where they stand alone
_ABILITY = re.compile(r"\s+수\s*(?=[있없])")
MAX_CHARACTERS = 2000  # of a text; a longer one is no command


class Korean(Analyser):
    """Analyser of Korean."""

    script = re.compile("[가-힣ㄱ-ㅣ]")

    def __init__(self, path: Path) -> None:
        """Read a vocabulary.

        Raises:
            ConfigError: if it is not valid.
        """
        self._vocabulary = read_vocabulary(path)
        self._reader = WordReader(self._vocabulary)
        self._groups = VerbGroups(self._vocabulary)
        self._quantities = QuantityFinder(self._vocabulary.numbers, self._vocabulary.units, self._reader.can_follow)
        self._phrases = re.compile(r"(?<![가-힣\w])(?:" + "|".join(map(_spaced, self._vocabulary.phrases)) + ")")

    def analyse(self, text: str) -> list[Clause]:
        """Return the clauses of a text; a clause that is not understood has no verb."""
        if len(text) > MAX_CHARACTERS:
            return [Clause(text=text[:80], mood="command", num_words=MAX_CHARACTERS)]
        clauses: list[Clause] = []
        for parts, is_question in self._sentences(text):
            clauses += settle(
                read_sentence(self._vocabulary, self._groups, parts, is_question, clauses[-1] if clauses else None)
            )
        return take_back(clauses, self._vocabulary.sets["corrections"])

    def count_known(self, text: str) -> int:
        """Return how many words of a text are in the vocabulary."""
        normal, _ = self._normal(text[:MAX_CHARACTERS])
        return sum(bool(self._reader.known(match["word"])) for match in _TOKEN.finditer(normal) if match["word"])

    def _normal(self, text: str) -> tuple[str, Mapping[str, Quantity]]:
        """Composed lower-case text in which phrases are one word and quantities one character."""
        text = _without_private(unicodedata.normalize("NFKC", text).lower())
        text = _ABILITY.sub("수", text)
        text = self._phrases.sub(lambda match: "".join(match[0].split()), text)
        text = _SPELLED_OUT.sub(self._joined, text)
        text = _REPEATED.sub(self._once, text)
        return self._quantities.replace(text)

    def _joined(self, match: re.Match[str]) -> str:
        """ "멈 춰" → "멈춰", if that is an order."""
        joined = match[0].replace(" ", "")
        return joined if self._reader.is_order(joined) else match[0]

    def _once(self, match: re.Match[str]) -> str:
        """ "멈춰멈춰멈춰" → "멈춰": the same stop, said again."""
        return match[1] if self._reader.is_stop(match[1]) else match[0]

    def _sentences(self, text: str) -> list[tuple[list[Part], bool]]:
        normal, quantities = self._normal(text)
        sentences: list[tuple[list[Part], bool]] = []
        parts: list[Part] = []
        for match in _TOKEN.finditer(normal):
            if match["end"]:
                sentences.append((parts, "?" in match["end"]))
                parts = []
            elif match["comma"]:
                parts.append(Part("mark", ","))
            else:
                parts += self._read(match["word"], quantities, parts)
        sentences.append((parts, False))
        return [(parts, asks) for parts, asks in sentences if any(not part.text.isdigit() for part in parts)]

    def _read(self, word: str, quantities: Mapping[str, Quantity], before: list[Part]) -> list[Part]:
        """Parts of a word; a particle that stands alone belongs to what stands before it."""
        role = self._vocabulary.particles.get(word)
        if role and before and before[-1].kind == "number" and word != "가":
            return []
        is_noun = bool(before) and before[-1].kind in ("direction", "noun", "unknown", "deed") and not before[-1].role
        if role and is_noun and word not in self._vocabulary.words and word not in _ALSO_WORDS:
            before[-1] = replace(before[-1], role=role, text=before[-1].text + word)
            return []
        return self._reader.read(word, quantities)


def _spaced(phrase: str) -> str:
    return r"\s*".join(map(re.escape, phrase.split()))


def _without_private(text: str) -> str:
    return re.sub("[\ue000-\uf8ff]", " ", text)
