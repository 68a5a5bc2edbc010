"""One joint for one step: towards a position within its limits of speed and acceleration, never past what it may reach.

The speed towards a position at distance D is at most the v with v·t + v²/2a = D: after a step of t it can still stop
there, whatever the lengths of the steps that follow. Source: time-optimal motion of a double integrator, as in
LaValle, Planning Algorithms, §15.1.3 (https://lavalle.pl/planning/); the term v·t is for speeds that are held for a
step.
"""

import math

_ARRIVED = 1e-12  # rad or m: nearer than this is there


def stoppable_speed(distance: float, acceleration: float, step_s: float) -> float:
    """Greatest speed with which a joint may go for a step and still stop within `distance`.

    >>> stoppable_speed(0.75, 1.0, 0.25)
    1.0
    """
    root = math.sqrt(step_s * step_s + 2.0 * distance / acceleration)
    return 2.0 * distance / (step_s + root) if root > 0.0 else 0.0


def brake(velocity: float, acceleration: float, step_s: float) -> float:
    """Velocity after braking for a step."""
    return math.copysign(max(0.0, abs(velocity) - acceleration * step_s), velocity)


def approach(
    position: float, velocity: float, target: float, max_velocity: float, acceleration: float, step_s: float
) -> float:
    """Velocity for the next step of a joint that shall go to `target` and stop there; it passes through zero.

    Args:
        position: rad or m.
        velocity: of the step before, rad/s or m/s.
        target: rad or m.
        max_velocity: rad/s or m/s.
        acceleration: most by which the velocity may change, per second.
        step_s: length of the step, s, above 0.
    """
    way = target - position
    wanted = math.copysign(min(max_velocity, stoppable_speed(abs(way), acceleration, step_s)), way)
    if velocity * wanted < 0.0:
        return brake(velocity, acceleration, step_s)
    most = acceleration * step_s
    return max(velocity - most, min(velocity + most, wanted))


def is_there(position: float, velocity: float, target: float, most: float) -> bool:
    """The joint is at the target, and as good as at rest: `most` is what its velocity may change by."""
    return abs(target - position) <= _ARRIVED and abs(velocity) <= most
