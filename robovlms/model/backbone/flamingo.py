"""OpenFlamingo: CLIP ViT-L/14, a perceiver resampler, and a language model that looks at images through gated blocks.

::

    sequence   [<image> · prompt · <|endofchunk|> · queries · end]      no image token in it
    media      64 tokens per image, attended to in front of every n-th layer

OpenFlamingo releases only what it trained. So a folder for `model.vlm.pretrained` is put together by hand::

    flamingo/
    ├── config.json      {"vision_model": "openai/clip-vit-large-patch14",
    │                     "language_model": "anas-awadalla/mpt-1b-redpajama-200b-dolly"}
    └── checkpoint.pt    of openflamingo/OpenFlamingo-3B-vitl-mpt1b-langinstruct

The two models are hub ids, or folders relative to this one, of the Hugging Face format: `config.json`, weights, and,
with the language model, the tokenizer. A weight in `checkpoint.pt` takes precedence over theirs; if it holds the whole
language model or the vision tower (under OpenCLIP's names), that model's folder need only hold its `config.json`.

================================  ==============================================
released                          language_model
================================  ==============================================
OpenFlamingo-3B-vitl-mpt1b        anas-awadalla/mpt-1b-redpajama-200b
   …-langinstruct                 anas-awadalla/mpt-1b-redpajama-200b-dolly
OpenFlamingo-4B-vitl-rpj3b        togethercomputer/RedPajama-INCITE-Base-3B-v1
   …-langinstruct                 togethercomputer/RedPajama-INCITE-Instruct-3B-v1
OpenFlamingo-9B-vitl-mpt7b        anas-awadalla/mpt-7b
================================  ==============================================

These MPT are copies of MosaicML's with the tokenizer beside the weights. Where a language model comes without one, set
`model.tokenizer.pretrained`, for MPT and RedPajama to "EleutherAI/gpt-neox-20b".

Source: https://github.com/mlfoundations/open_flamingo; Awadalla et al., "OpenFlamingo", 2023,
https://arxiv.org/abs/2308.01390.
"""

from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from robovlms.data.text import ByteTokenizer
from robovlms.errors import CheckpointError
from robovlms.model.backbone.base import Media
from robovlms.model.backbone.composite import (
    CLIP_MEAN,
    CLIP_STD,
    Architecture,
    CompositeBackbone,
    native_config,
)
from robovlms.model.backbone.flamingo_keys import SOURCES, language_model, rename_flamingo
from robovlms.model.backbone.gated import GatedCrossAttention, attach
from robovlms.model.backbone.key_map import count_layers, shape_of
from robovlms.model.backbone.native import TINY_TEXT, TINY_VISION
from robovlms.model.backbone.native_decoder import run_decoder
from robovlms.model.backbone.released import has_weights, locate, read_config, read_weights
from robovlms.model.base import BaseRoboVLM
from robovlms.model.cache import KVCache
from robovlms.model.resampler import PerceiverResampler

_MARKS = ["<|endofchunk|>", "<image>"]
_NUM_HEADS = 8  # of perceiver and gated blocks; the number cannot be read off the weights
_NOT_SHAPE = ("architectures", "auto_map", "dtype", "torch_dtype", "transformers_version", "_name_or_path")
_VISION_SHAPE = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size",
    "hidden_act", "layer_norm_eps",
)  # fmt: skip


def _tiny(**text: Any) -> Architecture:
    return Architecture(
        vision=dict(TINY_VISION, model_type="clip_vision_model", hidden_act="quick_gelu"),
        text=text,
        # A decoder that knows nothing has nothing to protect, so its gates are open from the start.
        own={"every": 2, "depth": 2, "num_latents": 5, "num_heads": 2, "head_dim": 8, "gate": 1.0},
        image_size=TINY_VISION["image_size"],
        image_mean=CLIP_MEAN,
        image_std=CLIP_STD,
        is_tied=text["model_type"] in ("mpt", "opt"),
    )


_TINY_OPT = dict(
    vocab_size=320, hidden_size=32, word_embed_proj_dim=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=4,
    max_position_embeddings=4096, dropout=0.0, pad_token_id=0, bos_token_id=1, eos_token_id=2,
)  # fmt: skip
_TINY_NEOX = dict(TINY_TEXT, hidden_dropout=0.0, attention_dropout=0.0)
_TINY_MPT = dict(vocab_size=320, d_model=32, n_heads=4, n_layers=2, attn_config={"qk_ln": True})


