"""The answer in words: which sections of a text are the answer, which are reasons and remarks, and its steps.

::

    "I see a door. Reasoning: it is open. Final answer: 1. go forward 2. stop"
     └─ remark ─── └─ dropped ─────────── └─ answer ─ └─ step ─── └─ step
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from robovlms.robot.language import answer_phrases as phrases
from robovlms.robot.language.markdown import Line, plain_lines

MAX_STEPS = 32
NOTHING_SAID = "nothing was said"
_ITEM = "• "
_REASON = re.compile(rf"(?:{phrases.BECAUSE.pattern})(?P<tail>[,;][^.!?\n]*)?", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?。]\s")
_RANKS = (phrases.FINAL_LABEL, phrases.ANSWER_LABEL, phrases.REASON_LABEL, phrases.NOTE_LABEL)
_FINAL, _ANSWER, _, _NOTE = range(4)


@dataclass(frozen=True)
class Spoken:
    """An answer in words.

    Attributes:
        answers: at least one; each is its steps in order.
        remarks: words around it.
        refusal: why it is none; "" if it is one.
    """

    answers: tuple[tuple[str, ...], ...] = ((),)
    remarks: tuple[str, ...] = ()
    refusal: str = ""


def spoken_answer(words: str) -> Spoken:
    """Return the answer in a text without JSON."""
    plain = "\n".join(_ITEM * line.is_item + line.words for line in plain_lines(words))
    if not plain:
        return Spoken(refusal=NOTHING_SAID)
    if refused := phrases.REFUSAL.search(plain):
        return Spoken(((plain,),), refusal=f'a refusal: "{refused[0]}"')
    plain, remarks = _without_reasons(plain)
    sections, more = _sections(plain)
    parts = [_steps(section) for section in sections]
    refusal = next((part.refusal for part in parts if part.refusal), "")
    answers = tuple(part.answers[0][:MAX_STEPS] for part in parts)
    if any(len(part.answers[0]) > MAX_STEPS for part in parts):
        refusal = f"more than {MAX_STEPS} steps"
    remarks = [*remarks, *more, *(remark for part in parts for remark in part.remarks)]
    return Spoken(answers, tuple(remarks[:MAX_STEPS]), refusal)


def forbids_what_follows(words: str) -> bool:
    """Whether a text ends in words like "do not do this:"."""
    last = _SENTENCE_END.split(words.rstrip())[-1]
    return phrases.NEGATED.search(last.rpartition("\n")[2]) is not None


def _without_reasons(plain: str) -> tuple[str, list[str]]:
    """The text without "because …"; what is said behind a comma there is a remark ("…, stop")."""
    tails: list[str] = []

    def take(match: re.Match[str]) -> str:
        tails.append((match["tail"] or "").lstrip(",; ").removeprefix("so ").rstrip(")"))
        return ""

    return _REASON.sub(take, plain), [tail for tail in tails if tail]


def _sections(plain: str) -> tuple[list[str], list[str]]:
    """The parts that are answers, and remarks: notes, and the words before the first label."""
    labels = _labels(plain) if ":" in plain or "：" in plain else []
    if not labels:
        return [plain], []
    ends = [start for start, _, _ in labels[1:]] + [len(plain)]
    parts = [(rank, plain[start:end].strip()) for (_, rank, start), end in zip(labels, ends, strict=True)]
    before = plain[: labels[0][0]].strip(_ITEM + "\n")
    notes = [words for rank, words in parts if rank == _NOTE and words]
    for wanted in (_FINAL, _ANSWER):
        if answers := [words for rank, words in parts if rank == wanted and words.strip(_ITEM)]:
            return answers, [*filter(None, [before]), *notes]
    return [before], notes


def _labels(plain: str) -> list[tuple[int, int, int]]:
    """(start, rank, end) of each label in order; of two at one place the more telling one."""
    found = sorted((one.start(), rank, one.end()) for rank, label in enumerate(_RANKS) for one in label.finditer(plain))
    kept: list[tuple[int, int, int]] = []
    for label in found:
        if not kept or label[0] >= kept[-1][2]:
            kept.append(label)
    return kept


def _steps(section: str) -> Spoken:
    """Steps of one answer: the items of its list, or its sentences as one text."""
    lines = [Line(line.removeprefix("•").strip(), line.startswith("•")) for line in section.splitlines()]
    lines = [line for line in lines if line.words]
    items = [_bare(line.words) for line in lines if line.is_item]
    if not items:
        prose = _joined([_bare(line.words) for line in lines])
        return Spoken(((prose,) if prose else (),))
    first = next(index for index, line in enumerate(lines) if line.is_item)
    heads = [line.words for line in lines[:first]]
    tail = _joined([_bare(line.words) for line in lines[first:] if not line.is_item])
    if any(phrases.HEAD.search(head) and forbids_what_follows(head) for head in heads):
        return Spoken((tuple(items),), refusal="a list of what not to do")
    if len(items) > 1 and any(phrases.OPTIONS.search(head) for head in heads):
        return Spoken(((" or ".join(items),),), (tail,) if tail else ())
    remarks = [head for head in heads if phrases.HEAD.search(head)]
    head = _joined([_bare(head) for head in heads if head not in remarks])
    return Spoken((tuple(step for step in (head, *items, tail) if step),), tuple(_bare(one) for one in remarks))


def _joined(lines: Sequence[str]) -> str:
    """Lines as sentences."""
    ended = [line if line.endswith((".", "!", "?", ",", ";")) else line + "." for line in lines[:-1]]
    return " ".join([*ended, *lines[-1:]])


def _bare(words: str) -> str:
    """One line without the lead-in and the quotes around it."""
    words = words.strip().rstrip(":：")
    if (lead := phrases.LEAD_IN.match(words)) and lead.end() and words[lead.end() :].strip():
        words = ("don't " if lead["not"] else "") + words[lead.end() :]
    for opening, closing in phrases.QUOTES:
        inner = words[1:].rstrip(".!").removesuffix(closing)
        if words.startswith(opening) and words.rstrip(".!").endswith(closing) and not {opening, closing} & set(inner):
            return inner.strip()
    return words
