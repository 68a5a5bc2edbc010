import json
import math
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robovlms.errors import ConfigError
from robovlms.robot.action import ActionType, RobotAction
from robovlms.robot.boxes import Detection, action_towards, parse_boxes, parse_detections

SHARED = Path(__file__).parents[3] / "shared" / "reference" / "segmentation_public.jsonl"
BLIND = Path(__file__).parent / "data" / "blind_boxes.jsonl"
TOKENS = st.integers(0, 1023)
MASK = "".join(f"<seg{7 * number % 128:03d}>" for number in range(16))


def tokens(*numbers: int) -> str:
    return "".join(f"<loc{number:04d}>" for number in numbers)


def lines(path: Path) -> list[Any]:
    if not path.is_file():
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"{path.name} is not beside the project"))]
    return [pytest.param(json.loads(line), id=json.loads(line)["id"]) for line in path.read_text("utf-8").splitlines()]


def sign(value: float) -> int:
    return (value > 0) - (value < 0)


@pytest.mark.parametrize("line", [*lines(SHARED), *lines(BLIND)])
def test_labelled_lines(line: dict[str, Any]) -> None:
    action = parse_boxes(line["text"], line["image_width"], line["image_height"], line["query"])
    for name in ("linear_x", "linear_y", "angular_z"):
        assert line[name] is None or sign(getattr(action, name)) == line[name]
    assert (action.confidence > 0) == line["valid"]
    assert action.target_object == line["target_object"] or not line["valid"]
    if line["expected_motion"] in ("turn_left", "turn_right"):
        assert action.linear_x == 0
        assert action.action_type is ActionType.TURN


def test_a_box_in_numbers() -> None:
    (box,) = parse_detections(tokens(0, 0, 1023, 1023) + " door")
    assert (box.box, box.area, box.offset, box.label) == ((0.0, 0.0, 1.0, 1.0), 1.0, 0.0, "door")
    assert box.pixels(640, 480) == (0, 0, 640, 480)
    (box,) = parse_detections(tokens(341, 0, 682, 341) + MASK + " the  Red\tCup ")
    assert box.box == (0.0, 341 / 1023, 341 / 1023, 682 / 1023)
    assert box.pixels(300, 90) == (0, 30, 100, 60)
    assert box.offset == pytest.approx(-1 / 3)
    assert (box.label, len(box.mask), box.mask[:3]) == ("red cup", 16, (0, 7, 14))


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((400, 435, 600, 589), (ActionType.MOVE, 0.2, 0.0)),  # in the middle, 3 % of the picture
        ((51, 51, 973, 973), (ActionType.STOP, 0.0, 0.0)),  # in the middle, 81 %
        ((400, 0, 600, 411), (ActionType.TURN, 0.0, (1023 - 411) / 2046)),  # left by 612 of 2046
        ((400, 612, 600, 1023), (ActionType.TURN, 0.0, -(1635 - 1023) / 2046)),
        ((0, 0, 1023, 700), (ActionType.TURN, 0.0, 323 / 2046)),  # near and left of the middle
        ((400, 0, 600, 1), (ActionType.TURN, 0.0, 1022 / 2046)),  # at the edge: just below the limit of 0.5
        ((500, 0, 501, 1125 - 1023), (ActionType.TURN, 0.0, 921 / 2046)),
        ((500, 460, 501, 460), None),  # no width
    ],
)
def test_motions_in_numbers(box: tuple[int, ...], expected: tuple[ActionType, float, float] | None) -> None:
    action = parse_boxes(tokens(*box) + " cup", 640, 480)
    if expected is None:
        assert (action.action_type, action.velocity, action.confidence) == (ActionType.STOP, (0, 0, 0), 0.0)
    else:
        assert (action.action_type, action.linear_x) == expected[:2]
        assert action.angular_z == pytest.approx(expected[2], abs=1e-12)
        assert (action.target_object, action.confidence, action.linear_y) == ("cup", 1.0, 0.0)


@pytest.mark.parametrize(
    ("x_min", "x_max", "is_aligned"),
    [
        *[(460, 461, True), (459, 461, False), (562, 563, True), (562, 564, False)],
        *[(500, 625, True), (500, 626, False), (398, 523, True), (397, 523, False), (461, 460, None)],
    ],
)
def test_the_edge_of_the_middle(x_min: int, x_max: int, is_aligned: bool | None) -> None:
    """Aligned is |x_min + x_max - 1023| <= 0.1 * 1023 = 102.3."""
    action = parse_boxes(tokens(500, x_min, 520, x_max), 640, 480)
    if is_aligned is None:
        assert action.confidence == 0
    else:
        assert (action.action_type is ActionType.MOVE) == is_aligned


