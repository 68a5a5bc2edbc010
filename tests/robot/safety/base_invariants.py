"""What a shield of a base promises, whatever it is fed; each function makes one hypothesis test of a shield package.

The package is an argument, so that the same promises are asked of packages with a seeded fault (`mutants`).
"""

import math
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from robot.safety.runs import (
    BAD_CLOCKS,
    INF,
    LIMITS,
    NAN,
    NO_NUMBERS,
    ODD_COMMANDS,
    SHAPES,
    Clock,
    Step,
    as_shape,
    changed_limits,
    commands,
    limits,
    runs,
    spoiled,
    spoils,
    velocities,
)

from robovlms.robot.action import ActionType, RobotAction

ZERO = (0.0, 0.0, 0.0)
EPS = 1e-9
Check = Callable[[], None]
step_lengths = st.sampled_from([0.02, 0.05, 0.1, 0.013])


def moving(safety: ModuleType, values: dict[str, Any], steps: list[Step]) -> tuple[Any, Clock]:
    """A shield after a run, and the clock of the run."""
    shield, clock = safety.SafetyShield(safety.ShieldLimits(**values)), Clock(values["max_step_s"])
    for step in steps:
        for _ in range(step.repeat):
            shield.step(step.command, step.confidence, step.age, clock.read(step))
    return shield, clock


def driven(safety: ModuleType, values: dict[str, Any], velocity: tuple[float, float, float]) -> tuple[Any, float]:
    """A shield that was asked for one velocity for long, and the time."""
    shield, now = safety.SafetyShield(safety.ShieldLimits(**values)), 0.0
    for _ in range(36):
        now += 0.125
        shield.step(velocity, 1.0, 0.0, now)
    return shield, now


def any_run(safety: ModuleType) -> Check:
    """I1, I2, I3, I4, I10 and the book-keeping, at every step of any run."""

    @given(limits, runs)
    def check(values: dict[str, Any], steps: list[Step]) -> None:
        shields = [safety.SafetyShield(safety.ShieldLimits(**values)) for _ in range(2)]
        clock, before, counted = Clock(values["max_step_s"]), ZERO, 0
        for step in steps:
            for _ in range(step.repeat):
                now = clock.read(step)
                sent, again = (one.step(step.command, step.confidence, step.age, now) for one in shields)
                assert repr(sent) == repr(again), "I10 deterministic"
                assert_bounded(sent.velocity, values)
                assert_within_rates(before, sent.velocity, values, clock)
                assert all(a * b >= 0.0 for a, b in zip(before, sent.velocity, strict=True)), "I4 no reversal"
                if step.spoiled and not (clock.is_first and step.spoiled == "clock"):
                    assert_braking(before, sent.velocity, values, clock)
                    assert sent.reasons or sent.velocity == ZERO, "a refusal is told"
                assert shields[0].last is sent
                assert len(set(sent.reasons)) == len(sent.reasons), "each reason once"
                counted += len(sent.reasons)
                before = sent.velocity
        assert sum(shields[0].counters.values()) == counted, "each reason is counted"

    return check


def assert_bounded(velocity: tuple[float, ...], values: dict[str, Any]) -> None:
    """I1 bounded and finite."""
    for value, most in zip(velocity, values["max_velocity"], strict=True):
        assert type(value) is float
        assert math.isfinite(value)
        assert abs(value) <= most, "I1 bounded"


def assert_within_rates(
    before: tuple[float, ...], after: tuple[float, ...], values: dict[str, Any], clock: Clock
) -> None:
    """I2 rate limits, with whatever clock; nothing speeds up while time stands still."""
    rates = zip(before, after, values["max_acceleration"], values["max_deceleration"], strict=True)
    for old, new, rise, fall in rates:
        most = rise * clock.rise_s if abs(new) > abs(old) else fall * clock.fall_s
        assert abs(new - old) <= most + EPS, "I2 rate limit"


def assert_braking(before: tuple[float, ...], after: tuple[float, ...], values: dict[str, Any], clock: Clock) -> None:
    """I3 bad input raises no speed on any axis, and brakes as hard as allowed."""
    assert all(abs(new) <= abs(old) for old, new in zip(before, after, strict=True)), "I3 no axis speeds up"
    left_before, left_after = (stopping_time(v, values) for v in (before, after))
    assert left_after <= max(0.0, left_before - clock.fall_s) + EPS, "I3 brakes"


