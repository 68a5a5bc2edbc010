"""How much time a step counts for, whatever the clock says."""

import math
from typing import Any, NamedTuple

from robovlms.robot.safety.reading import read_number


class Tick(NamedTuple):
    """One reading of the clock.

    Attributes:
        now: s; None if the clock gave no finite number.
        step_s: time since the step before, in [0, max_step_s].
        brake_s: time that braking counts for: as `step_s`, but `max_step_s` with a clock that does not advance, so that
            the robot comes to rest even then.
        is_broken: the clock gave no number, went back, or stood still for two steps.
    """

    now: float | None
    step_s: float
    brake_s: float
    is_broken: bool


class StepClock:
    """Times the steps of a shield. The first step counts as the longest one.

    Args:
        max_step_s: longest time that counts, s.
    """

    def __init__(self, max_step_s: float) -> None:
        self._max_step_s = max_step_s
        self._stands = False
        self.last: float | None = None
        """The last finite reading, s; None before the first."""

    def tick(self, now: Any) -> Tick:
        """Read the clock.

        >>> clock = StepClock(0.1)
        >>> [clock.tick(now).step_s for now in (5.0, 5.0625, 5.0625, 7.0, 3.0, None)]
        [0.1, 0.0625, 0.0, 0.1, 0.0, 0.0]
        """
        seconds = read_number(now)
        if seconds is None or not math.isfinite(seconds):
            return Tick(None, 0.0, self._max_step_s, True)
        before, self.last = self.last, seconds
        stood, self._stands = self._stands, seconds == before
        if before is None or seconds > before:
            step_s = self._max_step_s if before is None else min(seconds - before, self._max_step_s)
            return Tick(seconds, step_s, step_s, False)
        return Tick(seconds, 0.0, self._max_step_s, stood or seconds < before)

    def read(self, now: Any) -> float | None:
        """`now` if it is a finite number, else the last one that was."""
        seconds = read_number(now)
        return self.last if seconds is None or not math.isfinite(seconds) else seconds
