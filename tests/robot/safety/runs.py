"""What a shield may be fed: runs of steps, most of them sound, some with exactly one field spoiled.

Random values alone hardly ever make a command that is followed, and a shield that never moves breaks no rule. So a step
is sound or has one bad field, and sound ones repeat, to reach full speed.
"""

import math
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from robovlms.robot.action import ActionType, RobotAction

NAN, INF = math.nan, math.inf
LIMITS = {
    "max_velocity": (0.5, 0.5, 1.0),
    "max_acceleration": (0.5, 0.5, 1.5),
    "max_deceleration": (1.0, 1.0, 3.0),
    "min_confidence": 0.3,
    "max_observation_age_s": 0.5,
    "max_step_s": 0.1,
    "keep_direction": True,
}


class Raising:
    """Every attribute raises but the one that hypothesis looks at, and so does everything that Python asks of it."""

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            return Raising
        raise RuntimeError(name)

    def __float__(self) -> float:
        raise RuntimeError("no number")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not comparable")

    __hash__ = None


class LyingFloat(float):
    """A float whose methods tell another story."""

    def __float__(self) -> float:
        return 1e9

    def __abs__(self) -> float:
        return 0.0

    def __gt__(self, other: object) -> bool:
        return False

    def __lt__(self, other: object) -> bool:
        return False


class LyingInt(int):
    def __float__(self) -> float:
        return NAN


class LyingList(list):
    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Any:
        return iter((1.0, NAN))


class Opaque:
    """An object whose linear_x cannot be read."""

    linear_y = angular_z = 0.1

    @property
    def linear_x(self) -> float:
        raise ValueError("sensor gone")


NO_NUMBERS = [
    NAN,
    INF,
    -INF,
    None,
    True,
    "0.9",
    "nan",
    b"1",
    1j,
    Decimal("0.9"),
    10**400,
    [0.9],
    {},
    Raising(),
    object(),
]
ODD_COMMANDS = [
    None,
    "forward",
    "",
    b"123",
    True,
    7,
    0.3,
    1j,
    NAN,
    (),
    (0.1,),
    (0.1, 0.1),
    (0.1, 0.1, 0.1, 0.1),
    {},
    {"linear": {"x": 0.1}, "angular": {"z": 0.1}},
    {"linear": 0.1, "angular": 0.1},
    {"linear_x": 0.1, "linear_y": 0.1},
    set(),
    Raising(),
    Opaque(),
    object(),
    int,
    LyingList([0.1, 0.1, 0.1]),
    np.array([0.1, 0.1]),
    np.array([[0.1, 0.1, 0.1]]),
    np.array([True, True, True]),
    np.array(["0.1", "0.1", "0.1"]),
    np.array([0.1 + 0j, 0.1, 0.1]),
    np.array([0.1, NAN, 0.1]),
    (0.1, LyingInt(1), 0.1),
    SimpleNamespace(linear_x=0.1),
    RobotAction(ActionType.GRAB, 0.3, 0.0, 0.0, confidence=1.0),
    RobotAction(ActionType.UNKNOWN, 0.0, 0.0, 0.5, confidence=1.0),
    RobotAction(ActionType.MOVE, 0.3, NAN, 0.0, confidence=1.0),
    SimpleNamespace(action_type="fly", linear_x=0.1, linear_y=0.1, angular_z=0.1),
    SimpleNamespace(action_type=[], linear_x=0.1, linear_y=0.1, angular_z=0.1),
]
BAD_CLOCKS = [NAN, INF, -INF, None, "1", True, 10**400, Raising()]


@dataclass(frozen=True)
class Step:
    """Arguments of one call, made `repeat` times.

    Attributes:
        command: what is wanted.
        confidence: of it.
        age: of its observation.
        clock: seconds by which the clock moves on before the call, or back; ("reads", value) if it reads nonsense.
        spoiled: which field is bad; None if all are sound.
        repeat: how often.
    """

    command: Any
    confidence: Any
    age: Any
    clock: Any
    spoiled: str | None = None
    repeat: int = 1


class Clock:
    """What the clock of a run reads, and how long a step may count, told apart from the shield's own reckoning."""

    def __init__(self, max_step_s: float, start: float = 100.0) -> None:
        self.time, self.max_step_s, self.last = start, max_step_s, None
        self.rise_s = self.fall_s = max_step_s
        self.is_first = False

    def read(self, step: Step) -> Any:
        """Move on and read; `rise_s` and `fall_s` are then what speeding up and slowing down may count."""
        if isinstance(step.clock, tuple):
            self.rise_s, self.fall_s, self.is_first = 0.0, self.max_step_s, False
            return step.clock[1]
        self.time += step.clock
        self.is_first = self.last is None
        passed = self.max_step_s if self.last is None else max(0.0, min(self.time - self.last, self.max_step_s))
        self.last = self.time
        self.rise_s, self.fall_s = passed, passed if passed > 0.0 else self.max_step_s
        return self.time


