"""The one place between who decides and who drives: the newest command, never a queue.

::

    submit ─▶ stop?  ── yes ─▶ [stop]    goes out first, at the next tick, whatever came meanwhile
                │
                no ─▶ newer than what was taken? ── yes ─▶ [newest] ─▶ every tick until it is too old
                                └─ no ─▶ refused, counted
"""

import math
from dataclasses import dataclass
from numbers import Real

from robovlms.robot.output.plain import is_motion


@dataclass(frozen=True)
class Submission:
    """A command on its way to the shield.

    Attributes:
        command: any object.
        confidence: any object; a number in [0, 1] if all is well.
        observed_at: when the camera saw what the command follows from, monotonic clock, s; NaN if unknown.
        received_at: when it came, on the same clock, s.
    """

    command: object
    confidence: object
    observed_at: float
    received_at: float


class NewestSlot:
    """Holds one command. Not thread-safe: who owns it locks.

    Args:
        body: what a command means, see `is_motion`.
    """

    def __init__(self, body: str) -> None:
        self._body = body
        self._stop: Submission | None = None
        self._newest: Submission | None = None
        self._newest_observation = -math.inf
        self.num_refused = 0

    def put(self, submission: Submission) -> bool:
        """Take a command if it is a stop, or follows from an observation no older than the last; say whether."""
        stamp = submission.observed_at
        if not is_motion(submission.command, self._body) or not math.isfinite(stamp):
            self._stop = self._newest = submission
            return True
        if stamp < self._newest_observation:
            self.num_refused += 1
            return False
        if stamp <= submission.received_at:  # one stamp from the future must not shut out all that follow
            self._newest_observation = stamp
        self._newest = submission
        return True

    def take(self) -> Submission | None:
        """Return what the shield is to judge now: a stop once, else the newest command."""
        waiting, self._stop = self._stop, None
        return waiting or self._newest

    def clear(self, now: float) -> None:
        """Forget everything; only what is observed from `now` on counts."""
        self._stop = self._newest = None
        self._newest_observation = max(now, self._newest_observation)


def observation_stamp(value: object) -> float:
    """Return a stamp in s as a float; NaN for what is no number."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan
