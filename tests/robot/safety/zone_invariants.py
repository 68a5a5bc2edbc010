"""What zones promise: a simulated robot that does what the shield sends crosses no border; as `base_invariants`."""

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from robot.safety.runs import INF, LIMITS, NAN, NO_NUMBERS, velocities

Check = Callable[[], None]
HALL = [[0.0, 0.0], [4.0, 3.0]]
PILLAR = [[2.0, 1.0], [2.5, 1.0], [2.5, 2.0], [2.0, 2.0]]
DOORWAY = {"area": [[0.0, 2.0], [1.0, 3.0]], "max_speed": 0.1}
ZONES = {"margin_m": 0.1, "workspace": HALL, "keep_out": [PILLAR], "slow": [DOORWAY]}
pushes = st.lists(st.tuples(velocities, st.integers(1, 60)), min_size=1, max_size=5)
places = st.tuples(st.floats(0.2, 1.8), st.floats(0.2, 1.8), st.floats(-math.pi, math.pi))


def shield_with(safety: ModuleType, **changes: Any) -> Any:
    """A shield with zones."""
    return safety.SafetyShield(safety.ShieldLimits(**{**LIMITS, "zones": {**ZONES, **changes}}))


def move(pose: tuple[float, float, float], velocity: tuple[float, ...], step_s: float) -> tuple[float, float, float]:
    """Where a robot is after moving with a constant velocity of its own frame, in 4 small straight ways."""
    x, y, yaw = pose
    for _ in range(4):
        yaw += velocity[2] * step_s / 8.0
        x += (velocity[0] * math.cos(yaw) - velocity[1] * math.sin(yaw)) * step_s / 4.0
        y += (velocity[0] * math.sin(yaw) + velocity[1] * math.cos(yaw)) * step_s / 4.0
        yaw += velocity[2] * step_s / 8.0
    return x, y, yaw


def clearance(x: float, y: float) -> float:
    """Distance to the nearest border of hall and pillar, negative beyond it, m."""
    walls = min(x, y, 4.0 - x, 3.0 - y)
    dx, dy = max(2.0 - x, x - 2.5), max(1.0 - y, y - 2.0)
    pillar = math.hypot(max(dx, 0.0), max(dy, 0.0)) if max(dx, dy) > 0.0 else max(dx, dy)
    return min(walls, pillar)


def stays_inside(safety: ModuleType) -> Check:
    """Nothing that is asked for brings the robot nearer to a border than the margin, with an old pose as well."""

    @given(places, pushes, st.sampled_from([0.05, 0.1]), st.sampled_from([0, 1]))
    def check(start: tuple[float, float, float], asked: list[Any], step_s: float, delay: int) -> None:
        shield, poses, now = shield_with(safety), [start, start], 0.0
        for velocity, ticks in asked:
            for _ in range(ticks):
                now += step_s
                seen, age_s = poses[-1 - delay], delay * step_s
                sent = shield.step(velocity, 1.0, 0.0, now, pose=seen, pose_age_s=age_s)
                poses.append(move(poses[-1], sent.velocity, step_s))
                assert clearance(*poses[-1][:2]) >= min(0.1, clearance(*start[:2])) - 1e-6
                if seen[0] < 0.99 and seen[1] > 2.01 and poses[-2][0] < 0.99 and poses[-2][1] > 2.01:
                    assert math.hypot(*sent.velocity[:2]) <= 0.1 + 0.02, "slow"

    return check


def slow_zone(safety: ModuleType) -> Check:
    """Inside a slow zone its speed is not exceeded, nor on the way in, forward or backward."""

    @given(st.floats(0.3, 0.7), st.floats(0.12, 0.5), st.sampled_from([0.0, math.pi]), st.sampled_from([0.05, 0.1]))
    def check(x: float, speed: float, turned: float, step_s: float) -> None:
        for start, heading in (((x, 2.5), 0.0), ((1.7, 2.5), math.pi)):
            shield, pose = shield_with(safety), (*start, heading + turned)
            forward = speed if turned == 0.0 else -speed
            for tick in range(60):
                sent = shield.step((forward, 0.0, 0.0), 1.0, 0.0, tick * step_s, pose=pose)
                assert abs(sent.linear_x) <= 0.1 + 1e-9 or pose[0] >= 1.0
                assert abs(sent.linear_x) > 0.0 or tick > 2
                pose = move(pose, sent.velocity, step_s)

    return check


def turning_beside_a_wall(safety: ModuleType) -> Check:
    """A robot that drives along a wall and then turns on the spot does not swerve into it while it brakes."""

    @given(st.floats(0.0005, 0.05), st.floats(0.1, 0.5), st.sampled_from([-1.0, 1.0]), st.integers(8, 20))
    def check(gap: float, speed: float, turn: float, ticks: int) -> None:
        shield, pose = shield_with(safety), (0.3, 0.1 + gap, 0.0)
        for tick in range(ticks + 20):
            command = (speed, 0.0, 0.0) if tick < ticks else (0.0, 0.0, turn)
            sent = shield.step(command, 1.0, 0.0, tick * 0.1, pose=pose)
            pose = move(pose, sent.velocity, 0.1)
            assert pose[1] >= 0.1 - 1e-6
        assert tick < ticks or sent.angular_z * turn > 0.0

    return check


def free_space_is_free(safety: ModuleType) -> Check:
    """Far from borders, and away from one or along it, nothing is slowed."""

    @given(st.sampled_from([(1.0, 1.0, 0.0), (3.3, 1.5, 0.0), (0.15, 1.0, 0.0), (0.15, 0.5, math.pi / 2)]))
    def check(pose: tuple[float, float, float]) -> None:
        shield, plain = shield_with(safety), safety.SafetyShield(safety.ShieldLimits(**LIMITS))
        for tick in range(20):
            free = plain.step((0.2, 0.0, 0.0), 1.0, 0.0, tick * 0.05)
            assert shield.step((0.2, 0.0, 0.0), 1.0, 0.0, tick * 0.05, pose=pose) == free

    return check


def no_pose_no_motion(safety: ModuleType) -> Check:
    """Without a sound, young pose the robot does not move; out of the workspace and in a pillar neither."""
    far = [(-0.5, 1.0, 0.0), (2.2, 1.5, 0.0), (1e300, 0.0, 0.0), (1e7, 1.0, 0.0)]
    odd = [None, "here", (1.0, 1.0), (1.0, 1.0, NAN), (INF, 1.0, 0.0), [1.0, None, 0.0], {"x": 1.0}, object(), True]
    ages = [*NO_NUMBERS, 0.21, -0.01, 3600.0]

    @given(st.sampled_from([*far, *odd]), st.sampled_from(ages), velocities)
    def check(pose: Any, age: Any, velocity: tuple[float, float, float]) -> None:
        shield = shield_with(safety)
        for given_pose, given_age in ((pose, 0.0), ((1.0, 1.0, 0.0), age)):
            for tick in range(3):
                sent = shield.step(velocity, 1.0, 0.0, tick * 0.1, pose=given_pose, pose_age_s=given_age)
                assert sent.velocity == (0.0, 0.0, 0.0)
                assert not any(velocity) or "zone" in [reason.value for reason in sent.reasons]
        assert shield.step((0.2, 0.0, 0.0), 1.0, 0.0, 0.4, pose=(1.0, 1.0, 0.0), pose_age_s=0.2).linear_x > 0.0

    return check


INVARIANTS = {
    function.__name__: function
    for function in (stays_inside, slow_zone, turning_beside_a_wall, free_space_is_free, no_pose_no_motion)
}
