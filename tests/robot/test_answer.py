import json
import math
import re
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robovlms.robot.action import MOVING_TYPES, ActionType, RobotAction
from robovlms.robot.language.answer import Answer, extract_answer, settle
from robovlms.robot.language.answer_json import RefusedJsonError, find_json, read_json
from robovlms.robot.language.echo import answers_after_prompt
from robovlms.robot.language.interpret import FULL_CONFIDENCE, Pace
from robovlms.robot.language.markdown import plain_lines
from robovlms.robot.parser import VLAActionParser

PARSER = VLAActionParser(["english"])
ASKED = "You drive a robot. It can move, turn or stop. What next: go forward, turn left, turn right or stop?"
UNKNOWN, STOP, MOVE, TURN = ActionType.UNKNOWN, ActionType.STOP, ActionType.MOVE, ActionType.TURN


def said(text: str, prompt: str = "") -> list[tuple[ActionType, float, float]]:
    actions = PARSER.parse_sequence(text, prompt)
    assert [action.sequence_index for action in actions] == list(range(len(actions)))
    return [(action.action_type, action.linear_x, action.angular_z) for action in actions]


AHEAD, LEFT, RIGHT, HALT, NOTHING = (MOVE, 0.3, 0), (TURN, 0, 0.5), (TURN, 0, -0.5), (STOP, 0, 0), (UNKNOWN, 0, 0)

ECHOES = [
    "{prompt} turn left",
    "{prompt}turn left",
    "{prompt}\n\nTurn left.",
    "{upper}  turn left",
    "USER: <image>\n{prompt} ASSISTANT: turn left",
    "USER: <image>\n{prompt} ASSISTANT: turn left</s>",
    "User: {prompt}\nAssistant: turn left",
    "A chat. USER: {prompt} ASSISTANT: turn left</s>USER: and now? ",
    "<|im_start|>system\nYou are a helpful assistant that may go forward.<|im_end|>\n<|im_start|>user\n<|vision_start|>"
    "<|image_pad|><|vision_end|>{prompt}<|im_end|>\n<|im_start|>assistant\nturn left<|im_end|>\n<|endoftext|>",
    "system\nYou are a helpful assistant that may go forward.\nuser\n{prompt}\nassistant\nturn left",
    "<bos><start_of_turn>user\n{prompt}<end_of_turn>\n<start_of_turn>model\nturn left<end_of_turn>\n<eos>",
    "user\n{prompt}\nmodel\nturn left",
    "<s>[INST] {prompt} [/INST] turn left</s>",
    "### Human: {prompt}\n### Assistant: turn left",
    "<|start_header_id|>user<|end_header_id|>\n\n{prompt}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    "turn left<|eot_id|>",
    "{prompt}\nAnswer: turn left",
    "{prompt} Action: **turn left**",
    "{prompt}\n{prompt}\nturn left",
    "turn left. {prompt}",
    "turn left",
]


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("prompt", [ASKED, "<image>\n" + ASKED, f"  {ASKED.lower()} "])
def test_the_prompt_is_never_the_answer(echo: str, prompt: str) -> None:
    assert said(echo.format(prompt=ASKED, upper=ASKED.upper()), prompt) == [LEFT]


@pytest.mark.parametrize("echo", [echo for echo in ECHOES if echo != "turn left"])
def test_a_prompt_without_an_answer_moves_nothing(echo: str) -> None:
    text = re.sub(r"(?i)\**turn left\**\.?", "", echo).format(prompt=ASKED, upper=ASKED.upper())
    assert said(text, ASKED) == [NOTHING]
    assert PARSER.parse_text_output(text, ASKED).confidence == 0


@pytest.mark.parametrize("echo", [echo for echo in ECHOES if re.search(r"(?i)assistant|model|INST", echo)])
def test_chat_marks_tell_the_answer_where_the_prompt_is_not_known(echo: str) -> None:
    assert said(echo.format(prompt=ASKED, upper=ASKED.upper())) == [LEFT]


