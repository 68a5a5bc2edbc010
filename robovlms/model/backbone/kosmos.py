"""Kosmos-2: CLIP, 64 latent image tokens, and a decoder of its own with sinusoidal positions.

Source: Peng et al., "Kosmos-2: Grounding Multimodal Large Language Models to the World", 2023,
https://arxiv.org/abs/2306.14824.
"""

from typing import Any, ClassVar

from jaxtyping import Bool, Float, Int64
from torch import Tensor

from robovlms.model.backbone.base import Media
from robovlms.model.backbone.native import TINY_VISION, NativeBackbone
from robovlms.model.backbone.native_decoder import layer_masks, slot_cache
from robovlms.model.base import BaseRoboVLM
from robovlms.model.cache import KVCache


class KosmosBackbone(NativeBackbone):
    """`[<s> · images · prompt · queries · </s>]`; positions count from 2."""

    prompt_template = "<grounding>An image of a robot {instruction}"
    position_offset = 2
    tiny: ClassVar[dict[str, Any]] = {
        "kosmos-2": dict(
            text_config=dict(
                vocab_size=320, embed_dim=32, layers=2, ffn_dim=64, attention_heads=4, dropout=0.0,
                attention_dropout=0.0, activation_dropout=0.0, layerdrop=0.0, max_position_embeddings=4096,
            ),
            vision_config=TINY_VISION,
            latent_query_num=4,
        )
    }  # fmt: skip

    def decode(
        self,
        embeds: Float[Tensor, "f s e"],
        allowed: Bool[Tensor, "f s S"],
        positions: Int64[Tensor, "*rows f s"],
        read: Int64[Tensor, "r"],
        cache: KVCache | None = None,
        media: Media | None = None,
    ) -> Float[Tensor, "f r d"]:
        """The decoder's own forward pass takes only two-dimensional masks, so its layers are called one by one."""
        decoder = self.text_tower
        positions = (positions + self.position_offset).contiguous()
        hidden = decoder.forward_embedding(None, inputs_embeds=embeds, position_ids=positions)
        mask = layer_masks(decoder.config, hidden.dtype, allowed, positions, cache)
        past = None if cache is None else slot_cache(cache)
        for layer in decoder.layers:
            output = layer(hidden, mask, past_key_values=past, use_cache=cache is not None)
            hidden = output[0] if isinstance(output, tuple) else output
        return decoder.layer_norm(hidden).index_select(1, read)


class RoboKosmos(BaseRoboVLM):
    """A policy on Kosmos-2."""

    backbone_class = KosmosBackbone


RoboKosMos = RoboKosmos  # as the original spells it