def stopping_time(velocity: tuple[float, ...], values: dict[str, Any]) -> float:
    """Time that braking takes, s."""
    return max(abs(value) / fall for value, fall in zip(velocity, values["max_deceleration"], strict=True))


def odd_values(safety: ModuleType) -> Check:
    """Every value that is no number in the range, in every place, and every odd command leaves the robot at rest."""

    @given(limits)
    def check(values: dict[str, Any]) -> None:
        shield, now = safety.SafetyShield(safety.ShieldLimits(**values)), 0.0
        for odd in NO_NUMBERS:
            for call in (
                ((odd, 0.2, 0.2), 1.0, 0.0),
                ((0.2, odd, 0.2), 1.0, 0.0),
                ((0.2, 0.2, odd), 1.0, 0.0),
                ({"linear_x": 0.2, "linear_y": 0.0, "angular_z": odd}, 1.0, 0.0),
                ((0.2, 0.0, 0.2), odd, 0.0),
                ((0.2, 0.0, 0.2), 1.0, odd),
            ):
                now += 0.1
                assert (sent := shield.step(*call, now)).velocity == ZERO, call
                assert sent.reasons, call
        for command in ODD_COMMANDS:
            now += 0.1
            assert (sent := shield.step(command, 1.0, 0.0, now)).velocity == ZERO
            assert sent.reasons
        assert shield.step((0.2, 0.0, 0.2), 1.0, 0.0, now + 0.1).velocity[0] > 0.0

    return check


def zero_in_time(safety: ModuleType) -> Check:
    """I5 at rest within v/d and a tick after the last good command, translation in its own time."""

    @given(limits, runs, spoiled(("command", "confidence", "age")), step_lengths)
    def check(values: dict[str, Any], steps: list[Step], bad: Step, step_s: float) -> None:
        shield, clock = moving(safety, values, steps)
        falls = values["max_deceleration"]
        x, y, _ = shield.last.velocity
        translation_s, all_s = max(abs(x) / falls[0], abs(y) / falls[1]), stopping_time(shield.last.velocity, values)
        for tick in range(1, math.ceil(all_s / step_s) + 2):
            clock.time += step_s
            sent = shield.step(bad.command, bad.confidence, bad.age, clock.time)
            if tick > translation_s / step_s + 1:
                assert sent.velocity[:2] == (0.0, 0.0), "I5 translation"
        assert sent.velocity == ZERO, "I5 rest"

    return check


def hold_comes_to_rest(safety: ModuleType) -> Check:
    """`hold` brakes as bad input does, with a good clock and a bad one."""

    @given(limits, velocities, st.sampled_from([0.1, NAN, None]))
    def check(values: dict[str, Any], velocity: tuple[float, float, float], step_s: Any) -> None:
        shield, now = driven(safety, values, velocity)
        before = shield.last.velocity
        for _ in range(math.ceil(stopping_time(before, values) / 0.1) + 1):
            now = now + step_s if step_s == 0.1 else step_s
            sent = shield.hold(now)
            assert all(abs(new) <= abs(old) for old, new in zip(before, sent.velocity, strict=True))
            assert sent.reasons[0].value == "hold"
            before = sent.velocity
        assert before == ZERO

    return check


def emergency_stop(safety: ModuleType) -> Check:
    """I6 zero on the very step, latched, released by a reset and a fresh command only."""

    @given(limits, runs, st.lists(commands, min_size=1, max_size=4), st.floats(0.0, 0.4))
    def check(values: dict[str, Any], steps: list[Step], after: list[Any], age: float) -> None:
        shield, clock = moving(safety, values, steps)
        shield.estop("button")
        for command in after:
            clock.time += 0.02
            sent = shield.step(command, 1.0, 0.0, clock.time)
            assert sent.velocity == ZERO, "I6 immediate and latched"
            assert [reason.value for reason in sent.reasons] == ["estop"]
            assert shield.hold(clock.time).velocity == ZERO
        assert shield.is_stopped
        shield.reset()
        reset_time = clock.time
        assert shield.step((0.3, 0.1, 0.2), 1.0, age, clock.time).velocity == ZERO, "I6 what is older than the reset"
        for _ in range(30):
            clock.time += 0.02
            sent = shield.step((0.3, 0.0, 0.2), 1.0, age, clock.time)
            if clock.time - age < reset_time - EPS:
                assert sent.velocity == ZERO, "I6 what is older than the reset"
            if clock.time - age > reset_time + EPS:
                assert sent.velocity[0] > 0.0, "I6 a fresh command moves"
                assert sent.velocity[0] <= values["max_acceleration"][0] * 0.1 + EPS, "I6 from rest"
                break
        else:
            raise AssertionError("never released")

    return check