@pytest.mark.parametrize(("height", "is_near"), [(559, False), (560, False), (561, True)])
def test_the_edge_of_near(height: int, is_near: bool) -> None:
    """Near is more than 0.3 * 1023 * 1023 = 313958.7 of the grid; 560 * 560 is 313600."""
    action = parse_boxes(tokens(0, 231, height, 791), 640, 480)
    assert (action.action_type is ActionType.STOP) == is_near


boxes = st.tuples(TOKENS, TOKENS, TOKENS, TOKENS)


@given(boxes, st.sampled_from(["", " cup", MASK, MASK + " cup", " " + MASK + "  cup "]), st.integers(1, 5000))
def test_the_written_rules(box: tuple[int, int, int, int], rest: str, size: int) -> None:
    """The rules once more, in exact fractions."""
    action = parse_boxes(tokens(*box) + rest, size, size + 1)
    top, left, bottom, right = (Fraction(number, 1023) for number in box)
    assert action.linear_y == 0
    if top >= bottom or left >= right:
        assert (action.action_type, action.velocity, action.confidence) == (ActionType.STOP, (0, 0, 0), 0)
        assert action.target_object is None
        return
    offset, area = (left + right) / 2 - Fraction(1, 2), (bottom - top) * (right - left)
    is_aligned, is_near = abs(offset) <= Fraction(5, 100), area > Fraction(30, 100)
    assert action.target_object == ("cup" if "cup" in rest else None)
    assert sign(action.linear_x) == (1 if is_aligned and not is_near else 0)
    assert sign(action.angular_z) == (0 if is_aligned else -sign(float(offset)))
    assert abs(action.angular_z) <= 0.5
    assert abs(action.linear_x) <= 0.2
    assert (action.action_type is ActionType.STOP) == (is_aligned and is_near)


@given(boxes)
def test_the_other_side_turns_the_other_way(box: tuple[int, int, int, int]) -> None:
    top, left, bottom, right = box
    action = parse_boxes(tokens(*box), 640, 480)
    mirrored = parse_boxes(tokens(top, 1023 - right, bottom, 1023 - left), 640, 480)
    assert mirrored.velocity == (action.linear_x, 0, -action.angular_z)


