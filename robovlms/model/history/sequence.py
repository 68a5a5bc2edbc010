"""The token sequence that the decoder reads: what stands where, at which position, and who sees whom.

A `Stretch` is a piece of every row's sequence. Its `Layout` says the same for all rows; what differs between rows is
which tokens are real. Stretches are joined to the tokens of one frame, and frames either become rows of their own
(`fold`) or follow each other in one row (`unroll`).

Who sees whom follows from four numbers of a token: whether it is real, its frame, its index within the frame, and its
block. A token sees

- every real token of an earlier frame, at most `window` frames back counting its own, and the prefix (frame -1);
  except action tokens that a discrete head chose, which repeat most of what the next frame is to predict;
- of its own frame, every real token before it, itself, and all tokens of its block, in both directions.

Padding (short texts, missing cameras, missing proprioception) takes no part in attention and no position, so a sample
gives the same action alone and in a padded batch.

Worked example: one camera of 2 tokens, a text of 2 tokens padded to 3, 1 action query, prefix-LM, so that image and
text are one block:

>>> real = torch.tensor([[True, True, True, True, False, True]])  # image image text text (pad) ACT
>>> embeds = torch.zeros(1, 6, 4)
>>> stretch = join(
...     piece(embeds[:, :2], real[:, :2], Kind.IMAGE, block=1),
...     piece(embeds[:, 2:5], real[:, 2:5], Kind.TEXT, block=1),
...     piece(embeds[:, 5:], real[:, 5:], Kind.QUERY),
... )
>>> positions_of(stretch, num_rows=1)[0].tolist()
[0, 1, 2, 3, 4, 4]
>>> attention_allowed(stretch.layout, stretch.keys(), window=1)[0].int()
tensor([[1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0, 1]], dtype=torch.int32)
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

PREFIX_FRAME = -1
_TENSORS = ("frame", "index", "block", "advance", "offset")


class Kind(IntEnum):
    """What a token is."""

    TEXT, IMAGE, PROPRIO, QUERY = range(4)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What holds for a token in every row.

    Attributes:
        kinds: what each token is.
        frame: number of its frame, counted from the stretch's first one; -1 = the prefix.
        index: its place within its frame.
        block: tokens of a frame with the same number above 0 see each other in both directions; 0 = causal.
        advance: how far it moves the position on, if it is real.
        offset: its (time, height, width) position relative to where its image begins; 0 for text.
    """

    kinds: tuple[Kind, ...]
    frame: Int64[Tensor, "s"]
    index: Int64[Tensor, "s"]
    block: Int64[Tensor, "s"]
    advance: Int64[Tensor, "s"]
    offset: Int64[Tensor, "3 s"]

    def __len__(self) -> int:
        return len(self.kinds)

    def columns(self, *kinds: Kind) -> Int64[Tensor, "c"]:
        """Where the tokens of some kinds stand."""
        columns = [column for column, kind in enumerate(self.kinds) if kind in kinds]
        return torch.tensor(columns, dtype=torch.int64, device=self.frame.device)


