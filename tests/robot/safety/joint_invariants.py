"""What a shield of an arm promises, whatever it is fed; as `base_invariants`."""

import math
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from robot.safety.runs import (
    BAD_CLOCKS,
    INF,
    NAN,
    NO_NUMBERS,
    ODD_COMMANDS,
    Clock,
    Step,
    ages,
    confidences,
    periods,
    spoils,
)

from robovlms.robot.action import ActionType, RobotAction

EPS = 1e-9
Check = Callable[[], None]
ARM = {
    "names": ("shoulder", "lift"),
    "position_low": (-1.0, 0.0),
    "position_high": (1.0, 0.4),
    "max_velocity": (1.0, 0.1),
    "max_acceleration": (2.0, 0.5),
    "start_tolerance": 0.05,
    "max_step_s": 0.1,
}
START = (0.0, 0.2)
step_lengths = st.sampled_from([0.02, 0.05, 0.1, 0.013])

targets = st.tuples(
    st.one_of(st.floats(-1.0, 1.0), st.floats(-3.0, 3.0), st.sampled_from([-1.0, 1.0, 1e308, 0.0])),
    st.one_of(st.floats(0.0, 0.4), st.floats(-1.0, 1.0), st.sampled_from([0.0, 0.4, -1e308, 0.2])),
)
grippers = st.sampled_from([None, "open", "close"])


def as_shape(positions: tuple[float, ...], gripper: str | None, shape: str) -> Any:
    """The same positions as another kind of object."""
    return {
        "object": SimpleNamespace(positions=positions, gripper=gripper),
        "mapping": {"positions": list(positions), "gripper": gripper},
        "tuple": positions,
        "array": np.array(positions),
    }[shape]


commands = st.builds(as_shape, targets, grippers, st.sampled_from(["object", "mapping", "tuple", "array"]))
sound = st.builds(Step, commands, confidences, ages, periods, repeat=st.sampled_from([1, 1, 3, 12]))
NO_ARM = [odd for odd in ODD_COMMANDS if not isinstance(odd, tuple | np.ndarray) or len(odd) != 2]
BAD_GRIPPERS = ["half", "OPEN", 0.5, 1, True, "", ["open"], object()]
bad_grippers = st.sampled_from(BAD_GRIPPERS)
joint_spoils = {
    **spoils,
    "command": st.one_of(
        st.builds(lambda p, bad: (p[0], bad), targets, st.sampled_from(NO_NUMBERS)),
        st.builds(lambda p, bad: {"positions": p, "gripper": bad}, targets, bad_grippers),
        st.sampled_from([*NO_ARM, (0.0, 0.2, 0.0)]),
    ),
}


@st.composite
def spoiled(draw: st.DrawFn) -> Step:
    """A sound step with one bad field."""
    field = draw(st.sampled_from(tuple(joint_spoils)))
    return replace(draw(sound), **{field: draw(joint_spoils[field])}, spoiled=field, repeat=draw(st.integers(1, 3)))


standing = st.builds(lambda step: replace(step, clock=0.0), sound)
runs = st.lists(st.one_of(sound, sound, sound, spoiled(), standing), min_size=1, max_size=6)


def started(safety: ModuleType, **changes: Any) -> tuple[Any, Clock]:
    """A shield whose arm is known to be at `START` and has begun to follow, and its clock."""
    shield, clock = safety.JointShield(safety.JointLimits(**{**ARM, **changes}), START), Clock(ARM["max_step_s"])
    shield.step(START, 1.0, 0.0, clock.read(Step(None, 1.0, 0.0, 0.0)))
    return shield, clock


def moving(safety: ModuleType, steps: list[Step]) -> tuple[Any, Clock]:
    """A shield after a run."""
    shield, clock = started(safety)
    for step in steps:
        for _ in range(step.repeat):
            shield.step(step.command, step.confidence, step.age, clock.read(step))
    return shield, clock


