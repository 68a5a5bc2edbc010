"""The built-in tiny VLM: a few million parameters, trained from scratch, no download.

::

    image [3, 96, 96] ── 3 strided convolutions + position ── 6 × 6 tokens ┐
    UTF-8 bytes ── embedding ─────────────────────────────────────────────┴─ pre-norm transformer, rotary positions
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from robovlms.config import TokenizerConfig, VLMConfig
from robovlms.data.text import ByteTokenizer
from robovlms.errors import ConfigError
from robovlms.model.backbone.base import Backbone, Media
from robovlms.model.cache import KVCache
from robovlms.typed_yaml import build, check_types

_ROPE_BASE = 10_000.0  # Source: Su et al., "RoFormer", 2021, section 3.3


@dataclass(frozen=True, kw_only=True)
class TinyVLMConfig:
    """Shape of the tiny VLM.

    Attributes:
        image_size: height and width of the vision tower's input in pixels, a multiple of 16.
        stem_widths: channels of the first two convolutions.
        hidden_size: d, width of the decoder.
        num_layers: decoder layers.
        num_heads: attention heads; divides `hidden_size` into an even width.
        mlp_ratio: width of the feed-forward layer over `hidden_size`.
    """

    image_size: int = 96
    stem_widths: tuple[int, int] = (64, 128)
    hidden_size: int = 192
    num_layers: int = 2
    num_heads: int = 6
    mlp_ratio: int = 4

    def __post_init__(self) -> None:
        for name in ("image_size", "hidden_size", "num_layers", "num_heads", "mlp_ratio"):
            if getattr(self, name) < 1:
                raise ConfigError(f"tiny VLM: {name} must be at least 1, got {getattr(self, name)}")
        if min(self.stem_widths) < 1:
            raise ConfigError(f"tiny VLM: stem_widths must be at least 1, got {list(self.stem_widths)}")
        if self.image_size % 16:
            raise ConfigError(f"tiny VLM: image_size must be a multiple of 16, got {self.image_size}")
        if self.hidden_size % (2 * self.num_heads):
            raise ConfigError(
                f"tiny VLM: hidden_size {self.hidden_size} must be a multiple of 2 * num_heads = {2 * self.num_heads}"
            )


class TinyVisionTower(nn.Module):
    """Three strided convolutions, 16 pixels to a token, and a learned position per token."""

    def __init__(self, config: TinyVLMConfig) -> None:
        super().__init__()
        first, second = config.stem_widths
        self.stem = nn.Sequential(
            nn.Conv2d(3, first, 4, stride=4),
            nn.GELU(),
            nn.Conv2d(first, second, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(second, config.hidden_size, 3, stride=2, padding=1),
        )
        num_tokens = (config.image_size // 16) ** 2
        self.position = nn.Parameter(torch.randn(num_tokens, config.hidden_size) * 0.02)

    def forward(self, pixels: Float[Tensor, "f 3 h w"]) -> Float[Tensor, "f k d"]:
        """Encode [f, 3, image_size, image_size] into (image_size / 16)² tokens."""
        return self.stem(pixels).flatten(2).transpose(1, 2) + self.position


class TinyLayer(nn.Module):
    """Pre-norm attention and feed-forward, computed only for the tokens that are read."""

    def __init__(self, config: TinyVLMConfig, index: int) -> None:
        super().__init__()
        d = config.hidden_size
        self.num_heads, self.index = config.num_heads, index
        self.attention_norm, self.mlp_norm = nn.LayerNorm(d), nn.LayerNorm(d)
        self.query, self.key_value, self.out = nn.Linear(d, d), nn.Linear(d, 2 * d), nn.Linear(d, d)
        self.mlp = nn.Sequential(nn.Linear(d, config.mlp_ratio * d), nn.GELU(), nn.Linear(config.mlp_ratio * d, d))

    def forward(
        self,
        x: Tensor,
        allowed: Tensor,
        rotation: tuple[Tensor, Tensor],
        read: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """Map [f, s, d] to its columns `read`, or to all of them."""
        y = self.attention_norm(x)
        key, value = (self._heads(z) for z in self.key_value(y).chunk(2, dim=-1))
        key = rotate(key, *rotation)
        if cache is not None:
            key, value = cache.update(key, value, self.index)
        if read is not None:
            x, y, allowed = x.index_select(1, read), y.index_select(1, read), allowed.index_select(2, read)
            rotation = tuple(part.index_select(2, read) for part in rotation)
        query = rotate(self._heads(self.query(y)), *rotation)
        x = x + self.out(attention(query, key, value, allowed).transpose(1, 2).flatten(2))
        return x + self.mlp(self.mlp_norm(x))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


def attention(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor) -> Tensor:
    """Scaled dot-product attention, [f, heads, s, width]; on the CPU always in float32.

    PyTorch's bfloat16 attention kernel for the CPU takes 7 times as long backward as the float32 one at this size.
    """
    if query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
    with torch.autocast("cpu", enabled=False):
        mixed = F.scaled_dot_product_attention(query.float(), key.float(), value.float(), attn_mask=allowed)
    return mixed.to(value.dtype)


def rotary(positions: Int64[Tensor, "f s"], width: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the rotary position code, each [f, 1, s, width / 2].

    Source: Su et al., "RoFormer", 2021, https://arxiv.org/abs/2104.09864, section 3.4.2.
    """
    frequency = _ROPE_BASE ** (-torch.arange(0, width, 2, device=positions.device) / width)
    angle = positions[:, None, :, None].float() * frequency
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the first half of each head against its second half."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)


