"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL, and the way to the first Qwen-VL, which has a file of its own.

Source: Wang et al., "Qwen2-VL", 2024, https://arxiv.org/abs/2409.12191.
"""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import torch

from robovlms.config import TokenizerConfig, VLMConfig
from robovlms.model.backbone.base import Backbone
from robovlms.model.backbone.native import TINY_TEXT, NativeBackbone
from robovlms.model.backbone.qwen_vl1 import QwenVL1Backbone
from robovlms.model.base import BaseRoboVLM

_VISION = dict(depth=2, num_heads=4, patch_size=14, spatial_merge_size=2, temporal_patch_size=2)
_MARKS = dict(image_token_id=300, video_token_id=301, vision_start_token_id=302, vision_end_token_id=303)


def _rope(sections: list[int]) -> dict[str, object]:
    return {"rope_type": "default", "mrope_section": sections, "rope_theta": 1e4}


class QwenBackbone(NativeBackbone):
    """`[start of vision · image · end of vision · prompt]`; positions are (time, height, width)."""

    prompt_template = "What should the robot do to {instruction}?"
    tiny: ClassVar[dict[str, Any]] = {
        "qwen2_vl": dict(
            text_config=dict(TINY_TEXT, rope_parameters=_rope([1, 1, 2])),
            vision_config=dict(_VISION, embed_dim=32, hidden_size=32, mlp_ratio=2),
            **_MARKS,
        ),
        "qwen2_5_vl": dict(
            text_config=dict(TINY_TEXT, rope_parameters=_rope([1, 1, 2])),
            vision_config=dict(
                _VISION, hidden_size=32, out_hidden_size=32, intermediate_size=64, window_size=56,
                fullatt_block_indexes=[1],
            ),
            **_MARKS,
        ),
        "qwen3_vl": dict(
            text_config=dict(TINY_TEXT, rope_parameters=_rope([2, 1, 1])),
            vision_config=dict(
                _VISION, hidden_size=32, out_hidden_size=32, intermediate_size=64, num_position_embeddings=16,
                deepstack_visual_indexes=[0],
            )
            | {"patch_size": 16},
            **_MARKS,
        ),
    }  # fmt: skip

    @classmethod
    def build(cls, vlm: VLMConfig, tokenizer: TokenizerConfig, dtype: torch.dtype, assets: Path | None) -> Backbone:
        if not _is_first_generation(vlm, assets):
            return super().build(vlm, tokenizer, dtype, assets)
        overrides = {key: value for key, value in vlm.overrides.items() if key != "model_type"}
        return QwenVL1Backbone.build(dataclasses.replace(vlm, overrides=overrides), tokenizer, dtype, assets)


def _is_first_generation(vlm: VLMConfig, assets: Path | None) -> bool:
    """Whether the weights are those of 2023: `model_type` "qwen", without a class in transformers."""
    if assets is not None:
        return not (assets / "config.json").is_file()
    if vlm.pretrained is None:
        return vlm.overrides.get("model_type") == "qwen"
    from transformers import PretrainedConfig

    try:
        values, _ = PretrainedConfig.get_config_dict(vlm.pretrained)
    except (OSError, ValueError):
        return False  # reported by what reads the rest
    return values.get("model_type") == "qwen"


class RoboQwen(BaseRoboVLM):
    """A policy on Qwen-VL."""

    backbone_class = QwenBackbone
