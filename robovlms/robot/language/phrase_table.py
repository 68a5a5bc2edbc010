"""Phrases of one or more words, found longest first."""

from collections.abc import Mapping, Sequence
from typing import Any

from robovlms.robot.language.tokens import Token, normalise, tokenise


class Phrases:
    """Phrases with a value each.

    >>> verbs = Phrases({"turn": "turn", "turn on": "other"})
    >>> verbs.match(tokenise("please turn on the lamp"), 1)
    ('other', 3)

    Args:
        values: phrase -> value; hyphens and accents do not matter.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._root = _Node()
        words: set[str] = set()
        for phrase, value in values.items():
            node = self._root
            for word in _split(phrase):
                node = node.after.setdefault(word, _Node())
                words.add(word)
            if node is not self._root and not node.is_end:
                node.is_end, node.value = True, value
        self.first_words = self._root.after.keys()
        self.words = frozenset(words)

    def match(self, tokens: Sequence[Token], start: int) -> tuple[Any, int] | None:
        """Return the value of the longest phrase at `start` and the index after it; None if there is none."""
        node, found, index, end = self._root, None, start, len(tokens)
        while index < end:
            next_node = node.after.get(tokens[index].text)
            if next_node is None:
                break
            node = next_node
            index += 1
            if node.is_end:
                found = node.value, index
        return found


class _Node:
    """A word of a phrase, and the words that may follow it."""

    __slots__ = ("after", "is_end", "value")

    def __init__(self) -> None:
        self.after: dict[str, _Node] = {}
        self.is_end, self.value = False, None


def _split(phrase: str) -> tuple[str, ...]:
    """Return the words of a phrase as a text's would be; plain ones need no tokeniser."""
    if phrase.isascii() and phrase.replace(" ", "").isalpha():
        return tuple(phrase.lower().split())
    return tuple(token.text for token in tokenise(normalise(phrase)))
