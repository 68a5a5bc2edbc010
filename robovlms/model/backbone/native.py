"""One adapter for the vision-language models that transformers ships: image features and decoder, called apart.

What differs between families is read from their classes and configurations: how images go in, whether a position has
one number or three, whether image tokens see each other, which tokens stand around an image. A family with a file of
its own adds a prompt format, a tiny configuration, and what cannot be read.
"""

import inspect
import json
import warnings
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from robovlms.config import TokenizerConfig, VLMConfig
from robovlms.data.text import ByteTokenizer
from robovlms.errors import CheckpointError, ConfigError, unknown_name
from robovlms.model.backbone.base import Backbone, Media
from robovlms.model.backbone.native_decoder import run_decoder
from robovlms.model.backbone.native_images import ImageInputs, image_settings
from robovlms.model.backbone.native_unused import unused_parameters
from robovlms.model.backbone.prompt_layout import special_token_layout
from robovlms.model.cache import KVCache

_IMAGES_FILE = "images.json"  # size and normalisation of the images, beside config.json and the tokenizer's files
_IMAGE_MARKS = (  # names that families give to the tokens around an image
    ("vision_start_token_id", "vision_end_token_id"),
    ("image_start_token_id", "image_end_token_id"),
    ("boi_token_id", "eoi_token_id"),
)
_LAYER_LISTS = ("layers", "blocks", "h")
# Shape of the random models that tests and first steps use.
TINY_TEXT = dict(
    vocab_size=320, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, head_dim=8, pad_token_id=0, bos_token_id=1, eos_token_id=2, max_position_embeddings=4096,
)  # fmt: skip
TINY_VISION = dict(
    hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, image_size=28, patch_size=14
)