def any_run(safety: ModuleType) -> Check:
    """J1 in range, J2 rates, J3 bad input brakes, J4 no reversal, J10 deterministic, and the gripper's rule."""

    @given(runs)
    def check(steps: list[Step]) -> None:
        (shield, clock), (other, _) = started(safety), started(safety)
        before, speeds, gripper, counted = START, (0.0, 0.0), None, sum(shield.counters.values())
        for step in steps:
            for _ in range(step.repeat):
                now = clock.read(step)
                sent = shield.step(step.command, step.confidence, step.age, now)
                assert repr(sent) == repr(other.step(step.command, step.confidence, step.age, now)), "J10"
                assert_in_range(sent.positions)
                is_broken = "clock" in [reason.value for reason in sent.reasons]
                length = clock.rise_s or (clock.fall_s if step.spoiled or is_broken else 0.0)
                if length:
                    speeds = assert_within_rates(before, sent.positions, speeds, length, bool(step.spoiled))
                if step.spoiled:
                    assert sent.gripper == gripper, "the gripper stays"
                    assert sent.reasons
                asked = step.command.get("gripper") if isinstance(step.command, dict) else None
                asked = asked or getattr(step.command, "gripper", None) if not step.spoiled else None
                if not step.spoiled and not is_broken:
                    gripper = asked or gripper
                assert sent.gripper == gripper, "a good command sets the gripper"
                counted += len(sent.reasons)
                before = sent.positions
        assert sum(shield.counters.values()) == counted

    return check


def assert_in_range(positions: tuple[float, ...]) -> None:
    """J1 in range and finite."""
    for position, low, high in zip(positions, ARM["position_low"], ARM["position_high"], strict=True):
        assert type(position) is float
        assert low <= position <= high, "J1 range"


def assert_within_rates(
    before: tuple[float, ...], after: tuple[float, ...], speeds: tuple[float, ...], length: float, is_bad: bool
) -> tuple[float, ...]:
    """J2 velocity and acceleration, J3, J4; returns the velocities."""
    now = tuple((new - old) / length for old, new in zip(before, after, strict=True))
    for old, new, most, rate in zip(speeds, now, ARM["max_velocity"], ARM["max_acceleration"], strict=True):
        eps = EPS + 2e-12 / length  # a joint that is nearer than 1e-12 to where it should be is there
        assert abs(new) <= most + eps, "J2 velocity"
        assert abs(new - old) <= rate * length + eps, "J2 acceleration"
        assert old * new >= 0.0 or min(abs(old), abs(new)) <= eps, "J4 no reversal"
        if is_bad:
            assert abs(new) <= max(0.0, abs(old) - rate * length) + eps, "J3 brakes"
    return now


def odd_values(safety: ModuleType) -> Check:
    """Every value that is no number, in every place, every odd gripper and every odd command leaves the arm at rest."""

    @given(st.sampled_from([None, "open", "close"]))
    def check(gripper: str | None) -> None:
        shield, clock = started(safety)
        shield.step({"positions": START, "gripper": gripper}, 1.0, 0.0, clock.time + 0.1)
        other = "open" if gripper == "close" else "close"
        calls = [({"positions": (0.3, 0.3), "gripper": bad}, 1.0, 0.0) for bad in BAD_GRIPPERS]
        calls += [(command, 1.0, 0.0) for command in NO_ARM]
        for odd in NO_NUMBERS:
            calls += [({"positions": (odd, 0.3), "gripper": other}, 1.0, 0.0), ((0.3, odd), 1.0, 0.0)]
            calls += [(SimpleNamespace(positions=(0.3, 0.3), gripper=other), odd, 0.0), ((0.3, 0.3), 1.0, odd)]
        for tick, call in enumerate(calls):
            sent = shield.step(*call, clock.time + 0.1 * tick + 0.2)
            assert (sent.positions, sent.gripper) == (START, gripper), call
            assert sent.reasons or getattr(call[0], "action_type", None) is not None, call

    return check


