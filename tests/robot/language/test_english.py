"""English commands, by the rule they obey; each rule has lines that fail if it is not followed."""

import pytest
from robot.language.spoken import in_words, lines

from robovlms.robot.language.languages import LANGUAGES, build_analysers, choose_language
from robovlms.robot.parser import VLAActionParser

LINES = lines("english")
ALONE = VLAActionParser(["english"])
TOGETHER = build_analysers(list(LANGUAGES))


@pytest.mark.parametrize(("rule", "text", "answer"), LINES, ids=[text[:40] for _, text, _ in LINES])
def test_line(rule: str, text: str, answer: str) -> None:
    assert in_words(ALONE.parse_sequence(text)) == answer, rule


def test_other_languages_change_no_english_line() -> None:
    changed = [text for _, text, _ in LINES if choose_language(text, TOGETHER) != "english"]
    assert changed == []


def test_every_rule_has_lines() -> None:
    numbers = {rule.split()[0].rstrip("b") for rule, _, _ in LINES}
    assert numbers >= {str(number) for number in range(1, 12)}
    assert len(LINES) >= 250


@pytest.mark.parametrize("text", ["turn {}", "rotate {} 90 degrees", "strafe {}", "curve {}", "make a {}"])
def test_left_and_right_are_mirrored(text: str) -> None:
    left, right = (ALONE.parse_text_output(text.format(side)) for side in ("left", "right"))
    assert left.angular_z == -right.angular_z
    assert left.linear_y == -right.linear_y
    assert left.linear_x == right.linear_x
    assert any(left.velocity)


def test_speed_words_scale_velocities() -> None:
    parser = VLAActionParser(
        ["english"], linear_speed_mps=0.4, angular_speed_radps=0.8, slow_factor=0.25, fast_factor=2
    )
    velocities = [parser.parse_text_output(f"go forward {word}").velocity for word in ("slowly", "", "quickly")]
    assert velocities == [(0.1, 0.0, 0.0), (0.4, 0.0, 0.0), (0.8, 0.0, 0.0)]
    assert parser.parse_text_output("turn right slowly").velocity == (0.0, 0.0, -0.2)


def test_gripper_goes_with_grab_and_release() -> None:
    grab, release = ALONE.parse_sequence("pick up the cup and put it on the table")
    assert (grab.gripper, release.gripper) == ("close", "open")
    assert ALONE.parse_text_output("stop").gripper is None


def test_steps_are_numbered() -> None:
    actions = ALONE.parse_sequence("go forward, turn left, then stop")
    assert [action.sequence_index for action in actions] == [0, 1, 2]
