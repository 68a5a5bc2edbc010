"""The answer in what a model generated: everything around it goes, and what is no clear answer is refused.

::

    generated text
      ─ echo.py       the prompt, chat marks, what follows the end of the turn
      ─ thoughts      <think> … </think>; an open one has no answer behind it
      ─ answer_json   {"action": "turn", "direction": "left"}, strict
      ─ sections      "Reasoning: … Final answer: …"; the final answer counts, else the answer, else what has no label
      ─ markdown.py   emphasis, headings, fences, quotes; a list is a sequence, a list of options is not
      ─ answer_phrases    refusals, doubt, alternatives, reasons behind a command
      ─> Answer ─ settle ─> actions

Refused is: a refusal ("I cannot …"), doubt ("I would …"), answers that contradict each other, malformed JSON. Then the
action is unknown, which does not move; where one of the answers is to stop, it is stop. Time is linear in the text.

>>> extract_answer("USER: Turn or stop? ASSISTANT: **Turn left**, because the way ahead is blocked.").steps
('Turn left.',)
>>> extract_answer("I cannot see the path.").refusal
'a refusal: "I cannot"'
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from robovlms.robot.action import MOVING_TYPES, ActionType, RobotAction
from robovlms.robot.language import answer_phrases as phrases
from robovlms.robot.language.answer_json import RefusedJsonError, Step, find_json, read_json
from robovlms.robot.language.echo import answers_after_prompt
from robovlms.robot.language.interpret import Pace
from robovlms.robot.language.markdown import Line, plain_lines

MAX_CHARACTERS = 32_768  # of prompt and answer each; no answer of a model that is to steer a robot is longer
MAX_STEPS = 32
_THOUGHTS = ("think", "thinking", "thought", "reasoning")


@dataclass(frozen=True)
class Answer:
    """What a model answers, before any language is read.

    Attributes:
        steps: in order: texts to read, and actions that were written as JSON.
        rivals: other answers in the same text; each must say the same.
        remarks: words around the answer: they cannot make the robot move, only stop it or make the answer unclear.
        refusal: why there is no answer; "" if there is one. The steps can then only stop the robot.
    """

    steps: tuple[Step, ...] = ()
    rivals: tuple[tuple[Step, ...], ...] = ()
    remarks: tuple[str, ...] = ()
    refusal: str = ""


def extract_answer(text: str, original_prompt: str = "", pace: Pace | None = None) -> Answer:
    """Return the answer in a generated text. Never raises for any text.

    Args:
        text: what a model generated, or a plain command.
        original_prompt: what the model was asked, which it may have echoed.
        pace: speeds of actions that are written as JSON with a direction; None = the default ones.
    """
    if max(len(text), len(original_prompt)) > MAX_CHARACTERS:
        return Answer((text[:MAX_CHARACTERS],), refusal=f"longer than {MAX_CHARACTERS} characters")
    said = answers_after_prompt(text, original_prompt)
    answers = [_one_answer(words, pace or Pace()) for words in said]
    if not answers:
        return Answer(refusal="nothing was said beside the prompt" if text.strip() else "nothing was said")
    rivals = tuple(steps for one in answers for steps in (one.steps, *one.rivals))[1:]
    refusal = next((one.refusal for one in answers if one.refusal), "")
    return Answer(answers[0].steps, rivals, tuple(remark for one in answers for remark in one.remarks), refusal)


def settle(answer: Answer, read: Callable[[str], Sequence[RobotAction]]) -> list[RobotAction]:
    """Return what the robot does, at least one action: the answer's steps if they are clear.

    Args:
        answer: of `extract_answer`.
        read: a command in some language -> its actions.
    """
    answers = [[action for step in steps for action in _read(step, read)] for steps in (answer.steps, *answer.rivals)]
    remarks = [action for remark in answer.remarks for action in read(remark)]
    if answer.refusal:
        return [_stop_among([*chain(*answers), *remarks]) or _unknown(answer.refusal)]
    clear = [one for one in answers if any(action.action_type != ActionType.UNKNOWN for action in one)]
    if not clear:
        return _in_order(answers[0]) or [_unknown("nothing to do was understood")]
    is_unclear = any(_meaning(one) != _meaning(clear[0]) for one in clear)
    opposed = [action for action in remarks if any(action.velocity) and action.velocity != clear[0][0].velocity]
    if is_unclear or opposed or _stop_among(remarks):
        return [_stop_among([*chain(*clear), *remarks]) or _unknown("answers that contradict each other")]
    return _in_order(clear[0])


def _read(step: Step, read: Callable[[str], Sequence[RobotAction]]) -> list[RobotAction]:
    """Actions of one step; of a text with "or" or doubt in it only what every reading has in common."""
    if isinstance(step, RobotAction):
        return [step]
    actions = list(read(step))
    if not any(action.action_type in MOVING_TYPES for action in actions):
        return actions
    if doubt := phrases.DOUBT.search(step):
        return [_stop_among(actions) or _unknown(f'doubt: "{doubt[0].strip()}"')]
    readings = [list(read(part)) for part in phrases.OR.split(step)]
    if any(_meaning(one) != _meaning(readings[0]) for one in readings):
        return [_stop_among(chain(*readings)) or _unknown("one thing or another: " + step[:80])]
    return actions


def _in_order(actions: list[RobotAction]) -> list[RobotAction]:
    """Numbered; after a step that is not understood nothing moves, since where the robot then is is not known."""
    kinds = [action.action_type for action in actions]
    known = kinds.index(ActionType.UNKNOWN) if ActionType.UNKNOWN in kinds else len(kinds)
    safe = [
        _unknown("waits for what was not understood: " + action.description)
        if index > known and any(action.velocity)
        else action
        for index, action in enumerate(actions)
    ]
    return [dataclasses.replace(action, sequence_index=index) for index, action in enumerate(safe)]


def _meaning(actions: Sequence[RobotAction]) -> list[tuple[object, ...]]:
    """What must be the same in two answers that say the same; confidence and words may differ."""
    return [
        (one.action_type, one.velocity, one.target_object, one.distance_m, one.angle_deg, one.gripper)
        for one in actions
    ]


def _stop_among(actions: Iterable[RobotAction]) -> RobotAction | None:
    stop = next((action for action in actions if action.action_type == ActionType.STOP), None)
    return stop and dataclasses.replace(stop, sequence_index=0)


def _unknown(why: str) -> RobotAction:
    return RobotAction(ActionType.UNKNOWN, description=why[:120])


def _one_answer(words: str, pace: Pace) -> Answer:
    """The answer of one turn."""
    words, is_thinking = _without_thoughts(words)
    if is_thinking:
        return Answer(refusal="thoughts without an end, and no answer behind them")
    try:
        if span := find_json(words):
            around = (words[: span[0]] + "\n" + words[span[1] :]).replace("```json", " ").replace("```", " ")
            return _json_answer(words[slice(*span)], around, pace)
    except RefusedJsonError as error:
        return Answer(_texts(plain_lines(words))[:MAX_STEPS], refusal=str(error))
    return _spoken_answer(words)


def _json_answer(value: str, around: str, pace: Pace) -> Answer:
    """An answer in JSON; what stands around it may be more JSON, or remarks."""
    steps, rivals = read_json(value, pace), []
    while span := find_json(around):
        rivals.append(tuple(read_json(around[slice(*span)], pace)))
        around = around[: span[0]] + around[span[1] :]
        if len(rivals) > MAX_STEPS:
            raise RefusedJsonError(f"more than {MAX_STEPS} answers in JSON")
    remarks = _texts(plain_lines(phrases.BECAUSE.sub("", around)))
    return Answer(tuple(steps), tuple(rivals), remarks[:MAX_STEPS])


def _spoken_answer(words: str) -> Answer:
    """An answer in words."""
    plain = "\n".join(("• " if line.is_item else "") + line.words for line in plain_lines(words))
    if not plain:
        return Answer(refusal="nothing was said")
    if refused := phrases.REFUSAL.search(plain):
        return Answer((plain,), refusal=f'a refusal: "{refused[0]}"')
    answers, before = _sections(plain)
    parts = [_steps(part) for part in answers]
    if max(map(len, parts)) > MAX_STEPS:
        return Answer(parts[0][:MAX_STEPS], refusal=f"more than {MAX_STEPS} steps")
    return Answer(parts[0], tuple(parts[1:]), (before,) if before else ())


def _without_thoughts(words: str) -> tuple[str, bool]:
    """What is said after the thoughts, and whether a thought has no end."""
    if "<" not in words:
        return words, False
    for name in _THOUGHTS:
        words = words.rpartition(f"</{name}>")[2]
    words = words.replace("<answer>", "\nAnswer: ").replace("</answer>", "\n")
    return words, any(f"<{name}>" in words for name in _THOUGHTS)


def _sections(plain: str) -> tuple[list[str], str]:
    """The parts that are answers, and the unlabelled words before the first of them."""
    if ":" not in plain and "：" not in plain:
        return [plain], ""
    labels = _labels(plain)
    if not labels:
        return [plain], ""
    ends = [start for start, _, _ in labels[1:]] + [len(plain)]
    parts = [(rank, plain[start:end]) for (_, rank, start), end in zip(labels, ends, strict=True)]
    before = plain[: labels[0][0]].strip()
    for wanted in (0, 1):
        if answers := [words for rank, words in parts if rank == wanted and words.strip()]:
            return answers, before
    return ([before], "") if before else ([""], "")


_RANKS = (phrases.FINAL_LABEL, phrases.ANSWER_LABEL, phrases.REMARK_LABEL)


def _labels(plain: str) -> list[tuple[int, int, int]]:
    """(start, rank, end) of each label in order; of two at one place the more telling one."""
    found = sorted(
        (match.start(), rank, match.end()) for rank, one in enumerate(_RANKS) for match in one.finditer(plain)
    )
    kept: list[tuple[int, int, int]] = []
    for label in found:
        if not kept or label[0] >= kept[-1][2]:
            kept.append(label)
    return kept


def _steps(part: str) -> tuple[Step, ...]:
    """Steps of one answer: the items of its list, or its sentences as one text."""
    return _texts([Line(line.removeprefix("•").strip(), line.startswith("•")) for line in part.splitlines()])


def _texts(lines: Sequence[Line]) -> tuple[Step, ...]:
    lines = [line for line in lines if line.words]
    items = [_bare(line.words) for line in lines if line.is_item]
    prose = [_bare(line.words) for line in lines if not line.is_item]
    if not items:
        return (_joined(prose),) if prose else ()
    first = next(index for index, line in enumerate(lines) if line.is_item)
    if any(phrases.OPTIONS.search(line.words) for line in lines[:first]) and len(items) > 1:
        return (" or ".join(items),)
    head = _joined([_bare(line.words) for line in lines[:first] if not line.words.endswith((":", "："))])
    tail = _joined([_bare(line.words) for line in lines[first:] if not line.is_item])
    return tuple(step for step in (head, *items, tail) if step)


def _joined(lines: Sequence[str]) -> str:
    """Lines as sentences."""
    ended = [line if line.endswith((".", "!", "?", ",", ";")) else line + "." for line in lines[:-1]]
    return " ".join([*ended, *lines[-1:]])


def _bare(words: str) -> str:
    """One line without the reason, the lead-in and the quotes around it."""
    words = phrases.BECAUSE.sub("", words).strip().rstrip(":：")
    if (lead := phrases.LEAD_IN.match(words)) and lead.end() and words[lead.end() :].strip():
        words = ("don't " if lead["not"] else "") + words[lead.end() :]
    for opening, closing in phrases.QUOTES:
        inner = words[1:].rstrip(".!").removesuffix(closing)
        if words.startswith(opening) and words.rstrip(".!").endswith(closing) and not {opening, closing} & set(inner):
            return inner.strip()
    return words
