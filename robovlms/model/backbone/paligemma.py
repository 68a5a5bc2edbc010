"""PaliGemma 1 and 2: SigLIP and Gemma. Images and prompt attend to each other in both directions.

Source: Beyer et al., "PaliGemma: A versatile 3B VLM for transfer", 2024, https://arxiv.org/abs/2407.07726, section 3.
"""

from typing import Any, ClassVar

from robovlms.model.backbone.native import TINY_TEXT, TINY_VISION, NativeBackbone
from robovlms.model.base import BaseRoboVLM


class PaliGemmaBackbone(NativeBackbone):
    """`[images · <bos> · instruction · newline]`, as in its pretraining; positions count from 1."""

    prompt_template = "<bos>{instruction}\n"
    add_special_tokens = False
    bidirectional = "prefix"
    position_offset = 1
    tiny: ClassVar[dict[str, Any]] = {
        "paligemma": dict(
            text_config=dict(TINY_TEXT, model_type="gemma"),
            vision_config=dict(TINY_VISION, model_type="siglip_vision_model", vision_use_head=False),
            image_token_index=300,
        ),
        "paligemma2": dict(
            model_type="paligemma",
            text_config=dict(TINY_TEXT, model_type="gemma2", sliding_window=16, query_pre_attn_scalar=8),
            vision_config=dict(TINY_VISION, model_type="siglip_vision_model", vision_use_head=False),
            image_token_index=300,
        ),
    }

    @classmethod
    def fit(cls, values: dict[str, Any]) -> dict[str, Any]:
        width = values["text_config"]["hidden_size"]
        values["vision_config"]["projection_dim"] = width
        return {**values, "projection_dim": width, "hidden_size": width}


class RoboPaligemma(BaseRoboVLM):
    """A policy on PaliGemma."""

    backbone_class = PaliGemmaBackbone
