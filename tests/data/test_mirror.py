"""Mirrored samples: signs by hand, a scene that is really mirrored, and instructions in English and Korean."""

import dataclasses
import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import robovlms.data.mirror_words
from robovlms.actions.normalize import FeatureStatistics
from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.data.mirror import (
    Mirror,
    is_mirrored,
    mirror_cameras,
    mirror_proprio_signs,
    mirror_signs,
    mirror_statistics,
)
from robovlms.data.mirror_words import mirror_instruction
from robovlms.data.sources.base import Steps
from robovlms.errors import ConfigError


def base_space(*names: str, **changes) -> ActionSpace:
    dimensions = tuple(ActionDimension(name=name, unit="m/s", low=-1.0, high=1.0, kind="base") for name in names)
    return ActionSpace(**dict(dimensions=dimensions, frame="base", is_delta=True, control_hz=10.0) | changes)


MOBILE = base_space("linear_x", "linear_y", "angular_z")

# Signs


def test_signs_of_a_mobile_base():
    assert mirror_signs(MOBILE).tolist() == [1, -1, -1]
    six = base_space("linear_x", "linear_y", "linear_z", "angular_x", "angular_y", "angular_z")
    assert mirror_signs(six).tolist() == [1, -1, 1, -1, 1, -1]


def test_a_reflected_rotation_is_what_the_signs_say():
    """A turn about w moves p by w × p; in the mirror the reflected point moves by the reflection of that."""
    reflect = np.diag([1.0, -1.0, 1.0])
    w, p = np.random.default_rng(0).normal(size=(2, 3))
    mirrored_w = w * mirror_signs(base_space("angular_x", "angular_y", "angular_z"))
    assert np.allclose(np.cross(mirrored_w, reflect @ p), reflect @ np.cross(w, p))


def test_a_gripper_on_a_base_keeps_its_sign():
    gripper = ActionDimension(name="claw", unit="1", low=0.0, high=1.0, kind="gripper")
    space = base_space(dimensions=(*MOBILE.dimensions, gripper), gripper_opens="positive")
    assert mirror_signs(space).tolist() == [1, -1, -1, 1]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (base_space("linear_x", frame="world"), "actions in the world frame cannot be mirrored"),
        (
            base_space(dimensions=(ActionDimension(name="joint_1", unit="rad", low=-1.0, high=1.0),)),
            "'joint_1' moves an arm, and an arm is not its own mirror image",
        ),
        (base_space("sideways"), "not known what action number 'sideways' becomes in a mirror; known are: linear_x"),
        (base_space("left_wheel", "right_wheel"), "'left_wheel' becomes in a mirror; the wheels of the two sides"),
        (base_space("odom_linear_y"), "not known what action number 'odom_linear_y'"),
        (
            base_space(dimensions=(ActionDimension(name="yaw", unit="rad", low=-1.0, high=2.0, kind="base"),)),
            re.escape("'yaw' changes its sign, but its range [-1.0, 2.0]"),
        ),
    ],
)
def test_a_space_without_a_mirror_is_refused(space, message):
    with pytest.raises(ConfigError, match=message):
        mirror_signs(space)


def test_signs_of_proprioception():
    assert mirror_proprio_signs(["x", "odom_linear_y", "imu_angular_z", "battery"]).tolist() == [1, -1, -1, 1]
    assert mirror_proprio_signs([]).shape == (0,)
    with pytest.raises(ConfigError, match="proprio number 'joint_0'"):
        mirror_proprio_signs(["joint_0"])


def test_a_camera_to_one_side_needs_one_to_the_other():
    assert mirror_cameras(["static"]) == {"static": "static"}
    assert mirror_cameras(["left_front", "right_front"]) == {"left_front": "right_front", "right_front": "left_front"}
    with pytest.raises(ConfigError, match="'rear_left' would take the place of 'rear_right'"):
        mirror_cameras(["front", "rear_left"])


# Windows


def make_steps() -> Steps:
    random = np.random.default_rng(0)
    return Steps(
        images={name: random.integers(0, 256, (2, 4, 6, 3), np.uint8) for name in ("front", "left", "right")},
        proprio=random.normal(size=(2, 2)).astype(np.float32),
        actions=random.normal(size=(4, 3)).astype(np.float32),
    )


MIRROR = Mirror.of(MOBILE, ("linear_x", "angular_z"), ("front", "left", "right"))


def test_a_window_is_mirrored_in_all_its_parts():
    steps = make_steps()
    mirrored, instruction = MIRROR.window(steps, "turn left at the box")
    assert instruction == "turn right at the box"
    for name, taken in (("front", "front"), ("left", "right"), ("right", "left")):
        for column in range(6):
            assert np.array_equal(mirrored.images[name][:, :, column], steps.images[taken][:, :, 5 - column])
    assert np.array_equal(mirrored.actions, np.stack([steps.actions[:, 0], *-steps.actions[:, 1:].T], axis=1))
    assert np.array_equal(mirrored.proprio, np.stack([steps.proprio[:, 0], -steps.proprio[:, 1]], axis=1))
    assert mirrored.actions.dtype == mirrored.proprio.dtype == np.float32


