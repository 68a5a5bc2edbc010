"""Analyser of languages whose commands begin with the verb; what they say is in their vocabulary.

::

    text ─ normalise, tokenise ─ undo contractions and stretching ─ sentences ─ SentenceReader ─> clauses
"""

import dataclasses
import re
from pathlib import Path

from robovlms.robot.language.analyser import Analyser
from robovlms.robot.language.clause import Clause
from robovlms.robot.language.sentence import SentenceReader
from robovlms.robot.language.tokens import (
    SENTENCE_ENDS,
    Token,
    normalise,
    tokenise,
    without_accents,
    without_stretching,
)
from robovlms.robot.language.vocabulary import load_vocabulary

_PLAIN_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")


class VerbFirstAnalyser(Analyser):
    """Reads English, Spanish and their like.

    Args:
        vocabulary: YAML file; see `robovlms.robot.language.vocabulary`.
    """

    def __init__(self, vocabulary: Path) -> None:
        self._words = load_vocabulary(vocabulary)
        self._reader = SentenceReader(self._words)

    def analyse(self, text: str) -> list[Clause]:
        """Return the clauses of a text in the order they are to be acted on."""
        clauses: list[Clause] = []
        sentence: list[Token] = []
        for token in [*self._tokens(text), None]:
            if token is not None and token.text not in SENTENCE_ENDS:
                sentence.append(token)
                continue
            if sentence:
                is_question = token is not None and token.text == "?"
                clauses = self._reader.read(tuple(sentence), is_question, clauses)
            sentence = []
        return clauses

    def count_known(self, text: str) -> int:
        """Return how many words of a text are in the vocabulary."""
        known, short = self._words.words, self._words.contractions
        words = map(without_accents, _PLAIN_WORD.findall(normalise(text)))
        return sum(word in known or word in short for word in words)

    def _tokens(self, text: str) -> list[Token]:
        tokens: list[Token] = []
        for token in tokenise(normalise(text)):
            tokens.extend(self._words_of(token))
        return tokens

    def _words_of(self, token: Token) -> list[Token]:
        """Return what a token stands for: "don't" two words, "stoooop" "stop"."""
        expansion = self._words.contractions.get(token.text)
        if expansion is not None:
            return [dataclasses.replace(token, text=word, surface=word) for word in expansion.split()]
        if token.text not in self._words.words:
            for word in without_stretching(token.text):
                if word in self._words.words:
                    return [dataclasses.replace(token, text=word)]
            if token.text.endswith("'s"):
                return [dataclasses.replace(token, text=token.text[:-2])] if len(token.text) > 2 else [token]
        return [token]
