"""What every language offers: text in, clauses out."""

import re
from abc import ABC, abstractmethod

from robovlms.robot.language.clause import Clause


class Analyser(ABC):
    """Turns text of one language into clauses. Built once, keeps nothing between calls.

    Attributes:
        script: matches one character that only this language uses; None if it shares its script with others.
    """

    script: re.Pattern[str] | None = None

    @abstractmethod
    def analyse(self, text: str) -> list[Clause]:
        """Return the clauses of a text in the order they are to be acted on; none if nothing was said.

        Never raises for any text. A clause that is not understood is there with `verb=None`, so that what follows it
        can wait for it.
        """

    @abstractmethod
    def count_known(self, text: str) -> int:
        """Return how many words of a text are in the vocabulary: the language with most of them reads it."""
