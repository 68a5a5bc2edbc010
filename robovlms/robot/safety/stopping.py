"""How far a robot goes before it stands, at worst, with the limits and times it is run with."""

from dataclasses import dataclass
from typing import Any

from robovlms.robot.safety.checks import positive
from robovlms.robot.safety.limits import ShieldLimits


@dataclass(frozen=True, kw_only=True)
class StoppingDistance:
    """Worst case from an event in the world until the robot stands.

    Attributes:
        reaction_s: from the event until braking begins, s.
        reaction: way until then at full speed: (x, y, yaw), m, m, rad.
        braking: way from then on: (x, y, yaw), m, m, rad.
    """

    reaction_s: float
    reaction: tuple[float, float, float]
    braking: tuple[float, float, float]

    @property
    def forward_m(self) -> float:
        """Ahead or back, m."""
        return self.reaction[0] + self.braking[0]

    @property
    def sideways_m(self) -> float:
        """To a side, m."""
        return self.reaction[1] + self.braking[1]

    @property
    def turn_rad(self) -> float:
        """Turning, rad."""
        return self.reaction[2] + self.braking[2]


def stopping_distance(
    limits: ShieldLimits,
    loop_period_s: float | Any,
    watchdog_s: float | Any,
    inference_s: float | Any,
    observation_s: float | Any,
) -> StoppingDistance:
    """v·(t_observation + t_inference + t_watchdog + t_loop) + v·T/2 per axis, with T the time that braking takes.

    T is v/d, so that the second term is v²/2d. With `keep_direction`, x and y brake together and yaw not before them:
    T is the largest v/d of x and y, for yaw that of all three. The robot that carries this out needs more: what its
    own controller and its wheels take is not known here.

    Args:
        limits: of the base.
        loop_period_s: between two commands, s.
        watchdog_s: longest time that the last command counts when none follows, s.
        inference_s: longest time that the model takes, s.
        observation_s: from the event until it is in an observation: exposure, transfer, the next frame, s.

    Raises:
        SafetyError: if a time is no finite number >= 0.
    """
    times = {
        "loop_period_s": loop_period_s,
        "watchdog_s": watchdog_s,
        "inference_s": inference_s,
        "observation_s": observation_s,
    }
    reaction_s = sum(positive(name, value, allow_zero=True) for name, value in times.items())
    speeds = limits.max_velocity
    x_s, y_s, yaw_s = (speed / fall for speed, fall in zip(speeds, limits.max_deceleration, strict=True))
    if limits.keep_direction:
        x_s = y_s = max(x_s, y_s)
        yaw_s = max(x_s, yaw_s)
    return StoppingDistance(
        reaction_s=reaction_s,
        reaction=(speeds[0] * reaction_s, speeds[1] * reaction_s, speeds[2] * reaction_s),
        braking=(speeds[0] * x_s / 2.0, speeds[1] * y_s / 2.0, speeds[2] * yaw_s / 2.0),
    )


def stopping_lines(distance: StoppingDistance) -> list[str]:
    """What to print at start-up, one line per axis that moves."""
    totals = {
        "ahead": (distance.forward_m, "m"),
        "sideways": (distance.sideways_m, "m"),
        "turning": (distance.turn_rad, "rad"),
    }
    return [
        f"worst-case stop {name}: {total:.3f} {unit} ({way:.3f} in the {distance.reaction_s:.3g} s before braking, "
        f"{braking:.3f} while braking)"
        for (name, (total, unit)), way, braking in zip(totals.items(), distance.reaction, distance.braking, strict=True)
        if total > 0.0
    ]