class NativeBackbone(Backbone):
    """An image-text-to-text model of transformers.

    Args:
        model: as `transformers.AutoModelForImageTextToText` gives it.
        tokenizer: of the model.
        images: image_size [h, w], image_mean, image_std and resample.

    Attributes:
        position_offset: position of the first token.
        tiny: model type -> arguments of the configuration of a small random model; the first one is the default.
    """

    add_special_tokens = True
    position_offset: ClassVar[int] = 0
    tiny: ClassVar[dict[str, dict[str, Any]]] = {}

    def __init__(self, model: nn.Module, tokenizer: Any, images: dict[str, Any]) -> None:
        super().__init__()
        self.model, self.tokenizer = model, tokenizer
        self._inputs = ImageInputs(model)
        self.image_size, self.resample = tuple(images["image_size"]), images["resample"]
        self.image_mean, self.image_std = tuple(images["image_mean"]), tuple(images["image_std"])
        self.position_rows = 3 if hasattr(model.base_model, "get_rope_index") else 1
        self.image_start_ids, self.image_end_ids = _image_marks(model)
        if self.add_special_tokens:
            self.images_at, self.prompt_tail = special_token_layout(tokenizer)
        if "token_type_ids" in inspect.signature(model.base_model.forward).parameters and self.bidirectional == "none":
            self.bidirectional = "images"
        kinds = set(getattr(self.text_tower.config, "layer_types", None) or ())
        if not kinds <= {"full_attention", "sliding_attention"}:
            raise ConfigError(
                f"{type(model).__name__} has layers of the kind {sorted(kinds)}; a policy needs attention layers, "
                "which take a mask and keep a past per token"
            )
        self.max_positions = getattr(self.text_tower.config, "max_position_embeddings", None)
        vision = getattr(model.config, "vision_config", None)
        self._num_deep = len(getattr(vision, "deepstack_visual_indexes", None) or ())

    # ------------------------------------------------------------------------------------------------------ building

    @classmethod
    def tiny_config(cls, overrides: dict[str, Any]) -> Any:
        """Configuration of a small random model of this family, `transformers.PretrainedConfig`.

        Args:
            overrides: `model_type` chooses among the family; `text_config` and `vision_config` change their values.

        Raises:
            ConfigError: names the nearest known key.
        """
        from transformers import AutoConfig

        overrides = dict(overrides)
        model_type = overrides.pop("model_type", next(iter(cls.tiny)))
        if model_type not in cls.tiny:
            raise ConfigError("model.vlm.overrides.model_type: " + unknown_name("model type", model_type, cls.tiny))
        values = deepcopy(cls.tiny[model_type])
        model_type = values.pop("model_type", model_type)
        plain = AutoConfig.for_model(model_type, **deepcopy(values))
        sections = {name: getattr(plain, name) for name in ("text_config", "vision_config")}
        check_overrides(overrides, sections)
        for section, changes in overrides.items():
            values[section] |= changes
        return AutoConfig.for_model(model_type, **cls.fit(values))

    @classmethod
    def check_family(cls, model_type: str, source: str) -> None:
        """Refuse a model that this adapter would run wrongly.

        Raises:
            ConfigError: names the families that fit.
        """
        fitting = {values.get("model_type", name) for name, values in cls.tiny.items()}
        if model_type not in fitting:
            raise ConfigError(
                f"{source!r} is a {model_type!r} model, but {cls.__name__} is for {sorted(fitting)}; "
                "set model.vlm.name to its own, or to auto"
            )

    @classmethod
    def fit(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Make the parts of a tiny configuration fit each other after overrides."""
        return values

    @classmethod
    def build(
        cls, vlm: VLMConfig, tokenizer: TokenizerConfig, dtype: torch.dtype, assets: Path | None
    ) -> "NativeBackbone":
        if vlm.pretrained is None and assets is None:
            if tokenizer.pretrained is not None:
                raise ConfigError("model.tokenizer.pretrained needs model.vlm.pretrained: a random VLM reads bytes")
            return cls._build_random(vlm, dtype)
        if vlm.overrides and vlm.pretrained is not None:
            raise ConfigError(
                f"model.vlm.overrides {sorted(vlm.overrides)} cannot change a pretrained VLM; remove them"
            )
        source = str(assets or vlm.pretrained)
        try:
            return cls._load_assets(source, dtype) if assets else cls._load(source, vlm, tokenizer, dtype)
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise CheckpointError(f"cannot load the VLM from {source!r}: {reason}") from error

    @classmethod
    def _build_random(cls, vlm: VLMConfig, dtype: torch.dtype) -> "NativeBackbone":
        model = _from_config(cls.tiny_config(dict(vlm.overrides)), dtype)
        return cls(model, ByteTokenizer(), image_settings(ImageInputs(model), model.config, None, vlm.image_size))

    @classmethod
    def _load(cls, source: str, vlm: VLMConfig, tokenizer: TokenizerConfig, dtype: torch.dtype) -> "NativeBackbone":
        from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

        config = AutoConfig.from_pretrained(source)
        cls.check_family(config.model_type, source)
        model, report = AutoModelForImageTextToText.from_pretrained(
            source, config=config, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True
        )
        _check_report(report, source, type(model).__name__)
        settings = image_settings(
            ImageInputs(model), model.config, AutoImageProcessor.from_pretrained(source), vlm.image_size
        )
        return cls(model, AutoTokenizer.from_pretrained(tokenizer.pretrained or source), settings)

    @classmethod
    def _load_assets(cls, folder: str, dtype: torch.dtype) -> "NativeBackbone":
        """Architecture, tokenizer and image settings of a checkpoint, wherever they once came from."""
        from transformers import AutoConfig, AutoTokenizer

        model = _from_config(AutoConfig.from_pretrained(folder), dtype)
        images = json.loads((Path(folder) / _IMAGES_FILE).read_text())
        is_byte_tokenizer = images.pop("is_byte_tokenizer")
        return cls(model, ByteTokenizer() if is_byte_tokenizer else AutoTokenizer.from_pretrained(folder), images)

    def save_assets(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.model.config.save_pretrained(folder)
        is_byte_tokenizer = isinstance(self.tokenizer, ByteTokenizer)
        if not is_byte_tokenizer:
            self.tokenizer.save_pretrained(folder)
        images = {name: list(getattr(self, name)) for name in ("image_size", "image_mean", "image_std")}
        images |= {"resample": self.resample, "is_byte_tokenizer": is_byte_tokenizer}
        (folder / _IMAGES_FILE).write_text(json.dumps(images, indent=2))

    # --------------------------------------------------------------------------------------------------------- parts

    @property
    def hidden_size(self) -> int:
        return self.model.config.get_text_config().hidden_size

    @property
    def embed_width(self) -> int:
        return self.hidden_size * (1 + self._num_deep)

    @property
    def vision_tower(self) -> nn.Module:
        return self.model.get_encoder(modality="image")

    @property
    def text_tower(self) -> nn.Module:
        decoder = self.model.get_decoder()
        while hasattr(decoder, "lm_head"):
            decoder = decoder.model
        return decoder

    @property
    def decoder_layers(self) -> nn.ModuleList:
        decoder = getattr(self.text_tower, "decoder", self.text_tower)
        return next(getattr(decoder, name) for name in _LAYER_LISTS if hasattr(decoder, name))

    @property
    def word_embedding(self) -> nn.Module:
        return self.model.get_input_embeddings()

    @property
    def output_embedding(self) -> nn.Module | None:
        head = self.model.get_output_embeddings()
        return None if head is None or head.weight is self.word_embedding.weight else head

    def enable_gradient_checkpointing(self) -> None:
        # The first name is that of late releases of transformers 5.
        old = self.model.gradient_checkpointing_enable
        getattr(self.model, "activation_checkpointing_enable", old)({"use_reentrant": False})

    def unused_parameters(self) -> set[nn.Parameter]:
        return unused_parameters(self.model, self.vision_tower)

    # ------------------------------------------------------------------------------------------------------- tensors

    def image_positions(self, num_tokens: int) -> tuple[Int64[Tensor, "k"], Int64[Tensor, "3 k"]] | None:
        """Tokens of a picture share their time and stand in a grid.

        Source: Wang et al., "Qwen2-VL", 2024, https://arxiv.org/abs/2409.12191, section 2.1 (M-RoPE).
        """
        rows, columns = self._inputs.grid(*self.image_size) if self.position_rows == 3 else (0, 0)
        if rows * columns != num_tokens:  # one number per position, or tokens that are no grid any more
            return None
        token = torch.arange(num_tokens)
        advance = torch.zeros_like(token)
        advance[-1] = max(rows, columns)
        return advance, torch.stack([torch.zeros_like(token), token // columns, token % columns])

    def encode_images(self, pixels: Float[Tensor, "f 3 h w"]) -> Float[Tensor, "f k e"]:
        output = self._inputs.features(**self._inputs(pixels.to(self.word_embedding.weight.dtype)))
        features = output.pooler_output
        tokens = torch.cat(list(features)) if isinstance(features, (list, tuple)) else features
        parts = [tokens.reshape(len(pixels), -1, tokens.shape[-1])]
        parts += [torch.cat(list(deep)).view_as(parts[0]) for deep in getattr(output, "deepstack_features", None) or ()]
        return torch.cat(parts, dim=-1)

    def decode(
        self,
        embeds: Float[Tensor, "f s e"],
        allowed: Bool[Tensor, "f s S"],
        positions: Int64[Tensor, "*rows f s"],
        read: Int64[Tensor, "r"],
        cache: KVCache | None = None,
        media: Media | None = None,
    ) -> Float[Tensor, "f r d"]:
        extra: dict[str, Any] = {}
        if self._num_deep:
            embeds = F.pad(embeds, (0, self.embed_width - embeds.shape[-1]))
            embeds, *deep = embeds.split(self.hidden_size, dim=-1)
            everywhere = torch.ones(embeds.shape[:2], dtype=torch.bool, device=embeds.device)
            extra = {"visual_pos_masks": everywhere, "deepstack_visual_embeds": [one.flatten(0, 1) for one in deep]}
        return run_decoder(self.text_tower, embeds, allowed, positions + self.position_offset, read, cache, **extra)


def _from_config(config: Any, dtype: torch.dtype) -> nn.Module:
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_config(config, dtype=dtype)


def _image_marks(model: nn.Module) -> tuple[tuple[int, ...], tuple[int, ...]]:
    size = model.get_input_embeddings().weight.shape[0]
    for names in _IMAGE_MARKS:
        ids = [getattr(model.config, name, None) for name in names]
        if all(isinstance(i, int) and 0 <= i < size for i in ids):
            return (ids[0],), (ids[1],)
    return (), ()


def _check_report(report: dict[str, Any], source: str, model: str) -> None:
    """Refuse weights that are missing or of another shape; say which ones nobody takes."""
    if report["missing_keys"]:
        raise CheckpointError(f"{source!r} lacks weights of {model}: {_first(report['missing_keys'])}")
    for key, got, expected in sorted(report["mismatched_keys"]):
        raise CheckpointError(f"{source!r}: {key!r} has the shape {list(got)}, {model} expects {list(expected)}")
    if report["unexpected_keys"]:
        unused = _first(report["unexpected_keys"])
        warnings.warn(f"{source!r} holds weights that {model} has no use for: {unused}", stacklevel=4)


def _first(keys: Iterable[str]) -> str:
    ordered = sorted(keys)
    return ", ".join(map(repr, ordered[:3])) + (f" and {len(ordered) - 3} more" if len(ordered) > 3 else "")


def check_overrides(overrides: dict[str, Any], sections: dict[str, Any]) -> None:
    """Check the keys of `model.vlm.overrides` against the configurations of a family.

    Args:
        overrides: section -> values.
        sections: section -> a default configuration of transformers.

    Raises:
        ConfigError: names the nearest known key.
    """
    for section, values in overrides.items():
        key = f"model.vlm.overrides.{section}"
        if section not in sections:
            raise ConfigError(unknown_name("key", key, [f"model.vlm.overrides.{name}" for name in sections]))
        if not isinstance(values, dict):
            raise ConfigError(f"{key}: expected keys with values, got {values!r}")
        known = sections[section].to_dict()
        for name in values:
            if name not in known:
                raise ConfigError(unknown_name("key", f"{key}.{name}", [f"{key}.{one}" for one in known]))
