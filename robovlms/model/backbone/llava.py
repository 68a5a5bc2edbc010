"""LLaVA-1.5, LLaVA-NeXT and LLaVA-OneVision: CLIP or SigLIP, a projector, and Llama, Mistral or Qwen.

Every frame goes in as one picture, without tiles: 576 or 729 tokens of a frame are plenty for control.

Source: Liu et al., "Improved Baselines with Visual Instruction Tuning", 2023, https://arxiv.org/abs/2310.03744.
"""

from typing import Any, ClassVar

from robovlms.model.backbone.native import TINY_TEXT, TINY_VISION, NativeBackbone
from robovlms.model.base import BaseRoboVLM

_CLIP = dict(TINY_VISION, model_type="clip_vision_model")
_SIGLIP = dict(TINY_VISION, model_type="siglip_vision_model", vision_use_head=False)


class LlavaBackbone(NativeBackbone):
    """`[<s> · images · prompt]`."""

    prompt_template = "USER: What should the robot do to {instruction}?\nASSISTANT:"
    tiny: ClassVar[dict[str, Any]] = {
        "llava": dict(text_config=dict(TINY_TEXT, model_type="llama"), vision_config=_CLIP, image_token_index=300),
        "llava_next": dict(
            text_config=dict(TINY_TEXT, model_type="llama"),
            vision_config=_CLIP,
            image_token_index=300,
            image_grid_pinpoints=[[28, 28]],
        ),
        "llava_onevision": dict(
            text_config=dict(TINY_TEXT, model_type="qwen2"),
            vision_config=_SIGLIP,
            image_token_index=300,
            image_grid_pinpoints=[[28, 28]],
        ),
    }


class RoboLLaVA(BaseRoboVLM):
    """A policy on LLaVA."""

    backbone_class = LlavaBackbone
