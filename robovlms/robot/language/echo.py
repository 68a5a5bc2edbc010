"""What a model generated, without the prompt that it repeats and without the marks of a chat.

::

    "USER: <image> Turn or stop? ASSISTANT: turn left</s>USER: …"
     └─ user ─────────────────── └─ assistant ──── └─ end, user: no answer

Whoever decodes tokens may keep the special ones ("<|im_start|>assistant") or not ("assistant" alone on a line), and
the prompt may come back with other spaces and capitals. So prompt and text are compared by their letters: without
spaces, marks and case. Everything here takes time linear in the text.
"""

import re
import unicodedata
from typing import NamedTuple

_ASSISTANT = (
    r"<\|im_start\|>[ \t]{0,4}assistant|<start_of_turn>[ \t]{0,4}model|<\|assistant\|>|\[/INST\]"
    r"|<\|start_header_id\|>assistant<\|end_header_id\|>|(?<!\S)assistant[ \t]{0,4}:"
    r"|^\#{1,3}[ \t]{0,4}(?:assistant|response)[ \t]{0,4}:?|^(?:assistant|model)[ \t]{0,4}$"
)
_OTHER = (
    r"<\|im_start\|>[ \t]{0,4}(?:user|system)|<start_of_turn>[ \t]{0,4}user|<\|(?:user|system)\|>|\[INST\]"
    r"|<\|start_header_id\|>(?:user|system)<\|end_header_id\|>|(?<!\S)(?:user|human|system)[ \t]{0,4}:"
    r"|^\#{1,3}[ \t]{0,4}(?:human|user|instruction)[ \t]{0,4}:?|^(?:user|system)[ \t]{0,4}$"
)
_END = r"<\|im_end\|>|<end_of_turn>|<eos>|</s>|<\|eot_id\|>|<\|endoftext\|>|<\|end\|>|<end_of_utterance>"
_NOISE = (
    r"<image>|<image_[0-9]{1,2}>|<img>|<\|image_pad\|>|<\|vision_(?:start|end)\|>|<bos>|<s>|<pad>|<\|begin_of_text\|>"
)
_MARK = re.compile(
    f"(?P<assistant>{_ASSISTANT})|(?P<other>{_OTHER})|(?P<end>{_END})|(?P<noise>{_NOISE})", re.IGNORECASE | re.MULTILINE
)
_MARK_CHARACTERS = frozenset("<[:#\n")  # no mark is without one of them, but for a role alone on the only line
_MIN_LETTERS = 12  # a shorter prompt in the middle of an answer may be a word of the answer
_MAX_REPEATS = 8  # of the prompt, then it is a loop and no answer


class _Mark(NamedTuple):
    kind: str
    start: int
    end: int


def answers_after_prompt(text: str, prompt: str = "") -> list[str]:
    """Return what the model itself said, one text per turn; none if it only repeated the prompt.

    Args:
        text: what was generated.
        prompt: what the model was asked; "" if that is not known.

    >>> answers_after_prompt("What now?  TURN or stop? ASSISTANT: turn left", "What now? Turn or stop?")
    ['turn left']
    """
    text, prompt = unicodedata.normalize("NFC", text), unicodedata.normalize("NFC", prompt)
    marks = _marks(text)
    if not marks and not prompt:
        return [text.strip()] if text.strip() else []
    return [said for start, end in _unprompted(text, marks, prompt) for said in _turns(text, marks, start, end)]


def _marks(text: str) -> list[_Mark]:
    if _MARK_CHARACTERS.isdisjoint(text):
        return []
    return [_Mark(match.lastgroup or "", *match.span()) for match in _MARK.finditer(text)]


def _unprompted(text: str, marks: list[_Mark], prompt: str) -> list[tuple[int, int]]:
    """Spans of the text that are not the prompt; a prompt at the front takes with it what stands before it."""
    asked, _ = _letters(prompt, _marks(prompt))
    if not asked:
        return [(0, len(text))]
    letters, places = _letters(text, marks)
    spans, start, found = [], 0, _find(letters, places, text, asked, 0)
    while found >= 0:
        first = places[found]
        is_front = found == 0 or (not spans and any(one.kind == "other" and one.end <= first for one in marks))
        if len(spans) > _MAX_REPEATS:
            return []
        if not is_front and len(asked) < _MIN_LETTERS:
            break
        if not is_front or spans:
            spans.append((start, first))
        start = places[found + len(asked) - 1] + 1
        found = _find(letters, places, text, asked, found + len(asked))
    return [*spans, (start, len(text))]


def _find(letters: str, places: list[int], text: str, asked: str, start: int) -> int:
    """Where the letters of the prompt begin; -1 if nowhere, or if they end in the middle of a word."""
    found = letters.find(asked, start)
    if found < 0:
        return -1
    after = places[found + len(asked) - 1] + 1
    ends_inside = asked[-1].isalnum() and after < len(text) and text[after].isalnum()
    return -1 if ends_inside else found


def _letters(text: str, marks: list[_Mark]) -> tuple[str, list[int]]:
    """The text folded, without spaces and marks, and the place in the text of each of its characters."""
    letters, places, marked = [], [], iter([*marks, _Mark("", len(text), len(text))])
    mark = next(marked)
    for place, character in enumerate(text):
        while place >= mark.end and mark.start < len(text):
            mark = next(marked)
        if character.isspace() or mark.start <= place < mark.end:
            continue
        folded = character.casefold()
        letters.append(folded)
        places.extend([place] * len(folded))
    return "".join(letters), places


def _turns(text: str, marks: list[_Mark], start: int, end: int) -> list[str]:
    """What the assistant said in a part of the text; where no assistant is named, what stands before the first mark."""
    speaker, here, said, named = "unnamed", start, [], False
    for mark in (one for one in marks if start <= one.start and one.end <= end):
        if mark.kind == "noise":
            continue
        said.append((speaker, text[here : mark.start]))
        speaker, here = mark.kind, mark.end
        named = named or speaker == "assistant"
    said.append((speaker, text[here:end]))
    chosen = "assistant" if named else "unnamed"
    cleaned = [_NOISE_PATTERN.sub(" ", words) for speaker, words in said if speaker == chosen]
    return [words.strip() for words in cleaned if words.strip()]


_NOISE_PATTERN = re.compile(_NOISE, re.IGNORECASE)
