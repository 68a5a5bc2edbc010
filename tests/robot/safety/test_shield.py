"""The shield of a base, in small numbers by hand."""

import math
import signal
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from robovlms.errors import SafetyError
from robovlms.robot.action import ActionType, RobotAction
from robovlms.robot.safety import Reason, SafetyShield, ShieldLimits, VelocityCommand

LIMITS = ShieldLimits(
    max_velocity=(0.5, 0.5, 1.0),
    max_acceleration=(0.5, 0.5, 1.5),
    max_deceleration=(1.0, 1.0, 3.0),
    min_confidence=0.3,
    max_observation_age_s=0.5,
    max_step_s=0.1,
    keep_direction=True,
)


@pytest.fixture
def shield():
    return SafetyShield(LIMITS)


def drive(shield, velocity=(0.5, 0.0, 0.0), until=2.0):
    """Ask for a velocity at 10 Hz from 0.1 s on; return the last command."""
    for tick in range(1, round(until * 10) + 1):
        sent = shield.step(velocity, 1.0, 0.0, tick / 10)
    return sent


def test_speed_rises_by_acceleration_times_time(shield):
    speeds = [shield.step((0.5, 0.0, 0.0), 1.0, 0.0, now).linear_x for now in (0.0, 0.1, 0.12, 9.0)]
    assert speeds == pytest.approx([0.05, 0.1, 0.11, 0.16])


def test_a_second_step_at_the_same_time_changes_nothing_and_a_third_brakes(shield):
    first = shield.step((0.5, 0.0, 0.0), 1.0, 0.0, 1.0)
    second = shield.step((0.5, 0.0, 0.0), 1.0, 0.0, 1.0)
    third = shield.step((0.5, 0.0, 0.0), 1.0, 0.0, 1.0)
    assert first.velocity == second.velocity == (0.05, 0.0, 0.0)
    assert third == VelocityCommand(reasons=(Reason.CLOCK,))


def test_too_fast_is_scaled_as_a_whole(shield):
    assert drive(shield, (1.0, 0.5, 0.5)) == VelocityCommand(0.5, 0.25, 0.25, (Reason.CLAMPED,))


def test_without_direction_each_axis_is_clamped_alone():
    shield = SafetyShield(ShieldLimits.from_dict({**LIMITS.to_dict(), "keep_direction": False}))
    assert drive(shield, (1.0, -0.9, 0.4)) == VelocityCommand(0.5, -0.5, 0.4, (Reason.CLAMPED,))


def test_an_axis_that_does_not_exist_is_never_driven():
    limits = {**LIMITS.to_dict(), "max_velocity": (0.5, 0, 1)}
    assert drive(SafetyShield(ShieldLimits(**limits)), (0.3, 0.2, 0.1)).velocity == (0.0, 0.0, 0.0)
    assert drive(SafetyShield(ShieldLimits(**limits)), (0.3, 0.0, 0.1)).velocity == (0.3, 0.0, 0.1)
    alone = SafetyShield(ShieldLimits(**{**limits, "keep_direction": False}))
    assert drive(alone, (0.3, 0.2, 0.1)).velocity == (0.3, 0.0, 0.1)


def test_back_goes_through_zero(shield):
    drive(shield, (0.05, 0.0, 0.0))
    speeds = [shield.step((-0.5, 0.0, 0.0), 1.0, 0.0, 2.0 + 0.1 * tick).linear_x for tick in (1, 2)]
    assert speeds == pytest.approx([0.0, -0.05])


def test_from_ahead_to_left_each_axis_keeps_its_own_limit(shield):
    drive(shield)
    sent = shield.step((0.0, 0.5, 0.0), 1.0, 0.0, 2.1)
    assert sent.velocity == pytest.approx((0.4, 0.05, 0.0))


def test_on_an_arc_it_brakes_along_the_arc(shield):
    drive(shield, (0.5, 0.0, 1.0))
    sent = shield.hold(2.1)
    assert sent.velocity == pytest.approx((0.4, 0.0, 0.8))
    assert sent.reasons == (Reason.HOLD, Reason.RATE_LIMITED)


