"""Calling a decoder of transformers with an explicit mask, explicit positions and our cache.

The mask is always given in full: left to itself, a decoder chooses causal or bidirectional attention depending on
padding and attention kernel. transformers is imported where it is used: the built-in tiny VLM must not pay for it.
"""

import functools
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from robovlms.model.cache import KVCache


def run_decoder(
    decoder: nn.Module,
    embeds: Float[Tensor, "f s d"],
    allowed: Bool[Tensor, "f s S"],
    positions: Int64[Tensor, "*rows f s"],
    read: Int64[Tensor, "r"],
    cache: KVCache | None,
    **extra: Any,
) -> Float[Tensor, "f r d"]:
    """Run a headless decoder of transformers that takes positions and a 4-D mask; arguments as `Backbone.decode`.

    Args:
        decoder: for example `LlamaModel`.
        extra: handed to the decoder as it is.
    """
    masks = layer_masks(
        decoder.config, embeds.dtype, allowed, positions if positions.ndim == 2 else positions[0], cache
    )
    out = decoder(
        inputs_embeds=embeds,
        attention_mask=masks,
        position_ids=positions.contiguous(),
        past_key_values=None if cache is None else slot_cache(cache),
        use_cache=cache is not None,
        **extra,
    )
    return out.last_hidden_state.index_select(1, read)


def layer_masks(
    config: Any,
    dtype: torch.dtype,
    allowed: Bool[Tensor, "f s S"],
    positions: Int64[Tensor, "f s"],
    cache: KVCache | None,
) -> Tensor | dict[str, Tensor]:
    """The mask in the form that the attention kernel takes; one per kind of layer if some look back only so far."""
    kinds = set(getattr(config, "layer_types", None) or ())
    if "sliding_attention" not in kinds:
        return _as_kernel_takes_it(config, dtype, allowed)
    keys = positions if cache is None else cache.place(positions)
    is_near = positions.unsqueeze(2) - keys.unsqueeze(1) < config.sliding_window
    by_kind = {"full_attention": allowed, "sliding_attention": allowed & is_near}
    return {kind: _as_kernel_takes_it(config, dtype, mask) for kind, mask in by_kind.items() if kind in kinds}


def _as_kernel_takes_it(config: Any, dtype: torch.dtype, allowed: Tensor) -> Tensor:
    """Fused attention takes booleans, plain attention adds a bias."""
    if config._attn_implementation == "sdpa":
        return allowed.unsqueeze(1)
    bias = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    return bias.masked_fill(~allowed, torch.finfo(dtype).min).unsqueeze(1)


def slot_cache(cache: KVCache) -> Any:
    """Our cache behind the interface of `transformers.Cache`."""
    return _slot_cache_class()(cache)


@functools.cache
def _slot_cache_class() -> type:
    from transformers import Cache

    class SlotCache(Cache):
        def __init__(self, slots: KVCache) -> None:
            super().__init__(layers=[])
            self.slots = slots

        def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any) -> Any:
            return self.slots.update(key_states, value_states, layer_idx)

        def get_seq_length(self, layer_idx: int = 0) -> int:
            return 0  # positions and mask are given; nothing may be derived from the number of slots

    return SlotCache
