"""Average what every recent chunk said about now: smooth, at the cost of a chunk per step.

Source: temporal ensembling of ACT (Zhao et al. 2023, https://arxiv.org/abs/2304.13705, section IV.B): weights
exp(−m · i), i = 0 for the oldest.
"""

import math

import numpy as np
from jaxtyping import Float64

from robovlms.errors import SafetyError
from robovlms.robot.chunks.base import EDGE_S, ChunkExecutor, PlannedAction


class TemporalEnsemble(ChunkExecutor):
    """Weighted mean of the chunks that have an action for now and are young enough; the newest decides the gripper.

    Args:
        decay: m of the weights, at least 0; larger trusts old chunks more.
        settings: of `ChunkExecutor`.

    Raises:
        SafetyError: if `decay` is negative or not finite.
    """

    def __init__(self, *, decay: float = 0.01, **settings: object) -> None:
        if not (math.isfinite(decay) and decay >= 0):
            raise SafetyError(f"decay must be finite and at least 0, got {decay}")
        self.decay = decay
        super().__init__(**settings)  # type: ignore[arg-type]

    def wants_chunk(self, now: float) -> bool:
        return True

    def _take(self, actions: Float64[np.ndarray, "n a"], observed_at: float, now: float) -> None:
        young = [(time, chunk) for time, chunk in self._chunks if now - time <= self.max_age_s]
        self._chunks = [*young, (observed_at, actions)]

    def _at(self, now: float) -> PlannedAction | None:
        said = []
        for observed_at, chunk in self._chunks:
            k = math.floor((now - observed_at + EDGE_S) / self.period_s)
            if 0 <= k < len(chunk) and now - observed_at <= self.max_age_s:
                said.append((observed_at, chunk[k]))
        if not said:
            return None
        weights = np.exp(-self.decay * np.arange(len(said)))
        values = (weights[:, None] * np.stack([one for _, one in said])).sum(0) / weights.sum()
        values[self._grippers] = said[-1][1][self._grippers]
        return PlannedAction(values=values, due_s=now, observed_at=said[0][0])

    def _forget(self) -> None:
        self._chunks: list[tuple[float, np.ndarray]] = []