def test_translation_does_not_wait_for_rotation(shield):
    drive(shield, (0.1, 0.0, 1.0))
    assert shield.hold(2.1).velocity == pytest.approx((0.0, 0.0, 0.7))


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (((math.nan, 0.0, 0.0), 1.0, 0.0), Reason.NOT_FINITE),
        ((("x", 0.0, 0.0), 1.0, 0.0), Reason.INVALID),
        ((None, 1.0, 0.0), Reason.INVALID),
        (((0.5, 0.0, 0.0), math.nextafter(0.3, 0.0), 0.0), Reason.LOW_CONFIDENCE),
        (((0.5, 0.0, 0.0), math.nan, 0.0), Reason.LOW_CONFIDENCE),
        (((0.5, 0.0, 0.0), 1.01, 0.0), Reason.LOW_CONFIDENCE),
        (((0.5, 0.0, 0.0), 1.0, math.nextafter(0.5, 1.0)), Reason.STALE),
        (((0.5, 0.0, 0.0), 1.0, None), Reason.STALE),
        (((0.5, 0.0, 0.0), 1.0, -0.001), Reason.FUTURE),
        ((RobotAction(ActionType.GRAB, 0.5, confidence=1.0), 1.0, 0.0), Reason.INVALID),
    ],
)
def test_what_is_refused_brakes_and_says_why(shield, call, reason):
    drive(shield)
    sent = shield.step(*call, 2.1)
    assert sent.velocity == pytest.approx((0.4, 0.0, 0.0))
    assert sent.reasons == (reason, Reason.RATE_LIMITED)
    assert shield.counters[reason] == 1


@pytest.mark.parametrize("now", [math.nan, math.inf, None, "2.1", 0.0, -3600.0])
def test_a_broken_clock_brakes_by_the_longest_step(shield, now):
    drive(shield)
    sent = shield.step((0.5, 0.0, 0.0), 1.0, 0.0, now)
    assert sent.velocity == pytest.approx((0.4, 0.0, 0.0))
    assert Reason.CLOCK in sent.reasons


def test_after_a_jump_back_the_clock_counts_again(shield):
    drive(shield)
    shield.step((0.5, 0.0, 0.0), 1.0, 0.0, 2.0 - 3600.0)
    assert shield.step((0.5, 0.0, 0.0), 1.0, 0.0, 2.1 - 3600.0).linear_x == pytest.approx(0.45)


@pytest.mark.parametrize("stop", [RobotAction(ActionType.STOP, 9.0), RobotAction(ActionType.STOP), (0, 0, 0)])
def test_a_stop_is_a_stop_whatever_its_confidence_and_age(shield, stop):
    drive(shield)
    assert shield.step(stop, 0.0, math.inf, 2.1) == VelocityCommand(
        shield.last.linear_x, 0.0, 0.0, (Reason.RATE_LIMITED,)
    )
    assert shield.last.linear_x == pytest.approx(0.4)


def test_emergency_stop_by_hand(shield):
    drive(shield)
    shield.estop("someone ran in front")
    assert shield.is_stopped
    assert shield.estop_reason == "someone ran in front"
    assert shield.step((0.5, 0.0, 0.0), 1.0, 0.0, 2.1) == VelocityCommand(reasons=(Reason.ESTOP,))
    shield.reset()
    assert (shield.is_stopped, shield.estop_reason) == (False, "")
    assert shield.step((0.5, 0.0, 0.0), 1.0, 0.0, 2.1) == VelocityCommand(reasons=(Reason.WAITING,))
    assert shield.step((0.5, 0.0, 0.0), 1.0, 0.15, 2.2) == VelocityCommand(reasons=(Reason.WAITING,))
    assert shield.step((0.5, 0.0, 0.0), 0.1, 0.0, 2.3) == VelocityCommand(
        reasons=(Reason.LOW_CONFIDENCE, Reason.WAITING)
    )
    assert shield.hold(2.35).reasons == (Reason.HOLD, Reason.WAITING)
    assert shield.step((0.5, 0.0, 0.0), 1.0, 0.15, 2.4).linear_x == pytest.approx(0.025)


def test_the_time_of_a_reset_can_be_told(shield):
    shield.step((0.5, 0.0, 0.0), 1.0, 0.0, 1.0)
    shield.estop()
    shield.step((0.5, 0.0, 0.0), 1.0, 0.0, 1.1)
    shield.reset(5.0)
    assert shield.step((0.5, 0.0, 0.0), 1.0, 0.1, 5.05).velocity == (0.0, 0.0, 0.0)
    assert shield.step((0.5, 0.0, 0.0), 1.0, 0.0, 5.1).linear_x > 0.0


def test_a_reset_before_any_step_needs_an_observation_of_now(shield):
    shield.estop()
    shield.reset()
    assert shield.step((0.5, 0.0, 0.0), 1.0, 0.1, 1.0).reasons == (Reason.WAITING,)
    assert shield.step((0.5, 0.0, 0.0), 1.0, 0.1, 1.05).reasons == (Reason.WAITING,)
    assert shield.step((0.5, 0.0, 0.0), 1.0, 0.1, 1.2).linear_x > 0.0


