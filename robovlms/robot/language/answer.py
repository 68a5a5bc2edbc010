"""The answer in what a model generated: everything around it goes, and what is no clear answer is refused.

::

    generated text
      ─ echo.py       the prompt, chat marks, what follows the end of the turn
      ─ thoughts      <think> … </think>; an open one has no answer behind it
      ─ answer_json   {"action": "turn", "direction": "left"}, strict
      ─ markdown.py   emphasis, headings, fences, quotes
      ─ spoken.py     refusals; "Reasoning: … Final answer: …": the final answer counts, else the answer, else what has
                      no label; reasons behind a command go; a list is a sequence, a list of options is not
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
from robovlms.robot.language.spoken import NOTHING_SAID, forbids_what_follows, spoken_answer

MAX_CHARACTERS = 32_768  # of prompt and answer each; no answer of a model that is to steer a robot is longer
MAX_RIVALS = 8  # a model that answers more often is in a loop
_MAX_HEARD = 1000  # of JSON that is refused, where a stop is still heard
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
    if len(rivals) > MAX_RIVALS:
        refusal = f"more than {MAX_RIVALS} answers"
    remarks = tuple(remark for one in answers for remark in one.remarks)
    return Answer(answers[0].steps, rivals[:MAX_RIVALS], remarks[:MAX_RIVALS], refusal)


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
            before = words[: span[0]].replace("```json", " ").replace("```", " ")
            if forbids_what_follows(before):
                raise RefusedJsonError("words before the JSON forbid it")
            return _json_answer(words[slice(*span)], before + "\n" + words[span[1] :].replace("```", " "), pace)
    except RefusedJsonError as error:
        return Answer((words[:_MAX_HEARD],), refusal=str(error))
    said = spoken_answer(words)
    return Answer(said.answers[0], said.answers[1:], said.remarks, said.refusal)


def _json_answer(value: str, around: str, pace: Pace) -> Answer:
    """An answer in JSON; what stands around it may be more JSON, or remarks."""
    steps, rivals = read_json(value, pace), []
    while span := find_json(around):
        rivals.append(tuple(read_json(around[slice(*span)], pace)))
        around = around[: span[0]] + around[span[1] :]
        if len(rivals) > MAX_RIVALS:
            raise RefusedJsonError(f"more than {MAX_RIVALS} answers in JSON")
    said = spoken_answer(around)
    refusal = said.refusal if around.strip() and said.refusal != NOTHING_SAID else ""
    return Answer(tuple(steps), tuple(rivals), (*said.remarks, *chain(*said.answers)), refusal)


def _without_thoughts(words: str) -> tuple[str, bool]:
    """What is said after the thoughts, and whether a thought has no end."""
    if "<" not in words:
        return words, False
    for name in _THOUGHTS:
        words = words.rpartition(f"</{name}>")[2]
    words = words.replace("<answer>", "\nAnswer: ").replace("</answer>", "\n")
    return words, any(f"<{name}>" in words for name in _THOUGHTS)
