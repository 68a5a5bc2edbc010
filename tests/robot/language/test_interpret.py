"""Clauses, made by hand, to actions: what holds in every language."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from robot.language.spoken import in_words

from robovlms.errors import ConfigError
from robovlms.robot.action import MOVING_TYPES, ActionType
from robovlms.robot.language.clause import Clause, Direction, Mood, Side, Verb
from robovlms.robot.language.interpret import FULL_CONFIDENCE, Pace, interpret

PACE = Pace(linear_speed_mps=0.3, angular_speed_radps=0.5, slow_factor=0.5, fast_factor=1.5)


def clause(verb: Verb | None = None, mood: Mood = "command", **fields: Any) -> Clause:
    return Clause(**{"text": "words", "mood": mood, "verb": verb, "num_words": 2, "num_understood": 2, **fields})


FORWARD = clause("go", directions=("forward",))
LEFT = clause("turn", directions=("left",))
STOP = clause("stop")


@pytest.mark.parametrize(
    ("clauses", "answer"),
    [
        ([], "unknown"),
        ([FORWARD], "move +00"),
        ([clause("go", directions=("back",), speed="fast", distance_m=2.0)], "move -00 2 m fast"),
        ([clause("go", directions=("left",))], "unknown"),
        ([clause("go", directions=("left",), distance_m=1.0)], "move 0+0 1 m"),
        ([clause("go", directions=("forward", "right"))], "move +0-"),
        ([clause("go", directions=("back", "left"))], "unknown"),
        ([clause("go", directions=("forward", "back"))], "unknown"),
        ([clause("go", directions=("forward",), angle_deg=90.0)], "unknown"),
        ([clause("go", thing="door")], "navigate 000 <door>"),
        ([clause("go", directions=("forward",), thing="door")], "navigate 000 <door>"),
        ([clause("go", has_pronoun=True)], "navigate 000"),
        ([clause("go")], "unknown"),
        ([clause("go", distance_m=3.0)], "move +00 3 m"),
        ([clause("release", has_pronoun=True), clause("release", "prohibition", has_pronoun=True)], "stop"),
        ([clause("release", thing="cup"), clause("release", "prohibition", has_pronoun=True)], "release 000 <cup>"),
        ([clause("slide", directions=("right",))], "move 0-0"),
        ([clause("slide", directions=("forward", "left"))], "move ++0"),
        ([clause("slide")], "unknown"),
        ([clause("turn", directions=("clockwise",))], "turn 00-"),
        ([clause("turn", directions=("around",))], "turn 00+"),
        ([clause("turn", directions=("around", "right"))], "turn 00-"),
        ([clause("turn", angle_deg=180.0)], "turn 00+ 180 degrees"),
        ([clause("turn", angle_deg=90.0)], "turn 000 90 degrees"),
        ([clause("turn", directions=("left", "right"))], "unknown"),
        ([clause("turn", directions=("left",), distance_m=1.0)], "unknown"),
        ([clause("turn", directions=("forward",))], "unknown"),
        ([clause("curve", directions=("left",))], "move +0+"),
        ([clause("curve", directions=("back", "right"))], "move -0-"),
        ([clause("curve", directions=("forward",))], "unknown"),
        ([clause("avoid", thing="cone", side="left")], "avoid 000 <cone>"),
        ([clause("find", thing="cup")], "look 000 <cup>"),
        ([clause("other", thing="door")], "unknown"),
        ([clause(None)], "unknown"),
        ([LEFT, STOP], "turn 00+; stop"),
        ([STOP, STOP, LEFT], "stop; turn 00+"),
        ([clause(None), STOP], "stop"),
        ([clause("other"), STOP], "stop"),
        ([clause(None), FORWARD], "unknown; unknown"),
        ([FORWARD, clause(None), LEFT], "move +00; unknown; unknown"),
        ([clause("other"), clause("grab", thing="cup")], "unknown; grab 000 <cup>"),
        ([clause("turn", "prohibition", directions=("left",))], "stop"),
        ([clause("turn", "prohibition", directions=("left",)), FORWARD], "move +00"),
        ([LEFT, clause("turn", "prohibition", directions=("left",))], "stop"),
        ([LEFT, clause("turn", "prohibition", directions=("right",))], "turn 00+"),
        ([LEFT, clause("turn", "prohibition")], "stop"),
        ([clause("go", "prohibition"), LEFT], "stop; unknown"),
        ([LEFT, clause("go", "prohibition")], "stop"),
        ([clause("stop", "prohibition")], "unknown"),
        ([STOP, clause(None), clause("stop", "prohibition")], "stop; unknown"),
        ([clause("stop", "prohibition"), FORWARD], "move +00"),
        ([clause("grab", "prohibition", thing="cup")], "stop"),
        ([clause("other", "prohibition", thing="cup")], "unknown"),
        ([clause(None, "prohibition"), FORWARD], "unknown; unknown"),
        ([clause(None, "condition")], "unknown"),
        ([clause(None, "condition"), FORWARD], "unknown"),
        ([clause("stop", "condition")], "stop"),
        ([FORWARD, clause("stop", "condition")], "stop"),
        ([clause("turn", "question", directions=("left",))], "unknown"),
        ([clause("turn", "statement", directions=("left",))], "unknown"),
        ([clause(None, "statement"), LEFT], "turn 00+"),
    ],
)
def test_clauses(clauses: list[Clause], answer: str) -> None:
    assert in_words(interpret(clauses, PACE)) == answer


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("-inf"), float("nan"), 1e9])
@pytest.mark.parametrize("name", ["distance_m", "angle_deg"])
def test_amounts_that_are_none_move_nothing(name: str, value: float) -> None:
    for verb in ("go", "turn", "curve", "slide"):
        action = interpret([clause(verb, directions=("left",), **{name: value})], PACE)[0]
        assert (action.action_type, action.velocity) == (ActionType.UNKNOWN, (0.0, 0.0, 0.0))
        assert action.distance_m is None
        assert action.angle_deg is None


def test_confidence_is_the_understood_share() -> None:
    half = clause("turn", directions=("left",), num_words=4, num_understood=2)
    assert interpret([LEFT], PACE)[0].confidence == FULL_CONFIDENCE >= 0.9
    assert interpret([half], PACE)[0].confidence == pytest.approx(0.5 * 0.5 * FULL_CONFIDENCE)
    assert interpret([LEFT, half], PACE)[0].confidence == pytest.approx(4 / 6 * FULL_CONFIDENCE)
    assert interpret([clause(None)], PACE)[0].confidence == 0
    assert interpret([clause("stop", num_understood=0)], PACE)[0].confidence == 1


@pytest.mark.parametrize(
    "fields",
    [{"linear_speed_mps": 0.0}, {"angular_speed_radps": float("nan")}, {"slow_factor": 1.5}, {"fast_factor": 0.5}],
)
def test_pace_is_checked(fields: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(fields))):
        Pace(**fields)


amounts = st.none() | st.floats(allow_nan=True, allow_infinity=True)
# Built in the test: the type checker draws at random, which a strategy must not.
clauses = st.builds(
    dict,
    text=st.text(max_size=5),
    mood=st.sampled_from(["command", "prohibition", "condition", "question", "statement"]),
    verb=st.none() | st.sampled_from(Verb.__args__),
    directions=st.lists(st.sampled_from(Direction.__args__), max_size=3).map(tuple),
    thing=st.none() | st.text(max_size=5),
    has_pronoun=st.booleans(),
    side=st.none() | st.sampled_from(Side.__args__),
    distance_m=amounts,
    angle_deg=amounts,
    speed=st.sampled_from(["slow", "normal", "fast"]),
    num_words=st.integers(0, 20),
    num_understood=st.integers(0, 20),
)


@given(st.lists(clauses, max_size=5))
def test_whatever_was_said_the_answer_is_sane(said: list[dict[str, Any]]) -> None:
    actions = interpret([Clause(**one) for one in said], PACE)
    assert actions
    seen_unknown = False
    for index, action in enumerate(actions):
        assert action.sequence_index == index
        assert 0 <= action.confidence <= 1
        assert action.action_type in MOVING_TYPES or not any(action.velocity)
        assert all(abs(value) <= 0.75 for value in action.velocity)
        assert not (seen_unknown and any(action.velocity))
        seen_unknown = seen_unknown or action.action_type == ActionType.UNKNOWN


@given(st.lists(clauses, max_size=4))
def test_a_condition_leaves_nothing_moving(said: list[dict[str, Any]]) -> None:
    actions = interpret([*(Clause(**one) for one in said), clause(None, "condition")], PACE)
    assert [action.velocity for action in actions] == [(0.0, 0.0, 0.0)]


@given(st.lists(clauses, max_size=4), st.lists(clauses, max_size=4))
def test_forbidding_all_motion_leaves_nothing_moving(before: list[dict], after: list[dict]) -> None:
    said = [*(Clause(**one) for one in before), clause("go", "prohibition"), *(Clause(**one) for one in after)]
    for action in interpret(said, PACE):
        assert not any(action.velocity)