class FlamingoBackbone(CompositeBackbone):
    """`[<image> · prompt · <|endofchunk|> · queries · end]`, and images from outside."""

    is_cross_attention = True
    tiny: ClassVar[dict[str, Architecture]] = {
        "llama": _tiny(model_type="llama", **TINY_TEXT),
        "mpt": _tiny(model_type="mpt", **_TINY_MPT),
        "gpt_neox": _tiny(model_type="gpt_neox", **_TINY_NEOX),
        "opt": _tiny(model_type="opt", **_TINY_OPT),
    }

    def __init__(self, architecture: Architecture, tokenizer: Any) -> None:
        super().__init__(architecture, tokenizer)
        self.max_positions = self.max_positions or self.decoder.config.max_seq_len  # the name that MPT has for it
        own, widths = architecture.own, (self.decoder.config.hidden_size, architecture.vision["hidden_size"])
        self.gated = nn.ModuleDict(
            {
                str(layer): GatedCrossAttention(*widths, own["num_heads"], own["head_dim"], gate=own["gate"])
                for layer in range(own["every"] - 1, len(self.decoder_layers), own["every"])
            }
        )
        attach(self.decoder_layers, self.gated)

    def make_vision(self, architecture: Architecture) -> nn.Module:
        from transformers import CLIPVisionModel

        tower = CLIPVisionModel(native_config(architecture.vision))
        tower.post_layernorm = nn.Identity()  # of the class token, which nobody reads
        return tower

    def make_bridge(self, architecture: Architecture) -> nn.Module:
        own = architecture.own
        return PerceiverResampler(
            architecture.vision["hidden_size"], own["depth"], own["num_latents"], own["num_heads"], own["head_dim"]
        )

    def make_decoder(self, config: Any) -> nn.Module:
        if config.model_type != "mpt":
            return super().make_decoder(config)
        from robovlms.model.backbone.mpt import MptDecoder

        return MptDecoder(config)

    def template_for(self, tokenizer: Any) -> str:
        """The end mark is the tokenizer's, and comes after the action queries."""
        if isinstance(tokenizer, ByteTokenizer):
            return "{instruction}"
        return f"<image>{{instruction}}<|endofchunk|>{tokenizer.eos_token}"

    @property
    def decoder_layers(self) -> nn.ModuleList:
        kind = self.decoder.config.model_type
        if kind == "opt":
            return self.decoder.decoder.layers
        return self.decoder.blocks if kind == "mpt" else self.decoder.layers

    @property
    def resampler(self) -> nn.Module:
        return self.bridge

    @property
    def cross_attention(self) -> nn.Module:
        return self.gated

    def enable_gradient_checkpointing(self) -> None:
        super().enable_gradient_checkpointing()
        for block in self.gated.values():
            block.saves_memory = True

    def vision_features(self, pixels: Float[Tensor, "f 3 h w"]) -> Float[Tensor, "f p v"]:
        return self.vision(pixels).last_hidden_state[:, 1:]  # without the class token

    def decode(
        self,
        embeds: Float[Tensor, "f s e"],
        allowed: Bool[Tensor, "f s S"],
        positions: Int64[Tensor, "*rows f s"],
        read: Int64[Tensor, "r"],
        cache: KVCache | None = None,
        media: Media | None = None,
    ) -> Float[Tensor, "f r d"]:
        return run_decoder(self.decoder, embeds, allowed, positions, read, cache, media=media)

    # ------------------------------------------------------------------------------------------------------- loading

    @classmethod
    def read_released(cls, folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The two models' configurations take the place of their names; the tensors' names begin with their source."""
        config = read_config(folder)
        parts = {"checkpoint": read_weights(folder)}
        for name in ("language_model", "vision_model"):
            part = _part(folder, config, name)
            parts[name] = read_weights(part) if has_weights(part) else {}
            config[name] = read_config(part)
        return config, {f"{part}/{name}": tensor for part, state in parts.items() for name, tensor in state.items()}

    @classmethod
    def read_tokenizer(cls, source: str | Path) -> Any:
        """Adds the marks of OpenFlamingo, in its order, so that they get the ids of its embeddings."""
        folder = Path(source)
        if (folder / "config.json").is_file():
            config = read_config(folder)
            source = _part(folder, config, "language_model") if "language_model" in config else folder
        tokenizer = super().read_tokenizer(source)
        tokenizer.add_tokens(_MARKS, special_tokens=True)
        if tokenizer.pad_token is None:
            tokenizer.add_special_tokens({"pad_token": "<PAD>"})
        return tokenizer

    @classmethod
    def translate(
        cls, config: dict[str, Any], state: dict[str, Tensor], source: str
    ) -> tuple[Architecture, dict[str, Tensor]]:
        """As `read_released` gives them; of two tensors for one parameter, that of the checkpoint counts."""
        text = language_config(config["language_model"])
        embedding = language_model(text["model_type"]).embedding
        weights: dict[str, Tensor] = {}
        for part, prefix in SOURCES.items():
            own = {key.partition("/")[2]: tensor for key, tensor in state.items() if key.startswith(f"{part}/")}
            named = {prefix + name: tensor for name, tensor in own.items()}
            weights |= rename_flamingo(named, text["model_type"], f"{source} ({part})")
        text["vocab_size"] = shape_of(weights, embedding, source)[0]
        is_tied = native_config(text).tie_word_embeddings
        if is_tied:
            weights.pop("lm_head.weight", None)
        else:
            shape_of(weights, "lm_head.weight", source)
            weights["lm_head.weight"] = with_rows(weights["lm_head.weight"], text["vocab_size"])
        return cls._architecture(config, text, weights, source, is_tied), weights

    @classmethod
    def _architecture(
        cls, config: dict[str, Any], text: dict[str, Any], weights: dict[str, Tensor], source: str, is_tied: bool
    ) -> Architecture:
        clip = config["vision_model"].get("vision_config", config["vision_model"])
        clip = native_config(dict(clip, model_type="clip_vision_model"))
        num_latents, _ = shape_of(weights, "bridge.latents", source)
        inner, _ = shape_of(weights, "bridge.layers.0.0.to_q.weight", source)
        return Architecture(
            vision={name: getattr(clip, name) for name in _VISION_SHAPE} | {"model_type": "clip_vision_model"},
            text=text,
            own={
                "every": _first_gated(weights, source) + 1,
                "depth": count_layers(weights, r"bridge\.layers\.(\d+)\."),
                "num_latents": num_latents,
                "num_heads": _NUM_HEADS,
                "head_dim": inner // _NUM_HEADS,
                "gate": 0.0,
            },
            image_size=clip.image_size,
            image_mean=CLIP_MEAN,
            image_std=CLIP_STD,
            is_tied=is_tied,
        )


def _part(folder: Path, config: dict[str, Any], name: str) -> Path:
    """The folder of one of the two models."""
    if not isinstance(config.get(name), str):
        raise CheckpointError(f"{folder / 'config.json'} lacks {name!r}: a folder, relative to it, or a hub id")
    inside = folder / config[name]
    return inside if inside.is_dir() else locate(config[name])


def _first_gated(weights: dict[str, Tensor], source: str) -> int:
    """The first layer with a gated block; the others follow at the same distance."""
    layers = {int(name.split(".")[1]) for name in weights if name.startswith("gated.")}
    if not layers:
        raise CheckpointError(
            f"{source}: no tensor of a gated_cross_attn_layer; is this a checkpoint of another model?"
        )
    return min(layers)


def language_config(config: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a configuration of transformers, also from the older format of MPT-1B.

    Args:
        config: content of the language model's `config.json`.
    """
    if config.get("model_type") not in ("mpt", "mosaic_gpt"):
        return {name: value for name, value in config.items() if name not in _NOT_SHAPE}
    from robovlms.model.backbone.mpt import mpt_arguments

    return mpt_arguments(config)


def with_rows(table: Float[Tensor, "w d"], rows: int) -> Float[Tensor, "n d"]:
    """Cut a vocabulary, or fill it up with the mean of the words."""
    if len(table) >= rows:
        return table[:rows]
    return torch.cat([table, table.mean(0, keepdim=True).expand(rows - len(table), -1)])


class RoboFlamingo(BaseRoboVLM):
    """A policy on OpenFlamingo."""

    backbone_class = FlamingoBackbone