@dataclass(frozen=True, kw_only=True)
class Keys:
    """What a query must know of the tokens it may look at; one row, or one per row.

    Attributes:
        real: False = padding, an empty slot, or a token that nobody may see.
        shared: False = a token that only its own frame may see.
        frame, index, block: as in `Layout`.
    """

    real: Bool[Tensor, "r S"]
    shared: Bool[Tensor, "q S"]
    frame: Int64[Tensor, "f S"]
    index: Int64[Tensor, "q S"]
    block: Int64[Tensor, "q S"]


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A piece of every row's sequence.

    Attributes:
        embeds: [*lead, s, e].
        real: [*lead, s], False = padding.
        layout: what holds in every row.
        media: image tokens outside the sequence, [*lead, m, e], if the decoder attends to them there.
        media_real: [*lead, m].
        media_frame: [m], frame of each.
    """

    embeds: Float[Tensor, "*lead s e"]
    real: Bool[Tensor, "*lead s"]
    layout: Layout
    media: Float[Tensor, "*lead m w"] | None = None
    media_real: Bool[Tensor, "*lead m"] | None = None
    media_frame: Int64[Tensor, "m"] | None = None

    def keys(self, hidden: Kind | None = None, own: Kind | None = None) -> Keys:
        """This stretch as what is looked at.

        Args:
            hidden: tokens of this kind are seen by nobody.
            own: tokens of this kind are seen by their own frame only.
        """
        real, layout = self.real, self.layout
        shared = torch.ones_like(layout.frame, dtype=torch.bool)[None]
        if hidden is not None:
            real = real.index_fill(-1, layout.columns(hidden), False)
        if own is not None:
            shared = shared.index_fill(-1, layout.columns(own), False)
        frame, index, block = layout.frame[None], layout.index[None], layout.block[None]
        return Keys(real=real, shared=shared, frame=frame, index=index, block=block)


def piece(
    embeds: Float[Tensor, "*lead s e"],
    real: Bool[Tensor, "*lead s"],
    kind: Kind,
    *,
    block: int = 0,
    positions: tuple[Int64[Tensor, "s"], Int64[Tensor, "3 s"]] | None = None,
) -> Stretch:
    """Tokens of one kind in frame 0; `positions` as `Backbone.image_positions` gives them."""
    size = embeds.shape[-2]
    count = torch.arange(size, device=embeds.device)
    advance, offset = (torch.ones_like(count), count.new_zeros(3, size)) if positions is None else positions
    zero = torch.zeros_like(count)
    layout = Layout(kinds=(kind,) * size, frame=zero, index=count, block=zero + block, advance=advance, offset=offset)
    return Stretch(embeds=embeds, real=real, layout=layout)


def join(*stretches: Stretch) -> Stretch:
    """Put tokens of one frame one after the other; narrower embeddings are filled with zeros."""
    joined = _concatenate(stretches)
    index = torch.arange(len(joined.layout), device=joined.layout.index.device)
    return dataclasses.replace(joined, layout=dataclasses.replace(joined.layout, index=index))


def prepend(prefix: Stretch, frames: Stretch) -> Stretch:
    """Put a prefix, which every frame sees, before unrolled frames."""
    layout = dataclasses.replace(prefix.layout, frame=torch.full_like(prefix.layout.frame, PREFIX_FRAME))
    return _concatenate([dataclasses.replace(prefix, layout=layout), frames])


def _concatenate(stretches: Sequence[Stretch]) -> Stretch:
    width = max(stretch.embeds.shape[-1] for stretch in stretches)
    layouts = [stretch.layout for stretch in stretches]
    columns = {name: torch.cat([getattr(one, name) for one in layouts], dim=-1) for name in _TENSORS}
    media = next((stretch for stretch in stretches if stretch.media is not None), None)
    return Stretch(
        embeds=torch.cat([F.pad(stretch.embeds, (0, width - stretch.embeds.shape[-1])) for stretch in stretches], -2),
        real=torch.cat([stretch.real for stretch in stretches], dim=-1),
        layout=Layout(kinds=sum((one.kinds for one in layouts), ()), **columns),
        media=None if media is None else media.media,
        media_real=None if media is None else media.media_real,
        media_frame=None if media is None else media.media_frame,
    )


def fold(frames: Stretch) -> Stretch:
    """[b, t, s] -> [b · t, s]: every frame is a sequence of its own."""
    media = frames.media is not None
    return dataclasses.replace(
        frames,
        embeds=frames.embeds.flatten(0, 1),
        real=frames.real.flatten(0, 1),
        media=frames.media.flatten(0, 1) if media else None,
        media_real=frames.media_real.flatten(0, 1) if media else None,
    )


def unroll(frames: Stretch) -> Stretch:
    """[b, t, s] -> [b, t · s]: the frames follow each other in one sequence."""
    t, layout = frames.real.shape[1], frames.layout
    each = torch.arange(t, device=layout.frame.device)
    tiled = {name: getattr(layout, name).tile(t) for name in _TENSORS}
    tiled["frame"] = each.repeat_interleave(len(layout))
    media = frames.media is not None
    return Stretch(
        embeds=frames.embeds.flatten(1, 2),
        real=frames.real.flatten(1, 2),
        layout=Layout(kinds=layout.kinds * t, **tiled),
        media=frames.media.flatten(1, 2) if media else None,
        media_real=frames.media_real.flatten(1, 2) if media else None,
        media_frame=each.repeat_interleave(frames.media.shape[2]) if media else None,
    )


def positions_of(
    stretch: Stretch, num_rows: int, start: Int64[Tensor, "r"] | None = None
) -> Int64[Tensor, "*rows r s"]:
    """Position of each token from `start` (0), padding not counted.

    Args:
        stretch: [r, s].
        num_rows: 1, or 3 for (time, height, width), stacked in front.
        start: position of each row's first token.
    """
    moved = stretch.layout.advance * stretch.real
    before = moved.cumsum(-1) - moved
    if start is not None:
        before = before + start.unsqueeze(1)
    return before if num_rows == 1 else before + stretch.layout.offset.unsqueeze(1)


def length_of(stretch: Stretch) -> Int64[Tensor, "r"]:
    """How far a stretch moves the position of each row on."""
    return (stretch.layout.advance * stretch.real).sum(-1)


def attention_allowed(
    query: Layout,
    keys: Keys,
    window: int,
    slots: Int64[Tensor, "r s"] | None = None,
    frame_offset: Int64[Tensor, "r"] | None = None,
) -> Bool[Tensor, "r s S"]:
    """Who may attend to whom: [r, query, key]; see the module's rules. Who would see nothing sees itself.

    Args:
        query: the tokens that look.
        keys: the tokens looked at; the same ones, or the slots of a cache.
        window: frames that a token sees at most, its own included.
        slots: where in `keys` each query is; None = in its own column.
        frame_offset: number of the stretch's frame 0 in each row.
    """
    frame, index, block = (getattr(query, name)[None, :, None] for name in ("frame", "index", "block"))
    if frame_offset is not None:
        frame = torch.where(frame == PREFIX_FRAME, frame, frame + frame_offset[:, None, None])
    key_frame, key_index, key_block = (getattr(keys, name)[:, None] for name in ("frame", "index", "block"))
    is_near = (key_frame == PREFIX_FRAME) | (frame - key_frame < window)
    is_earlier = (key_frame < frame) & is_near & keys.shared[:, None]
    is_own = (key_frame == frame) & ((key_index <= index) | ((block > 0) & (key_block == block)))
    allowed = (is_earlier | is_own) & keys.real[:, None]
    if slots is None:
        slots = torch.arange(len(query), device=allowed.device).expand(len(allowed), -1)
    itself = slots.unsqueeze(2)
    return allowed.scatter(2, itself, allowed.gather(2, itself) | ~allowed.any(2, keepdim=True))
