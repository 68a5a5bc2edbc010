"""MoonDream 2: SigLIP (so400m/14 at 378 pixels), a two-layer perceptron, and Phi 1.5.

::

    [<|endoftext|> · 729 image tokens · prompt]

A folder for `model.vlm.pretrained` holds a released revision: `config.json`, `model.safetensors` (or an index with
shards) and the tokenizer's files. Some of 2025 were trained with another tokenizer than lies beside them,
`moondream/starmie-v1`: set `model.tokenizer.pretrained`. Both layouts load; what differs is read off:

========  ==================================  ==============================  ===============================
released  names                               image tokens                    bridge reads
========  ==================================  ==============================  ===============================
2024      `vision_encoder.*`, `text_model.*`  causal                          global features; from May on also
                                                                              local ones
2025      `model.vision.*`, `model.text.*`    see each other and the begin    global and local features
                                              token in both directions
========  ==================================  ==============================  ===============================

Local features come from crops of large photographs. A frame goes in as one crop, for which they equal the global ones.
In March 2024 the code had the exact GELU in vision tower and bridge; here it is the approximation by tanh that later
revisions have, which differs by less than 0.0005.

MoonDream 1 is another model: its bridge is two perceptrons with a norm between them. It does not load, and the message
names its first unknown tensor.

Source: https://github.com/vikhyat/moondream (moondream/torch for 2025, the history of moondream/vision_encoder.py and
moondream/modeling_phi.py for 2024).
"""

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from robovlms.model.backbone.composite import (
    HALF,
    Architecture,
    CompositeBackbone,
    native_config,
)
from robovlms.model.backbone.key_map import apply_rules, count_layers, drop, rename, reshape, shape_of, split
from robovlms.model.backbone.native import TINY_TEXT, TINY_VISION
from robovlms.model.base import BaseRoboVLM