def test_a_prompt_is_no_part_of_a_word() -> None:
    assert answers_after_prompt("gold is there", "go") == ["gold is there"]
    assert answers_after_prompt("go: left", "go") == [": left"]
    assert answers_after_prompt("I go there", "go") == ["I go there"]  # too short to be sought in the middle
    assert answers_after_prompt("앞으로 갈까요?왼쪽", "앞으로  갈까요?") == ["왼쪽"]


def test_two_turns_are_two_answers() -> None:
    turns = "USER: now? ASSISTANT: {} USER: now? ASSISTANT: {}"
    assert said(turns.format("turn left", "turn left")) == [LEFT]
    assert said(turns.format("turn left", "turn right")) == [NOTHING]
    assert said(turns.format("turn left", "stop")) == [HALT]


WORDS = {
    "**turn left**": [LEFT],
    "Turn __left__.": [LEFT],
    "*turn left*": [LEFT],
    "`turn left`": [LEFT],
    "```\nturn left\n```": [LEFT],
    "```text\nturn left\n```": [LEFT],
    "> turn left": [LEFT],
    "# turn left": [LEFT],
    "## Action\nturn left": [LEFT],
    "**Answer:** turn left": [LEFT],
    "**Answer**: turn left": [LEFT],
    '"turn left"': [LEFT],
    "“Turn left.”": [LEFT],
    "- turn left": [LEFT],
    "1. go forward 2. turn left": [AHEAD, LEFT],
    "1. go forward\n2. turn left\n3. stop": [AHEAD, LEFT, HALT],
    "Plan:\n1) **Go forward**\n2) Turn left": [AHEAD, LEFT],
    "Here are the steps: 1. go forward 2. turn left": [AHEAD, LEFT],
    "- go forward\n- turn left": [AHEAD, LEFT],
    "* go forward\n* turn left": [AHEAD, LEFT],
    "Step 1: go forward\nStep 2: turn left": [AHEAD, LEFT],
    "Action 1: go forward\nAction 2: turn left": [AHEAD, LEFT],
    "go forward\nturn left": [AHEAD, LEFT],
    "~~go forward~~ turn left": [LEFT],
    "~~turn left~~ stop": [HALT],
    "Turn left because the path ahead is blocked.": [LEFT],
    "Turn left, since the right side would be a wall, so going right is wrong.": [LEFT],
    "Turn left (because right is blocked).": [LEFT],
    "Reasoning: I could go forward or turn right. Final answer: turn left": [LEFT],
    "Thought: turn right would be wrong\nAction: turn left\nExplanation: going forward is blocked": [LEFT],
    "Final answer: turn left": [LEFT],
    "Answer: go forward\nFinal answer: turn left": [LEFT],
    "The best action is to turn left.": [LEFT],
    "The robot should turn left.": [LEFT],
    "Sure! Turn left.": [LEFT],
    "<think>Should I go forward? No.</think>turn left": [LEFT],
    "<think>go forward</think>\n<answer>turn left</answer>": [LEFT],
    "Action: turn left\nAction: turn left": [LEFT],
    "- Answer: turn left": [LEFT],
    "Q: what now? A: turn left": [LEFT],
    "Turn left. 왜냐하면 앞이 막혔기 때문입니다.": [LEFT],
    "Turn left because the way is blocked, stop": [HALT],
    "The way is clear. Because there is a child, stop.": [HALT],
    "Action: turn left\nNote: stop immediately!": [HALT],
    "Stop now:\n- go forward\n- turn left": [HALT],
    "Action: turn left\nAction: stop": [HALT],
    "Stop! Action: turn left": [HALT],
    "turn left or stop": [HALT],
    "I cannot see the path, so stop.": [HALT],
    "Options:\n- go forward\n- stop": [HALT],
}
REFUSED = [
    "I would go forward or turn left",
    "go forward or turn left",
    "turn left or right",
    "turn left or turn right",
    "either go forward or turn left",
    "I might turn left",
    "maybe turn left",
    "Perhaps go forward.",
    "You could turn left.",
    "You can turn left.",
    "I think turn left",
    "I cannot turn left.",
    "I can't go forward.",
    "I'm sorry, but I can't help. Go forward.",
    "As an AI language model, I go forward.",
    "I am not able to see. Turn left.",
    "I don't know. Turn left.",
    "Options:\n- go forward\n- turn left",
    "Possible actions:\n1. go forward\n2. turn left",
    "Action: turn left\nAction: turn right",
    "Answer: go forward\nAnswer: turn left",
    "<think>I should go forward",
    "<thinking>go forward",
    "0.3 0.2 0.1",
    "[0.3, 0.0, 0.5]",
    "linear_x: 0.3",
    "",
    "   \n ",
    "**",
    "```\n```",
    "<image><image>",
    "USER: go forward",
    "user\ngo forward",
    "The robot should not go forward.",
    "Do not do the following:\n- go forward\n- turn left",
    "Never:\n1. go forward",
    "Wrong actions: 1. go forward 2. turn left",
    "These are not safe.\n- go forward",
    'Do not do this: {"action": "turn", "direction": "left"}',
    'It would be wrong to do {"action": "turn", "direction": "left"}',
    'I cannot see. {"action": "turn", "direction": "left"}',
    "Wrong answer: turn left",
    *["\n".join(["Answer: turn left"] * 20), "USER: x ASSISTANT: turn left " * 20],
]


