"""What all ways of executing chunks share: an action has an observation behind it, and does not outlive its age limit.

::

    observation at t0 ── policy thinks ──▶ chunk arrives at t1:  a0   a1   a2   a3 …
                                           meant for           t0  t0+dt t0+2dt …

    add(chunk, observed_at=t0, now=t1)     what is too old, out of order, or from before a reset is dropped and counted
    next(now)                              the action for now, or None: hold

Two promises hold whatever the way: the time an action is meant for never goes back, so that a late chunk rewrites
nothing that was executed; and no action is given out later than `max_age_s` after the observation it came from.
"""

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from robovlms.errors import SafetyError, UnsafeActionError

EDGE_S = 1e-9  # s; so that an action due exactly now is due


@dataclass(frozen=True, kw_only=True)
class PlannedAction:
    """One action and what it goes back to.

    Attributes:
        values: float64 [a], physical units.
        due_s: the time it is meant for, s on the monotonic clock.
        observed_at: capture time of the oldest observation that is in it, s on the monotonic clock.
    """

    values: Float64[np.ndarray, "a"]
    due_s: float
    observed_at: float


class ChunkExecutor(ABC):
    """Turns chunks into one action per control step.

    Args:
        control_hz: actions per second that the policy was trained with.
        num_dims: a, numbers of an action.
        gripper_dims: binary dimensions; they are never averaged.
        max_age_s: an action older than this is not given out, s since its observation.

    Attributes:
        counters: what happened, by name: "stale", "future", "out_of_order", "before_reset" (chunks that were dropped),
            "expired" (actions that were), "empty" (steps without an action).

    Raises:
        SafetyError: if a rate or an age is not positive and finite.
    """

    def __init__(self, *, control_hz: float, num_dims: int, gripper_dims: Sequence[int] = (), max_age_s: float) -> None:
        for name, value in (("control_hz", control_hz), ("max_age_s", max_age_s)):
            if not (math.isfinite(value) and value > 0):
                raise SafetyError(f"{name} must be positive and finite, got {value}")
        self.period_s, self.num_dims, self.max_age_s = 1 / control_hz, num_dims, max_age_s
        self._grippers = list(gripper_dims)
        self.counters: Counter[str] = Counter()
        self.reset(-math.inf)

    def reset(self, now: float) -> None:
        """Forget every plan; chunks of observations up to `now` are dropped when they come."""
        self._reset_at, self._newest, self._last_due = now, -math.inf, -math.inf
        self._forget()

    def add(self, chunk: np.ndarray, observed_at: float, now: float) -> bool:
        """Take a chunk.

        Args:
            chunk: [n, a] in physical units.
            observed_at: capture time of the observation that it was decided on.
            now: s on the same monotonic clock.

        Returns:
            Whether it was taken; a counter says why not.

        Raises:
            UnsafeActionError: if it is no [n, a] of finite numbers; nothing is changed.
        """
        actions = np.asarray(chunk)
        if actions.ndim != 2 or actions.shape[1] != self.num_dims or actions.dtype.kind not in "fiu":
            raise UnsafeActionError(
                f"a chunk must be numbers [n, {self.num_dims}], got {actions.dtype} {list(actions.shape)}"
            )
        if not len(actions) or not np.isfinite(actions).all():
            raise UnsafeActionError(f"a chunk of {len(actions)} actions must be finite and not empty")
        fault = self._fault(observed_at, now)
        if fault:
            self.counters[fault] += 1
            return False
        self._newest = observed_at
        self._take(actions.astype(np.float64), observed_at, now)
        return True

    def _fault(self, observed_at: float, now: float) -> str | None:
        """Why an observation is not one to act on; comparisons with NaN are false, so each asks for what is right."""
        if not observed_at <= now:
            return "future"
        if not now - observed_at <= self.max_age_s:
            return "stale"
        if not observed_at > self._reset_at:
            return "before_reset"
        return None if observed_at > self._newest else "out_of_order"

    def next(self, now: float) -> PlannedAction | None:
        """The action for now; None means hold."""
        action = self._at(now)
        if action is None or not action.due_s >= self._last_due:
            self.counters["empty"] += 1
            return None
        if not 0 <= now - action.observed_at <= self.max_age_s:
            self.counters["expired"] += 1
            return None
        self._last_due = action.due_s
        return action

    @abstractmethod
    def wants_chunk(self, now: float) -> bool:
        """Whether the policy should look again; the caller asks for one chunk at a time."""

    @abstractmethod
    def _take(self, actions: Float64[np.ndarray, "n a"], observed_at: float, now: float) -> None:
        """Plan with a chunk that is young and in order."""

    @abstractmethod
    def _at(self, now: float) -> PlannedAction | None:
        """What is planned for now."""

    @abstractmethod
    def _forget(self) -> None:
        """Drop every plan."""


class Plan:
    """Actions in the order they are due; each is for its own period.

    Args:
        period_s: between two actions.
    """

    def __init__(self, period_s: float) -> None:
        self.period_s = period_s
        self.actions: list[PlannedAction] = []

    def at(self, now: float) -> PlannedAction | None:
        """The last action that is due, unless its period is over; what came before it is dropped."""
        while len(self.actions) > 1 and self.actions[1].due_s <= now + EDGE_S:
            del self.actions[0]
        if not self.actions or not self.actions[0].due_s <= now + EDGE_S:
            return None
        return self.actions[0] if now < self.actions[0].due_s + self.period_s - EDGE_S else None

    def left(self, now: float) -> int:
        """Actions that are due now or later."""
        return sum(one.due_s + self.period_s - EDGE_S > now for one in self.actions)
