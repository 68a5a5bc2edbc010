"""The first Qwen-VL (2023): ViT-bigG at 448 pixels, a resampler with 256 queries, and Qwen-7B.

::

    [<img> · 256 image tokens · </img> · prompt]

A folder for `model.vlm.pretrained` holds the released `Qwen/Qwen-VL` or `Qwen/Qwen-VL-Chat`: `config.json`, the
`pytorch_model-*.bin` with their index, and `qwen.tiktoken`, from which the tokenizer is built.

Positions, in the vision tower for 16 × 16 patches and in the resampler for 16 × 16 queries, are interpolated to the
grid of `image_size`, 448 as released; any multiple of 14 works.

Beyond 2048 tokens the released model rescales its rotary positions and queries; here it does not.

Source: https://huggingface.co/Qwen/Qwen-VL (visual.py, modeling_qwen.py, config.json).
"""

from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from robovlms.model.backbone.composite import (
    CLIP_MEAN,
    CLIP_STD,
    Architecture,
    CompositeBackbone,
    native_config,
    resize_positions,
)
from robovlms.model.backbone.key_map import (
    Rule,
    apply_rules,
    count_layers,
    drop,
    rename,
    shape_of,
    split,
    thirds_of_each_head,
)
from robovlms.model.backbone.native import TINY_TEXT, TINY_VISION
from robovlms.model.backbone.qwen_tokenizer import QWEN_VOCABULARY, qwen_tokenizer

_VIT, _BLOCK = r"transformer\.visual\.", r"transformer\.visual\.transformer\.resblocks\.(\d+)\."
_VISION_LAYER = r"vision.encoder.layers.\1."
_OLD_LAYER, _LAYER = r"transformer\.h\.(\d+)\.", r"decoder.layers.\1."
_HEAD_WIDTH = 128  # of the resampler
_VISION_HEADS, _TEXT_HEADS, _IMAGE_PX = 16, 32, 448
_IMAGE_START_ID = 151857  # `<img>`; `</img>` is the next one


def released_rules(vision_heads: int) -> tuple[Rule, ...]:
    """Rules for a released checkpoint, whose vision tower has so many heads."""
    return (
        rename(_VIT + r"conv1\.weight", "vision.embeddings.conv1.weight"),
        rename(_VIT + r"positional_embedding", "vision.embeddings.positional_embedding"),
        rename(_VIT + r"ln_pre\.(.*)", r"vision.pre_layrnorm.\1"),
        rename(_BLOCK + r"ln_(\d)\.(.*)", _VISION_LAYER + r"layer_norm\2.\3"),
        split(
            _BLOCK + r"attn\.in_proj\.(.*)",
            [_VISION_LAYER + rf"self_attn.{part}_proj.\2" for part in "qkv"],
            thirds_of_each_head(vision_heads),
        ),
        rename(_BLOCK + r"attn\.out_proj\.(.*)", _VISION_LAYER + r"self_attn.out_proj.\2"),
        rename(_BLOCK + r"mlp\.c_fc\.(.*)", _VISION_LAYER + r"mlp.fc1.\2"),
        rename(_BLOCK + r"mlp\.c_proj\.(.*)", _VISION_LAYER + r"mlp.fc2.\2"),
        rename(_VIT + r"attn_pool\.(.*)", r"bridge.\1"),
        rename(_VIT + r"(ln_post\..*|proj)", r"bridge.\1"),
        rename(r"transformer\.wte\.weight", "decoder.embed_tokens.weight"),
        rename(r"transformer\.ln_f\.weight", "decoder.norm.weight"),
        rename(_OLD_LAYER + r"ln_1\.weight", _LAYER + "input_layernorm.weight"),
        rename(_OLD_LAYER + r"ln_2\.weight", _LAYER + "post_attention_layernorm.weight"),
        split(_OLD_LAYER + r"attn\.c_attn\.(.*)", [_LAYER + rf"self_attn.{part}_proj.\2" for part in "qkv"]),
        rename(_OLD_LAYER + r"attn\.c_proj\.weight", _LAYER + "self_attn.o_proj.weight"),
        rename(_OLD_LAYER + r"mlp\.w1\.weight", _LAYER + "mlp.up_proj.weight"),
        rename(_OLD_LAYER + r"mlp\.w2\.weight", _LAYER + "mlp.gate_proj.weight"),
        rename(_OLD_LAYER + r"mlp\.c_proj\.weight", _LAYER + "mlp.down_proj.weight"),
        drop(r"transformer\.rotary_emb\.inv_freq", "computed from the configuration"),
        drop(_OLD_LAYER + r"attn\.(?:masked_bias|bias)", "the mask is given in every call"),
        rename(r"lm_head\.weight", "lm_head.weight"),
    )