@given(boxes, boxes)
def test_further_from_the_middle_turns_faster(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    speeds = [(abs(box.offset), abs(action_towards(box).angular_z)) for box in (_valid(one), _valid(other))]
    assert min(speeds)[1] <= max(speeds)[1]


def _valid(box: tuple[int, ...]) -> Detection:
    top, left, bottom, right = box
    return Detection(min(top, bottom - 1), min(left, right - 1), max(bottom, 1), max(right, 1))


@given(boxes, st.lists(st.integers(0, 127), min_size=16, max_size=16), st.sampled_from([None, "cup", "빨간 컵"]))
def test_round_trip(box: tuple[int, ...], mask: list[int], label: str | None) -> None:
    text = tokens(*box) + "".join(f"<seg{code:03d}>" for code in mask) + f" {label or ''}"
    is_valid = box[0] < box[2] and box[1] < box[3]
    assert parse_detections(text) == ([Detection(*box, label=label, mask=tuple(mask))] if is_valid else [])


GOOD = tokens(400, 435, 600, 589)
MALFORMED = {
    "no tokens": "no object found",
    "empty": "",
    "spaces": "  \n ",
    "three": tokens(400, 400, 600) + " cup",
    "five": tokens(400, 400, 600, 600, 700) + " cup",
    "two boxes without a separator": GOOD + " cup " + GOOD + " cup",
    "eight": GOOD + GOOD,
    "off the grid": "<loc0400><loc0400><loc0600><loc1024> cup",
    "far off the grid": "<loc0400><loc0400><loc0600><loc9999> cup",
    "inverted y": tokens(600, 435, 400, 589) + " cup",
    "inverted x": tokens(400, 589, 600, 435) + " cup",
    "no height": tokens(400, 435, 400, 589) + " cup",
    "no width": tokens(400, 435, 600, 435) + " cup",
    "three digits": "<loc400><loc0435><loc0600><loc0589> cup",
    "five digits": "<loc00400><loc0435><loc0600><loc0589> cup",
    "open bracket": "<loc0400<loc0435><loc0600><loc0589> cup",
    "no brackets": "loc0400 loc0435 loc0600 loc0589 cup",
    "negative": "<loc-400><loc0435><loc0600><loc0589> cup",
    "letters": "<loc04a0><loc0435><loc0600><loc0589> cup",
    "other digits": "<loc٠٤٠٠><loc0435><loc0600><loc0589> cup",
    "capitals": GOOD.upper() + " cup",
    "label in front": "cup " + GOOD,
    "words in front": "I see " + GOOD + " cup",
    "tokens in the label": GOOD + " cup <loc0001>",
    "15 codes": GOOD + MASK[:-8] + " cup",
    "17 codes": GOOD + MASK + "<seg001> cup",
    "code off the book": GOOD + MASK[:-8] + "<seg128> cup",
    "codes behind the label": GOOD + " cup " + MASK,
    "broken code": GOOD + MASK[:-1] + " cup",
    "numbers": "0.4 0.4 0.6 0.6 cup",
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_malformed_stops(text: str) -> None:
    assert parse_detections(text) == []
    action = parse_boxes(text, 640, 480)
    assert (action.action_type, action.velocity) == (ActionType.STOP, (0.0, 0.0, 0.0))
    assert (action.confidence, action.target_object) == (0.0, None)
    assert action.description


@pytest.mark.parametrize("text", [one for one in MALFORMED.values() if one.strip()])
def test_a_malformed_one_beside_a_good_one(text: str) -> None:
    action = parse_boxes(f"{text} ; {GOOD} cup", 640, 480)
    assert (action.linear_x, action.confidence) == (0.2, 0.5)


def test_query_and_area_choose() -> None:
    small, large = tokens(450, 100, 550, 200) + " cup", tokens(300, 600, 700, 1000) + " cup"
    plate = tokens(400, 435, 600, 589) + " Plate"
    assert parse_boxes(f"{small} ; {large} ; {plate}", 640, 480).angular_z < 0
    assert parse_boxes(f"{large};{small}", 640, 480).angular_z < 0
    assert parse_boxes(f"{small} ; {large} ; {plate}", 640, 480, "the PLATE").linear_x == 0.2
    for query in ("spoon", "", "cu", "cups", "plate cup"):
        action = parse_boxes(f"{small} ; {plate}", 640, 480, query)
        assert (action.action_type, action.velocity, action.confidence) == (ActionType.STOP, (0, 0, 0), 0)
    assert parse_boxes(GOOD, 640, 480, "cup").confidence == 0  # no label is not this label


def test_a_label_is_never_a_command() -> None:
    assert parse_boxes(GOOD + " stop sign", 640, 480).linear_x == 0.2
    assert parse_boxes(tokens(400, 800, 600, 900) + " left shoe", 640, 480).angular_z < 0


@pytest.mark.parametrize(
    "front", ["detect cup\n", "detect cup ; plate\n", " segment red cup ", "<bos>", "<image><image>"]
)
def test_a_prompt_in_front(front: str) -> None:
    assert parse_boxes(front + GOOD + " cup<eos>", 640, 480).linear_x == 0.2


@pytest.mark.parametrize("size", [0, -1, -640, math.nan, math.inf, 640.0, "640", None, True])
def test_odd_picture_sizes_stop(size: Any) -> None:
    bare = getattr(parse_boxes, "__wrapped__", parse_boxes)  # as it runs outside of tests, where no type is checked
    for width, height in ((size, 480), (640, size)):
        action = bare(GOOD + " cup", width, height)
        assert (action.action_type, action.velocity, action.confidence) == (ActionType.STOP, (0, 0, 0), 0)
        assert "pixels" in action.description
    pixels = getattr(Detection.pixels, "__wrapped__", Detection.pixels)
    with pytest.raises(ConfigError, match="image_height must be a positive whole number of pixels"):
        pixels(Detection(0, 0, 1, 1), 640, size)


@given(st.text(st.sampled_from("<>locseg;0123489 \n"), max_size=120))
def test_any_text_is_read(text: str) -> None:
    action = parse_boxes(text, 640, 480, None)
    assert isinstance(action, RobotAction)
    assert (action.confidence > 0) == bool(parse_detections(text))


@pytest.mark.parametrize("part", ["<loc0001>", "<", "<loc", ";", "<seg001>", " ", "detect ", GOOD + " cup;"])
def test_long_texts_are_read_fast(part: str) -> None:
    start = time.perf_counter()
    parse_boxes(part * (16_000 // len(part)), 640, 480)
    assert time.perf_counter() - start < 0.5
    megabyte = part * (1_000_000 // len(part))
    start = time.perf_counter()
    assert parse_boxes(megabyte, 640, 480).confidence == 0
    assert time.perf_counter() - start < 0.05
