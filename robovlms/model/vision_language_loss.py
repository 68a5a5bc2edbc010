"""Next-token loss of conversations about images, through the same pieces that write text: see `generate`.

::

    row with an image      [text before · marks and image · text up to the answer | answer, later questions and answers]
    row without            [text before                   · text up to the answer | …                                  ]
                            may see each other in both directions in a prefix-LM  | causal

Each part is padded to the longest of the batch. Padding takes no part in attention and no position, so rows of any
length, with the image anywhere before the first answer, share one pass.
"""

import dataclasses
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from robovlms.model.backbone.base import Backbone, Media
from robovlms.model.history.frames import FIRST_IMAGE_BLOCK, PREFIX_BLOCK, image_pieces
from robovlms.model.history.sequence import Kind, Stretch, attention_allowed, join, piece, positions_of

IGNORED = -100


@runtime_checkable
class Conversations(Protocol):
    """What is asked of a batch; `VisionLanguageBatch` fits, whose module says what the tensors are."""

    images: Tensor
    image_mask: Tensor
    image_at: Tensor
    input_ids: Tensor
    labels: Tensor
    text_mask: Tensor


def vision_language_loss(backbone: Backbone, batch: Conversations) -> Float[Tensor, ""]:
    """Mean cross-entropy of the answers' tokens, each predicted by the token before it, in float32.

    Args:
        backbone: with its vocabulary head; parameters that require a gradient get one.
        batch: on the backbone's device.
    """
    tokens = backbone.encode_images(backbone.preprocess(batch.images)).unsqueeze(1)
    stretch, labels = _sequence(backbone, batch, tokens)
    before = _token_before(stretch.real)
    rows, columns = ((labels != IGNORED) & (before >= 0)).nonzero(as_tuple=True)
    read, place = before[rows, columns].unique(return_inverse=True)
    hidden = backbone.decode(
        stretch.embeds,
        attention_allowed(stretch.layout, stretch.keys(), window=1),
        positions_of(stretch, backbone.position_rows),
        read,
        media=_media(backbone, batch.image_mask, tokens, len(stretch.layout)),
    )
    return F.cross_entropy(backbone.logits(hidden[rows, place]).float(), labels[rows, columns])


def _sequence(
    backbone: Backbone, batch: Conversations, tokens: Float[Tensor, "b 1 k e"]
) -> tuple[Stretch, Int64[Tensor, "b s"]]:
    """The sequence of the module's drawing, and the label of each of its tokens."""
    kind, ids, labels = backbone.bidirectional, batch.input_ids, batch.labels
    start, image_at, end = torch.zeros_like(batch.image_at), batch.image_at, batch.text_mask.sum(1)
    answer_at = (labels != IGNORED).int().argmax(1)
    block = PREFIX_BLOCK if kind == "prefix" else 0
    lead_block = FIRST_IMAGE_BLOCK if kind == "lead_and_images" else block

    def text(first: Tensor, last: Tensor, block: int) -> tuple[Stretch, Tensor]:
        real, (part, learned) = _span(first, last, ids, labels)
        embeds = backbone.word_embedding(part).to(tokens.dtype)
        return piece(embeds, real, Kind.TEXT, block=block), learned.where(real, IGNORED)

    images: list[Stretch] = []
    if not backbone.is_cross_attention:
        images = image_pieces(backbone, tokens, batch.image_mask.unsqueeze(1), kind)
    parts = [
        text(start, image_at, lead_block),
        *((one, torch.full_like(one.real, IGNORED, dtype=torch.int64)) for one in images),
        text(image_at, answer_at, block),
        text(answer_at, end, 0),
    ]
    stretch = join(*(one for one, _ in parts))
    embeds = F.pad(stretch.embeds, (0, backbone.embed_width - stretch.embeds.shape[-1]))
    return dataclasses.replace(stretch, embeds=embeds), torch.cat([learned for _, learned in parts], dim=1)


def _span(
    first: Int64[Tensor, "b"], last: Int64[Tensor, "b"], *values: Int64[Tensor, "b l"]
) -> tuple[Bool[Tensor, "b w"], list[Int64[Tensor, "b w"]]]:
    """Columns first … last - 1 of each row, padded on the right; which of them are real, and the values there."""
    width = int((last - first).max())
    columns = first.unsqueeze(1) + torch.arange(width, device=first.device)
    real = columns < last.unsqueeze(1)
    inside = columns.clamp_max(values[0].shape[1] - 1)
    return real, [one.gather(1, inside) for one in values]


def _token_before(real: Bool[Tensor, "b s"]) -> Int64[Tensor, "b s"]:
    """Column of the last real token before each column; -1 = none.

    >>> _token_before(torch.tensor([[True, False, True, True]])).tolist()
    [[-1, 0, 0, 2]]
    """
    columns = torch.arange(real.shape[1], device=real.device).expand_as(real)
    last = columns.where(real, -1).cummax(1).values
    return F.pad(last[:, :-1], (1, 0), value=-1)


def _media(backbone: Backbone, image_mask: Tensor, tokens: Tensor, size: int) -> Media | None:
    """Images outside the sequence: every token of a row looks at its image, if there is one."""
    if not backbone.is_cross_attention:
        return None
    media = tokens.flatten(1, 2)
    return Media(tokens=media, allowed=image_mask[:, None, None].expand(-1, size, media.shape[1]))
