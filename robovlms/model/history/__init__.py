"""Ways of using history. A new one is one file and one line here."""

from robovlms.model.history.base import History, Stream
from robovlms.model.history.folded import OneStepHistory, PolicyHeadHistory
from robovlms.model.history.interleaved import InterleavedHistory
from robovlms.model.history.video import VideoHistory

HISTORIES: dict[str, type[History]] = {
    "one_step": OneStepHistory,
    "policy_head": PolicyHeadHistory,
    "interleaved": InterleavedHistory,
    "video": VideoHistory,
}

__all__ = ["HISTORIES", "History", "Stream"]
