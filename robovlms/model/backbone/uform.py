"""UForm-Gen 2: a ViT-H/14 with layer scale, an attention pooler of 256 latents, and Qwen1.5-0.5B.

::

    [256 image tokens · prompt]

A folder for `model.vlm.pretrained` holds the released `unum-cloud/uform-gen2-qwen-500m` (or -dpo): `config.json` and
`*.safetensors` with their index. The released repository has no tokenizer of its own: unless the folder holds one, it
is that of `text_decoder_name_or_path` in `config.json`, `Qwen/Qwen1.5-0.5B-Chat`. The decoder's configuration is taken
from `text_config` in `config.json` if there is one; else from the tensors and what is published of Qwen1.5.

Positions of the vision tower are learned for 224 pixels and interpolated to `image_size`, 336 as released; any multiple
of 14 works, so `model.vlm.image_size: 224` saves half the time.

Source: https://huggingface.co/unum-cloud/uform-gen2-qwen-500m (vision_encoder.py, modeling_uform_gen.py).
"""

import math
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from robovlms.model.backbone.composite import (
    CLIP_MEAN,
    CLIP_STD,
    Architecture,
    CompositeBackbone,
    native_config,
    resize_positions,
    without_tied_head,
)
from robovlms.model.backbone.key_map import apply_rules, count_layers, drop, rename, shape_of
from robovlms.model.backbone.native import TINY_TEXT, TINY_VISION
from robovlms.model.backbone.released import read_config
from robovlms.model.base import BaseRoboVLM

_BLOCK, _LAYER = r"image_encoder\.blocks\.(\d+)\.", r"vision.encoder.layer.\1."
_RULES = (
    rename(r"image_encoder\.patch_embed\.(.*)", r"vision.embeddings.patch_embed.\1"),
    rename(r"image_encoder\.(cls_token|pos_embed)", r"vision.embeddings.\1"),
    rename(r"image_encoder\.norm\.(.*)", r"vision.layernorm.\1"),
    drop(r"image_encoder\.embedding_projection\..*", "for retrieval, not for generation"),
    rename(_BLOCK + r"norm(\d)\.(.*)", _LAYER + r"norm\2.\3"),
    *(rename(_BLOCK + rf"attn\.{name}\.(.*)", _LAYER + rf"attention.{name[0]}_proj.\2") for name in
      ("query", "key", "value", "out")),
    rename(_BLOCK + r"ls(\d)\.(?:weight|gamma)", _LAYER + r"layer_scale\2.lambda1"),
    rename(_BLOCK + r"mlp\.hidden_layer\.(.*)", _LAYER + r"mlp.fc1.\2"),
    rename(_BLOCK + r"mlp\.output_layer\.(.*)", _LAYER + r"mlp.fc2.\2"),
    rename(r"image_pooler\.(.*)", r"bridge.\1"),
    rename(r"text_decoder\.model\.(.*)", r"decoder.\1"),
    rename(r"text_decoder\.lm_head\.weight", "lm_head.weight"),
)  # fmt: skip
_GRID_OFFSET = 0.1  # added to both sides of the grid before dividing, so that rounding does not lose a row
_POOLER_HEADS, _VISION_HEADS, _TEXT_HEAD_DIM = 16, 16, 64


class UFormEmbeddings(nn.Module):
    """Patches with learned positions, behind a class token without one.

    Args:
        width: v.
        patch_size: in pixels.
        num_positions: of the square grid that positions are learned for.
    """

    def __init__(self, width: int, patch_size: int, num_positions: int) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, width, patch_size, patch_size)
        self.pos_embed = nn.Parameter(torch.randn(1, num_positions, width) * 0.02)
        self.cls_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)

    def forward(self, pixels: Float[Tensor, "f 3 h w"], bool_masked_pos: None = None) -> Float[Tensor, "f p v"]:
        """Embed; the second argument is what the vision tower hands over besides, and not used."""
        patches = self.patch_embed(pixels).flatten(2).transpose(1, 2)
        count, side = patches.shape[1], math.isqrt(patches.shape[1])
        factor = (side + _GRID_OFFSET) / math.isqrt(self.pos_embed.shape[1])
        patches = patches + resize_positions(self.pos_embed[0], count, scale_factor=(factor, factor))
        return torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1)


class UFormBridge(nn.Module):
    """Learned latents read the features in one layer; what they gathered is projected to the decoder's width."""

    def __init__(self, width: int, num_heads: int, inner: int, num_latents: int, out_features: int) -> None:
        super().__init__()
        self.pooler = nn.TransformerDecoderLayer(
            width, num_heads, inner, dropout=0.0, activation=F.silu, batch_first=True, norm_first=True
        )
        self.image_latents = nn.Parameter(torch.randn(1, num_latents, width) * 0.02**0.5)
        self.projection = nn.Linear(width, out_features)

    def forward(self, features: Float[Tensor, "f p v"]) -> Float[Tensor, "f k d"]:
        """Pool any number of features into k tokens."""
        return self.projection(self.pooler(self.image_latents.expand(len(features), -1, -1), features))