def test_a_window_mirrored_twice_is_the_window():
    steps = make_steps()
    again, instruction = MIRROR.window(*MIRROR.window(steps, "왼쪽 상자로 가"))
    assert instruction == "왼쪽 상자로 가"
    assert all(np.array_equal(again.images[name], steps.images[name]) for name in steps.images)
    assert np.array_equal(again.actions, steps.actions)
    assert np.array_equal(again.proprio, steps.proprio)


def test_a_window_whose_instruction_is_doubtful_is_not_mirrored():
    assert MIRROR.window(make_steps(), "come back right away") is None


def test_a_window_without_proprioception_or_with_a_camera_missing():
    steps = make_steps()
    partial = dataclasses.replace(steps, proprio=None, images={"left": steps.images["left"]})
    mirrored, _ = MIRROR.window(partial, "go")
    assert mirrored.proprio is None
    assert list(mirrored.images) == ["right"]


@given(st.integers(0, 10_000), st.sampled_from([0.25, 0.5]))
def test_statistics_are_those_of_the_data_with_its_mirror_image(seed, share):
    """A share of 1/4: three copies of the data and one of its mirror image."""
    data = np.random.default_rng(seed).normal([1.0, 2.0], [1.0, 0.5], (400, 2))
    signs = np.array([1, -1])
    both = np.concatenate([data] * round(1 / share - 1) + [data * signs])
    mixed = mirror_statistics(describe(data), signs, share)
    for name in ("min", "max", "mean", "std"):
        assert np.allclose(getattr(mixed, name), getattr(describe(both), name)), name
    assert ((both < mixed.q01).mean(axis=0) <= 0.0101).all()
    assert ((both > mixed.q99).mean(axis=0) <= 0.0101).all()
    assert mirror_statistics(describe(data), signs, 0.0) == describe(data)


def describe(data: np.ndarray) -> FeatureStatistics:
    columns = {name: getattr(data, name)(axis=0) for name in ("min", "max", "mean", "std")}
    columns |= {"q01": np.quantile(data, 0.01, axis=0), "q99": np.quantile(data, 0.99, axis=0)}
    return FeatureStatistics(**{name: tuple(c.tolist()) for name, c in columns.items()}, count=len(data))


def test_who_is_mirrored_depends_on_seed_and_position():
    drawn = [is_mirrored(3, position, 0.3) for position in range(3000)]
    assert 0.27 < np.mean(drawn) < 0.33
    assert drawn == [is_mirrored(3, position, 0.3) for position in range(3000)]
    assert drawn != [is_mirrored(4, position, 0.3) for position in range(3000)]
    assert not any(is_mirrored(3, position, 0.0) for position in range(100))
    assert all(is_mirrored(3, position, 1.0) for position in range(100))