@pytest.mark.parametrize("text", WORDS)
def test_what_is_around_an_answer(text: str) -> None:
    assert said(text) == WORDS[text]
    assert said(f"USER: {ASKED} ASSISTANT: {text}</s>", ASKED) == WORDS[text]


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_clear_answer_is_refused(text: str) -> None:
    for actions in (PARSER.parse_sequence(text), PARSER.parse_sequence(f"{ASKED} {text}", ASKED)):
        assert all(action.action_type in (UNKNOWN, STOP) and action.velocity == (0, 0, 0) for action in actions)


OTHER_LANGUAGES = {
    "왼쪽으로 도세요. 왜냐하면 앞이 막혔기 때문입니다.": LEFT,
    "이유: 앞이 막혔다.\n행동: 왼쪽으로 돌아": LEFT,
    "**왼쪽으로 회전**": LEFT,
    "최종 답: 왼쪽으로 돌아": LEFT,
    '{"action": "왼쪽으로 도세요"}': LEFT,
    "1. 왼쪽으로 돌아\n2. 멈춰": LEFT,
    "답: 정지": HALT,
    "멈추거나 앞으로 가세요": HALT,
    "왼쪽 또는 오른쪽으로 도세요": NOTHING,
    "앞으로 가거나 왼쪽으로 도세요": NOTHING,
    "아마 왼쪽으로 도세요": NOTHING,
    "죄송합니다. 왼쪽으로 도세요": NOTHING,
    "다음을 하지 마세요:\n- 앞으로 가\n- 왼쪽으로 돌아": NOTHING,
    "Respuesta: gira a la izquierda": LEFT,
    "gira a la izquierda porque está bloqueado": LEFT,
    "para o avanza": HALT,
    "gira a la izquierda o a la derecha": NOTHING,
    "No puedo. gira a la izquierda": NOTHING,
}


@pytest.fixture(scope="module")
def all_languages() -> VLAActionParser:
    return VLAActionParser()


@pytest.mark.parametrize("text", OTHER_LANGUAGES)
def test_answers_in_other_languages(text: str, all_languages: VLAActionParser) -> None:
    prompt = "로봇은 이동, 회전, 정지할 수 있습니다. 무엇을 해야 합니까?"
    for said_text, asked in ((text, ""), (f"{prompt} {text}", prompt), (f"USER: {prompt} ASSISTANT: {text}</s>", "")):
        action = all_languages.parse_text_output(said_text, asked)
        assert (action.action_type, action.linear_x, action.angular_z) == OTHER_LANGUAGES[text]


def test_plain_commands_are_left_as_they_are() -> None:
    for text in (
        "go forward 1.5 m",
        "turn left, then stop",
        "don't turn left",
        "move 2.5 m. turn 90 degrees",
        "앞으로 가",
    ):
        assert extract_answer(text) == Answer((text,))


