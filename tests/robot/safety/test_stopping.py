"""How far a robot goes before it stands."""

import math

import pytest

from robovlms.errors import SafetyError
from robovlms.robot.safety import ShieldLimits, stopping_distance, stopping_lines

TIMES = {"loop_period_s": 0.02, "watchdog_s": 0.2, "inference_s": 0.1, "observation_s": 0.1}


def limits(**changes):
    usual = {
        "max_velocity": (0.5, 0.5, 1.0),
        "max_acceleration": (0.5, 0.5, 1.5),
        "max_deceleration": (1.0, 1.0, 3.0),
    }
    return ShieldLimits(**{**usual, **changes})


def test_the_worked_example():
    way = stopping_distance(limits(), **TIMES)
    assert way.reaction_s == pytest.approx(0.42)
    assert (way.reaction[0], way.braking[0]) == pytest.approx((0.21, 0.125))
    assert (way.forward_m, way.sideways_m) == pytest.approx((0.335, 0.335))


def test_with_direction_kept_rotation_brakes_as_long_as_translation():
    assert stopping_distance(limits(), **TIMES).turn_rad == pytest.approx(0.42 + 1.0 * 0.5 / 2)
    assert stopping_distance(limits(keep_direction=False), **TIMES).turn_rad == pytest.approx(0.42 + 1.0 / 6)


def test_with_direction_kept_the_weaker_brake_counts_for_both():
    weak = limits(max_deceleration=(1.0, 0.25, 3.0))
    assert stopping_distance(weak, **TIMES).braking[:2] == pytest.approx((0.5, 0.5))
    alone = limits(max_deceleration=(1.0, 0.25, 3.0), keep_direction=False)
    assert stopping_distance(alone, **TIMES).braking[:2] == pytest.approx((0.125, 0.5))


def test_the_lines_to_print():
    lines = stopping_lines(stopping_distance(limits(max_velocity=(0.5, 0.0, 1.0)), **TIMES))
    assert lines == [
        "worst-case stop ahead: 0.335 m (0.210 in the 0.42 s before braking, 0.125 while braking)",
        "worst-case stop turning: 0.670 rad (0.420 in the 0.42 s before braking, 0.250 while braking)",
    ]


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("value", [math.nan, -0.1, None, math.inf])
def test_a_time_that_is_none_is_refused(name, value):
    with pytest.raises(SafetyError, match=name):
        stopping_distance(limits(), **{**TIMES, name: value})
