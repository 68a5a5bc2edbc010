"""What a vision-language model must offer to become a policy."""

import weakref
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn

from robovlms.config import TokenizerConfig, VLMConfig
from robovlms.data.text import PromptEncoder
from robovlms.errors import DataError, PolicyError
from robovlms.model.cache import KVCache


@dataclass(frozen=True, kw_only=True)
class Media:
    """Image tokens that the decoder attends to from outside the sequence.

    Attributes:
        tokens: [f, m, e].
        allowed: [f, s, m], True where a token of the sequence may look; a row without any True looks at nothing.
    """

    tokens: Float[Tensor, "f m e"]
    allowed: Bool[Tensor, "f s m"]


class Backbone(nn.Module, ABC):
    """A vision tower and a decoder that reads image, text and action tokens as one sequence.

    A decoder that attends to images from outside the sequence sets `is_cross_attention`; then no image token stands in
    the sequence, and `decode` gets them as `media`.

    Attributes:
        prompt_template: text around the instruction, with the field `{instruction}`.
        bidirectional: which tokens of a frame attend to each other in both directions: none; those of each image; all
            images and the prompt tokens before them; or everything before the action queries (a prefix-LM).
        is_cross_attention: whether images are attended to from outside the sequence.
        position_rows: 1, or 3 if a position is (time, height, width).
        add_special_tokens: whether the tokenizer adds its own begin and end tokens to the prompt.
        images_at: tokens of the prompt that stand before the images.
        prompt_tail: tokens of the prompt that stand after the action queries.
        image_start_ids, image_end_ids: tokens around each image.
        tokenizer: turns the prompt into ids.
        image_size: (height, width) that the vision tower takes, in pixels.
        image_mean, image_std: per-channel normalisation of pixels in [0, 1].
        resample: filter of the resize.
        max_positions: positions that the decoder can tell apart; None = any number.
    """

    prompt_template: str = "{instruction}"
    bidirectional: Literal["none", "images", "lead_and_images", "prefix"] = "none"
    is_cross_attention: ClassVar[bool] = False
    position_rows: int = 1
    add_special_tokens: bool = False
    images_at: int = 0
    prompt_tail: int = 0
    image_start_ids: tuple[int, ...] = ()
    image_end_ids: tuple[int, ...] = ()
    tokenizer: Any
    image_size: tuple[int, int]
    image_mean: tuple[float, ...]
    image_std: tuple[float, ...]
    resample: str = "bicubic"
    max_positions: int | None = None
    _policy: "weakref.ref[nn.Module] | None" = None

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
        """The decoder, without the vocabulary's output layer."""

    @property
    @abstractmethod
    def decoder_layers(self) -> nn.ModuleList:
        """The decoder's layers, first to last."""

    @property
    @abstractmethod
    def word_embedding(self) -> nn.Module:
        """Token ids [..., l] -> embeddings [..., l, d], scaled as the decoder wants them."""

    @property
    @abstractmethod
    def output_embedding(self) -> nn.Module | None:
        """The vocabulary's output layer, d -> vocabulary; None if it is the transposed `word_embedding`."""

    @property
    def resampler(self) -> nn.Module | None:
        """A part of the VLM that turns many image tokens into few, if it has one that is trained by itself."""
        return None

    @property
    def cross_attention(self) -> nn.Module | None:
        """Blocks through which the decoder looks at images outside the sequence, trained beside frozen layers."""
        return None

    @property
    def embed_width(self) -> int:
        """Width e of the embeddings that `decode` takes: d, or a multiple of it if image tokens feed deeper layers."""
        return self.hidden_size

    @abstractmethod
    def encode_images(self, pixels: Float[Tensor, "f 3 h w"]) -> Float[Tensor, "f k e"]:
        """Encode normalised pixels [f, 3, *image_size] into k image tokens per frame."""

    @abstractmethod
    def decode(
        self,
        embeds: Float[Tensor, "f s e"],
        allowed: Bool[Tensor, "f s S"],
        positions: Int64[Tensor, "*rows f s"],
        read: Int64[Tensor, "r"],
        cache: KVCache | None = None,
        media: Media | None = None,
    ) -> Float[Tensor, "f r d"]:
        """Run the decoder and return the hidden states, after its final norm, of the tokens at columns `read`.

        Args:
            embeds: token embeddings.
            allowed: [f, query, key], True where a query may attend; every query has at least one True. The keys are
                the sequence's own tokens (S = s), or the slots of `cache`.
            positions: of each token, from 0, padding not counted; [3, f, s] if `position_rows` is 3.
            read: columns of the sequence to return.
            cache: holds past keys and values and takes the new ones; the caller has aimed it.
            media: images, if `is_cross_attention`.
        """

    def logits(self, hidden: Float[Tensor, "*lead d"]) -> Float[Tensor, "*lead w"]:
        """Scores of every word of the vocabulary."""
        if self.output_embedding is not None:
            return self.output_embedding(hidden.to(self.output_embedding.weight.dtype))
        weight = self.word_embedding.weight
        return F.linear(hidden.to(weight.dtype), weight)

    @abstractmethod
    def enable_gradient_checkpointing(self) -> None:
        """From now on, compute activations of decoder and vision layers again in the backward pass."""

    def unused_parameters(self) -> set[nn.Parameter]:
        """Parameters that neither `encode_images` nor `decode` depends on; they are never trained."""
        return set()

    def normalise_images(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """Take other per-channel statistics for the pixels than the VLM's own; `save_assets` keeps them."""
        self.image_mean, self.image_std = mean, std

    def serve(self, policy: nn.Module) -> None:
        """Let calls of this VLM reach the policy that it became part of, as long as that exists."""
        self._policy = weakref.ref(policy)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the way back to the policy, which cannot be copied to a file."""
        return {name: value for name, value in self.__dict__.items() if name != "_policy"}

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        """Call the policy that this VLM is part of; arguments as in `BaseRoboVLM.forward`.

        Raises:
            PolicyError: if it is part of none.
        """
        policy = self._policy() if self._policy is not None else None
        if policy is None:
            raise PolicyError(
                "a bare VLM predicts no actions; make a policy of it with BaseTrainer(config).fit(model, data)"
            )
        return policy(*arguments, **keywords)

    def generate(self, prompt: str, image: Any = None, *, max_new_tokens: int = 32) -> str:
        """Continue a text about an image, greedily; arguments as in `BaseRoboVLM.generate`."""
        from robovlms.model.generate import generate_text  # that module puts sequences together, so it imports this one

        return generate_text(self, prompt, image, max_new_tokens)

    def image_positions(self, num_tokens: int) -> tuple[Int64[Tensor, "k"], Int64[Tensor, "3 k"]] | None:
        """Where the k tokens of an image stand; None = one after the other, as text does.

        Returns:
            How far each token moves the position on, and its (time, height, width) relative to the image's first one.
        """
        return None

    def prompt_encoder(self, tokenizer: TokenizerConfig) -> PromptEncoder:
        """Instruction -> token ids, in this backbone's prompt format."""
        template = tokenizer.prompt_template or self.prompt_template
        return PromptEncoder(self.tokenizer, template, tokenizer.max_text_len, self.add_special_tokens)

    def preprocess(self, images: UInt8[Tensor, "f 3 h w"] | Float[Tensor, "f 3 h w"]) -> Float[Tensor, "f 3 H W"]:
        """Resize (antialiased) to `image_size` and normalise, as the vision tower expects.

        The aspect ratio is not kept: every pixel that a camera sees is used. Floating-point images count as ready and
        are taken as they are.

        Raises:
            DataError: if ready images are of another size.
        """
        if images.is_floating_point():
            if tuple(images.shape[-2:]) != self.image_size:
                raise DataError(
                    f"floating-point images are taken as already normalised and must be {self.image_size} pixels, "
                    f"got {tuple(images.shape[-2:])}; give uint8 images to have them resized"
                )
            return images
        x = images.float()
        if tuple(x.shape[-2:]) != self.image_size:
            x = F.interpolate(x, self.image_size, mode=self.resample, antialias=True, align_corners=False).clamp(0, 255)
        mean = x.new_tensor(self.image_mean).view(3, 1, 1) * 255
        std = x.new_tensor(self.image_std).view(3, 1, 1) * 255
        return (x - mean) / std