def _vision(**sizes: int) -> dict[str, Any]:
    return dict(sizes, model_type="dinov2", mlp_ratio=4, layer_norm_eps=1e-6, use_mask_token=False)


class UFormBackbone(CompositeBackbone):
    """`[images · prompt]`."""

    prompt_template = " {instruction}"
    takes_any_size = True
    tiny: ClassVar[dict[str, Architecture]] = {
        "qwen2": Architecture(
            vision=_vision(**{name: size for name, size in TINY_VISION.items() if name != "intermediate_size"}),
            text=dict(TINY_TEXT, model_type="qwen2"),
            own={"num_positions": 4, "num_latents": 5, "pooler_heads": 4, "pooler_inner": 48},
            image_size=TINY_VISION["image_size"],
            image_mean=CLIP_MEAN,
            image_std=CLIP_STD,
            is_tied=False,
        )
    }

    def make_vision(self, architecture: Architecture) -> nn.Module:
        from transformers import Dinov2Model

        values = architecture.vision
        tower = Dinov2Model(native_config(values))
        tower.embeddings = UFormEmbeddings(
            values["hidden_size"], values["patch_size"], architecture.own["num_positions"]
        )
        return tower

    def make_bridge(self, architecture: Architecture) -> nn.Module:
        own, width = architecture.own, architecture.vision["hidden_size"]
        return UFormBridge(width, own["pooler_heads"], own["pooler_inner"], own["num_latents"], self.hidden_size)

    def vision_features(self, pixels: Float[Tensor, "f 3 h w"]) -> Float[Tensor, "f p v"]:
        return self.vision(pixels).last_hidden_state

    @classmethod
    def read_tokenizer(cls, source: str | Path) -> Any:
        """Of the released language model, if a released folder has none."""
        folder = Path(source)
        if (folder / "config.json").is_file() and not any(folder.glob("tokenizer*")):
            source = read_config(folder).get("text_decoder_name_or_path", source)
        return super().read_tokenizer(source)

    @classmethod
    def translate(
        cls, config: dict[str, Any], state: dict[str, Tensor], source: str
    ) -> tuple[Architecture, dict[str, Tensor]]:
        weights = apply_rules(state, _RULES, source)
        shape_of(weights, "decoder.embed_tokens.weight", source)
        weights, is_tied = without_tied_head(weights, "decoder.embed_tokens.weight")
        return cls._architecture(config, weights, source, is_tied), weights

    @classmethod
    def _architecture(
        cls, config: dict[str, Any], weights: dict[str, Tensor], source: str, is_tied: bool
    ) -> Architecture:
        width, _, patch, _ = shape_of(weights, "vision.embeddings.patch_embed.weight", source)
        image_size = config.get("image_size", 336)
        return Architecture(
            vision=_vision(
                hidden_size=width,
                num_hidden_layers=count_layers(weights, r"vision\.encoder\.layer\.(\d+)\."),
                num_attention_heads=config.get("image_encoder_num_heads", _VISION_HEADS),
                image_size=image_size,
                patch_size=patch,
            ),
            text=config.get("text_config") or _qwen_config(weights, source),
            own={
                "num_positions": shape_of(weights, "vision.embeddings.pos_embed", source)[1],
                "num_latents": shape_of(weights, "bridge.image_latents", source)[1],
                "pooler_heads": config.get("image_pooler_num_attn_heads", _POOLER_HEADS),
                "pooler_inner": shape_of(weights, "bridge.pooler.linear1.weight", source)[0],
            },
            image_size=image_size,
            image_mean=CLIP_MEAN,
            image_std=CLIP_STD,
            is_tied=is_tied,
        )


def _qwen_config(weights: dict[str, Tensor], source: str) -> dict[str, Any]:
    """Of Qwen1.5, whose heads are 64 wide in the smallest model.

    Source: https://huggingface.co/Qwen/Qwen1.5-0.5B-Chat/blob/main/config.json
    """
    vocabulary, width = shape_of(weights, "decoder.embed_tokens.weight", source)
    keys = shape_of(weights, "decoder.layers.0.self_attn.k_proj.weight", source)[0]
    return dict(
        model_type="qwen2",
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=shape_of(weights, "decoder.layers.0.mlp.gate_proj.weight", source)[0],
        num_hidden_layers=count_layers(weights, r"decoder\.layers\.(\d+)\."),
        num_attention_heads=width // _TEXT_HEAD_DIM,
        num_key_value_heads=keys // _TEXT_HEAD_DIM,
        max_position_embeddings=32768,
        rope_theta=1e6,
        rms_norm_eps=1e-6,
    )


class RoboUform(BaseRoboVLM):
    """A policy on UForm-Gen."""

    backbone_class = UFormBackbone
