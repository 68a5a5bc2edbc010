"""VLMs that transformers does not ship: its vision tower, a bridge of ours, and its decoder with the output layer.

::

    pixels ── vision ── bridge ── image tokens ┐
    token ids ── word embedding ───────────────┴─ decoder ── hidden states ── lm_head ── words

A family gives the two configurations, the bridge, and the translation of its released checkpoints. Everything else is
here: building, loading, saving, calling.
"""

import contextlib
import dataclasses
import json
import math
from abc import abstractmethod
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from robovlms.config import TokenizerConfig, VLMConfig
from robovlms.data.text import ByteTokenizer
from robovlms.errors import CheckpointError, ConfigError, unknown_name
from robovlms.model.backbone.base import Backbone, Media
from robovlms.model.backbone.key_map import load_exactly
from robovlms.model.backbone.native import check_overrides
from robovlms.model.backbone.native_decoder import run_decoder
from robovlms.model.backbone.prompt_layout import special_token_layout
from robovlms.model.backbone.released import locate, read_config, read_weights
from robovlms.model.cache import KVCache

_ASSETS_FILE = "composite.json"  # beside the tokenizer's files
HALF = (0.5, 0.5, 0.5)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What a composite is built from; plain values, so that it can be written as JSON.

    Attributes:
        vision: arguments of the vision tower's configuration, with its `model_type`.
        text: arguments of the decoder's configuration, with its `model_type`.
        own: sizes of the parts that are not of transformers.
        image_size: height and width, in pixels.
        image_mean, image_std: per-channel normalisation of pixels in [0, 1].
        is_tied: whether the vocabulary's output layer is the transposed word embedding.
        bidirectional: as in `Backbone`.
    """

    vision: dict[str, Any]
    text: dict[str, Any]
    own: dict[str, Any]
    image_size: int
    image_mean: tuple[float, ...]
    image_std: tuple[float, ...]
    is_tied: bool
    bidirectional: Literal["none", "images", "lead_and_images", "prefix"] = "none"


class CompositeBackbone(Backbone):
    """A vision tower and a decoder of transformers with a bridge of ours.

    Args:
        architecture: what to build; the weights are random.
        tokenizer: of the decoder.

    Attributes:
        tiny: model type -> a small architecture; the first one is the default.
        takes_any_size: whether images may have another size than those of the pretraining.
        has_head_bias: whether the vocabulary's output layer has a bias.
    """

    add_special_tokens = True
    tiny: ClassVar[dict[str, Architecture]] = {}
    takes_any_size: ClassVar[bool] = False
    has_head_bias: ClassVar[bool] = False

    def __init__(self, architecture: Architecture, tokenizer: Any) -> None:
        super().__init__()
        self.architecture, self.tokenizer = architecture, tokenizer
        self.image_size = (architecture.image_size, architecture.image_size)
        self.image_mean, self.image_std = tuple(architecture.image_mean), tuple(architecture.image_std)
        self.bidirectional = architecture.bidirectional
        self.vision = self.make_vision(architecture)
        self.decoder = self.make_decoder(native_config(architecture.text))
        self.bridge = self.make_bridge(architecture)
        vocabulary, width = self.word_embedding.weight.shape
        self.lm_head = None if architecture.is_tied else nn.Linear(width, vocabulary, bias=self.has_head_bias)
        self.prompt_template = self.template_for(tokenizer)
        self.images_at, self.prompt_tail = special_token_layout(tokenizer, self.prompt_template)
        self.max_positions = getattr(self.decoder.config, "max_position_embeddings", None)

    # ------------------------------------------------------------------------------------------- what a family gives

    @abstractmethod
    def make_vision(self, architecture: Architecture) -> nn.Module:
        """The vision tower, a model of transformers."""

    @abstractmethod
    def make_bridge(self, architecture: Architecture) -> nn.Module:
        """What turns features of the vision tower into image tokens."""

    @abstractmethod
    def vision_features(self, pixels: Float[Tensor, "f 3 h w"]) -> Float[Tensor, "f p v"]:
        """What the bridge reads."""

    @classmethod
    @abstractmethod
    def translate(
        cls, config: dict[str, Any], state: dict[str, Tensor], source: str
    ) -> tuple[Architecture, dict[str, Tensor]]:
        """Architecture and weights, under our names, of a released checkpoint; works on the meta device.

        Args:
            config: content of its `config.json`.
            state: released name -> tensor.
            source: where it comes from, for messages.

        Raises:
            CheckpointError: names a tensor that is missing, unknown or of another shape.
        """

    def make_decoder(self, config: Any) -> nn.Module:
        """The headless decoder."""
        from transformers import AutoModel

        return AutoModel.from_config(config, dtype=torch.get_default_dtype())

    def template_for(self, tokenizer: Any) -> str:
        """Text around the instruction; bytes cannot spell special tokens."""
        return "{instruction}" if isinstance(tokenizer, ByteTokenizer) else self.prompt_template

    @classmethod
    def read_released(cls, folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Configuration and tensors, as they lie in a released folder."""
        return read_config(folder), read_weights(folder)

    @classmethod
    def read_tokenizer(cls, source: str | Path) -> Any:
        """The tokenizer of a released or saved folder, or of the hub."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(source)

    # ------------------------------------------------------------------------------------------------------ building

    @classmethod
    def build(
        cls, vlm: VLMConfig, tokenizer: TokenizerConfig, dtype: torch.dtype, assets: Path | None
    ) -> "CompositeBackbone":
        if assets is not None:
            return cls._load_assets(assets, dtype)
        if vlm.pretrained is not None:
            return cls._load_released(vlm, tokenizer, dtype)
        if tokenizer.pretrained is not None:
            raise ConfigError("model.tokenizer.pretrained needs model.vlm.pretrained: a random VLM reads bytes")
        return cls._with_dtype(cls._resized(cls.tiny_architecture(vlm.overrides), vlm), ByteTokenizer(), dtype)

    @classmethod
    def tiny_architecture(cls, overrides: dict[str, Any]) -> Architecture:
        """A small random model of this family.

        Args:
            overrides: `model_type` chooses the kind of decoder; `text_config` and `vision_config` change their values.

        Raises:
            ConfigError: names the nearest known key.
        """
        overrides = dict(overrides)
        model_type = overrides.pop("model_type", next(iter(cls.tiny)))
        if model_type not in cls.tiny:
            raise ConfigError("model.vlm.overrides.model_type: " + unknown_name("model type", model_type, cls.tiny))
        architecture = deepcopy(cls.tiny[model_type])
        sections = {"text_config": architecture.text, "vision_config": architecture.vision}
        check_overrides(overrides, {name: native_config(values) for name, values in sections.items()})
        for name, changes in overrides.items():
            sections[name].update(changes)
        return dataclasses.replace(architecture, image_size=architecture.vision["image_size"])

    @classmethod
    def _resized(cls, architecture: Architecture, vlm: VLMConfig) -> Architecture:
        size, patch = vlm.image_size, architecture.vision["patch_size"]
        if size is None or size == architecture.image_size:
            return architecture
        if not cls.takes_any_size:
            own = architecture.image_size
            raise ConfigError(f"model.vlm.image_size is {size}, but this VLM's vision tower takes {own} × {own} only")
        if size % patch:
            raise ConfigError(f"model.vlm.image_size must be a multiple of {patch}, got {size}")
        return dataclasses.replace(architecture, image_size=size, vision={**architecture.vision, "image_size": size})

    @classmethod
    def _with_dtype(cls, architecture: Architecture, tokenizer: Any, dtype: torch.dtype) -> "CompositeBackbone":
        """Build in a type of number; casting afterwards would also round the frequencies of rotary positions."""
        with default_dtype(dtype):
            return cls(architecture, tokenizer)

    @classmethod
    def _load_released(cls, vlm: VLMConfig, tokenizer: TokenizerConfig, dtype: torch.dtype) -> "CompositeBackbone":
        if vlm.overrides:
            raise ConfigError(
                f"model.vlm.overrides {sorted(vlm.overrides)} cannot change a pretrained VLM; remove them"
            )
        folder = locate(str(vlm.pretrained))
        config, state = cls.read_released(folder)
        architecture, weights = cls.translate(config, state, str(folder))
        backbone = cls._with_dtype(
            cls._resized(architecture, vlm), cls._released_tokenizer(tokenizer.pretrained or folder), dtype
        )
        backbone._check_vocabulary(str(folder))
        load_exactly(backbone, weights, str(folder))
        return backbone

    @classmethod
    def _released_tokenizer(cls, source: str | Path) -> Any:
        try:
            return cls.read_tokenizer(source)
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise CheckpointError(
                f"cannot load a tokenizer from {str(source)!r}: {reason}; set model.tokenizer.pretrained"
            ) from error

    def _check_vocabulary(self, source: str) -> None:
        words, rows = len(self.tokenizer), len(self.word_embedding.weight)
        if words > rows:
            raise CheckpointError(f"the tokenizer has {words} tokens, but {source} has embeddings of {rows} only")

    @classmethod
    def _load_assets(cls, folder: Path, dtype: torch.dtype) -> "CompositeBackbone":
        path = folder / _ASSETS_FILE
        try:
            values = json.loads(path.read_text())
            is_byte_tokenizer = values.pop("is_byte_tokenizer")
            values |= {name: tuple(values[name]) for name in ("image_mean", "image_std")}
            architecture = Architecture(**values)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"cannot read the VLM's architecture from {path}: {error}") from error
        tokenizer = ByteTokenizer() if is_byte_tokenizer else cls._released_tokenizer(folder)
        return cls._with_dtype(architecture, tokenizer, dtype)

    def normalise_images(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().normalise_images(mean, std)
        self.architecture = dataclasses.replace(self.architecture, image_mean=mean, image_std=std)

    def save_assets(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        is_byte_tokenizer = isinstance(self.tokenizer, ByteTokenizer)
        if not is_byte_tokenizer:
            self.tokenizer.save_pretrained(folder)
        values = {**dataclasses.asdict(self.architecture), "is_byte_tokenizer": is_byte_tokenizer}
        (folder / _ASSETS_FILE).write_text(json.dumps(values, indent=2))

    # --------------------------------------------------------------------------------------------------------- parts

    @property
    def hidden_size(self) -> int:
        return self.word_embedding.embedding_dim

    @property
    def vision_tower(self) -> nn.Module:
        return self.vision

    @property
    def text_tower(self) -> nn.Module:
        return self.decoder

    @property
    def decoder_layers(self) -> nn.ModuleList:
        return self.decoder.layers

    @property
    def word_embedding(self) -> nn.Module:
        return self.decoder.get_input_embeddings()

    @property
    def output_embedding(self) -> nn.Module | None:
        return self.lm_head

    def enable_gradient_checkpointing(self) -> None:
        recompute_activations(self.vision)
        recompute_activations(self.decoder)

    # ------------------------------------------------------------------------------------------------------- tensors

    def encode_images(self, pixels: Float[Tensor, "f 3 h w"]) -> Float[Tensor, "f k e"]:
        return self.bridge(self.vision_features(pixels.to(self.word_embedding.weight.dtype)))

    def decode(
        self,
        embeds: Float[Tensor, "f s e"],
        allowed: Bool[Tensor, "f s S"],
        positions: Int64[Tensor, "*rows f s"],
        read: Int64[Tensor, "r"],
        cache: KVCache | None = None,
        media: Media | None = None,
    ) -> Float[Tensor, "f r d"]:
        return run_decoder(self.decoder, embeds, allowed, positions, read, cache)


def native_config(values: dict[str, Any]) -> Any:
    """Configuration of transformers from its arguments and `model_type`."""
    from transformers import AutoConfig

    return AutoConfig.for_model(**deepcopy(values))


def recompute_activations(model: nn.Module) -> None:
    """Let the layers of a model of transformers compute their activations again in the backward pass."""
    if hasattr(model, "activation_checkpointing_enable"):  # what late releases of transformers 5 call it
        model.activation_checkpointing_enable({"use_reentrant": False})
    else:
        model.gradient_checkpointing_enable({"use_reentrant": False})


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """New parameters have this type of number."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def without_tied_head(weights: dict[str, Tensor], embedding: str) -> tuple[dict[str, Tensor], bool]:
    """Leave the output layer away if it is the word embedding once more; also return whether there is none of its own.

    Args:
        weights: our name -> tensor.
        embedding: name of the word embedding.
    """
    head = weights.get("lm_head.weight")
    if head is not None and (head.is_meta or not torch.equal(head, weights[embedding])):
        return weights, False
    return {name: tensor for name, tensor in weights.items() if name != "lm_head.weight"}, True


def resize_positions(table: Float[Tensor, "n v"], num_positions: int, **scaling: Any) -> Float[Tensor, "m v"]:
    """Interpolate learned positions of a square grid to another square grid.

    Args:
        table: one row per position, row by row.
        num_positions: m of the new grid.
        scaling: `scale_factor`, where a released model interpolates by a factor instead of to a size.
    """
    if len(table) == num_positions:
        return table
    side, new_side = math.isqrt(len(table)), math.isqrt(num_positions)
    grid = table.float().view(1, side, side, -1).permute(0, 3, 1, 2)
    grid = nn.functional.interpolate(
        grid, mode="bicubic", align_corners=False, **(scaling or {"size": (new_side, new_side)})
    )
    return grid.permute(0, 2, 3, 1).flatten(0, 2).to(table.dtype)
