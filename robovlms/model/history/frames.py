"""What a policy sees, encoded, and how the tokens of one frame are put together.

::

    one frame     [lead · images of each camera · text · proprio · queries · tail]
    prefix        [lead · text]                     the same text once, before frames without text

`lead` and `tail` are the first and last tokens of the prompt where the tokenizer marks its beginning and its end; the
learned action queries stand before the end mark. A decoder that attends to images from outside has none in the
sequence.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from robovlms.config import ModelConfig
from robovlms.model.backbone.base import Backbone
from robovlms.model.history.sequence import Kind, Stretch, join, piece

PER_STEP = ("tokens", "image_mask", "proprio", "proprio_mask")  # of `Frames`
PREFIX_BLOCK, QUERY_BLOCK, FIRST_IMAGE_BLOCK = 1, 2, 3


@runtime_checkable
class PolicyParts(Protocol):
    """What a history needs of a policy; `BaseRoboVLM` fits."""

    config: ModelConfig
    backbone: Backbone
    act_head: nn.Module
    action_token: nn.Parameter
    proprio_projection: nn.Module | None


@dataclass(frozen=True, kw_only=True)
class Frames:
    """Encoded observations of a window.

    Attributes:
        tokens: image tokens [b, t, v, k, e].
        image_mask: [b, t, v], True = a real image; a step without any is padding.
        input_ids: prompt [b, l], padding on the right.
        text_mask: [b, l].
        proprio: normalised [b, t, p].
        proprio_mask: [b, t].
    """

    tokens: Float[Tensor, "b t v k e"]
    image_mask: Bool[Tensor, "b t v"]
    input_ids: Int64[Tensor, "b l"]
    text_mask: Bool[Tensor, "b l"]
    proprio: Float[Tensor, "b t p"]
    proprio_mask: Bool[Tensor, "b t"]

    @property
    def step_mask(self) -> Bool[Tensor, "b t"]:
        """True = a real step, False = before the episode."""
        return self.image_mask.any(2)

    def rows(self, index: Sequence[int]) -> "Frames":
        """The given rows."""
        return self._map(lambda tensor: tensor[list(index)])

    def step(self, t: int) -> "Frames":
        """Step t of every row as a window of its own."""
        return dataclasses.replace(self, **{name: getattr(self, name)[:, t : t + 1] for name in PER_STEP})

    def _map(self, change: Any) -> "Frames":
        return Frames(**{f.name: change(getattr(self, f.name)) for f in dataclasses.fields(self)})


def pack_left(ids: Int64[Tensor, "b l"], mask: Bool[Tensor, "b l"]) -> tuple[Tensor, Tensor]:
    """Move padding, wherever it stands, to the right.

    >>> pack_left(torch.tensor([[0, 7, 8]]), torch.tensor([[False, True, True]]))[0].tolist()
    [[7, 8, 0]]
    """
    order = torch.argsort((~mask).long(), dim=1, stable=True)
    return ids.gather(1, order), mask.gather(1, order)


class FrameBuilder:
    """Puts tokens together.

    Args:
        policy: whose tokens.
    """

    def __init__(self, policy: PolicyParts) -> None:
        self._policy = policy

    def frames(self, frames: Frames, queries: Float[Tensor, "b t known d"], with_prompt: bool) -> Stretch:
        """Tokens of every frame, [b, t, s]; nothing of a padded step is real."""
        t = frames.image_mask.shape[1]
        lead, body, tail = (self._each_step(part, t) for part in self._prompt(frames))
        images = self._images(frames.tokens, frames.image_mask)
        text = [lead, *images, body] if with_prompt else images
        stretch = join(*text, *self._proprio(frames), *self._queries(queries, tail if with_prompt else None))
        real = stretch.real & frames.step_mask.unsqueeze(-1)
        return self._with_media(dataclasses.replace(stretch, real=real), frames.tokens, frames.image_mask)

    def prefix(self, frames: Frames) -> Stretch:
        """The prompt by itself, [b, l], without its end mark."""
        lead, body, _ = self._prompt(frames)
        prefix = join(lead, body)
        return dataclasses.replace(prefix, embeds=prefix.embeds.to(frames.tokens.dtype))

    def video(self, frames: Frames, queries: Float[Tensor, "b 1 known d"]) -> Stretch:
        """All frames, the prompt, the newest proprioception and one group of queries: [b, s]."""
        tokens, image_mask = frames.tokens, frames.image_mask
        if self._policy.config.original_layout:  # all frames of one camera, then all of the next
            tokens, image_mask = tokens.transpose(1, 2), image_mask.transpose(1, 2)
        tokens, image_mask = tokens.flatten(1, 2), image_mask.flatten(1, 2)
        lead, body, tail = self._prompt(frames)
        images = self._images(tokens, image_mask)
        proprio = [_squeeze(one) for one in self._proprio(frames.step(frames.proprio.shape[1] - 1))]
        tail = self._each_step(tail, 1)
        stretch = join(lead, *images, body, *proprio, *(_squeeze(one) for one in self._queries(queries, tail)))
        return self._with_media(stretch, tokens, image_mask)

    def _prompt(self, frames: Frames) -> tuple[Stretch, Stretch, Stretch]:
        """The prompt's lead, body and tail, [b, *]."""
        ids, mask = frames.input_ids, frames.text_mask
        at, num_tail = self._marks_of_prompt()
        columns = torch.arange(ids.shape[1], device=ids.device)
        ends = mask.sum(1, keepdim=True) - num_tail
        tail_columns = (ends + columns[:num_tail]).clamp_min(0)
        in_body = (mask & (columns < ends))[:, at:]
        kind = self._bidirectional
        block = PREFIX_BLOCK if kind == "prefix" else 0
        lead_block = FIRST_IMAGE_BLOCK if kind == "lead_and_images" else block
        return (
            self._text(ids[:, :at], mask[:, :at], lead_block),
            self._text(ids[:, at:], in_body, block),
            self._text(ids.gather(1, tail_columns), mask.gather(1, tail_columns), 0),
        )

    @property
    def _bidirectional(self) -> str:
        """The original hands every decoder a mask per token, which is causal."""
        return "none" if self._policy.config.original_layout else self._policy.backbone.bidirectional

    def _marks_of_prompt(self) -> tuple[int, int]:
        """Tokens of the prompt before the images, and after the queries.

        The original puts the images behind the first token if the tokenizer knows a begin mark, and the queries before
        the last token if it knows an end mark, whether or not the prompt has them.
        """
        policy, tokenizer = self._policy, self._policy.backbone.tokenizer
        if not policy.config.original_layout:
            return policy.backbone.images_at, policy.backbone.prompt_tail
        has_begin, has_end = (getattr(tokenizer, f"{mark}_token_id", None) is not None for mark in ("bos", "eos"))
        is_discrete = policy.act_head.is_discrete
        return int(has_begin or is_discrete), int(has_end or is_discrete)

    def _images(self, tokens: Tensor, image_mask: Tensor) -> list[Stretch]:
        """The images, unless the decoder looks at them outside the sequence."""
        backbone = self._policy.backbone
        if backbone.is_cross_attention:
            return []
        return image_pieces(backbone, tokens, image_mask, self._bidirectional)

    def _text(self, ids: Tensor, mask: Tensor, block: int) -> Stretch:
        return piece(self._policy.backbone.word_embedding(ids), mask, Kind.TEXT, block=block)

    @staticmethod
    def _each_step(stretch: Stretch, t: int) -> Stretch:
        embeds = stretch.embeds.unsqueeze(1).expand(-1, t, -1, -1)
        return dataclasses.replace(stretch, embeds=embeds, real=stretch.real.unsqueeze(1).expand(-1, t, -1))

    def _proprio(self, frames: Frames) -> list[Stretch]:
        policy = self._policy
        if policy.proprio_projection is None:
            return []
        block = PREFIX_BLOCK if self._bidirectional == "prefix" else 0
        proprio = frames.proprio.where(frames.proprio_mask.unsqueeze(-1), 0.0)  # what was not measured may be anything
        embeds = policy.proprio_projection(proprio.to(policy.proprio_projection.weight.dtype)).unsqueeze(2)
        return [piece(embeds, frames.proprio_mask.unsqueeze(2), Kind.PROPRIO, block=block)]

    def _queries(self, queries: Float[Tensor, "b t q d"], tail: Stretch | None) -> list[Stretch]:
        policy = self._policy
        real = torch.ones(queries.shape[:-1], dtype=torch.bool, device=queries.device)
        block = QUERY_BLOCK if policy.act_head.has_parallel_queries else 0
        stretch = piece(queries, real, Kind.QUERY, block=block)
        if tail is None or not len(tail.layout):
            return [stretch]
        if not policy.act_head.is_discrete:
            return [stretch, tail]
        if policy.config.original_layout:  # the prompt's last token predicts the first action token
            start = dataclasses.replace(tail.layout, kinds=(Kind.QUERY,) * len(tail.layout))
            return [dataclasses.replace(tail, layout=start), stretch]
        return [tail, stretch]

    def _with_media(self, stretch: Stretch, tokens: Tensor, image_mask: Tensor) -> Stretch:
        """Cast to one type of number; hand images over from outside if the decoder takes them there."""
        backbone = self._policy.backbone
        stretch = dataclasses.replace(stretch, embeds=stretch.embeds.to(tokens.dtype))
        if not backbone.is_cross_attention:
            return stretch
        media, real = tokens.flatten(-3, -2), image_mask.repeat_interleave(tokens.shape[-2], dim=-1)
        frame = torch.zeros(media.shape[-2], dtype=torch.int64, device=media.device)
        return dataclasses.replace(stretch, media=media, media_real=real, media_frame=frame)


