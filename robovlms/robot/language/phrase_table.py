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
        entries: dict[str, list[tuple[tuple[str, ...], Any]]] = {}
        for phrase, value in values.items():
            words = _split(phrase)
            entries.setdefault(words[0] if words else "", []).append((words[1:], value))
        self._entries = {
            first: sorted(found, key=lambda entry: -len(entry[0])) for first, found in entries.items() if first
        }
        self.first_words = self._entries.keys()
        following = (word for found in self._entries.values() for words, _ in found for word in words)
        self.words = frozenset((*self._entries, *following))

    def match(self, tokens: Sequence[Token], start: int) -> tuple[Any, int] | None:
        """Return the value of the longest phrase at `start` and the index after it; None if there is none."""
        if start >= len(tokens):
            return None
        found = self._entries.get(tokens[start].text)
        if found is None:
            return None
        for words, value in found:
            index = start + 1
            for word in words:
                if index >= len(tokens) or tokens[index].text != word:
                    break
                index += 1
            else:
                return value, index
        return None


def _split(phrase: str) -> tuple[str, ...]:
    """Return the words of a phrase as a text's would be; plain ones need no tokeniser."""
    if phrase.isascii() and phrase.replace(" ", "").isalpha():
        return tuple(phrase.lower().split())
    return tuple(token.text for token in tokenise(normalise(phrase)))