def turns_back_through_zero(safety: ModuleType) -> Check:
    """J4 a joint that shall go back stands between."""

    @given(st.integers(1, 20), st.floats(0.01, 0.1), st.sampled_from([1.0, -1.0]))
    def check(ticks: int, step_s: float, side: float) -> None:
        shield, clock = started(safety)
        before, last_way = START[0], 0.0
        for tick in range(2 * ticks + 20):
            clock.time += step_s
            target = (side if tick < ticks else -side, 0.2)
            position = shield.step(target, 1.0, 0.0, clock.time).positions[0]
            assert (position - before) * last_way >= -1e-12  # the last 1e-12 to a target count as no motion
            before, last_way = position, position - before

    return check


def rests_in_time(safety: ModuleType) -> Check:
    """J5, J11: at rest within v/a and a tick, with bad commands, with `hold`, and with a broken clock."""
    ways = ["bad", "hold", *range(len(BAD_CLOCKS))]

    @given(targets, st.integers(0, 60), st.sampled_from(ways), step_lengths)
    def check(target: tuple[float, float], ticks: int, way: Any, step_s: float) -> None:
        shield, clock = started(safety)
        for _ in range(ticks):
            clock.time += 0.02
            shield.step(target, 1.0, 0.0, clock.time)
        longest = max(v / a for v, a in zip(ARM["max_velocity"], ARM["max_acceleration"], strict=True))
        for _ in range(math.ceil(longest / (step_s if isinstance(way, str) else 0.1)) + 1):
            clock.time += step_s
            if way == "hold":
                shield.hold(clock.time)
            elif way == "bad":
                shield.step(None, 1.0, 0.0, clock.time)
            else:
                shield.step(target, 1.0, 0.0, BAD_CLOCKS[way])
        rest = shield.last.positions
        shield.hold(clock.time + 0.05)
        assert shield.last.positions == rest
        assert_in_range(rest)

    return check


def emergency_stop(safety: ModuleType) -> Check:
    """J6 frozen on the very step, latched, gripper kept, released by a reset and a fresh command that is near."""

    @given(runs, st.lists(commands, min_size=1, max_size=3), st.sampled_from([0.0, 0.1]))
    def check(steps: list[Step], after: list[Any], age: float) -> None:
        shield, clock = moving(safety, steps)
        frozen = (shield.last.positions, shield.last.gripper)
        shield.estop("button")
        for command in after:
            clock.time += 0.02
            sent = shield.step(command, 1.0, 0.0, clock.time)
            assert (sent.positions, sent.gripper) == frozen
            assert [reason.value for reason in sent.reasons] == ["estop"]
        shield.reset()
        near = tuple(position + 0.01 * (1 if position < 0.2 else -1) for position in frozen[0])
        far = tuple(position + 0.1 * (1 if position < 0.2 else -1) for position in frozen[0])
        stale = shield.step({"positions": near, "gripper": "open"}, 1.0, age + 1e-6, clock.time)
        assert (stale.positions, stale.gripper) == frozen, "J6 older than the reset"
        clock.time += 0.2
        assert shield.step(far, 1.0, age, clock.time).positions == frozen[0], "J6 starts near"
        assert shield.step(near, 1.0, age, clock.time + 0.02).positions != frozen[0], "J6 fresh"

    return check


def start(safety: ModuleType) -> Check:
    """The first command is refused unless the joints were found, in their range, and it is near to them."""

    @given(st.tuples(st.floats(-1.0, 1.0), st.floats(0.0, 0.4)), st.floats(-0.1, 0.1), st.sampled_from([0, 1]))
    def check(found: tuple[float, float], shift: float, joint: int) -> None:
        shield = safety.JointShield(safety.JointLimits(**ARM))
        assert shield.step(found, 1.0, 0.0, 0.0).positions == ()
        assert shield.step(found, 1.0, 0.0, 0.1, measured=(9.0, 0.1)).positions == ()
        assert shield.step(found, 1.0, 0.0, 0.2, measured=(NAN, 0.1)).positions == ()
        target = tuple(p + shift if i == joint else p for i, p in enumerate(found))
        sent = shield.step(target, 1.0, 0.0, 0.3, measured=found)
        is_near = all(abs(there - here) <= 0.05 for there, here in zip(target, found, strict=True))
        assert ("start" in [reason.value for reason in sent.reasons]) == (not is_near)
        if not is_near:
            assert sent.positions == found

    return check


