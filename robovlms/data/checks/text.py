"""Checks of instructions."""

import unicodedata
from collections.abc import Iterator

from robovlms.data.checks.check import Check
from robovlms.data.checks.episode import EpisodeNumbers
from robovlms.data.checks.fault import Fault
from robovlms.errors import DataError

_LOST = "�"  # stands where bytes could not be read as text
_BAD_KINDS = {"Cc": "a control character", "Cs": "half of a surrogate pair", "Co": "a character of private use"}


class Instruction(Check):
    """Every episode says in clean text what the robot was asked to do."""

    def episode(self, episode: EpisodeNumbers) -> Iterator[Fault]:
        try:
            text = self.source.instruction(episode.index)
        except DataError as error:
            if not self.scope.is_known(str(error)):
                yield _fault(episode, str(error), None)
            return
        reason = text_fault(text)
        if reason is not None:
            yield _fault(episode, f"{episode.where}: instruction {text!r} {reason}", text)


def text_fault(text: str) -> str | None:
    r"""What is wrong with an instruction; None if nothing is.

    >>> text_fault("close the drawer"), text_fault(" "), text_fault("ouvre le tiroir à côté")
    (None, 'is empty', None)
    >>> text_fault("close\x07 it")
    'holds a control character, U+0007'
    """
    if not isinstance(text, str) or not text.strip():
        return "is empty"
    for letter in text:
        if letter == _LOST:
            return "holds U+FFFD: bytes of it could not be read as text, so letters are lost"
        kind = unicodedata.category(letter)
        if kind in _BAD_KINDS:
            return f"holds {_BAD_KINDS[kind]}, U+{ord(letter):04X}"
        if kind == "Cn":
            return f"holds a character that does not exist, U+{ord(letter):04X}"
    return None


def _fault(episode: EpisodeNumbers, message: str, seen: str | None) -> Fault:
    return Fault(
        check="instruction",
        file=episode.file,
        episode=episode.index,
        key="instruction",
        expected="a text without control characters or lost letters",
        seen=None if seen is None else repr(seen),
        message=message,
    )
