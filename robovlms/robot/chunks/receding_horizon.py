"""Execute the first steps of a chunk, hold, look again: simple and deterministic, with a pause for each thought."""

import numpy as np
from jaxtyping import Float64

from robovlms.errors import SafetyError
from robovlms.robot.chunks.base import ChunkExecutor, Plan, PlannedAction


class RecedingHorizon(ChunkExecutor):
    """Starts a chunk when it arrives, executes its first `execute_steps` actions, then asks for the next.

    Args:
        execute_steps: actions executed of each chunk; what a chunk lacks is not made up.
        settings: of `ChunkExecutor`.

    Raises:
        SafetyError: if `execute_steps` is below 1.
    """

    def __init__(self, *, execute_steps: int = 4, **settings: object) -> None:
        if execute_steps < 1:
            raise SafetyError(f"execute_steps must be at least 1, got {execute_steps}")
        self.execute_steps = execute_steps
        super().__init__(**settings)  # type: ignore[arg-type]

    def wants_chunk(self, now: float) -> bool:
        return self._plan.left(now) == 0

    def _take(self, actions: Float64[np.ndarray, "n a"], observed_at: float, now: float) -> None:
        self._plan.actions = [
            PlannedAction(values=values, due_s=now + k * self.period_s, observed_at=observed_at)
            for k, values in enumerate(actions[: self.execute_steps])
        ]

    def _at(self, now: float) -> PlannedAction | None:
        return self._plan.at(now)

    def _forget(self) -> None:
        self._plan = Plan(self.period_s)