JSON = {
    '{"action": "turn", "direction": "left", "angle": 90}': [LEFT],
    '{"action": "Turn", "direction": "Left", "angle": 90, "reason": "go forward is blocked"}': [LEFT],
    '```json\n{"action": "turn", "direction": "left", "angle": 90}\n```': [LEFT],
    'The answer is {"action": "turn", "direction": "left", "angle": 90}. The path is blocked.': [LEFT],
    '{"action_type": "move", "linear_x": 0.2, "linear_y": 0, "angular_z": 0.0}': [(MOVE, 0.2, 0)],
    '{"action_type": "move", "linear_x": 2e0}': [(MOVE, 2.0, 0)],  # the validator's work
    '{"action": "move", "direction": "backward", "distance": 1, "speed": "slow"}': [(MOVE, -0.15, 0)],
    '[{"action": "move", "direction": "forward"}, {"action": "turn", "direction": "right"}]': [AHEAD, RIGHT],
    '{"actions": [{"action": "move", "direction": "forward"}, {"action": "stop"}]}': [AHEAD, HALT],
    '{"action": "turn left"}': [LEFT],
    '{"command": "turn_left"}': [LEFT],
    '["go forward", "turn left"]': [AHEAD, LEFT],
    '{"action": "stop"}': [HALT],
    '{"action": "stop", "confidence": 0.9, "linear_x": 0.0}': [HALT],
    '{"action": "turn", "direction": "left"}{"action": "turn", "direction": "left"}': [LEFT],
    '{"action": "turn", "direction": "left"}\n{"action": "stop"}': [HALT],
    '{"action": "turn", "direction": "left"} Stop!': [HALT],
    'Stop! {"action": "turn", "direction": "left"}': [HALT],
    '{"action": "turn", "direction": "left"} Stop! {"action": "mov"': [HALT],
    '{"action": "stop", "linear_x": 0.2}': [HALT],  # refused as JSON, but a stop is heard
    '{"action": "stop", "action": "move", "linear_x": 0.2}': [HALT],
    '{"action": "unknown"}': [NOTHING],
    '{"action": "move"}': [NOTHING],  # where to?
    '{"action": "turn left or right"}': [NOTHING, NOTHING],
    '[{"action": "dance"}, {"action": "move", "direction": "forward"}]': [NOTHING, NOTHING],  # waits
}
BAD_JSON = {
    "trailing comma": '{"action": "move", "linear_x": 0.2,}',
    "single quotes": "{'action': 'move', 'linear_x': 0.2}",
    "not closed": '{"action": "move", "linear_x": 0.2',
    "comment": '{"action": "move", "linear_x": 0.2 /* slow */}',
    "NaN": '{"action": "move", "linear_x": NaN}',
    "Infinity": '{"action": "move", "linear_x": Infinity}',
    "-Infinity": '{"action": "move", "linear_x": -Infinity}',
    "overflow": '{"action": "move", "linear_x": 1e999}',
    "huge integer": '{"action": "move", "linear_x": ' + "9" * 400 + "}",
    "5000 digits": '{"action": "move", "linear_x": ' + "9" * 5000 + "}",
    "text for a number": '{"action": "move", "linear_x": "0.2"}',
    "true for a number": '{"action": "move", "linear_x": true}',
    "list for a number": '{"action": "move", "linear_x": [0.2]}',
    "number for a type": '{"action": 1, "linear_x": 0.2}',
    "duplicated key": '{"action": "move", "linear_x": 0.2, "linear_x": 0.1}',
    "duplicated type": '{"action": "turn", "action": "move", "linear_x": 0.2}',
    "two types": '{"action": "move", "action_type": "move", "linear_x": 0.2}',
    "no type": '{"linear_x": 0.2}',
    "synonym twice": '{"action": "turn", "direction": "left", "angle": 9, "angle_deg": 90}',
    "unknown key": '{"action": "move", "linear_x": 0.2, "linear_z": 0.1}',
    "unknown action with a velocity": '{"action": "go", "linear_x": 0.2}',
    "unknown direction": '{"action": "turn", "direction": "port"}',
    "direction of a wrong type": '{"action": "turn", "direction": ["left"]}',
    "unknown speed": '{"action": "turn", "direction": "left", "speed": "warp"}',
    "velocity of a grab": '{"action": "grab", "linear_x": 0.2}',
    "velocity of an unknown": '{"action": "unknown", "linear_x": 0.2}',
    "driving turn": '{"action": "turn", "linear_x": 0.2, "angular_z": 0.5}',
    "direction and velocity": '{"action": "move", "direction": "back", "linear_x": 0.2}',
    "negative distance": '{"action": "move", "direction": "forward", "distance": -1}',
    "no distance": '{"action": "move", "direction": "forward", "distance": 0}',
    "confidence above one": '{"action": "move", "linear_x": 0.2, "confidence": 1.5}',
    "confidence below zero": '{"action": "move", "linear_x": 0.2, "confidence": -0.5}',
    "gripper of a move": '{"action": "move", "linear_x": 0.2, "gripper": "open"}',
    "arm": '{"action": "move", "arm": {"translation": [1, 0, 0]}}',
    "empty object": "{}",
    "empty array": '{"actions": []}',
    "number": '{"actions": [1]}',
    "nested": '{"actions": [[{"action": "move", "linear_x": 0.2}]]}',
    "deep": '{"a": ' * 6 + "1" + "}" * 6,
    "33 actions": "[" + ", ".join(['{"action": "move", "linear_x": 0.2}'] * 33) + "]",
    "long text": '{"action": "' + "go forward " * 30 + '"}',
    "contradiction": '{"action": "turn", "direction": "left"} {"action": "turn", "direction": "right"}',
    "more, malformed": '{"action": "turn", "direction": "left"} {"action": "turn"',
    "words first, then malformed": 'Go forward. {"action": "move", "linear_x": 0.2,}',
}


