"""A head that remembers the window: an LSTM over the frames' features, from zero at the first real frame."""

from jaxtyping import Bool, Float
from torch import Tensor, nn

from robovlms.model.head.frames import run_from_first_frame
from robovlms.model.head.trunk import TrunkHead


class LSTMDecoder(TrunkHead):
    """Past frames to future actions. Arguments as in `TrunkHead`.

    A call with more than `window_size` frames runs over all of them; whoever streams gives the newest `window_size`.
    """

    needs_history = True

    def _init_trunk(self, in_features: int, hidden_size: int) -> None:
        self.rnn = nn.LSTM(in_features, hidden_size, self.num_layers, batch_first=True)

    def trunk(self, x: Float[Tensor, "b t i"], step_mask: Bool[Tensor, "b t"] | None) -> Float[Tensor, "b t h"]:
        return run_from_first_frame(lambda frames: self.rnn(frames)[0], x, step_mask)