class TinyDecoder(nn.Module):
    """Byte embedding and transformer layers."""

    def __init__(self, config: TinyVLMConfig) -> None:
        super().__init__()
        self.head_width = config.hidden_size // config.num_heads
        self.embedding = nn.Embedding(ByteTokenizer.vocab_size, config.hidden_size)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.layers = nn.ModuleList(TinyLayer(config, index) for index in range(config.num_layers))
        self.norm = nn.LayerNorm(config.hidden_size)
        self.gradient_checkpointing = False

    def forward(
        self, x: Tensor, allowed: Tensor, positions: Tensor, read: Tensor, cache: KVCache | None = None
    ) -> Tensor:
        """Map embeddings [f, s, d] to the hidden states of columns `read`; the last layer computes no other."""
        rotation, allowed = rotary(positions, self.head_width), allowed.unsqueeze(1)
        for layer in self.layers:
            chosen = read if layer is self.layers[-1] else None
            if self.gradient_checkpointing and self.training:
                x = checkpoint(layer, x, allowed, rotation, chosen, cache, use_reentrant=False)
            else:
                x = layer(x, allowed, rotation, chosen, cache)
        return self.norm(x)


class TinyBackbone(Backbone):
    """The built-in tiny VLM behind the contract of every other VLM.

    Args:
        config: its shape.
    """

    bidirectional = "prefix"
    add_special_tokens = True
    images_at = 1  # after the tokenizer's begin token
    image_mean = image_std = (0.5, 0.5, 0.5)

    def __init__(self, config: TinyVLMConfig) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = ByteTokenizer()
        self.image_size = (config.image_size, config.image_size)
        self.vision = TinyVisionTower(config)
        self.decoder = TinyDecoder(config)

    @classmethod
    def build(
        cls, vlm: VLMConfig, tokenizer: TokenizerConfig, dtype: torch.dtype, assets: Path | None
    ) -> "TinyBackbone":
        if vlm.pretrained or tokenizer.pretrained:
            raise ConfigError(
                "the tiny VLM has no pretrained weights or tokenizer: remove model.vlm.pretrained and "
                "model.tokenizer.pretrained, or load a checkpoint"
            )
        shape = check_types(TinyVLMConfig, vlm.overrides, where="", prefix="model.vlm.overrides.")
        return cls(build(TinyVLMConfig, shape)).to(dtype)

    def save_assets(self, folder: Path) -> None:
        """Nothing: the run's configuration holds the shape, the tokenizer has no data."""

    @property
    def hidden_size(self) -> int:
        return self.config.hidden_size

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
        return self.decoder.embedding

    @property
    def output_embedding(self) -> None:
        return None

    def enable_gradient_checkpointing(self) -> None:
        self.decoder.gradient_checkpointing = True

    def encode_images(self, pixels: Float[Tensor, "f 3 h w"]) -> Float[Tensor, "f k d"]:
        return self.vision(pixels.to(self.vision.position.dtype))

    def decode(
        self,
        embeds: Float[Tensor, "f s d"],
        allowed: Bool[Tensor, "f s S"],
        positions: Int64[Tensor, "*rows f s"],
        read: Int64[Tensor, "r"],
        cache: KVCache | None = None,
        media: Media | None = None,
    ) -> Float[Tensor, "f r d"]:
        return self.decoder(embeds, allowed, positions, read, cache)