@pytest.mark.parametrize("text", JSON)
def test_json(text: str) -> None:
    assert said(text) == JSON[text]


@pytest.mark.parametrize("text", BAD_JSON.values(), ids=BAD_JSON)
def test_json_that_is_no_action_is_refused(text: str) -> None:
    (action,) = PARSER.parse_sequence(text)
    assert (action.action_type, action.velocity, action.confidence) == (UNKNOWN, (0, 0, 0), 0)
    assert action.description
    assert "\n" not in action.description


def test_json_numbers() -> None:
    turn = PARSER.parse_text_output('{"action": "turn", "direction": "clockwise", "angle": 45, "speed": "fast"}')
    assert (turn.angle_deg, turn.angular_z, turn.speed, turn.confidence) == (45.0, -0.75, "fast", FULL_CONFIDENCE)
    grab = PARSER.parse_text_output('{"action": "grab", "target": "the Red  cup", "confidence": 0.4}')
    assert (grab.target_object, grab.gripper, grab.confidence) == ("red cup", "close", 0.4)
    assert (
        PARSER.parse_text_output('{"action": "move", "linear_x": 0.1, "confidence": 1.0}').confidence == FULL_CONFIDENCE
    )


def test_json_reasons_are_told() -> None:
    for text, reason in (
        ('{"action": "move", "linaer_x": 1}', "unknown key 'linaer_x'; did you mean 'linear_x'"),
        ('{"action": "move", "linear_x": 1, "linear_x": 1}', "key 'linear_x' comes twice"),
        ('{"action": "grab", "angular_z": 1}', "grab has no velocity"),
    ):
        assert reason in PARSER.parse_text_output(text).description


def test_find_json() -> None:
    text = 'a [b] {"c": "}]", "d": "\\"}"} {"e": 1}'
    assert find_json(text) == (6, 29)
    assert find_json("turn [left] (now)") is None
    for bad in ("{", '{"a": "}', "[[[[[1]]]]]", '["a'):
        with pytest.raises(RefusedJsonError):
            find_json(bad.replace("[[[[[1]]]]]", '[[[[["a"]]]]]'))


actions = st.builds(
    RobotAction,
    st.sampled_from(sorted(MOVING_TYPES - {TURN})),
    linear_x=st.floats(-2, 2).filter(lambda value: abs(value) > 1e-3),
    linear_y=st.floats(-2, 2),
    angular_z=st.floats(-2, 2),
    confidence=st.floats(0, FULL_CONFIDENCE),
    target_object=st.sampled_from([None, "red cup"]),
    distance_m=st.none() | st.floats(0.1, 100),
    speed=st.sampled_from(["slow", "normal", "fast"]),
)


