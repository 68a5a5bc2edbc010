"""A model that thinks in a process of its own."""

from robovlms.robot.worker.client import Answer, ModelWorker, Question
from robovlms.robot.worker.models import MODELS, ChunkModel, TextModel

__all__ = ["MODELS", "Answer", "ChunkModel", "ModelWorker", "Question", "TextModel"]
