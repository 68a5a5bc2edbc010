"""PaliGemma: SigLIP and Gemma. Images and prompt attend to each other in both directions.

Source: Beyer et al., "PaliGemma: A versatile 3B VLM for transfer", 2024, https://arxiv.org/abs/2407.07726, section 3.
"""

from typing import Any

from robovlms.model.backbone.native import NativeBackbone, check_overrides
from robovlms.model.base import BaseRoboVLM


class PaliGemmaBackbone(NativeBackbone):
    """`[images · <bos> · instruction · newline]`, as in its pretraining; positions count from 1."""

    prompt_template = "<bos>{instruction}\n"
    is_prefix_lm = True
    position_offset = 1

    @classmethod
    def tiny_config(cls, overrides: dict[str, Any]) -> Any:
        from transformers import GemmaConfig, PaliGemmaConfig, SiglipVisionConfig

        text = dict(
            model_type="gemma", vocab_size=320, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, head_dim=8, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        )  # fmt: skip
        vision = dict(
            model_type="siglip_vision_model", hidden_size=24, intermediate_size=48, num_hidden_layers=2,
            num_attention_heads=4, image_size=28, patch_size=14, projection_dim=32, vision_use_head=False,
        )  # fmt: skip
        check_overrides(overrides, {"text_config": GemmaConfig(), "vision_config": SiglipVisionConfig()})
        text.update(overrides.get("text_config", {}))
        vision.update(overrides.get("vision_config", {}), projection_dim=text["hidden_size"])
        shared = dict(image_token_index=300, projection_dim=text["hidden_size"], hidden_size=text["hidden_size"])
        return PaliGemmaConfig(text_config=text, vision_config=vision, **shared)


class RoboPaligemma(BaseRoboVLM):
    """A policy on PaliGemma (1 and 2)."""

    backbone_class = PaliGemmaBackbone