def fixed_point_and_arrival(safety: ModuleType) -> Check:
    """J7 a position is reached, exactly; asked for again it comes out bit for bit, without a reason."""

    @given(targets, st.sampled_from([0.02, 0.05, 0.1]))
    def check(target: tuple[float, float], step_s: float) -> None:
        shield, clock = started(safety)
        goal = tuple(
            max(low, min(high, t))
            for t, low, high in zip(target, ARM["position_low"], ARM["position_high"], strict=True)
        )
        for _ in range(math.ceil(5.0 / step_s)):
            clock.time += step_s
            sent = shield.step(target, 1.0, 0.0, clock.time)
        assert repr(sent.positions) == repr(goal)
        assert [reason.value for reason in sent.reasons] == ([] if goal == target else ["position"])
        again = shield.step(goal, 0.3, 0.5, clock.time + step_s)
        assert repr(again.positions) == repr(goal)
        assert again.reasons == ()

    return check


def thresholds(safety: ModuleType) -> Check:
    """J9 confidence and age count to the last bit."""

    @given(joint_spoils["confidence"], joint_spoils["age"])
    def check(bad_confidence: Any, bad_age: Any) -> None:
        def follows(confidence: Any, age: Any) -> bool:
            shield = safety.JointShield(safety.JointLimits(**ARM), START)
            return shield.step((0.01, 0.2), confidence, age, 0.0).positions != START

        assert follows(0.3, 0.5)
        assert not follows(math.nextafter(0.3, 0.0), 0.0)
        assert not follows(1.0, math.nextafter(0.5, INF))
        assert not follows(bad_confidence, 0.0)
        assert not follows(1.0, bad_age)

    return check


def gripper_repeats(safety: ModuleType) -> Check:
    """The gripper changes with the k-th equal command in turn, counts no refused one, and knows nothing between."""

    @given(st.integers(1, 4), st.lists(st.tuples(grippers, st.booleans()), max_size=30))
    def check(repeats: int, asked: list[tuple[str | None, bool]]) -> None:
        shield, clock = started(safety, gripper_repeats=repeats)
        state, candidate, count = None, None, 0
        broken_row = [("close", True)] * (repeats - 1) + [(None, True)]
        for gripper, is_good in [*broken_row, *broken_row, *asked]:
            clock.time += 0.02
            confidence = 1.0 if is_good else 0.1
            sent = shield.step({"positions": START, "gripper": gripper}, confidence, 0.0, clock.time)
            if is_good:
                count = count + 1 if gripper == candidate else 1
                candidate = gripper
                state = candidate if candidate is not None and count >= repeats else state
            assert sent.gripper == state

    return check


def stop_is_never_refused(safety: ModuleType) -> Check:
    """An action of type STOP brakes and is not told off, whatever its confidence and age."""

    @given(targets, joint_spoils["confidence"], joint_spoils["age"])
    def check(target: tuple[float, float], confidence: Any, age: Any) -> None:
        shield, clock = started(safety)
        for _ in range(20):
            clock.time += 0.02
            shield.step(target, 1.0, 0.0, clock.time)
        for _ in range(30):
            clock.time += 0.02
            sent = shield.step(RobotAction(ActionType.STOP, NAN), confidence, age, clock.time)
            assert {reason.value for reason in sent.reasons} <= {"rate_limited"}
        rest = sent.positions
        assert shield.step(RobotAction(ActionType.STOP), confidence, age, clock.time + 0.02).positions == rest
        assert sent.reasons == ()

    return check


INVARIANTS = {
    function.__name__: function
    for function in (
        any_run,
        odd_values,
        turns_back_through_zero,
        rests_in_time,
        emergency_stop,
        start,
        fixed_point_and_arrival,
        thresholds,
        gripper_repeats,
        stop_is_never_refused,
    )
}
