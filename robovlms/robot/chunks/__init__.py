"""How the actions of a chunk are executed. A new way is one file and one line here."""

from robovlms.robot.chunks.async_queue import AsyncQueue
from robovlms.robot.chunks.base import ChunkExecutor, PlannedAction
from robovlms.robot.chunks.receding_horizon import RecedingHorizon
from robovlms.robot.chunks.temporal_ensemble import TemporalEnsemble

EXECUTORS: dict[str, type[ChunkExecutor]] = {
    "async_queue": AsyncQueue,
    "receding_horizon": RecedingHorizon,
    "temporal_ensemble": TemporalEnsemble,
}

__all__ = ["EXECUTORS", "AsyncQueue", "ChunkExecutor", "PlannedAction", "RecedingHorizon", "TemporalEnsemble"]