@given(actions)
def test_an_action_written_as_json_is_read_again(action: RobotAction) -> None:
    (read,) = read_json(json.dumps(action.to_dict()), Pace())
    assert isinstance(read, RobotAction)
    assert {**read.to_dict(), "description": ""} == {**action.to_dict(), "description": ""}


@settings(max_examples=50)
@given(
    st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), lambda some: st.lists(some, max_size=3))
)
def test_any_json_is_read_or_refused(value: Any) -> None:
    for text in (
        json.dumps({"action": "move", "linear_x": value}),
        json.dumps([value]),
        json.dumps({"actions": value}),
    ):
        for action in PARSER.parse_sequence(text):
            assert all(math.isfinite(number) for number in action.velocity)
            if any(action.velocity):
                assert isinstance(value, float)
                assert value == action.linear_x


PARTS = st.sampled_from(
    [
        *["turn left", "go forward", "stop", "USER:", "ASSISTANT:", "</s>", "<think>", "</think>", "Answer:", "\n"],
        *[
            "- ",
            "1. ",
            "2. ",
            "**",
            "```",
            "{",
            "}",
            '{"action": "stop"}',
            '"',
            " or ",
            "I cannot",
            "because",
            ".",
            "> ",
        ],
    ]
)


@given(st.lists(PARTS | st.text(max_size=8), max_size=12).map(" ".join), st.sampled_from(["", "turn left", ASKED]))
def test_any_text_is_read_the_same_twice(text: str, prompt: str) -> None:
    once = PARSER.parse_sequence(text, prompt)
    assert once
    assert PARSER.parse_sequence(text, prompt) == once
    for action in once:
        assert all(math.isfinite(number) for number in action.velocity)
        assert action.action_type in MOVING_TYPES or action.velocity == (0, 0, 0)


@given(st.sampled_from(sorted(WORDS)), st.sampled_from(sorted(WORDS)))
def test_answers_that_differ_move_nothing(one: str, other: str) -> None:
    text = f"USER: now? ASSISTANT: {one}</s> USER: now? ASSISTANT: {other}</s>"
    if WORDS[one] != WORDS[other]:
        (action,) = PARSER.parse_sequence(text)
        assert action.velocity == (0, 0, 0)
        assert action.action_type is (STOP if HALT in WORDS[one] + WORDS[other] else UNKNOWN)
    else:
        assert said(text) == WORDS[one]


def test_plain_lines() -> None:
    text = "# Head\n- **one** two\n> quoted `code`\n```python\nx_y = 5 * 3\n```\n3. third"
    assert [(line.words, line.is_item) for line in plain_lines(text)] == [
        ("Head:", False), ("one two", True), ("quoted code", False), ("x_y = 5 * 3", False), ("third", True),
    ]  # fmt: skip
    assert [line.words for line in plain_lines("go 1. 5 m then 2. 6 m")] == ["go 1. 5 m then 2. 6 m"]


@pytest.mark.parametrize(
    "part",
    [
        *[
            "<",
            "{",
            "[[",
            "1. 2. ",
            "* ",
            "**",
            "a: ",
            "answer: ",
            "assistant: ",
            "user:",
            "\n",
            " ",
            "`",
            "~~a",
            "_a",
            '"',
        ],
        *[
            "(",
            " because",
            "<think>",
            '{"a":',
            "or ",
            "I'm so so ",
            "> ",
            "#",
            "{}",
            ".   ",
            ", ",
            "[INST]",
            "</s>",
            "i can ",
        ],
    ],
)
def test_long_texts_are_read_fast(part: str) -> None:
    text = part * (32_000 // len(part))
    start = time.perf_counter()
    settle(extract_answer(text, text[:60]), lambda words: [RobotAction(MOVE, linear_x=0.1)])
    assert time.perf_counter() - start < 1.0
    megabyte = part * (1_000_000 // len(part))
    start = time.perf_counter()
    for one in (extract_answer(megabyte), extract_answer("go", megabyte)):
        assert one.refusal == "longer than 32768 characters"
    assert time.perf_counter() - start < 0.05


def test_too_long_texts_can_still_stop() -> None:
    assert said("stop. " + "go forward " * 100_000) == [HALT]
    assert said("go forward " * 100_000) == [NOTHING]