def emergency_stop_within_a_step(safety: ModuleType) -> Check:
    """I6 a stop that comes while a step is under way, as from a signal handler, is obeyed by that step."""

    @given(limits, velocities)
    def check(values: dict[str, Any], velocity: tuple[float, float, float]) -> None:
        shield, now = driven(safety, values, velocity)

        class Pressing:
            linear_y = angular_z = 0.0

            @property
            def linear_x(self) -> float:
                shield.estop()
                return 0.5

        assert shield.step(Pressing(), 1.0, 0.0, now + 0.02).velocity == ZERO
        assert shield.step(velocity, 1.0, 0.0, now + 0.04).velocity == ZERO

    return check


def reset_does_not_hide_a_stop(safety: ModuleType) -> Check:
    """I6 stop and reset between two steps: the robot is at zero at once before anything moves."""

    @given(limits, velocities)
    def check(values: dict[str, Any], velocity: tuple[float, float, float]) -> None:
        shield, now = driven(safety, values, velocity)
        shield.reset()
        unchanged = shield.step(velocity, 1.0, 0.0, now + 0.02)
        assert unchanged.velocity == driven(safety, values, velocity)[0].last.velocity, "a reset alone does nothing"
        shield.estop()
        shield.reset()
        sent = shield.step(velocity, 1.0, 0.0, now + 0.04)
        assert sent.velocity == ZERO or unchanged.velocity == ZERO
        shield.estop()
        assert shield.is_stopped
        assert shield.step(velocity, 1.0, 0.0, now + 0.06).velocity == ZERO
        assert shield.step(velocity, 1.0, 0.0, now + 0.08).velocity == ZERO

    return check


def fixed_point(safety: ModuleType) -> Check:
    """I7 a command within the limits that is the velocity already comes out bit for bit, without a reason."""

    @given(limits, velocities, st.sampled_from(SHAPES))
    def check(values: dict[str, Any], velocity: tuple[float, float, float], shape: str) -> None:
        shield, now = driven(safety, values, velocity)
        reached = shield.last.velocity
        assume(values["max_acceleration"][0] < 1e6 or any(reached))
        sent = shield.step(as_shape(reached, shape), 0.3, 0.5, now + 0.02)
        assert repr(sent.velocity) == repr(reached)
        assert sent.reasons == ()

    return check


def monotone(safety: ModuleType) -> Check:
    """I8 asking more of an axis never gives less of it, with each axis alone."""

    @given(runs, velocities, velocities, step_lengths)
    def check(steps: list[Step], one: tuple[float, ...], other: tuple[float, ...], step_s: float) -> None:
        low, high = tuple(map(min, one, other)), tuple(map(max, one, other))
        sent = []
        for velocity in (low, high):
            shield, clock = moving(safety, changed_limits(keep_direction=False), steps)
            clock.time += step_s
            sent.append(shield.step(velocity, 1.0, 0.0, clock.time).velocity)
        assert all(less <= more for less, more in zip(*sent, strict=True))

    return check


def thresholds(safety: ModuleType) -> Check:
    """I9 confidence and age count to the last bit; what is no number in the range stops."""

    @given(st.floats(0.01, 1.0), st.floats(0.01, 10.0), spoils["confidence"], spoils["age"])
    def check(least: float, oldest: float, bad_confidence: Any, bad_age: Any) -> None:
        values = changed_limits(min_confidence=least, max_observation_age_s=oldest)

        def follows(confidence: Any, age: Any) -> bool:
            shield = safety.SafetyShield(safety.ShieldLimits(**values))
            return shield.step((0.3, 0.0, 0.0), confidence, age, 0.0).velocity[0] > 0.0

        assert follows(least, oldest)
        assert follows(math.nextafter(least, 2.0), math.nextafter(oldest, 0.0)) or least == 1.0
        assert not follows(math.nextafter(least, 0.0), 0.0)
        assert not follows(1.0, math.nextafter(oldest, INF))
        assert not follows(math.nextafter(1.0, 2.0), 0.0)
        assert not follows(1.0, -1e-6)
        usual = safety.SafetyShield(safety.ShieldLimits(**LIMITS))
        assert usual.step((0.3, 0.0, 0.0), bad_confidence, 0.0, 0.0).velocity == ZERO
        assert usual.step((0.3, 0.0, 0.0), 1.0, bad_age, 0.1).velocity == ZERO

    return check


