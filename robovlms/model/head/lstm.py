"""A head that remembers the window: an LSTM over the frames' features.

A window that begins before the episode is padded on the left. The LSTM starts from zero at the first real frame, so a
window of 3 real frames in a window of 5 gives exactly what a window of 3 gives::

    step_mask   0 0 1 1 1
    x           · · a b c  ── shift left ──  a b c · ·  ── LSTM from zero ──  A B C ? ?  ── shift back ──  ? ? A B C
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from robovlms.model.head.base import BasePolicyHead


class LSTMDecoder(BasePolicyHead):
    """Past frames to future actions. Arguments as in `BasePolicyHead`."""

    needs_history = True

    def _init_trunk(self, in_features: int, hidden_size: int) -> None:
        self.rnn = nn.LSTM(in_features, hidden_size, self.num_layers, batch_first=True)

    def trunk(self, x: Float[Tensor, "b t i"], step_mask: Bool[Tensor, "b t"] | None) -> Float[Tensor, "b t h"]:
        if step_mask is None:
            return self.rnn(x)[0]
        steps = torch.arange(x.shape[1], device=x.device)
        padding = (~step_mask).sum(1, keepdim=True)
        hidden, _ = self.rnn(_reorder(x, (steps + padding) % x.shape[1]))
        return _reorder(hidden, (steps - padding) % x.shape[1])


def _reorder(x: Tensor, index: Tensor) -> Tensor:
    return x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
