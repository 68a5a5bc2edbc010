"""Video: all frames of the window, then the text, then one group of action queries.

::

    [lead · images of frame 0 · images of frame 1 · … · text · proprio · queries · tail]  ── head

Only the last step of a window has features. Streaming keeps the image tokens of the last t frames, so a new frame is
encoded once; the decoder reads the whole sequence again, because every image has moved.
"""

from jaxtyping import Float
from torch import Tensor

from robovlms.model.history.base import Features, History, Stream, WindowStream
from robovlms.model.history.decode import predict_actions_once, read_features
from robovlms.model.history.frames import Frames


class VideoHistory(History):
    """The window as one clip."""

    gives_every_step = False

    def features(self, frames: Frames, queries: Float[Tensor, "b s known d"], choose: bool) -> Features:
        stretch = self.builder.video(frames, queries[:, -1:])
        read = predict_actions_once if choose else read_features
        return read(self.policy, stretch), frames.step_mask[:, -1:]

    def stream(self, num_rows: int) -> Stream:
        return WindowStream(self, num_rows)
