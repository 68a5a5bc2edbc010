"""One adapter for the vision-language models that transformers ships: image features and decoder, called apart.

transformers is imported where it is used: the built-in tiny VLM must not pay for it.
"""

import json
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from robovlms.config import TokenizerConfig, VLMConfig
from robovlms.data.text import ByteTokenizer
from robovlms.errors import CheckpointError, ConfigError, unknown_name
from robovlms.model.backbone.base import Backbone

_IMAGES_FILE = "images.json"  # size and normalisation of the images, beside config.json and the tokenizer's files


class NativeBackbone(Backbone):
    """A transformers model without its vocabulary head.

    The attention mask is always given in full: left to itself, a decoder may choose causal or bidirectional attention
    depending on padding and attention kernel.

    Args:
        model: headless image-text model, as `transformers.AutoModel` gives it.
        tokenizer: of the model.
        images: image_size [h, w], image_mean and image_std of its image processor.

    Attributes:
        position_offset: position of the first token.
    """

    position_offset: ClassVar[int] = 0

    def __init__(self, model: nn.Module, tokenizer: Any, images: dict[str, Any]) -> None:
        super().__init__()
        self.model, self.tokenizer = model, tokenizer
        self.image_size = tuple(images["image_size"])
        self.image_mean, self.image_std = tuple(images["image_mean"]), tuple(images["image_std"])

    @classmethod
    def tiny_config(cls, overrides: dict[str, Any]) -> Any:
        """Configuration of a small random model of this family, `transformers.PretrainedConfig`.

        Raises:
            ConfigError: if the family has none.
        """
        raise ConfigError(f"{cls.__name__} has no tiny configuration; set model.vlm.pretrained")

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
        try:
            return cls._load(str(assets or vlm.pretrained), tokenizer, dtype, with_weights=assets is None)
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise CheckpointError(f"cannot load the VLM from {str(assets or vlm.pretrained)!r}: {reason}") from error

    @classmethod
    def _build_random(cls, vlm: VLMConfig, dtype: torch.dtype) -> "NativeBackbone":
        from transformers import AutoModel

        model = AutoModel.from_config(cls.tiny_config(dict(vlm.overrides)), dtype=dtype)
        size = model.config.vision_config.image_size
        images = {"image_size": [size, size], "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
        return cls(model, ByteTokenizer(), images)

    @classmethod
    def _load(cls, source: str, tokenizer: TokenizerConfig, dtype: torch.dtype, with_weights: bool) -> "NativeBackbone":
        from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer

        if with_weights:
            model = AutoModel.from_pretrained(source, dtype=dtype)
            processor = AutoImageProcessor.from_pretrained(source)
            size = [processor.size["height"], processor.size["width"]]
            images = {"image_size": size, "image_mean": processor.image_mean, "image_std": processor.image_std}
        else:
            model = AutoModel.from_config(AutoConfig.from_pretrained(source), dtype=dtype)
            images = json.loads((Path(source) / _IMAGES_FILE).read_text())
            if images.pop("is_byte_tokenizer"):
                return cls(model, ByteTokenizer(), images)
        # A checkpoint brings its own tokenizer, wherever that one came from.
        chosen = tokenizer.pretrained if with_weights and tokenizer.pretrained else source
        return cls(model, AutoTokenizer.from_pretrained(chosen), images)

    def save_assets(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.model.config.save_pretrained(folder)
        is_byte_tokenizer = isinstance(self.tokenizer, ByteTokenizer)
        if not is_byte_tokenizer:
            self.tokenizer.save_pretrained(folder)
        images = {name: list(getattr(self, name)) for name in ("image_size", "image_mean", "image_std")}
        (folder / _IMAGES_FILE).write_text(json.dumps({**images, "is_byte_tokenizer": is_byte_tokenizer}, indent=2))

    @property
    def hidden_size(self) -> int:
        return self.model.config.get_text_config().hidden_size

    @property
    def vision_tower(self) -> nn.Module:
        return self.model.get_encoder(modality="image")

    @property
    def text_tower(self) -> nn.Module:
        return self.model.get_decoder()

    @property
    def word_embedding(self) -> nn.Module:
        return self.model.get_input_embeddings()

    def encode_images(self, pixels: Float[Tensor, "f 3 h w"]) -> Float[Tensor, "f k d"]:
        pixels = pixels.to(self.word_embedding.weight.dtype)
        return self.model.get_image_features(pixel_values=pixels).pooler_output

    def decode(
        self,
        embeds: Float[Tensor, "f s d"],
        allowed: Bool[Tensor, "f s s"],
        positions: Int64[Tensor, "f s"],
        num_read: int,
    ) -> Float[Tensor, "f r d"]:
        bias = torch.zeros(allowed.shape, dtype=embeds.dtype, device=embeds.device)
        bias = bias.masked_fill(~allowed, torch.finfo(embeds.dtype).min).unsqueeze(1)
        positions = positions + self.position_offset
        out = self.text_tower(inputs_embeds=embeds, attention_mask=bias, position_ids=positions, use_cache=False)
        return out.last_hidden_state[:, -num_read:]


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