def test_a_clock_that_goes_back_after_a_reset_does_not_block_for_ever(shield):
    drive(shield)
    shield.estop()
    shield.step(None, 0.0, 0.0, 2.1)
    shield.reset()
    shield.step((0.5, 0.0, 0.0), 1.0, 0.0, -3600.0)
    shield.step((0.5, 0.0, 0.0), 1.0, 0.0, -3599.9)
    assert shield.step((0.5, 0.0, 0.0), 1.0, 0.0, -3599.8).linear_x > 0.0


def test_a_signal_handler_and_another_thread_can_stop(shield):
    drive(shield)
    before = signal.signal(signal.SIGUSR1, lambda *_: shield.estop("signal"))
    try:
        signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert shield.step((0.5, 0.0, 0.0), 1.0, 0.0, 2.1).velocity == (0.0, 0.0, 0.0)
    shield.reset()
    thread = threading.Thread(target=shield.estop, args=("thread",))
    thread.start()
    thread.join()
    assert shield.estop_reason == "thread"


class Hostile:
    """Not even its class can be asked for."""

    def __getattribute__(self, name):
        raise RuntimeError(name)

    def __iter__(self):
        raise RuntimeError("iter")


@pytest.mark.parametrize("place", range(7))
def test_nothing_raises(shield, place):
    drive(shield)
    call = [(0.5, 0.0, 0.0), 1.0, 0.0, 2.1, None, 0.0]
    if place < 6:
        call[place] = Hostile()
    else:
        call[0] = (0.5, Hostile(), 0.0)
    sent = shield.step(*call)
    assert sent.linear_x == pytest.approx(0.5 if place in (4, 5) else 0.4)


@pytest.mark.parametrize(
    "command",
    [
        [0.1, 0.2, 0.3],
        np.array([0.1, 0.2, 0.3]),
        np.array([0.1, 0.2, 0.3], np.float32),
        {"linear": {"x": 0.1, "y": 0.2, "z": 0.0}, "angular": {"z": 0.3}},
        {"linear_x": 0.1, "linear_y": 0.2, "angular_z": 0.3},
        RobotAction(ActionType.MOVE, 0.1, 0.2, 0.3),
        RobotAction(ActionType.NAVIGATE, 0.1, 0.2, 0.3).to_dict(),
        VelocityCommand(0.1, 0.2, 0.3),
        SimpleNamespace(linear_x=0.1, linear_y=0.2, angular_z=0.3),
    ],
)
def test_the_shapes_of_a_command(shield, command):
    assert drive(shield, command).velocity == pytest.approx((0.1, 0.2, 0.3), abs=1e-7)


@pytest.mark.parametrize(
    "changes",
    [
        {"max_velocity": (0.5, 0.5)},
        {"max_velocity": (0.5, 0.5, math.nan)},
        {"max_velocity": (0.5, -0.5, 1.0)},
        {"max_velocity": "fast"},
        {"max_velocity": None},
        {"max_acceleration": (0.5, 0.0, 1.5)},
        {"max_acceleration": (0.5, math.inf, 1.5)},
        {"max_deceleration": (True, 1.0, 3.0)},
        {"max_deceleration": 1.0},
        {"min_confidence": 0.0},
        {"min_confidence": 1.1},
        {"min_confidence": math.nan},
        {"min_confidence": None},
        {"max_observation_age_s": 0.0},
        {"max_observation_age_s": "0.5"},
        {"max_step_s": -0.1},
        {"max_step_s": math.inf},
        {"keep_direction": 1},
        {"zones": 3},
    ],
)
def test_wrong_limits_are_refused_by_name(changes):
    with pytest.raises(SafetyError, match=next(iter(changes))) as caught:
        ShieldLimits(**{**LIMITS.to_dict(), **changes})
    assert "\n" not in str(caught.value)


def test_limits_are_floats_and_stay_what_they_are():
    limits = ShieldLimits([1, 0, 2], np.array([1, 1, 1]), (1, 1, 1), max_step_s=1)
    assert limits.max_velocity == (1.0, 0.0, 2.0)
    assert all(type(value) is float for value in (*limits.max_velocity, *limits.max_acceleration, limits.max_step_s))
    with pytest.raises(AttributeError):
        limits.max_step_s = 9.0
    assert ShieldLimits.from_dict(LIMITS.to_dict()) == LIMITS


def test_limits_from_a_file_name_what_is_missing_or_unknown():
    values = LIMITS.to_dict()
    with pytest.raises(SafetyError, match="did you mean 'max_velocity'"):
        ShieldLimits.from_dict({**values, "max_velocty": (1, 1, 1)})
    del values["max_deceleration"]
    with pytest.raises(SafetyError, match="'max_deceleration' is missing"):
        ShieldLimits.from_dict(values)
    with pytest.raises(SafetyError, match="expected a mapping"):
        ShieldLimits.from_dict([1, 2])
