"""Markdown to plain lines: emphasis, headings, fences, quotes and list marks go, the words stay."""

import re
from typing import NamedTuple

_MARKED = frozenset("*_`~#>\n")
_STRUCK = re.compile(r"~~[^~\n]{0,400}~~")  # taken back by who wrote it
_EMPHASIS = re.compile(r"\*{1,3}(?=\S)|(?<=\S)\*{1,3}|(?<!\w)_{1,3}(?=\w)|(?<=\w)_{1,3}(?!\w)")
_FRONT = re.compile(r"(?:[ \t]{0,16}(?:>|\#{1,6}(?=[ \t])))+[ \t]*")
_FENCE = re.compile(r"[ \t]{0,16}```+[ \t]*[\w+-]{0,20}[ \t]*")
_ITEM = re.compile(
    r"[ \t]{0,16}(?:[-*•‣▪+·][ \t]+|\(?([0-9]{1,2})[.)](?:[ \t]+|(?=[^\W\d_]))"
    r"|(?:step|action|단계|paso)[ \t]?([0-9]{1,2})[ \t]?[:：.)][ \t]*|([0-9]{1,2})단계[ \t]?[:：.)]?[ \t]*)",
    re.IGNORECASE,
)
_INLINE_ITEM = re.compile(r"(?:^|(?<=\s))\(?([0-9]{1,2})[.)][ \t]+(?=\S)")


class Line(NamedTuple):
    """One line: its words, and whether it is an item of a list."""

    words: str
    is_item: bool


def plain_lines(text: str) -> list[Line]:
    """Return the lines of a text that say something, without marks. A heading ends with a colon.

    >>> plain_lines("## Plan\\n1. **go forward** 2. turn left\\n> stop")  # doctest: +NORMALIZE_WHITESPACE
    [Line(words='Plan:', is_item=False), Line(words='go forward', is_item=True), Line(words='turn left', is_item=True),
     Line(words='stop', is_item=False)]
    """
    if _MARKED.isdisjoint(text) and "1" not in text and text.lstrip()[:1] not in "-•‣▪+·(":
        return [Line(text.strip(), False)] if text.strip() else []
    lines = []
    for raw in _STRUCK.sub(" ", text).splitlines():
        if fence := _FENCE.match(raw):
            raw = raw[fence.end() :].removesuffix("```")
        if front := _FRONT.match(raw):
            raw = raw[front.end() :].rstrip() + (":" if "#" in front[0] and raw.rstrip()[-1:] not in ".!?:" else "")
        lines += _items(raw)
    cleaned = [Line(_EMPHASIS.sub("", line.words).replace("`", "").strip(), line.is_item) for line in lines]
    return [line for line in cleaned if line.words]


def _items(raw: str) -> list[Line]:
    """One line as it is, or its items."""
    if raw.count("**") and not _ITEM.match(raw):
        raw = raw.replace("**", "")
    numbered = _numbered(raw)
    if len(numbered) > 1:
        ends = [*(match.start() for match in numbered[1:]), len(raw)]
        head = [Line(raw[: numbered[0].start()], False)]
        return head + [Line(raw[match.end() : end], True) for match, end in zip(numbered, ends, strict=True)]
    item = _ITEM.match(raw)
    return [Line(raw[item.end() :], True)] if item else [Line(raw, False)]


def _numbered(raw: str) -> list[re.Match[str]]:
    """Marks 1, 2, 3 … within one line; numbers that do not count up are numbers."""
    marks: list[re.Match[str]] = []
    for match in _INLINE_ITEM.finditer(raw):
        head = raw[: match.start()].rstrip() if not marks else ""
        if int(match[1]) == len(marks) + 1 and (not head or head[-1] in ":：.!?"):
            marks.append(match)
    return marks