def image_pieces(
    backbone: Backbone, tokens: Float[Tensor, "*lead v k e"], image_mask: Bool[Tensor, "*lead v"], bidirectional: str
) -> list[Stretch]:
    """The tokens of each camera's image, with the marks around it; `bidirectional` as in `Backbone`."""
    k = tokens.shape[-2]
    positions = backbone.image_positions(k)
    if positions is not None:
        positions = tuple(one.to(tokens.device) for one in positions)
    pieces: list[Stretch] = []
    for camera in range(image_mask.shape[-1]):
        image, real = tokens[..., camera, :, :], image_mask[..., camera : camera + 1]
        block = {
            "none": 0,
            "images": FIRST_IMAGE_BLOCK + camera,
            "lead_and_images": FIRST_IMAGE_BLOCK,
            "prefix": PREFIX_BLOCK,
        }[bidirectional]
        seen = real.expand(*real.shape[:-1], k)
        pieces += _marks(backbone, backbone.image_start_ids, real, tokens, bidirectional)
        pieces.append(piece(image, seen, Kind.IMAGE, block=block, positions=positions))
        pieces += _marks(backbone, backbone.image_end_ids, real, tokens, bidirectional)
    return pieces


def _marks(backbone: Backbone, ids: tuple[int, ...], real: Tensor, like: Tensor, bidirectional: str) -> list[Stretch]:
    if not ids:
        return []
    embeds = backbone.word_embedding(torch.tensor(ids, device=real.device)).to(like.dtype)
    block = PREFIX_BLOCK if bidirectional == "prefix" else 0
    shape = real.shape[:-1]
    return [piece(embeds.expand(*shape, -1, -1), real.expand(*shape, len(ids)), Kind.IMAGE, block=block)]


def _squeeze(stretch: Stretch) -> Stretch:
    """[b, 1, s] -> [b, s]."""
    return dataclasses.replace(stretch, embeds=stretch.embeds.squeeze(1), real=stretch.real.squeeze(1))
