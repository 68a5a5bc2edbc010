import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robovlms.robot.yes_no import parse_yes_no_answer

YES = [
    "yes",
    "Yes.",
    "YES!",
    "yes, there is a cup",
    "Yes, I see a red cup on the table.",
    "**Yes**",
    "Answer: yes",
    "The answer is yes.",
    "- Yes",
    "> yes",
    "```\nyes\n```",
    '"Yes."',
    "yeah",
    "There is a cup.",
    "there are two cups",
    "There's a cup on the table.",
    "I can see a cup.",
    "I see it.",
    "The cup is visible.",
    "네",
    "예",
    "응",
    "네, 있습니다.",
    "예, 컵이 있어요",
    "컵이 있습니다",
    "컵이 보입니다.",
    "sí",
    "Sí, hay una taza.",
    "Hay una taza.",
    '{"answer": "yes"}',
    "Is there a cup? Yes.",
    "Answer yes or no. Yes",
    "USER: Is there a cup? ASSISTANT: yes</s>",
    "<start_of_turn>model\nYes<end_of_turn>",
    "네 개의 컵이 있습니다",
    "Yes, because I can see its handle.",
    "final answer: yes",
]
NO = [
    "no",
    "No.",
    "NO",
    "No, there is no cup.",
    "No. There is a plate instead.",
    "nope",
    "Answer: **no**",
    "There is no cup.",
    "There are no cups in the image.",
    "There isn't a cup.",
    "There isn’t a cup.",
    "I don't see a cup.",
    "I see no cup.",
    "I cannot see a cup.",
    "The cup is not visible.",
    "there is not any cup",
    "No cup is visible.",
    "아니요",
    "아니오",
    "아니요, 없습니다.",
    "컵이 없습니다",
    "컵이 없어요.",
    "컵이 보이지 않습니다",
    "컵이 안 보입니다",
    "컵은 있지 않습니다",
    "No hay.",
    "No, no hay ninguna taza.",
    "Is there a cup? no",
    "예/아니오로 답하세요. 아니오",
    "There is neither a cup nor a plate.",
]
NEITHER = [
    "",
    "   ",
    "a piano",
    "piano",
    "know",
    "north",
    "another one",
    "yesterday",
    "eyes",
    "note",
    "nothing",
    "Nova",
    "예쁜 컵",
    "네모",
    "아니메",
    "not sure",
    "I am not sure.",
    "I'm not entirely sure, yes?",
    "maybe",
    "Maybe yes",
    "Perhaps no",
    "I don't know",
    "I cannot tell.",
    "It is hard to say, yes",
    "yes and no",
    "No, yes.",
    "no... yes",
    "Yes, there is no cup.",
    "네, 없습니다",
    "아니요, 네",
    "yes or no",
    "yes/no",
    "예/아니오",
    "Is there a cup?",
    "아마 있습니다",
    "잘 모르겠습니다",
    "있는 것 같습니다",
    "As an AI, yes",
    "no doubt",
    "No idea.",
    "There might be a cup.",
    "If there is a cup, yes.",
    "There is a table. There is no cup.",
    "cup",
    "<loc0100><loc0100><loc0200><loc0200> cup",
    "👍",
    "tal vez",
    "I would say yes",
    "USER: Is there a cup? ASSISTANT: yes</s>USER: Is there? ASSISTANT: no",
    "x" * 100_000,
]


@pytest.mark.parametrize("text", YES)
def test_yes(text: str) -> None:
    assert parse_yes_no_answer(text) is True


@pytest.mark.parametrize("text", NO)
def test_no(text: str) -> None:
    assert parse_yes_no_answer(text) is False


@pytest.mark.parametrize("text", NEITHER, ids=lambda text: text[:40])
def test_neither(text: str) -> None:
    assert parse_yes_no_answer(text) is None


@pytest.mark.parametrize(("answer", "expected"), [("yes", True), (" No.", False), ("", None), (" maybe", None)])
def test_the_echoed_prompt_says_nothing(answer: str, expected: bool | None) -> None:
    prompt = "Is there no cup in the image, yes or no?"
    assert parse_yes_no_answer(prompt + answer, prompt) is expected
    assert parse_yes_no_answer(f"USER: <image>\n{prompt.upper()}  ASSISTANT: {answer}", prompt) is expected


def test_there_is_something_else() -> None:
    assert parse_yes_no_answer("There is a table.", target_object="cup") is None
    assert parse_yes_no_answer("There is no table.", target_object="cup") is None
    assert parse_yes_no_answer("There is a table. There is no red cup.", target_object="cup") is False
    assert parse_yes_no_answer("컵이 있습니다", target_object="빨간 컵") is True


@given(st.text(max_size=200))
def test_any_text_is_read(text: str) -> None:
    assert parse_yes_no_answer(text) in (True, False, None)
    assert parse_yes_no_answer(text, text) is None


@given(
    st.lists(
        st.sampled_from(["yes", "no", "not", "sure", "there", "is", "cup", ".", ",", "?", "예", "아니요", "없습니다"])
    )
)
def test_a_yes_beside_a_no_is_no_yes(words: list[str]) -> None:
    answer = parse_yes_no_answer(" ".join(words))
    if answer is True:
        assert not {"no", "아니요"} & set(words) or "?" in words or {"yes", "no"} <= set(words)
    if answer is False:
        assert {"no", "not", "아니요", "없습니다"} & set(words)


@pytest.mark.parametrize("part", ["yes ", "no, ", "is ", "i can ", "there ", "?", "예 ", "\n", "<", "not a "])
def test_long_texts_are_read_fast(part: str) -> None:
    start = time.perf_counter()
    parse_yes_no_answer(part * (8_000 // len(part)))
    assert time.perf_counter() - start < 0.5
    megabyte = part * (1_000_000 // len(part))
    start = time.perf_counter()
    assert parse_yes_no_answer(megabyte) is None
    assert time.perf_counter() - start < 0.05