def sine_positions(width: int, side: int) -> Float[Tensor, "n d"]:
    """Fixed positions of a square grid, row by row: half of the width tells the column, half the row.

    Source: https://huggingface.co/Qwen/Qwen-VL/blob/main/visual.py (get_2d_sincos_pos_embed).
    """
    frequency = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64, device="cpu") / (width // 4))
    angle = torch.arange(side, dtype=torch.float64, device="cpu").unsqueeze(1) * frequency
    line = torch.cat([angle.sin(), angle.cos()], dim=1)
    column, row = line.repeat(side, 1), line.repeat_interleave(side, dim=0)
    return torch.cat([column, row], dim=1).float()


class QwenEmbeddings(nn.Module):
    """Patches with learned positions, without a class token."""

    def __init__(self, width: int, patch_size: int, num_positions: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch_size, patch_size, bias=False)
        self.positional_embedding = nn.Parameter(torch.randn(num_positions, width) * width**-0.5)

    def forward(self, pixels: Float[Tensor, "f 3 h w"], interpolate_pos_encoding: bool = False) -> Tensor:
        """Embed; the second argument is what the vision tower hands over besides, and not used."""
        patches = self.conv1(pixels).flatten(2).transpose(1, 2)
        return patches + resize_positions(self.positional_embedding, patches.shape[1])


class QwenResampler(nn.Module):
    """Queries on a square grid read the features, in one attention layer; both sides know where they stand."""

    pos_embed: Tensor

    def __init__(self, in_features: int, width: int, num_heads: int, side: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(side**2, width) * 0.02)
        self.register_buffer("pos_embed", sine_positions(width, side).to(self.query))
        self.kv_proj = nn.Linear(in_features, width, bias=False)
        self.attn = nn.MultiheadAttention(width, num_heads, batch_first=True)
        self.ln_q, self.ln_kv, self.ln_post = (nn.LayerNorm(width, eps=1e-6) for _ in range(3))
        self.proj = nn.Parameter(torch.randn(width, width) * width**-0.5)

    def forward(self, features: Float[Tensor, "f p v"]) -> Float[Tensor, "f k d"]:
        """Map any square number of features to k tokens."""
        value = self.ln_kv(self.kv_proj(features))
        key = value + resize_positions(self.pos_embed, features.shape[1])
        query = (self.ln_q(self.query) + self.pos_embed).expand(len(features), -1, -1)
        mixed, _ = self.attn(query, key, value, need_weights=False)
        return self.ln_post(mixed) @ self.proj


def _vision(**sizes: int) -> dict[str, Any]:
    return dict(sizes, model_type="clip_vision_model", hidden_act="gelu", layer_norm_eps=1e-6)


class QwenVL1Backbone(CompositeBackbone):
    """`[<img> · image · </img> · prompt]`."""

    takes_any_size = True
    tiny: ClassVar[dict[str, Architecture]] = {
        "qwen": Architecture(
            vision=_vision(**TINY_VISION),
            text=dict(TINY_TEXT, model_type="qwen2", num_key_value_heads=4),
            own={"num_positions": 16, "side": 2, "resampler_heads": 4, "image_start_id": 300},
            image_size=TINY_VISION["image_size"],
            image_mean=CLIP_MEAN,
            image_std=CLIP_STD,
            is_tied=False,
        )
    }

    def __init__(self, architecture: Architecture, tokenizer: Any) -> None:
        super().__init__(architecture, tokenizer)
        start = architecture.own["image_start_id"]
        self.image_start_ids, self.image_end_ids = (start,), (start + 1,)

    def make_vision(self, architecture: Architecture) -> nn.Module:
        from transformers import CLIPVisionModel

        values = architecture.vision
        tower = CLIPVisionModel(native_config(values))
        tower.embeddings = QwenEmbeddings(
            values["hidden_size"], values["patch_size"], architecture.own["num_positions"]
        )
        tower.post_layernorm = nn.Identity()  # of the class token, which there is none of
        return tower

    def make_bridge(self, architecture: Architecture) -> nn.Module:
        own = architecture.own
        return QwenResampler(architecture.vision["hidden_size"], self.hidden_size, own["resampler_heads"], own["side"])

    def vision_features(self, pixels: Float[Tensor, "f 3 h w"]) -> Float[Tensor, "f p v"]:
        return self.vision(pixels).last_hidden_state

    @classmethod
    def read_tokenizer(cls, source: str | Path) -> Any:
        vocabulary = Path(source) / QWEN_VOCABULARY
        return qwen_tokenizer(vocabulary) if vocabulary.is_file() else super().read_tokenizer(source)

    @classmethod
    def translate(
        cls, config: dict[str, Any], state: dict[str, Tensor], source: str
    ) -> tuple[Architecture, dict[str, Tensor]]:
        vision_heads = config.get("visual", {}).get("heads", _VISION_HEADS)
        weights = apply_rules(state, released_rules(vision_heads), source)
        return cls._architecture(config, weights, source, vision_heads), weights

    @classmethod
    def _architecture(
        cls, config: dict[str, Any], weights: dict[str, Tensor], source: str, vision_heads: int
    ) -> Architecture:
        visual = config.get("visual", {})
        width, _, patch, _ = shape_of(weights, "vision.embeddings.conv1.weight", source)
        num_queries, hidden = shape_of(weights, "bridge.query", source)
        image_size = visual.get("image_size", _IMAGE_PX)
        return Architecture(
            vision=_vision(
                hidden_size=width,
                intermediate_size=shape_of(weights, "vision.encoder.layers.0.mlp.fc1.weight", source)[0],
                num_hidden_layers=count_layers(weights, r"vision\.encoder\.layers\.(\d+)\."),
                num_attention_heads=vision_heads,
                image_size=image_size,
                patch_size=patch,
            ),
            text=_text(config, weights, source),
            own={
                "num_positions": shape_of(weights, "vision.embeddings.positional_embedding", source)[0],
                "side": int(num_queries**0.5),
                "resampler_heads": max(1, hidden // _HEAD_WIDTH),
                "image_start_id": visual.get("image_start_id", _IMAGE_START_ID),
            },
            image_size=image_size,
            image_mean=CLIP_MEAN,
            image_std=CLIP_STD,
            is_tied=False,
        )


def _text(config: dict[str, Any], weights: dict[str, Tensor], source: str) -> dict[str, Any]:
    """Qwen-7B as a Qwen2 without grouped heads."""
    vocabulary, hidden = shape_of(weights, "decoder.embed_tokens.weight", source)
    heads = config.get("num_attention_heads", _TEXT_HEADS)
    return dict(
        model_type="qwen2",
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=shape_of(weights, "decoder.layers.0.mlp.gate_proj.weight", source)[0],
        num_hidden_layers=count_layers(weights, r"decoder\.layers\.(\d+)\."),
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=config.get("max_position_embeddings", 8192),
        rope_theta=float(config.get("rotary_emb_base", 1e4)),
        rms_norm_eps=config.get("layer_norm_epsilon", 1e-6),
    )
