"""Reading a sequence with the decoder: in one pass, or piece by piece with what came before in a cache."""

import dataclasses

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from robovlms.model.backbone.base import Media
from robovlms.model.cache import KVCache
from robovlms.model.head.pooling import adaptive_max_pool
from robovlms.model.history.frames import PolicyParts
from robovlms.model.history.sequence import (
    Keys,
    Kind,
    Stretch,
    attention_allowed,
    length_of,
    piece,
    positions_of,
)

_SOURCES = {
    "action": (Kind.QUERY,),
    "all": (Kind.TEXT, Kind.IMAGE, Kind.PROPRIO),
    "text": (Kind.TEXT,),
    "vision": (Kind.IMAGE,),
}


def read_features(policy: PolicyParts, stretch: Stretch, num_frames: int = 1) -> Float[Tensor, "r t q d"]:
    """Hidden states that the head reads, of every frame, computed in one pass.

    Args:
        policy: reads.
        stretch: whole sequences [r, s].
        num_frames: t, frames in each; their tokens, without the prefix, are equally many.
    """
    backbone, config = policy.backbone, policy.config
    columns = stretch.layout.columns(*_SOURCES[config.token_source])
    hidden = backbone.decode(
        stretch.embeds,
        attention_allowed(stretch.layout, stretch.keys(_hidden_kind(policy)), config.window_size),
        positions_of(stretch, backbone.position_rows),
        columns,
        media=media_of(stretch),
    ).unflatten(1, (num_frames, -1))
    if config.token_source == "action":
        return hidden
    real = stretch.real.index_select(1, columns).unflatten(1, (num_frames, -1))
    return adaptive_max_pool(hidden, real, config.latent)


def media_of(stretch: Stretch) -> Media | None:
    """Images outside the sequence: a token looks at those of its own frame."""
    if stretch.media is None:
        return None
    is_own = stretch.layout.frame[:, None] == stretch.media_frame[None]
    return Media(tokens=stretch.media, allowed=is_own & stretch.media_real.unsqueeze(1))


def _hidden_kind(policy: PolicyParts) -> Kind | None:
    return Kind.QUERY if policy.config.hide_action_tokens else None


class TokenCache:
    """The past of several rows: keys and values, and what is needed to know who sees them.

    Args:
        num_rows: r.
        num_slots: tokens per row.
        device: where.
    """

    def __init__(self, num_rows: int, num_slots: int, device: torch.device) -> None:
        self.kv = KVCache(num_rows, num_slots)
        numbers = torch.zeros(num_rows, num_slots, dtype=torch.int64, device=device)
        self.keys = Keys(real=numbers.bool(), frame=numbers, index=numbers.clone(), block=numbers.clone())
        self.next_position = numbers.new_zeros(num_rows)

    def clear(self, rows: Int64[Tensor, "f"]) -> None:
        """Forget rows."""
        self.keys.real[rows] = False
        self.next_position[rows] = 0

    def move(self, num_slots: int, target: Int64[Tensor, "S"]) -> "TokenCache":
        """A larger cache that holds slot i of this one at `target[i]`."""
        moved = TokenCache(self.kv.num_rows, num_slots, self.next_position.device)
        for field in dataclasses.fields(Keys):
            getattr(moved.keys, field.name)[:, target] = getattr(self.keys, field.name)
        moved.kv, moved.next_position = self.kv.move(num_slots, target), self.next_position
        return moved

    def decode(
        self,
        policy: PolicyParts,
        stretch: Stretch,
        *,
        rows: Int64[Tensor, "f"],
        slots: Int64[Tensor, "f s"],
        frame: Int64[Tensor, "f"],
        read: Int64[Tensor, "c"],
    ) -> Float[Tensor, "f c d"]:
        """Read a stretch after what the rows hold, and keep it.

        Args:
            policy: reads.
            stretch: the next tokens of some rows, [f, s].
            rows: which rows.
            slots: where the tokens are kept.
            frame: number of the stretch's frame 0 in each row.
            read: columns to return.
        """
        backbone, layout = policy.backbone, stretch.layout
        number = torch.where(layout.frame < 0, layout.frame, layout.frame + frame.unsqueeze(1))
        own = stretch.keys(_hidden_kind(policy))
        at = (rows.unsqueeze(1), slots)
        self.keys.real[at], self.keys.frame[at] = own.real, number
        self.keys.index[at], self.keys.block[at] = layout.index.expand_as(slots), layout.block.expand_as(slots)
        keys = Keys(**{field.name: getattr(self.keys, field.name)[rows] for field in dataclasses.fields(Keys)})
        allowed = attention_allowed(layout, keys, policy.config.window_size, frame)
        allowed.scatter_(2, slots.unsqueeze(2), True)
        positions = positions_of(stretch, backbone.position_rows, self.next_position[rows])
        self.next_position[rows] += length_of(stretch)
        self.kv.aim(slots, rows)
        return backbone.decode(stretch.embeds, allowed, positions, read, self.kv, media_of(stretch))


def choose_actions(
    policy: PolicyParts,
    stretch: Stretch,
    cache: TokenCache,
    *,
    rows: Int64[Tensor, "f"],
    slots: Int64[Tensor, "f S"],
    frame: Int64[Tensor, "f"],
) -> Float[Tensor, "f 1 m d"]:
    """Read a stretch that ends with the first query, then choose action tokens one after the other.

    Args:
        policy: has a discrete head.
        stretch: [f, s].
        cache: holds what came before and takes the new tokens.
        rows: of the cache.
        slots: S = s + m - 1 of them, the last ones for the chosen tokens.
        frame: as in `TokenCache.decode`.

    Returns:
        Hidden states that predict the m tokens.
    """
    head, size = policy.act_head, len(stretch.layout)
    last = torch.tensor([size - 1], device=slots.device)
    hidden = [cache.decode(policy, stretch, rows=rows, slots=slots[:, :size], frame=frame, read=last)]
    real = stretch.real[:, -1:]
    for i in range(head.num_queries - 1):
        embeds = head.embed_tokens(head.choose(head.logits(hidden[-1]))).to(stretch.embeds.dtype)
        token = piece(embeds, real, Kind.QUERY)
        layout = dataclasses.replace(token.layout, index=token.layout.index + size + i)
        media = {name: getattr(stretch, name) for name in ("media", "media_real", "media_frame")}
        token = dataclasses.replace(token, layout=layout, **media)
        at = slots[:, size + i : size + i + 1]
        hidden.append(cache.decode(policy, token, rows=rows, slots=at, frame=frame, read=last * 0))
    return torch.cat(hidden, dim=1).unsqueeze(1)


def predict_actions_once(policy: PolicyParts, stretch: Stretch) -> Float[Tensor, "r 1 m d"]:
    """`choose_actions` for sequences [r, s] that need no past."""
    count, size = stretch.real.shape[0], len(stretch.layout) + policy.act_head.num_queries - 1
    device = stretch.real.device
    cache, rows = TokenCache(count, size, device), torch.arange(count, device=device)
    slots = torch.arange(size, device=device).expand(count, -1)
    return choose_actions(policy, stretch, cache, rows=rows, slots=slots, frame=torch.zeros_like(rows))


def real_steps(mask: Bool[Tensor, "b"]) -> list[int]:
    """Rows where `mask` is True."""
    return mask.nonzero()[:, 0].tolist()