def plain_numbers(most: float) -> st.SearchStrategy[float]:
    """Finite numbers: some within `most`, some beyond, some at the edges of what a float can be."""
    edges = [0.0, -0.0, most, -most, math.nextafter(most, INF), most / 3, 2.0 * most, 1e-9, 5e-324, 1e308, -1e308]
    beyond = st.builds(math.copysign, st.floats(most, 4.0 * most), st.sampled_from([1.0, -1.0]))
    return st.one_of(st.floats(-most, most), st.floats(-most, most), beyond, st.sampled_from(edges))


velocities = st.tuples(plain_numbers(0.5), plain_numbers(0.5), plain_numbers(1.0))


def as_shape(velocity: tuple[float, float, float], shape: str) -> Any:
    """The same velocity as another kind of object."""
    x, y, yaw = velocity
    return {
        "tuple": velocity,
        "list": [x, y, yaw],
        "array": np.array(velocity),
        "scalars": (np.float64(x), np.float64(y), np.float64(yaw)),
        "action": RobotAction(ActionType.MOVE, x, y, yaw, confidence=0.5),
        "twist": {"linear": {"x": x, "y": y}, "angular": {"z": yaw}},
        "flat": {"linear_x": x, "linear_y": y, "angular_z": yaw},
        "object": SimpleNamespace(linear_x=x, linear_y=y, angular_z=yaw),
    }[shape]


SHAPES = ("tuple", "list", "array", "scalars", "action", "twist", "flat", "object")
commands = st.one_of(velocities, st.builds(as_shape, velocities, st.sampled_from(SHAPES)))
confidences = st.one_of(st.just(1.0), st.floats(0.3, 1.0), st.sampled_from([0.3, 1, np.float32(0.5), Fraction(1, 2)]))
ages = st.one_of(st.just(0.0), st.floats(0.0, 0.5), st.sampled_from([0.5, 0, -1e-10]))
periods = st.one_of(
    st.sampled_from([0.02, 0.1]), st.sampled_from([0.1, 0.05, 0.001, 0.25, 3600.0, 1e9]), st.floats(1e-4, 0.2)
)
sound = st.builds(Step, commands, confidences, ages, periods, repeat=st.sampled_from([1, 1, 1, 3, 12]))

spoiled_velocities = st.tuples(velocities, st.integers(0, 2), st.sampled_from(NO_NUMBERS)).map(
    lambda drawn: tuple(drawn[2] if axis == drawn[1] else value for axis, value in enumerate(drawn[0]))
)
spoils = {
    "command": st.one_of(spoiled_velocities, st.sampled_from(ODD_COMMANDS)),
    "confidence": st.one_of(
        st.sampled_from([*NO_NUMBERS, 0.0, -0.5, 1.5, math.nextafter(0.3, 0.0), math.nextafter(1.0, 2.0)]),
        st.floats(-1.0, 0.29),
        st.floats(1.01, 1e9),
    ),
    "age": st.one_of(
        st.sampled_from([*NO_NUMBERS[:-2], Raising(), math.nextafter(0.5, 1.0), -1e-6, -0.1, -3600.0, 1e300]),
        st.floats(0.51, 1e6),
        st.floats(-1e6, -1e-6),
    ),
    "clock": st.one_of(st.sampled_from([("reads", value) for value in BAD_CLOCKS]), st.floats(-3600.0, -1e-3)),
}


@st.composite
def spoiled(draw: st.DrawFn, fields: tuple[str, ...] = tuple(spoils)) -> Step:
    """A sound step with one bad field."""
    field = draw(st.sampled_from(fields))
    bad = draw(spoils[field])
    return replace(draw(sound), **{field: bad}, spoiled=field, repeat=draw(st.sampled_from([1, 1, 2, 4])))


standing = st.builds(lambda step: replace(step, clock=0.0), sound)
runs = st.lists(st.one_of(sound, sound, sound, spoiled(), standing), min_size=1, max_size=6)


def changed_limits(**changes: Any) -> dict[str, Any]:
    """The usual limits, changed."""
    return {**LIMITS, **changes}


limits = st.sampled_from(
    [
        LIMITS,
        LIMITS,
        changed_limits(keep_direction=False),
        changed_limits(max_velocity=(0.5, 0.0, 1.0)),
        changed_limits(max_acceleration=(0.2, 2.0, 0.3), max_deceleration=(0.7, 3.0, 0.4)),
        changed_limits(max_acceleration=(0.2, 2.0, 0.3), max_deceleration=(0.7, 3.0, 0.4), keep_direction=False),
        changed_limits(max_acceleration=(1e9, 1e9, 1e9)),
    ]
)
