"""A sentence, done: how far the base goes is summed up from what is sent."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robovlms.errors import ConfigError, UnsafeActionError
from robovlms.robot.config import Part
from robovlms.robot.parser import VLAActionParser
from robovlms.robot.safety import SafetyShield, ShieldLimits
from robovlms.robot.tasks import make_task
from robovlms.robot.tasks.say import Say
from robovlms.robot.view import View

LIMITS = ShieldLimits((0.5, 0.5, 1.0), (0.5, 0.5, 1.5), (1.0, 1.0, 3.0))
TICK_S = 0.02
PARSER = VLAActionParser()  # slow to make


def drive(task: Say, seconds: float = 60.0) -> tuple[float, float, float]:
    """Pose (x, y, yaw) of an ideal base that does what leaves the shield."""
    task.prepare(LIMITS, None)
    shield = SafetyShield(LIMITS)
    x = y = yaw = 0.0
    for tick in range(int(seconds / TICK_S)):
        now = tick * TICK_S
        view = View(images={"front": np.zeros((2, 2, 3), np.uint8)}, observed_at=now)
        action = task.decide(view, now).action
        if task.is_done:
            break
        sent = shield.step(action, action.confidence, 0.0, now)
        x += TICK_S * (sent.linear_x * math.cos(yaw) - sent.linear_y * math.sin(yaw))
        y += TICK_S * (sent.linear_x * math.sin(yaw) + sent.linear_y * math.cos(yaw))
        yaw += TICK_S * sent.angular_z
        task.feel(sent, TICK_S)
    assert task.is_done
    assert not any(shield.last.velocity)
    return x, y, yaw


def test_one_meter() -> None:
    assert drive(Say("go forward one meter", parser=PARSER)) == pytest.approx((1.0, 0, 0), abs=0.02)


def test_the_sides_of_a_square_end_where_they_began() -> None:
    side = "go forward 1 m then turn left 90 degrees"
    pose = drive(Say(" then ".join([side] * 4), parser=PARSER))
    assert pose == pytest.approx((0, 0, 2 * math.pi), abs=0.08)


def test_korean() -> None:
    x, y, yaw = drive(Say("앞으로 50센티미터 가서 오른쪽으로 90도 돌아", parser=PARSER))
    assert (x, y) == pytest.approx((0.5, 0), abs=0.02)
    assert yaw == pytest.approx(-math.pi / 2, abs=0.05)


def test_seconds_where_nothing_is_said() -> None:
    x, _, _ = drive(Say("go forward", seconds=2.0, parser=PARSER))
    assert 0.4 < x < 0.75


def test_stop_stands() -> None:
    assert drive(Say("stop", parser=PARSER)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not understood"),
        ("lorem ipsum", "not understood"),
        ("pick up the cup", "grab"),
        ("go to the sofa", "sees"),
    ],
)
def test_what_it_cannot_do_is_refused_at_once(text: str, message: str) -> None:
    with pytest.raises(UnsafeActionError, match=message):
        Say(text, parser=PARSER)


def test_an_axis_that_the_robot_does_not_have() -> None:
    limits = ShieldLimits((0.5, 0.0, 1.0), (0.5, 0.5, 1.5), (1.0, 1.0, 3.0))
    with pytest.raises(UnsafeActionError, match="no such axis: move left"):
        Say("strafe left", parser=PARSER).prepare(limits, None)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.1, 3.0), st.sampled_from(["forward", "backward"]))
def test_any_distance(metres: float, way: str) -> None:
    x, y, yaw = drive(Say(f"move {way} {metres:.2f} meters", parser=PARSER))
    assert (x if way == "forward" else -x) == pytest.approx(round(metres, 2), abs=0.03)
    assert (y, yaw) == (0, 0)


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
def test_a_time_that_never_ends_is_refused(seconds: float) -> None:
    with pytest.raises(ConfigError, match="seconds must be positive"):
        Say("go forward", seconds=seconds, parser=PARSER)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sey", {}, "unknown task 'sey'; did you mean 'say'"),
        ("say", {"txt": "go"}, "unknown option of the task 'say' 'txt'; did you mean 'text'"),
        ("say", {"text": 3}, "option 'text' must be of type str, got 3"),
        ("goal", {"goal": "follow", "target": "cup", "arrivals": "two"}, "'arrivals' must be of type int"),
        ("policy", {"instruction": "go", "options": 3}, "'options' must be of type dict or null"),
    ],
)
def test_wrong_tasks_are_named(name: str, options: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_task(Part(name=name, options=options))
    assert message in str(caught.value)
