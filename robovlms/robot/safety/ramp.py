"""From the velocity that is wanted to the one that may be sent: a clamp and a ramp, functions of plain floats.

How one step of the ramp goes, with directions kept. Each axis heads for its target, or for zero if the target lies
beyond zero. An axis moves by at most what its own limits allow; axes that go the same way share one factor, the
smallest of them, so (x, y, yaw) keeps its direction while it grows along a path and while it shrinks along one::

    grows    x, y, yaw    one factor of all three: translation waits for rotation and the other way round
    shrinks  x, y         one factor of both, never held up by anything else: the braking distance is theirs alone
    shrinks  yaw          the same factor, or less if its own limit asks for less

Axes that shrink do not wait for those that grow. From driving ahead to driving left, ahead brakes at its own
deceleration while left gathers speed at its own acceleration; the direction between the two is not promised.
"""

Triple = tuple[float, float, float]

_ALL_BUT_ALL = 1.0 - 1e-12  # what is left beyond it is rounding, and must not cost a step at the end


def clamp(velocity: Triple, max_velocity: Triple, keep_direction: bool) -> Triple:
    """`velocity` within `max_velocity`, scaled as a whole if the direction is kept, else each axis alone.

    An axis whose limit is 0 does not exist; a direction that needs it cannot be kept, and the result is zero.

    >>> clamp((1.0, 0.5, 0.1), (0.5, 0.5, 1.0), True)
    (0.5, 0.25, 0.05)
    >>> clamp((1.0, 0.5, 0.1), (0.5, 0.5, 1.0), False)
    (0.5, 0.5, 0.1)
    """
    scale = 1.0
    if keep_direction:
        for value, limit in zip(velocity, max_velocity, strict=True):
            if abs(value) > limit:
                scale = min(scale, limit / abs(value))
    if scale < 1.0:
        velocity = scaled(velocity, scale)
    x, y, yaw = velocity
    most_x, most_y, most_yaw = max_velocity
    # Adding 0.0 makes 0.0 of -0.0, which the limit 0 would leave.
    return (
        max(-most_x, min(most_x, x)) + 0.0,
        max(-most_y, min(most_y, y)) + 0.0,
        max(-most_yaw, min(most_yaw, yaw)) + 0.0,
    )


def scaled(velocity: Triple, factor: float) -> Triple:
    """All of `velocity` times `factor`."""
    return velocity[0] * factor, velocity[1] * factor, velocity[2] * factor


def ramp(
    velocity: Triple, target: Triple, acceleration: Triple, deceleration: Triple, step_s: float, keep_direction: bool
) -> Triple:
    """One step from `velocity` towards `target`.

    Args:
        velocity: as it is.
        target: as it should be.
        acceleration: most by which a speed may rise, per second.
        deceleration: most by which a speed may fall, per second.
        step_s: length of the step, s.
        keep_direction: see the drawing above; False treats each axis alone.

    >>> ramp((0.0, 0.0, 0.0), (0.5, 0.25, 0.0), (0.5, 0.5, 1.5), (1.0, 1.0, 3.0), 0.5, True)
    (0.25, 0.125, 0.0)
    >>> ramp((0.5, 0.0, 0.0), (-0.5, 0.0, 0.0), (0.5, 0.5, 1.5), (1.0, 1.0, 3.0), 10.0, True)
    (0.0, 0.0, 0.0)
    """
    if target == velocity:
        return target
    goal = tuple([0.0 if is_crossing(v, t) else t for v, t in zip(velocity, target, strict=True)])
    grows = [abs(g) > abs(v) for v, g in zip(velocity, goal, strict=True)]
    rates = [rise if grow else fall for rise, fall, grow in zip(acceleration, deceleration, grows, strict=True)]
    most = [rate * step_s for rate in rates]
    if not keep_direction:
        x, y, yaw = map(move, velocity, goal, most)
        return x, y, yaw
    factors = _shared(list(map(reach, velocity, goal, most)), grows)
    x, y, yaw = map(move_part, velocity, goal, factors)
    return x, y, yaw


def is_crossing(value: float, target: float) -> bool:
    """Zero lies between the two."""
    return value < 0.0 < target or target < 0.0 < value


def move(value: float, goal: float, most: float) -> float:
    """From `value` to `goal`, by no more than `most`; a larger goal never gives less."""
    if goal == 0.0 and abs(value) * _ALL_BUT_ALL <= most:
        return 0.0
    return max(value - most, min(value + most, goal)) + 0.0


def reach(value: float, goal: float, most: float) -> float:
    """How much of the way from `value` to `goal`, in [0, 1], is no more than `most`."""
    way = abs(goal - value)
    return 1.0 if way * _ALL_BUT_ALL <= most else most / way


def move_part(value: float, goal: float, factor: float) -> float:
    """The part `factor` of the way from `value` to `goal`, never beyond the two however it is rounded."""
    there = value + factor * (goal - value) if factor < 1.0 else goal
    return (max(value, min(goal, there)) if goal >= value else max(goal, min(value, there))) + 0.0


def _shared(factors: list[float], grows: list[bool]) -> list[float]:
    growing = min([factor for factor, grow in zip(factors, grows, strict=True) if grow], default=1.0)
    shrinking = min([factor for factor, grow in zip(factors[:2], grows[:2], strict=True) if not grow], default=1.0)
    x, y = [growing if grow else shrinking for grow in grows[:2]]
    return [x, y, growing if grows[2] else min(shrinking, factors[2])]
