"""The simulated base moves as its velocities say, bumps, and sees what is there."""

import math
from importlib.util import find_spec

import numpy as np
import pytest

from robovlms.errors import ConfigError
from robovlms.robot.boxes import parse_detections
from robovlms.robot.simulator.colour_detector import ColourDetector, find_colour
from robovlms.robot.simulator.room import SCENES, Scene, SimulatedRoom, scene_of

pytestmark = pytest.mark.skipif(
    find_spec("miniworld") is None, reason="MiniWorld is not installed; pip install 'robovlms[sim]'"
)
DETECTOR = ColourDetector()


@pytest.fixture(scope="module")
def empty() -> SimulatedRoom:
    return SimulatedRoom(SCENES["empty"], seed=0, width=64, height=48)


@pytest.mark.parametrize(
    ("velocity", "pose"),
    [
        ((0.5, 0, 0), (2.0, 4.0, 0.0)),
        ((0, 0.5, 0), (1.0, 5.0, 0.0)),
        ((0, 0, 0.5), (1.0, 4.0, 1.0)),
        # half a circle to the left: radius v / w
        ((math.pi / 4, 0, math.pi / 2), (1.0, 5.0, math.pi)),
    ],
)
def test_constant_velocities_for_two_seconds(empty: SimulatedRoom, velocity, pose) -> None:
    place(empty, 1.0, 4.0, 0.0)
    for _ in range(100):
        assert empty.move(velocity, 0.02)
    x, y, yaw = empty.pose
    assert (x, y) == pytest.approx(pose[:2], abs=1e-9)
    assert math.remainder(yaw - pose[2], math.tau) == pytest.approx(0, abs=1e-9)


def place(room: SimulatedRoom, x: float, y: float, yaw: float) -> None:
    agent = room._world.agent
    agent.pos, agent.dir = np.array([x, 0.0, -y]), yaw


def test_a_wall_is_in_the_way(empty: SimulatedRoom) -> None:
    place(empty, 1.0, 4.0, 0.0)
    before = empty.num_bumps
    while empty.move((1.0, 0, 0), 0.02):
        assert empty.pose[0] < 8
    assert 7.0 < empty.pose[0] < 8.0
    assert empty.num_bumps == before + 1
    assert not empty.move((1.0, 0, 0.5), 0.02)
    assert empty.pose[2] == pytest.approx(0.01)  # turning is still possible


def test_a_thing_is_found_where_it_is_seen() -> None:
    """The place on the picture agrees with the geometry: a pinhole camera, 60° from top to bottom."""
    room = SimulatedRoom(Scene(colours=("red",), start=(1.0, 4.0, 0.0), places=((5.0, 5.0),)), seed=0)
    (detection,) = parse_detections(DETECTOR.generate("detect red box", room.picture()))
    y_min, x_min, y_max, x_max = find_colour(room.picture(), "red") or (0, 0, 0, 0)
    ahead, left = 4.0, 1.0
    focal = 0.5 / math.tan(math.radians(30)) * 240 / 320  # in widths of the picture
    assert (x_min + x_max) / 2 == pytest.approx(0.5 - focal * left / ahead, abs=0.03)
    assert detection.label == "red box"
    assert y_max > y_min


def test_left_in_the_room_is_left_on_the_picture_and_on_the_map() -> None:
    room = SimulatedRoom(Scene(colours=("red",), start=(4.0, 4.0, 0.0), places=((6.0, 5.0),)), seed=0)
    box = find_colour(room.picture(), "red")
    assert box is not None
    assert (box[1] + box[3]) / 2 < 0.5
    map_box = find_colour(room.map(), "red")
    assert map_box is not None
    assert (map_box[0] + map_box[2]) / 2 < 0.5  # y is up
    room.move((0, 0, 1.0), 0.3)
    turned = find_colour(room.picture(), "red")
    assert turned is not None
    assert turned[1] > box[1]  # turning left moves it to the right


def test_the_same_seed_gives_the_same_room_and_pictures() -> None:
    first, again, other = (SimulatedRoom(SCENES["things"], seed) for seed in (3, 3, 4))
    assert first.things == again.things != other.things
    for _ in range(3):
        np.testing.assert_array_equal(first.picture(), again.picture())
    assert not np.array_equal(first.picture(), first.picture())  # a camera has noise
    np.testing.assert_array_equal(first.map(), again.map())


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("Is there a red box in the image? Answer yes or no.", "yes"),
        ("Is there a blue box in the image? Answer yes or no.", "no"),
        ("detect blue box", ""),
        ("Describe what you see in the image.", "things from left to right: red"),
        ("다음 물체가 이미지에 보입니까: 빨간 상자? 예 또는 아니오로 답하세요.", "yes"),
    ],
)
def test_answers_of_the_detector(prompt: str, answer: str) -> None:
    room = SimulatedRoom(Scene(colours=("red",), start=(1.0, 4.0, 0.0), places=((4.0, 4.0),)), seed=0)
    assert DETECTOR.generate(prompt, room.picture()) == answer


def test_grey_noise_has_no_colour() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    assert all(find_colour(noise, colour) is None for colour in ("red", "green", "blue", "yellow", "purple"))


def test_an_unknown_scene() -> None:
    with pytest.raises(ConfigError, match="did you mean 'things'"):
        scene_of("thing")
