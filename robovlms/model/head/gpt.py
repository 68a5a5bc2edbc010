"""A head that looks back over the window: a small GPT-2 over the frames' features.

A frame sees itself and the `window_size` - 1 frames before it, and its position counts from the oldest frame it sees.
Frames beyond the first window are therefore run each in a window of their own, as a stream would run them; with
`window_size` = 3 and five frames::

    a b c        one run gives A B C
      b c d      the last of this run is D
        c d e    the last of this run is E
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from robovlms.errors import ConfigError
from robovlms.model.head.frames import run_from_first_frame
from robovlms.model.head.trunk import TrunkHead


class GPTDecoder(TrunkHead):
    """Causal attention over past frames. Other arguments as in `TrunkHead`.

    Args:
        num_layers: transformer layers.
        num_heads: attention heads; must divide `hidden_size`·`latent`.
        dropout: probability, in training, for embeddings, attention and residuals.
        settings: further keywords of `TrunkHead`.

    Raises:
        ConfigError: if the width cannot be split into the heads.
    """

    needs_history = True

    def __init__(
        self,
        in_features: int,
        hidden_size: int,
        action_dim: int,
        *,
        num_layers: int = 8,
        num_heads: int = 8,
        dropout: float = 0.0,
        **settings: Any,
    ) -> None:
        self.num_heads, self.dropout = num_heads, dropout  # before the trunk is made, which reads them
        super().__init__(in_features, hidden_size, action_dim, num_layers=num_layers, **settings)

    def _init_trunk(self, in_features: int, hidden_size: int) -> None:
        if hidden_size % self.num_heads:
            raise ConfigError(
                f"head: a width of {hidden_size} (hidden_size times latent) cannot be split into {self.num_heads} "
                "attention heads"
            )
        self.fc = nn.Linear(in_features, hidden_size)
        nn.init.xavier_uniform_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)
        self.gpt = self._build_gpt(hidden_size)

    def _build_gpt(self, hidden_size: int) -> nn.Module:
        from transformers import GPT2Config, GPT2Model  # seconds to import, and only this head needs it

        config = GPT2Config(
            vocab_size=1,
            n_positions=self.window_size,
            n_embd=hidden_size,
            n_layer=self.num_layers,
            n_head=self.num_heads,
            resid_pdrop=self.dropout,
            embd_pdrop=self.dropout,
            attn_pdrop=self.dropout,
            use_cache=False,
            bos_token_id=None,
            eos_token_id=None,
        )
        gpt = GPT2Model(config)
        gpt.set_input_embeddings(None)  # frames come as vectors, not as ids
        return gpt

    def trunk(self, x: Float[Tensor, "b t i"], step_mask: Bool[Tensor, "b t"] | None) -> Float[Tensor, "b t h"]:
        return run_from_first_frame(self._run, self.fc(x), step_mask)

    def _run(self, x: Float[Tensor, "b t h"]) -> Float[Tensor, "b t h"]:
        window = self.window_size
        first = self.gpt(inputs_embeds=x[:, :window]).last_hidden_state
        if x.shape[1] <= window:
            return first
        windows = x[:, 1:].unfold(1, window, 1).transpose(2, 3)
        last = self.gpt(inputs_embeds=windows.flatten(0, 1)).last_hidden_state[:, -1]
        return torch.cat([first, last.unflatten(0, windows.shape[:2])], 1)