_VIT = r"vision_encoder\.encoder\.model\.visual\."
_OLD_BLOCK = r"text_model\.transformer\.h\.(\d+)\."
# From the names of 2024 to those of 2025.
_TO_2025 = (
    rename(_VIT + r"patch_embed\.linear\.(.*)", r"vision.patch_emb.\1"),
    rename(_VIT + r"pos_embed", "vision.pos_emb"),
    rename(_VIT + r"norm\.(.*)", r"vision.post_ln.\1"),
    rename(_VIT + r"blocks\.(\d+)\.norm(\d)\.(.*)", r"vision.blocks.\1.ln\2.\3"),
    rename(_VIT + r"blocks\.(\d+)\.(attn|mlp)\.(.*)", r"vision.blocks.\1.\2.\3"),
    rename(r"vision_encoder\.projection\.mlp\.(.*)", r"vision.proj_mlp.\1"),
    rename(r"text_model\.transformer\.embd\.wte\.weight", "text.wte"),
    rename(_OLD_BLOCK + r"ln\.(.*)", r"text.blocks.\1.ln.\2"),
    rename(_OLD_BLOCK + r"mixer\.Wqkv\.(.*)", r"text.blocks.\1.attn.qkv.\2"),
    rename(_OLD_BLOCK + r"mixer\.out_proj\.(.*)", r"text.blocks.\1.attn.proj.\2"),
    rename(_OLD_BLOCK + r"mlp\.(.*)", r"text.blocks.\1.mlp.\2"),
    drop(_OLD_BLOCK + r"mixer\.rotary_emb\.inv_freq", "computed from the configuration"),
    rename(r"text_model\.lm_head\.ln\.(.*)", r"text.post_ln.\1"),
    rename(r"text_model\.lm_head\.linear\.(.*)", r"text.lm_head.\1"),
    drop(r"region_model\..*", "finds and points at objects; a policy does neither"),
    rename(r"(?:model\.)?((?:vision|text|region)\..*)", r"\1"),
)
_VISION_LAYER, _TEXT_LAYER = r"vision.encoder.layers.\1.", r"decoder.layers.\1."
# From the names of 2025 to ours.
_TO_OURS = (
    reshape(
        r"vision\.patch_emb\.weight",
        "vision.embeddings.patch_embedding.weight",
        lambda weight: weight.unflatten(1, (3, math.isqrt(weight.shape[1] // 3), -1)),
    ),
    rename(r"vision\.patch_emb\.bias", "vision.embeddings.patch_embedding.bias"),
    reshape(r"vision\.pos_emb", "vision.embeddings.position_embedding.weight", lambda table: table.squeeze(0)),
    rename(r"vision\.post_ln\.(.*)", r"vision.post_layernorm.\1"),
    rename(r"vision\.blocks\.(\d+)\.ln(\d)\.(.*)", _VISION_LAYER + r"layer_norm\2.\3"),
    split(r"vision\.blocks\.(\d+)\.attn\.qkv\.(.*)", [_VISION_LAYER + rf"self_attn.{part}_proj.\2" for part in "qkv"]),
    rename(r"vision\.blocks\.(\d+)\.attn\.proj\.(.*)", _VISION_LAYER + r"self_attn.out_proj.\2"),
    rename(r"vision\.blocks\.(\d+)\.mlp\.(.*)", _VISION_LAYER + r"mlp.\2"),
    rename(r"vision\.proj_mlp\.(.*)", r"bridge.\1"),
    rename(r"text\.wte", "decoder.embed_tokens.weight"),
    rename(r"text\.post_ln\.(.*)", r"decoder.final_layernorm.\1"),
    rename(r"text\.lm_head\.(.*)", r"lm_head.\1"),
    rename(r"text\.blocks\.(\d+)\.ln\.(.*)", _TEXT_LAYER + r"input_layernorm.\2"),
    split(r"text\.blocks\.(\d+)\.attn\.qkv\.(.*)", [_TEXT_LAYER + rf"self_attn.{part}_proj.\2" for part in "qkv"]),
    rename(r"text\.blocks\.(\d+)\.attn\.proj\.(.*)", _TEXT_LAYER + r"self_attn.dense.\2"),
    rename(r"text\.blocks\.(\d+)\.mlp\.(.*)", _TEXT_LAYER + r"mlp.\2"),
    drop(r"text\.blocks\.\d+\.kv_cache\..*", "the past of a conversation"),
    drop(r"region\..*", "finds and points at objects; a policy does neither"),
)


def _vision(**sizes: int) -> dict[str, Any]:
    return dict(
        sizes,
        model_type="siglip_vision_model",
        hidden_act="gelu_pytorch_tanh",
        layer_norm_eps=1e-5,
        vision_use_head=False,
    )


class MoonDreamBridge(nn.Module):
    """A perceptron on global and, if `num_views` is 2, local features, which are the same for a single crop."""

    def __init__(self, num_views: int, in_features: int, inner: int, out_features: int) -> None:
        super().__init__()
        self.num_views = num_views
        self.fc1, self.fc2 = nn.Linear(num_views * in_features, inner), nn.Linear(inner, out_features)

    def forward(self, features: Float[Tensor, "f k v"]) -> Float[Tensor, "f k d"]:
        """Map each token by itself."""
        views = torch.cat([features] * self.num_views, dim=-1)
        return self.fc2(F.gelu(self.fc1(views), approximate="tanh"))


class MoonDreamBackbone(CompositeBackbone):
    """`[<|endoftext|> · images · prompt]`."""

    prompt_template = "<|endoftext|>{instruction}"
    has_head_bias = True
    tiny: ClassVar[dict[str, Architecture]] = {
        "phi": Architecture(
            vision=_vision(**TINY_VISION),
            text=dict(TINY_TEXT, model_type="phi", num_key_value_heads=4),
            own={"num_views": 2, "inner": 48},
            image_size=TINY_VISION["image_size"],
            image_mean=HALF,
            image_std=HALF,
            is_tied=False,
            bidirectional="lead_and_images",
        )
    }

    def __init__(self, architecture: Architecture, tokenizer: Any) -> None:
        super().__init__(architecture, tokenizer)
        self.images_at = 1  # after the begin token, whatever the tokenizer calls it

    def make_vision(self, architecture: Architecture) -> nn.Module:
        from transformers import SiglipVisionModel

        return SiglipVisionModel(native_config(architecture.vision))

    def make_bridge(self, architecture: Architecture) -> nn.Module:
        own = architecture.own
        return MoonDreamBridge(own["num_views"], architecture.vision["hidden_size"], own["inner"], self.hidden_size)

    def vision_features(self, pixels: Float[Tensor, "f 3 h w"]) -> Float[Tensor, "f p v"]:
        return self.vision(pixels).last_hidden_state

    @classmethod
    def translate(
        cls, config: dict[str, Any], state: dict[str, Tensor], source: str
    ) -> tuple[Architecture, dict[str, Tensor]]:
        is_2024 = any(key.startswith("text_model.") for key in state)
        compiled = {key.replace("._orig_mod", ""): tensor for key, tensor in state.items()}  # left by torch.compile
        weights = apply_rules(apply_rules(compiled, _TO_2025, source), _TO_OURS, source)
        return cls._architecture(config, weights, source, is_2024), weights

    @classmethod
    def _architecture(
        cls, config: dict[str, Any], weights: dict[str, Tensor], source: str, is_2024: bool
    ) -> Architecture:
        """Sizes come from the tensors; only the number of heads cannot be read off them."""
        width, _, patch, _ = shape_of(weights, "vision.embeddings.patch_embedding.weight", source)
        positions, _ = shape_of(weights, "vision.embeddings.position_embedding.weight", source)
        vision_inner, _ = shape_of(weights, "vision.encoder.layers.0.mlp.fc1.weight", source)
        inner, bridge_width = shape_of(weights, "bridge.fc1.weight", source)
        vocabulary, hidden = shape_of(weights, "decoder.embed_tokens.weight", source)
        text_inner, _ = shape_of(weights, "decoder.layers.0.mlp.fc1.weight", source)
        vision_heads, text_heads = _num_heads(config)
        image_size = math.isqrt(positions) * patch
        return Architecture(
            vision=_vision(
                hidden_size=width,
                intermediate_size=vision_inner,
                num_hidden_layers=count_layers(weights, r"vision\.encoder\.layers\.(\d+)\."),
                num_attention_heads=vision_heads,
                image_size=image_size,
                patch_size=patch,
            ),
            text=dict(
                model_type="phi",
                vocab_size=vocabulary,
                hidden_size=hidden,
                intermediate_size=text_inner,
                num_hidden_layers=count_layers(weights, r"decoder\.layers\.(\d+)\."),
                num_attention_heads=text_heads,
            ),
            own={"num_views": bridge_width // width, "inner": inner},
            image_size=image_size,
            image_mean=HALF,
            image_std=HALF,
            is_tied=False,
            bidirectional="none" if is_2024 else "lead_and_images",
        )


def _num_heads(config: dict[str, Any]) -> tuple[int, int]:
    """Attention heads of vision tower and decoder, under the names that the revisions gave them."""
    settings = config.get("config") or {}
    vision, text = settings.get("vision", {}), settings.get("text", {})
    old = config.get("text_config") or config.get("phi_config") or {}
    of_text = text.get("n_heads") or old.get("num_attention_heads") or old.get("n_head") or 32
    return vision.get("enc_n_heads", 16), of_text


class RoboMoonDream(BaseRoboVLM):
    """A policy on MoonDream 2."""

    backbone_class = MoonDreamBackbone
