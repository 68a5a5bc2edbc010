"""The whole chain without processes and clocks: picture, detector, goal, shield, base; a tick is a tick."""

import math
from importlib.util import find_spec

import numpy as np
import pytest

from robovlms.robot.safety import SafetyShield, ShieldLimits
from robovlms.robot.simulator.colour_detector import ColourDetector
from robovlms.robot.simulator.room import COLOURS, RADIUS_M, SCENES, SimulatedRoom, thing_name
from robovlms.robot.tasks.goal import GoalTask
from robovlms.robot.view import View
from robovlms.robot.worker.client import Answer

pytestmark = pytest.mark.skipif(
    find_spec("miniworld") is None, reason="MiniWorld is not installed; pip install 'robovlms[sim]'"
)
TICK_S, TICKS_PER_PICTURE, LONGEST_S = 0.02, 5, 60.0
LIMITS = ShieldLimits(
    max_velocity=(0.5, 0.0, 1.0),
    max_acceleration=(0.5, 0.5, 1.5),
    max_deceleration=(1.0, 1.0, 3.0),
    min_confidence=0.3,
    max_observation_age_s=0.5,
)


def drive(room: SimulatedRoom, target: str, longest_s: float = LONGEST_S) -> tuple[GoalTask, float]:
    """Go to a thing; return the task, and after how long it ended, s."""
    task, shield, model = GoalTask(goal="navigate_to", target=target), SafetyShield(LIMITS), ColourDetector()
    view = View(images={}, observed_at=0.0)
    for tick in range(round(longest_s / TICK_S)):
        now = tick * TICK_S
        if tick % TICKS_PER_PICTURE == 0:
            view = View(images={"camera": room.picture()}, observed_at=now)
            question = task.question(view, now)
            task.take(Answer(question=question, text=model.generate(question.prompt, view.image)), now)
        decision = task.decide(view, now)
        action = decision.action
        command = shield.step(action.velocity, action.confidence, now - decision.observed_at, now)
        room.move(command.velocity, TICK_S)
        if task.is_done:
            break
    return task, now


@pytest.mark.parametrize("seed", range(8))
def test_all_things_are_seen_from_the_start_and_none_is_in_the_way_of_another(seed: int) -> None:
    room = SimulatedRoom(SCENES["in_view"], seed, width=160, height=120)
    answers = [ColourDetector().generate(f"detect {name}", room.picture()) for name in room.things]
    assert all(answers), dict(zip(room.things, answers, strict=True))
    x, y, _ = room.pose
    places = [(at[0] - x, at[1] - y) for at in room.things.values()]
    for goal in places:
        for other in places:
            if other != goal and math.hypot(*other) < math.hypot(*goal):
                aside = abs(goal[0] * other[1] - goal[1] * other[0]) / math.hypot(*goal)
                assert aside > RADIUS_M + 0.6 / math.sqrt(2)


@pytest.mark.parametrize(("seed", "colour"), [(number, colour) for number, colour in enumerate(COLOURS)])
def test_it_reaches_each_thing_without_a_bump(seed: int, colour: str) -> None:
    room = SimulatedRoom(SCENES["in_view"], seed, width=160, height=120)
    task, seconds = drive(room, thing_name(colour))
    assert task.is_done, task.outcome
    at, (x, y, yaw) = room.things[thing_name(colour)], room.pose
    assert 0.5 < math.hypot(at[0] - x, at[1] - y) < 1.6
    bearing = math.remainder(math.atan2(at[1] - y, at[0] - x) - yaw, math.tau)
    assert abs(bearing) < math.radians(15)
    assert room.num_bumps == 0
    assert seconds < LONGEST_S - 1


def test_it_stands_where_the_thing_is_not_seen() -> None:
    room = SimulatedRoom(SCENES["one_box"], 0, width=160, height=120)
    before = room.pose
    room._world.things.clear()
    room._world.entities = [room._world.agent]
    task, _ = drive(room, "red box", longest_s=8.0)
    assert not task.is_done
    np.testing.assert_array_equal(room.pose, before)
