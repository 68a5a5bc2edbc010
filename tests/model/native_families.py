"""Tiny configurations of VLM families that transformers ships and that have no file of their own here."""

from typing import Any

from robovlms.model.backbone.native import TINY_TEXT, TINY_VISION

IMAGE = 300
_SIGLIP = dict(TINY_VISION, model_type="siglip_vision_model", vision_use_head=False)
_CLIP = dict(TINY_VISION, model_type="clip_vision_model")


def _text(model_type: str, **values: Any) -> dict[str, Any]:
    return dict(TINY_TEXT, model_type=model_type, **values)


# `model.vlm.overrides` of `name: auto`.
FAMILIES: dict[str, dict[str, Any]] = {
    "aya_vision": dict(
        text_config=_text("cohere2", sliding_window=64), vision_config=_SIGLIP, image_token_index=IMAGE,
        adapter_layer_norm_eps=1e-5, downsample_factor=2,
    ),
    "blip-2": dict(
        text_config=dict(
            model_type="opt", vocab_size=320, hidden_size=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=4,
            word_embed_proj_dim=32, max_position_embeddings=512, dropout=0.0, pad_token_id=0,
        ),
        vision_config=TINY_VISION,
        qformer_config=dict(
            hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, encoder_hidden_size=24,
            vocab_size=320,
        ),
        num_query_tokens=4, image_token_index=IMAGE,
    ),
    "gemma3": dict(
        text_config=dict(TINY_TEXT, sliding_window=6, layer_types=["sliding_attention", "full_attention"]),
        vision_config=dict(TINY_VISION, vision_use_head=False), image_token_id=IMAGE, boi_token_id=301,
        eoi_token_id=302, mm_tokens_per_image=4,
    ),
    "glm4v": dict(
        text_config=dict(
            TINY_TEXT,
            rope_parameters=dict(
                rope_type="default", mrope_section=[1, 1, 0], rope_theta=1e4, partial_rotary_factor=0.5
            ),
        ),
        vision_config=dict(
            depth=2, hidden_size=32, num_heads=4, intermediate_size=64, out_hidden_size=32, patch_size=14,
            spatial_merge_size=2, temporal_patch_size=2, image_size=56,
        ),
        image_token_id=IMAGE, video_token_id=303, image_start_token_id=301, image_end_token_id=302,
    ),
    "idefics2": dict(
        text_config=_text("mistral"), vision_config=TINY_VISION, image_token_id=IMAGE,
        perceiver_config=dict(
            hidden_size=32, resampler_n_latents=4, resampler_depth=1, resampler_n_heads=4, num_key_value_heads=2,
            resampler_head_dim=8,
        ),
    ),
    "idefics3": dict(
        text_config=_text("llama"), vision_config=TINY_VISION, image_token_id=IMAGE, scale_factor=2, pad_token_id=0
    ),
    "internvl": dict(
        text_config=_text("qwen2"), vision_config=dict(TINY_VISION, image_size=[28, 28], patch_size=[14, 14]),
        image_token_id=IMAGE, downsample_ratio=0.5,
    ),
    "mistral3": dict(
        text_config=_text("mistral"),
        vision_config=dict(
            model_type="pixtral", hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            head_dim=8, image_size=56, patch_size=14,
        ),
        image_token_index=IMAGE, spatial_merge_size=2,
    ),
    "smolvlm": dict(
        text_config=_text("llama"), vision_config=TINY_VISION, image_token_id=IMAGE, scale_factor=2, pad_token_id=0
    ),
    "vipllava": dict(
        text_config=_text("llama"), vision_config=dict(_CLIP, num_hidden_layers=3), image_token_index=IMAGE,
        vision_feature_layers=[-1, -2],
    ),
}  # fmt: skip
# Families with a file of their own: (name, overrides).
OWN_FILES: dict[str, tuple[str, dict[str, Any]]] = {
    "llava": ("llava", {}),
    "llava_next": ("llava", {"model_type": "llava_next"}),
    "llava_onevision": ("llava", {"model_type": "llava_onevision"}),
    "paligemma": ("paligemma", {}),
    "paligemma2": ("paligemma", {"model_type": "paligemma2"}),
    "qwen2_vl": ("qwen", {}),
    "qwen2_5_vl": ("qwen", {"model_type": "qwen2_5_vl"}),
    "qwen3_vl": ("qwen", {"model_type": "qwen3_vl"}),
}
EVERY_FAMILY = {name: ("auto", {"model_type": name, **values}) for name, values in FAMILIES.items()} | OWN_FILES
