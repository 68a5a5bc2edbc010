"""MPT with ALiBi from given positions, with masks of any form, and with normalised queries and keys if configured.

The `MptModel` of transformers counts positions by slot and knows only causal masks with padding. Here, a head's
attention to a token falls with the distance between the two positions: by the same amount for text read from left to
right, and correctly with padding, with a cache whose slots are in any order, and with tokens that see each other in
both directions.

Source: Press et al., "Train Short, Test Long: Attention with Linear Biases Enables Input Length Extrapolation", 2021,
https://arxiv.org/abs/2108.12409; https://huggingface.co/mosaicml/mpt-1b-redpajama-200b (attention.py).
"""

import math
from types import SimpleNamespace
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from transformers import MptConfig, MptModel
from transformers.models.mpt.modeling_mpt import MptAttention

from robovlms.errors import CheckpointError


class MptDecoder(MptModel):
    """A headless MPT, called as any other decoder; modules and names are those of `MptModel`, plus `q_ln` and `k_ln`.

    Args:
        config: of transformers; `attn_config.qk_ln` normalises queries and keys.

    Raises:
        CheckpointError: if it asks for learned positions, which no released Flamingo has.
    """

    def __init__(self, config: MptConfig) -> None:
        if not config.attn_config.alibi:
            raise CheckpointError("an MPT whose attn_config.alibi is false has learned positions: not supported")
        super().__init__(config)
        for index, block in enumerate(self.blocks):
            block.attn = AlibiAttention(config, index)

    def forward(
        self,
        inputs_embeds: Float[Tensor, "f s d"],
        attention_mask: Float[Tensor, "f 1 s S"],
        position_ids: Int64[Tensor, "f s"],
        past_key_values: Any = None,
        use_cache: bool = False,
        **layer_arguments: Any,
    ) -> SimpleNamespace:
        """Run all layers; the mask is added to the scores, and the cache is one of `slot_cache`."""
        keys = position_ids if past_key_values is None else past_key_values.slots.place(position_ids)
        slopes = alibi_slopes(self.config.n_heads, self.config.attn_config.alibi_bias_max).to(position_ids.device)
        distance = (position_ids.unsqueeze(2) - keys.unsqueeze(1)).abs()
        bias = attention_mask - slopes.view(1, -1, 1, 1) * distance.unsqueeze(1)
        hidden = inputs_embeds
        for block in self.blocks:
            hidden, _ = block(
                hidden,
                position_bias=bias,
                attention_mask=None,
                layer_past=past_key_values,
                use_cache=use_cache,
                **layer_arguments,
            )
        return SimpleNamespace(last_hidden_state=self.norm_f(hidden))


class AlibiAttention(MptAttention):
    """Attention whose bias comes from outside."""

    def __init__(self, config: MptConfig, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        self.q_ln, self.k_ln = (
            nn.LayerNorm(self.hidden_size, bias=False) if config.attn_config.qk_ln else nn.Identity() for _ in range(2)
        )

    def forward(
        self,
        hidden_states: Float[Tensor, "f s d"],
        position_bias: Float[Tensor, "f h s S"],
        past_key_values: Any = None,
        attention_mask: None = None,
    ) -> tuple[Float[Tensor, "f s d"], None]:
        """Attend; scores are computed in float32, where bfloat16 cannot tell distant tokens apart."""
        mixed = self.Wqkv(hidden_states)
        if self.clip_qkv:
            mixed = mixed.clamp(-self.clip_qkv, self.clip_qkv)
        query, key, value = mixed.chunk(3, dim=-1)
        query, key, value = (
            x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for x in (self.q_ln(query), self.k_ln(key), value)
        )
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        scores = (query @ key.transpose(-1, -2)).float() * self.softmax_scale + position_bias
        weights = scores.softmax(-1).to(value.dtype)
        weights = nn.functional.dropout(weights, self.attn_dropout_p, self.training)
        return self.out_proj((weights @ value).transpose(1, 2).flatten(2)), None


def alibi_slopes(num_heads: int, bias_max: float) -> Float[Tensor, "h"]:
    """How fast the attention of each head falls with distance: a geometric sequence down to 2 ** -bias_max.

    For a number of heads that is no power of two, every second slope of the next power comes first.

    Source: https://github.com/ofirpress/attention_with_linear_biases (get_slopes), in the order of MPT.

    >>> alibi_slopes(4, 8).tolist()
    [0.25, 0.0625, 0.015625, 0.00390625]
    """
    power = 2 ** math.ceil(math.log2(num_heads))
    slopes = 2.0 ** -(torch.arange(1, power + 1, dtype=torch.float32) * bias_max / power)
    return slopes if power == num_heads else torch.cat([slopes[1::2], slopes[::2]])[:num_heads]


def mpt_arguments(config: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `MptConfig` from a released `config.json`: of MPT, or of its predecessor MosaicGPT (MPT-1B).

    Raises:
        CheckpointError: if the logits are scaled, which no released Flamingo does.
    """
    if config.get("logit_scale") is not None:
        raise CheckpointError(f"an MPT with logit_scale {config['logit_scale']!r} is not supported, expected null")
    names = ("alibi", "alibi_bias_max", "qk_ln", "clip_qkv", "softmax_scale")
    old_names = {"qk_ln": "attn_qk_ln", "clip_qkv": "attn_clip_qkv"}
    is_old = config["model_type"] == "mosaic_gpt"
    released = {n: config.get(old_names.get(n, n)) for n in names} if is_old else config.get("attn_config") or {}
    attention = {name: released[name] for name in names if released.get(name) is not None}
    shape = {name: config[name] for name in ("d_model", "n_heads", "n_layers", "vocab_size", "max_seq_len")}
    return {"model_type": "mpt", **shape, "attn_config": attention}
