"""Keep moving while the policy thinks: a new chunk joins the old one at the step that it was meant for.

::

    old   a0 a1 a2 a3 a4 a5           decided on what was seen at t0
    new            b0 b1 b2 b3 b4     decided on what was seen at t0 + 3 dt, arrives at t0 + 4 dt
    plan  a0 a1 a2 a3 ·· ·· b3 b4     ·· = new_weight · b + (1 − new_weight) · a; a3 was executed, so b0 is dropped

Source: asynchronous inference of SmolVLA (Shukor et al. 2025, https://arxiv.org/abs/2506.01844, section 3.3), without
its filter of similar observations, which starves a base that stands before a wall.
"""

import numpy as np
from jaxtyping import Float64

from robovlms.errors import SafetyError
from robovlms.robot.chunks.base import EDGE_S, ChunkExecutor, Plan, PlannedAction


class AsyncQueue(ChunkExecutor):
    """Asks for a chunk before the last one is used up, and blends where they overlap.

    An action of a blend is as old as the older of its two observations, so the old action is left out where it would be
    too old when it is due: what is fresh must not expire with it.

    Args:
        refill_below: a chunk is wanted when this share of the last one is left, in (0, 1].
        new_weight: share of the new chunk in a blend, in (0, 1]; 1 replaces.
        settings: of `ChunkExecutor`.

    Raises:
        SafetyError: if a share is out of its range.
    """

    def __init__(self, *, refill_below: float = 0.5, new_weight: float = 0.7, **settings: object) -> None:
        for name, share in (("refill_below", refill_below), ("new_weight", new_weight)):
            if not 0 < share <= 1:
                raise SafetyError(f"{name} must lie in (0, 1], got {share}")
        self.refill_below, self.new_weight = refill_below, new_weight
        super().__init__(**settings)  # type: ignore[arg-type]

    def wants_chunk(self, now: float) -> bool:
        return self._plan.left(now) <= self.refill_below * self._chunk_size

    def _take(self, actions: Float64[np.ndarray, "n a"], observed_at: float, now: float) -> None:
        fresh = [
            PlannedAction(values=values, due_s=observed_at + k * self.period_s, observed_at=observed_at)
            for k, values in enumerate(actions)
        ]
        self._chunk_size = len(actions)
        waiting = self._plan.actions
        current = self._plan.at(now)  # is being executed, and stays
        kept, after = ([], now - self.period_s) if current is None else ([current], current.due_s)
        self._plan.actions = kept + [self._blend(one, waiting) for one in fresh if one.due_s > after]

    def _blend(self, new: PlannedAction, waiting: list[PlannedAction]) -> PlannedAction:
        end_s = new.due_s + self.period_s
        young = [one for one in waiting if end_s - one.observed_at <= self.max_age_s + EDGE_S]
        near = [one for one in young if abs(one.due_s - new.due_s) < self.period_s / 2]
        if not near or self.new_weight == 1:
            return new
        old = min(near, key=lambda one: abs(one.due_s - new.due_s))
        values = self.new_weight * new.values + (1 - self.new_weight) * old.values
        values[self._grippers] = new.values[self._grippers]
        return PlannedAction(values=values, due_s=new.due_s, observed_at=min(old.observed_at, new.observed_at))

    def _at(self, now: float) -> PlannedAction | None:
        return self._plan.at(now)

    def _forget(self) -> None:
        self._plan, self._chunk_size = Plan(self.period_s), 0
