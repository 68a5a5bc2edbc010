"""Video: all frames of the window, then the text, then one group of action queries.

::

    [lead · images of frame 0 · images of frame 1 · … · text · proprio · queries · tail]  ── head

Only the last step of a window has features. Streaming keeps the image tokens of the last t frames, so a new frame is
encoded once; the decoder reads the whole sequence again, because every image has moved.
"""

import dataclasses
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from robovlms.model.history.base import Features, History, Recent, Stream
from robovlms.model.history.decode import predict_actions_once, read_features
from robovlms.model.history.frames import Frames

_PER_STEP = ("tokens", "image_mask", "proprio", "proprio_mask")


class VideoHistory(History):
    """The window as one clip."""

    has_memory = True
    gives_every_step = False

    def features(self, frames: Frames, queries: Float[Tensor, "b s known d"], choose: bool) -> Features:
        stretch = self.builder.video(frames, queries[:, -1:])
        read = predict_actions_once if choose else read_features
        return read(self.policy, stretch), frames.step_mask[:, -1:]

    def stream(self, num_rows: int) -> Stream:
        return VideoStream(self, num_rows)


class VideoStream(Stream):
    """Image tokens of the last frames.

    Args:
        history: how a window becomes features.
        num_rows: robots.
    """

    def __init__(self, history: VideoHistory, num_rows: int) -> None:
        self._history = history
        self._recent = Recent(num_rows, history.policy.config.window_size)

    def _reset(self, rows: Sequence[int]) -> None:
        self._recent.reset(rows)

    def _step(self, frames: Frames, rows: Sequence[int]) -> Features:
        window, mask = self._recent.append(rows, **{name: getattr(frames, name) for name in _PER_STEP})
        window["image_mask"] = window["image_mask"] & mask.unsqueeze(-1)
        frames = dataclasses.replace(frames, **window)
        choose = self._history.policy.act_head.is_discrete
        return self._history.features(frames, self._history.first_queries(frames), choose)