# Instructions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("turn left", "turn right"),
        ("Turn Right 30 degrees.", "Turn Left 30 degrees."),
        ("TURN LEFT!", "TURN RIGHT!"),
        ("don't turn right, turn left", "don't turn left, turn right"),
        ("take the left-hand door, then the leftmost one", "take the right-hand door, then the rightmost one"),
        ("lean leftward and drift rightwards", "lean rightward and drift leftwards"),
        ("push the bright red block upright", "push the bright red block upright"),
        ("pick the leftmost bright cup", "pick the rightmost bright cup"),
        ("spin clockwise slowly", "spin counterclockwise slowly"),
        ("spin Counterclockwise", "spin Clockwise"),
        ("turn counter-clockwise by 1.5 rad", "turn clockwise by 1.5 rad"),
        ("make an anticlockwise turn", "make a clockwise turn"),
        ("rotate CW", "rotate CCW"),
        ("move_slider_left", "move_slider_right"),
        ("avoid the cone on your left", "avoid the cone on your right"),
        ("stop on the right behind the box", "stop on the left behind the box"),
        ("turn right behind the box", "turn left behind the box"),
        ("go to the cup left of the box", "go to the cup right of the box"),
        ("look from left to right", "look from right to left"),
        ("move left by 5 cm", "move right by 5 cm"),
        ("go forward 10-20 cm", "go forward 10-20 cm"),
        ("right", "left"),
        ("왼쪽으로 회전해", "오른쪽으로 회전해"),
        ("오른쪽 말고 왼쪽으로 돌아", "왼쪽 말고 오른쪽으로 돌아"),
        ("우회전하십시오", "좌회전하십시오"),
        ("좌측 통로의 왼편 문", "우측 통로의 오른편 문"),
        ("오른손으로 왼 팔을 잡아", "왼손으로 오른 팔을 잡아"),
        ("좌로 두 걸음, 우로 한 걸음", "우로 두 걸음, 좌로 한 걸음"),
        ("시계 방향으로 돌아 줘", "반시계 방향으로 돌아 줘"),
        ("반시계방향으로 돌아", "시계방향으로 돌아"),
        ("시계 반대 방향으로 돌아", "시계 방향으로 돌아"),
        ("좌우로 흔들어", "좌우로 흔들어"),
        ("우산을 들고 우회해", "우산을 들고 우회해"),
        ("turn left, 그리고 오른쪽으로", "turn right, 그리고 왼쪽으로"),
        ("앞으로 가", "앞으로 가"),
        ("", ""),
    ],
)
def test_instructions(text, expected):
    assert mirror_instruction(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "come right away",
        "turn right now",
        "all right, go forward",
        "Right, go forward",
        "turn left, right?",
        "that is right",
        "he left early",
        "wait until nothing is left",
        "five seconds left",
        "pick up the cup left on the table",
        "pick up the cup left behind",
        "put it right there",
        "go right behind the sofa",
        "go right to the door",
        "stop right in front of me",
        "choose the right tool",
        "turn by a right angle",
        "put it right side up",
        "the rightful owner",
        "eat the leftover food",
        "go left now",  # would read "go right now"
        "go left into the kitchen",  # would read "go right into the kitchen"
        "go left right away",
        "go north, then turn left",
        "look to your 3 o'clock",
        "look to your 3 o’clock",
        "stop below the letter on the left",
        "turn by -30 degrees",
        "turn −30°",
        "TurnLeft",
        "turn left으로",
        "gehe nach links",
        "向左转",
        "поверни налево",
        "gira à esquerda",
        "turn rıght",  # a letter that only looks like one of "right"
        "왼 쪽으로 가",
        "계단을 오른다",
        "북쪽으로 가",
        "3시 방향을 봐",
        "표지판을 읽어",
    ],
)
def test_what_is_doubtful_or_not_understood_is_refused(text):
    assert mirror_instruction(text) is None


def test_hangul_in_pieces_is_understood():
    pieces = unicodedata.normalize("NFD", "왼쪽으로 가")
    assert pieces != "왼쪽으로 가"
    assert mirror_instruction(pieces) == "오른쪽으로 가"


WORDS = yaml.safe_load(Path(robovlms.data.mirror_words.__file__).with_name("mirror_words.yaml").read_text("utf-8"))
SPELLINGS = [
    word for one in WORDS.values() for kind in ("words", "parts") for word in one.get(kind, {}).get("spellings", {})
]
PIECES = [
    *(
        "left",
        "right",
        "Left",
        "RIGHT",
        "leftmost",
        "rightward",
        "clockwise",
        "Counterclockwise",
        "ccw",
        "CW",
        "bright",
    ),
    *(
        "turn",
        "go",
        "the",
        "on",
        "your",
        "box",
        "of",
        "to",
        "and",
        "behind",
        "now",
        "is",
        "all",
        "by",
        "5",
        ",",
        ".",
        "?",
    ),
    *(
        "왼쪽",
        "오른쪽으로",
        "좌회전",
        "우측",
        "좌우",
        "시계",
        "방향",
        "반시계",
        "방향으로",
        "가",
        "좌로",
        "우",
        "왼",
        "손",
        "경우로",
    ),
    *SPELLINGS,
]


@given(st.lists(st.sampled_from(PIECES), max_size=8).map(" ".join))
def test_mirroring_twice_gives_the_text_back(text):
    mirrored = mirror_instruction(text)
    if mirrored is None:
        return
    again = mirror_instruction(mirrored)
    assert mirror_instruction(again) == mirrored, "rarer spellings settle after one round"
    if not any(spelling in text.lower() for spelling in SPELLINGS):
        assert again == text


@given(st.text(max_size=40))
def test_any_text_has_an_answer(text):
    mirrored = mirror_instruction(text)
    assert mirrored is None or mirror_instruction(mirrored) == unicodedata.normalize("NFC", text)


@given(st.lists(st.sampled_from(PIECES), max_size=8).map(" ".join))
def test_a_text_that_stays_has_no_side_in_it(text):
    if mirror_instruction(text) == text:
        assert not re.search(r"\bleft|\bright|clockwise|ccw|왼|오른|좌[^우]|우측", text.lower())


def test_every_entry_of_the_list_is_a_text_in_lower_case():
    """YAML reads a bare on, off or no as a truth value."""

    def texts(node):
        if isinstance(node, dict):
            for key, value in node.items():
                yield key
                yield from texts(value)
        elif isinstance(node, list):
            for value in node:
                yield from texts(value)
        else:
            yield node

    found = list(texts(WORDS))
    assert len(found) > 200
    assert all(isinstance(word, str) and word == word.lower() for word in found)