def broken_clock(safety: ModuleType) -> Check:
    """I11 good commands with a clock that is broken: rest within v/d and a tick, in steps of bounded size."""
    frozen = [lambda now, bad=bad: bad for bad in BAD_CLOCKS]
    clocks = [*frozen, lambda now: 4.5, lambda now: now, lambda now: now - 1e9]

    @given(limits, velocities, st.sampled_from(clocks))
    def check(values: dict[str, Any], velocity: tuple[float, float, float], clock: Callable[[float], Any]) -> None:
        shield, _ = driven(safety, values, velocity)  # until 4.5
        before = shield.last.velocity
        for tick in range(max(1, math.ceil(stopping_time(before, values) / values["max_step_s"] - EPS)) + 1):
            sent = shield.step(velocity, 1.0, 0.0, clock(4.0 - tick))
            drops = zip(before, sent.velocity, values["max_deceleration"], strict=True)
            assert all(abs(old - new) <= fall * values["max_step_s"] + EPS for old, new, fall in drops)
            before = sent.velocity
        assert before == ZERO

    return check


def direction_kept(safety: ModuleType) -> Check:
    """From rest to a velocity and on to one that is parallel, the direction of (x, y, yaw) is that of the command."""

    @given(velocities, st.sampled_from([1.0, 0.5, 0.25, -0.5]), step_lengths)
    def check(velocity: tuple[float, float, float], part: float, step_s: float) -> None:
        assume(max(map(abs, velocity)) > 1e-6)
        x, y, yaw = velocity
        shield, now = safety.SafetyShield(safety.ShieldLimits(**LIMITS)), 0.0
        for _ in range(1 + math.ceil(1.0 / step_s)):
            now += step_s
            sent = shield.step(velocity, 1.0, 0.0, now).velocity
            assert angle(sent, velocity) < 1e-6
            assert any(sent)
        slower = tuple(value * part for value in sent)
        yaw_can_follow = abs(yaw) / 3.0 <= max(abs(x), abs(y))
        for _ in range(2 + math.ceil(1.4 / step_s)):
            now += step_s
            sent = shield.step(slower, 1.0, 0.0, now).velocity
            assert cross(sent[:2], (x, y)) < 1e-6, "translation"
            assert not yaw_can_follow or angle(sent, velocity, both_ways=True) < 1e-6
        assert sent == pytest.approx(slower, abs=1e-12), "arrives"

    return check


def angle(one: tuple[float, ...], other: tuple[float, ...], both_ways: bool = False) -> float:
    """Angle between two vectors, rad; of lines if both ways."""
    largest = max(map(abs, other))
    other = tuple(value / largest for value in other)
    length = math.dist(one, ZERO) * math.dist(other, ZERO)
    if length == 0.0:
        return 0.0
    a, b = one, other
    product = (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])
    dot = sum(p * q for p, q in zip(a, b, strict=True))
    return math.atan2(math.dist(product, ZERO) / length, (abs(dot) if both_ways else dot) / length)


