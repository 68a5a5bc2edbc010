"""What the detector finds on a picture against where a pinhole camera must see it, for many poses."""

import math
from importlib.util import find_spec

import numpy as np
import pytest

from robovlms.robot.simulator.colour_detector import find_colour
from robovlms.robot.simulator.room import CAMERA_HEIGHT_M, COLOURS, FIELD_OF_VIEW_DEG, Scene, SimulatedRoom

pytestmark = pytest.mark.skipif(
    find_spec("miniworld") is None, reason="MiniWorld is not installed; pip install 'robovlms[sim]'"
)
WIDTH, HEIGHT, SIZE_M, PITCH = 320, 240, 0.6, math.radians(-5.0)
CELL_PX = 4


def projected(pose: tuple[float, float, float], x: float, y: float, z: float) -> tuple[float, float]:
    """Row and column of a point of the room, px; the camera looks ahead and 5° down."""
    ahead_x, ahead_y = x - pose[0], y - pose[1]
    ahead = math.cos(pose[2]) * ahead_x + math.sin(pose[2]) * ahead_y
    left = math.cos(pose[2]) * ahead_y - math.sin(pose[2]) * ahead_x
    up = z - CAMERA_HEIGHT_M
    depth = math.cos(PITCH) * ahead + math.sin(PITCH) * up
    rise = math.cos(PITCH) * up - math.sin(PITCH) * ahead
    focal = HEIGHT / 2 / math.tan(math.radians(FIELD_OF_VIEW_DEG / 2))
    return HEIGHT / 2 - focal * rise / depth, WIDTH / 2 - focal * left / depth


def box_on_picture(pose: tuple[float, float, float], place: tuple[float, float]) -> tuple[float, float, float, float]:
    """(y_min, x_min, y_max, x_max) of the cube at a place, px, cut at the edges of the picture."""
    half = SIZE_M / 2
    corners = [(place[0] + a, place[1] + b, c) for a in (-half, half) for b in (-half, half) for c in (0.0, SIZE_M)]
    rows, columns = np.array([projected(pose, *corner) for corner in corners]).T
    rows, columns = np.clip(rows, 0, HEIGHT), np.clip(columns, 0, WIDTH)
    return rows.min(), columns.min(), rows.max(), columns.max()


@pytest.fixture(scope="module")
def room() -> SimulatedRoom:
    return SimulatedRoom(Scene(colours=("red",), start=(1.0, 4.0, 0.0), places=((4.0, 4.0),)), seed=0)


@pytest.mark.parametrize("seed", range(30))
def test_the_box_is_found_within_a_few_pixels(room: SimulatedRoom, seed: int) -> None:
    random = np.random.default_rng(seed)
    distance, bearing, yaw = random.uniform(0.9, 4.5), random.uniform(-0.4, 0.4), random.uniform(-math.pi, math.pi)
    pose = (4 - distance * math.cos(yaw + bearing), 4 - distance * math.sin(yaw + bearing), yaw)
    agent = room._world.agent
    agent.pos, agent.dir = np.array([pose[0], 0.0, -pose[1]]), yaw
    found = find_colour(room.picture(), "red")
    assert found is not None
    pixels = np.array(found) * [HEIGHT, WIDTH, HEIGHT, WIDTH]
    np.testing.assert_allclose(pixels, box_on_picture(pose, (4.0, 4.0)), atol=CELL_PX + 0.5)


@pytest.mark.parametrize("colour", COLOURS)
def test_each_colour_from_all_sides_and_no_other(colour: str) -> None:
    room = SimulatedRoom(Scene(colours=(colour,), start=(1.0, 4.0, 0.0), places=((4.0, 4.0),)), seed=0)
    agent = room._world.agent
    for yaw in np.arange(0.0, 2 * math.pi, math.pi / 4):
        for distance in (0.8, 2.0, 3.9):
            pose = (4 - distance * math.cos(yaw), 4 - distance * math.sin(yaw), yaw)
            agent.pos, agent.dir = np.array([pose[0], 0.0, -pose[1]]), yaw
            found = {one: find_colour(room.picture(), one) for one in COLOURS}
            assert [one for one in COLOURS if found[one] is not None] == [colour], pose
            _, x_min, _, x_max = found[colour]
            assert (x_min + x_max) / 2 * WIDTH == pytest.approx(WIDTH / 2, abs=CELL_PX + 0.5)
