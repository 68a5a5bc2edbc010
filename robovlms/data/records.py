"""Entries of a JSON or JSON-lines file, read one by one: only where they begin is kept in memory."""

import json
import re
from array import array
from pathlib import Path
from typing import Any

import numpy as np

from robovlms.errors import DataError

_SPACE = re.compile(r"\s*")


class Records:
    """Objects of a file that holds one list, or one object per line; blank lines are left out.

    Opening reads the file once. It can be pickled and used in worker processes.

    Args:
        path: file, UTF-8.

    Raises:
        DataError: if it cannot be read, or is a list that is no JSON.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            self._is_list = _begins_with_list(self.path)
            self._begins, self._sizes, self._numbers = (_list_spans if self._is_list else _line_spans)(self.path)
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path}: not readable as JSON: {error}") from error

    def __len__(self) -> int:
        return len(self._begins)

    def place(self, index: int) -> str:
        """File, and line or entry from 1, for messages."""
        return f"{self.path}, {'entry' if self._is_list else 'line'} {self._numbers[index]}"

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One object.

        Raises:
            DataError: names the line that holds none.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self._begins[index])
                record = json.loads(file.read(self._sizes[index]))
        except (OSError, ValueError) as error:
            raise DataError(f"{self.place(index)}: not readable as JSON: {error}") from error
        if not isinstance(record, dict):
            raise DataError(f"{self.place(index)}: expected an object, found {type(record).__name__}")
        return record


def _begins_with_list(path: Path) -> bool:
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                return line.lstrip().startswith(b"[")
    return False


def _line_spans(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Begin, size in bytes and number of each line that is not blank."""
    spans, begin = array("q"), 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                spans.extend((begin, len(line), number))
            begin += len(line)
    return _columns(spans)


def _list_spans(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Begin, size in bytes and number of each entry of a list."""
    text, decoder = path.read_text(encoding="utf-8"), json.JSONDecoder()
    spans, at = array("q"), _after_space(text, text.index("[") + 1)
    begin, counted, number = 0, 0, 0  # bytes before the character `counted`; entries so far
    while text[at : at + 1] != "]":
        end = decoder.raw_decode(text, at)[1]
        begin += len(text[counted:at].encode())
        size = len(text[at:end].encode())
        number += 1
        spans.extend((begin, size, number))
        begin, counted = begin + size, end
        at = _after_space(text, end)
        if text[at : at + 1] not in (",", "]"):
            raise ValueError(f"expected ',' or ']' after entry {number}")
        at = _after_space(text, at + 1) if text[at] == "," else at
    return _columns(spans)


def _after_space(text: str, at: int) -> int:
    return _SPACE.match(text, at).end()


def _columns(spans: array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    begins, sizes, numbers = np.array(spans, np.int64).reshape(-1, 3).T
    return begins, sizes, numbers