def cross(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Sine of the angle between two vectors of the plane, 0 if one is none."""
    length = math.hypot(*one) * math.hypot(*other)
    if length == 0.0 or length == INF:
        return 0.0
    return abs(one[0] / math.hypot(*one) * other[1] - one[1] / math.hypot(*one) * other[0]) / math.hypot(*other)


def stop_is_never_refused(safety: ModuleType) -> Check:
    """A wish to stand still is one whatever its confidence, age and other fields; nothing is told against it."""
    shouted = RobotAction(ActionType.STOP, NAN, 9.0, INF, confidence=NAN)
    stops = [ZERO, [0, 0, 0], shouted, SimpleNamespace(action_type="stop"), as_shape((0.0, -0.0, 0.0), "twist")]

    @given(limits, velocities, st.sampled_from(stops), spoils["confidence"], spoils["age"], step_lengths)
    def check(
        values: dict[str, Any],
        velocity: tuple[float, float, float],
        stop: Any,
        confidence: Any,
        age: Any,
        step_s: float,
    ) -> None:
        shield, now = driven(safety, values, velocity)
        clock = Clock(values["max_step_s"])
        clock.fall_s = step_s
        for _ in range(math.ceil(stopping_time(shield.last.velocity, values) / step_s) + 1):
            now, before = now + step_s, shield.last.velocity
            sent = shield.step(stop, confidence, age, now)
            assert_braking(before, sent.velocity, values, clock)
            assert {reason.value for reason in sent.reasons} <= {"rate_limited"}
        assert sent.velocity == ZERO

    return check


def arrives(safety: ModuleType) -> Check:
    """A good command is reached, as fast as the limits allow; the first step counts as the longest one."""

    @given(limits, velocities, step_lengths)
    def check(values: dict[str, Any], velocity: tuple[float, float, float], step_s: float) -> None:
        shield = safety.SafetyShield(safety.ShieldLimits(**values))
        scale = min((most / abs(v) for v, most in zip(velocity, values["max_velocity"], strict=True) if v), default=1.0)
        wanted = [value * min(scale, 1.0) for value in velocity]
        if not values["keep_direction"]:
            wanted = [max(-m, min(m, v)) for v, m in zip(velocity, values["max_velocity"], strict=True)]
        ramp_s = max(abs(value) / rise for value, rise in zip(wanted, values["max_acceleration"], strict=True))
        for tick in range(max(0, math.ceil((ramp_s - values["max_step_s"]) / step_s)) + 2):
            sent = shield.step(velocity, 1.0, 0.0, tick * step_s)
        assert sent.velocity == pytest.approx(tuple(wanted), abs=1e-12)
        clamped = any(abs(v) > m for v, m in zip(velocity, values["max_velocity"], strict=True))
        assert [reason.value for reason in sent.reasons] == (["clamped"] if clamped else [])

    return check


def clamped(safety: ModuleType) -> Check:
    """What is too fast on one axis ends at its limit, and the others shrink with it if the direction is kept."""

    @given(st.integers(0, 2), st.sampled_from([1.0, -1.0]), st.floats(1.1, 1e6), st.booleans())
    def check(axis: int, side: float, times: float, keeps: bool) -> None:
        values = changed_limits(keep_direction=keeps)
        asked = [0.1, 0.1, 0.1]
        asked[axis] = side * times * values["max_velocity"][axis]
        sent = driven(safety, values, tuple(asked))[0].last.velocity
        assert math.isclose(sent[axis], side * values["max_velocity"][axis])
        for other in {0, 1, 2} - {axis}:
            assert math.isclose(sent[other], 0.1 / times if keeps else 0.1)

    return check


def braking_waits_for_nothing(safety: ModuleType) -> Check:
    """An axis of translation that shall stand brakes at its own limit, however slowly another one gathers speed."""

    @given(st.sampled_from([0, 1]), st.floats(0.05, 0.5), velocities, step_lengths)
    def check(axis: int, speed: float, other: tuple[float, float, float], step_s: float) -> None:
        values = changed_limits(max_acceleration=(0.01, 0.01, 0.01))
        start = tuple(speed if i == axis else 0.0 for i in range(3))
        shield, now = driven(safety, {**values, "max_acceleration": (9.0, 9.0, 9.0)}, start)
        slow, _ = driven(safety, values, start)
        target = tuple(0.0 if i == axis else value for i, value in enumerate(other))
        for one in (shield, slow):
            before = one.last.velocity[axis]
            sent = one.step(target, 1.0, 0.0, now + step_s).velocity[axis]
            assert sent <= max(0.0, before - 1.0 * step_s) + EPS

    return check


INVARIANTS = {
    function.__name__: function
    for function in (
        any_run,
        odd_values,
        zero_in_time,
        hold_comes_to_rest,
        emergency_stop,
        emergency_stop_within_a_step,
        reset_does_not_hide_a_stop,
        fixed_point,
        monotone,
        thresholds,
        broken_clock,
        direction_kept,
        stop_is_never_refused,
        arrives,
        clamped,
        braking_waits_for_nothing,
    )
}
