"""One step and policy head: every frame is a sequence of its own, folded into the batch.

::

    frame 0   [lead · images · text · proprio · queries · tail]  ── hidden at the queries ─┐
    frame 1   [lead · images · text · proprio · queries · tail]  ── hidden at the queries ─┤ head over t
    …                                                                                      ┘

The recurrent part, if any, is the head. Streaming keeps the features of the last t frames, which is all that a new
frame needs.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from robovlms.model.history.base import Features, HeadMemory, History, Stream
from robovlms.model.history.decode import predict_actions_once, read_features
from robovlms.model.history.frames import Frames
from robovlms.model.history.sequence import fold


class PolicyHeadHistory(History):
    """Frames do not see each other; the head puts them together. Called "post" in the original."""

    def features(self, frames: Frames, queries: Float[Tensor, "b s known d"], choose: bool) -> Features:
        stretch = fold(self.builder.frames(frames, queries, with_prompt=True))
        read = predict_actions_once if choose else read_features
        features = read(self.policy, stretch).squeeze(1)
        return features.unflatten(0, frames.step_mask.shape), frames.step_mask

    def stream(self, num_rows: int) -> Stream:
        return FoldedStream(self, num_rows)


class OneStepHistory(PolicyHeadHistory):
    """The current frame alone."""


class FoldedStream(Stream):
    """Features of the last frames.

    Args:
        history: how a frame becomes features.
        num_rows: robots.
    """

    def __init__(self, history: PolicyHeadHistory, num_rows: int) -> None:
        self._history, self._memory = history, HeadMemory(history.policy, num_rows)

    def _reset(self, rows: Sequence[int]) -> None:
        self._memory.reset(rows)

    def _step(self, frames: Frames, rows: Sequence[int]) -> Features:
        choose = self._history.policy.act_head.is_discrete
        features, _ = self._history.features(frames, self._history.first_queries(frames), choose)
        return self._memory.append(rows, features)
