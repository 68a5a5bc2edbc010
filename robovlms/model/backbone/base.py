"""What a vision-language model must offer to become a policy."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn

from robovlms.config import TokenizerConfig, VLMConfig
from robovlms.data.text import PromptEncoder


class Backbone(nn.Module, ABC):
    """A vision tower and a decoder that reads image, text and action tokens as one sequence.

    Attributes:
        prompt_template: text around the instruction, with the field `{instruction}`.
        is_prefix_lm: whether image and text tokens attend to each other in both directions, or causally.
        leading_ids: tokens that stand before the images.
        tokenizer: turns the prompt into ids.
        image_size: (height, width) that the vision tower takes, in pixels.
        image_mean, image_std: per-channel normalisation of pixels in [0, 1].
    """

    prompt_template: ClassVar[str]
    is_prefix_lm: ClassVar[bool]
    leading_ids: tuple[int, ...] = ()
    tokenizer: Any
    image_size: tuple[int, int]
    image_mean: tuple[float, ...]
    image_std: tuple[float, ...]

    @classmethod
    @abstractmethod
    def build(cls, vlm: VLMConfig, tokenizer: TokenizerConfig, dtype: torch.dtype, assets: Path | None) -> "Backbone":
        """Load pretrained weights, or initialise randomly.

        Args:
            vlm: where the weights come from.
            tokenizer: where the tokenizer comes from.
            dtype: of the weights.
            assets: folder written by `save_assets`; given when a checkpoint is loaded, whose weights come later.
        """

    @abstractmethod
    def save_assets(self, folder: Path) -> None:
        """Write what, beside the weights and the run's configuration, is needed to build this backbone offline."""

    @property
    @abstractmethod
    def hidden_size(self) -> int:
        """Width d of the decoder."""

    @property
    @abstractmethod
    def vision_tower(self) -> nn.Module:
        """The image encoder."""

    @property
    @abstractmethod
    def text_tower(self) -> nn.Module:
        """The decoder."""

    @property
    @abstractmethod
    def word_embedding(self) -> nn.Module:
        """Token ids [..., l] -> embeddings [..., l, d], scaled as the decoder wants them."""

    @abstractmethod
    def encode_images(self, pixels: Float[Tensor, "f 3 h w"]) -> Float[Tensor, "f k d"]:
        """Encode normalised pixels [f, 3, *image_size] into k image tokens per frame."""

    @abstractmethod
    def decode(
        self,
        embeds: Float[Tensor, "f s d"],
        allowed: Bool[Tensor, "f s s"],
        positions: Int64[Tensor, "f s"],
        num_read: int,
    ) -> Float[Tensor, "f r d"]:
        """Run the decoder and return the hidden states of the last `num_read` tokens.

        Args:
            embeds: token embeddings.
            allowed: [f, query, key], True where a query may attend; every row has at least one True.
            positions: position of each token, from 0, padding not counted.
            num_read: how many trailing tokens are read.
        """

    def prompt_encoder(self, tokenizer: TokenizerConfig) -> PromptEncoder:
        """Instruction -> token ids, in this backbone's prompt format."""
        return PromptEncoder(self.tokenizer, self.prompt_template, tokenizer.max_text_len)

    def preprocess(self, images: UInt8[Tensor, "f 3 h w"]) -> Float[Tensor, "f 3 H W"]:
        """Resize (antialiased bicubic) to `image_size` and normalise, as the vision tower expects."""
        x = images.float()
        if tuple(x.shape[-2:]) != self.image_size:
            x = F.interpolate(x, self.image_size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 255)
        mean = x.new_tensor(self.image_mean).view(3, 1, 1) * 255
        std = x.new_tensor(self.image_std).view(3, 1, 1) * 255
        return (x - mean) / std
