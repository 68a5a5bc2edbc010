"""Reading a sequence with the decoder: in one pass, or piece by piece with what came before in a cache."""

import dataclasses

import torch
from jaxtyping import Float, Int64
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
    columns = columns_read(policy, stretch)
    hidden = backbone.decode(
        stretch.embeds,
        attention_allowed(stretch.layout, keys_of(policy, stretch), config.window_size),
        positions_of(stretch, backbone.position_rows),
        columns,
        media=media_of(stretch),
    )
    return _pooled(policy, hidden, stretch, columns, num_frames)


def columns_read(policy: PolicyParts, stretch: Stretch) -> Int64[Tensor, "c"]:
    """Columns whose hidden states the head reads, or pools."""
    return stretch.layout.columns(*_SOURCES[policy.config.token_source])


def _pooled(
    policy: PolicyParts, hidden: Float[Tensor, "r c d"], stretch: Stretch, columns: Int64[Tensor, "c"], num_frames: int
) -> Float[Tensor, "r t q d"]:
    hidden = hidden.unflatten(1, (num_frames, -1))
    if policy.config.token_source == "action":
        return hidden
    real = stretch.real.index_select(1, columns).unflatten(1, (num_frames, -1))
    return adaptive_max_pool(hidden, real, policy.config.latent)


def keys_of(policy: PolicyParts, stretch: Stretch) -> Keys:
    """A stretch as what is looked at. The original lets later frames see chosen action tokens, so its weights may."""
    config = policy.config
    is_private = policy.act_head.is_discrete and not config.original_layout
    return stretch.keys(
        hidden=Kind.QUERY if config.hide_action_tokens else None, own=Kind.QUERY if is_private else None
    )


def media_of(stretch: Stretch) -> Media | None:
    """Images outside the sequence: a token looks at those of its own frame."""
    if stretch.media is None:
        return None
    is_own = stretch.layout.frame[:, None] == stretch.media_frame[None]
    return Media(tokens=stretch.media, allowed=is_own & stretch.media_real.unsqueeze(1))


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
        self.keys = Keys(
            real=numbers.bool(), shared=numbers.bool(), frame=numbers, index=numbers.clone(), block=numbers.clone()
        )
        self.next_position = numbers.new_zeros(num_rows)

    def clear(self, rows: Int64[Tensor, "f"]) -> None:
        """Forget rows: their values as well, because a masked number that is not finite still spoils a sum."""
        self.kv.clear(rows)
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
        is_everyone: bool = False,
    ) -> Float[Tensor, "f c d"]:
        """Read a stretch after what the rows hold, and keep it.

        Args:
            policy: reads.
            stretch: the next tokens of some rows, [f, s].
            rows: which rows.
            slots: where the tokens are kept.
            frame: number of the stretch's frame 0 in each row.
            read: columns to return.
            is_everyone: whether `rows` are all rows in order, which saves a copy.
        """
        backbone, layout = policy.backbone, stretch.layout
        number = torch.where(layout.frame < 0, layout.frame, layout.frame + frame.unsqueeze(1))
        new = dataclasses.replace(keys_of(policy, stretch), frame=number)
        for field in dataclasses.fields(Keys):
            getattr(self.keys, field.name)[rows.unsqueeze(1), slots] = getattr(new, field.name).expand_as(slots)
        keys = Keys(**{field.name: getattr(self.keys, field.name)[rows] for field in dataclasses.fields(Keys)})
        allowed = attention_allowed(layout, keys, policy.config.window_size, slots, frame)
        positions = positions_of(stretch, backbone.position_rows, self.next_position[rows])
        self.kv.aim(slots, None if is_everyone else rows)
        hidden = backbone.decode(stretch.embeds, allowed, positions, read, self.kv, media_of(stretch))
        self.next_position[rows] += length_of(stretch)
        return hidden

    def features(
        self,
        policy: PolicyParts,
        stretch: Stretch,
        *,
        rows: Int64[Tensor, "f"],
        slots: Int64[Tensor, "f s"],
        frame: Int64[Tensor, "f"],
        is_everyone: bool,
    ) -> Float[Tensor, "f 1 q d"]:
        """`decode`, and what the head reads of it."""
        columns = columns_read(policy, stretch)
        place = {"rows": rows, "slots": slots, "frame": frame, "is_everyone": is_everyone}
        return _pooled(policy, self.decode(policy, stretch, read=columns, **place), stretch, columns, 1)


def choose_actions(
    policy: PolicyParts,
    stretch: Stretch,
    cache: TokenCache,
    *,
    rows: Int64[Tensor, "f"],
    slots: Int64[Tensor, "f S"],
    frame: Int64[Tensor, "f"],
    is_everyone: bool,
) -> Float[Tensor, "f 1 m d"]:
    """Read a stretch that ends with the first query, then choose action tokens one after the other.

    Args:
        policy: has a discrete head.
        stretch: [f, s].
        cache: holds what came before and takes the new tokens.
        rows: of the cache.
        slots: S = s + m - 1 of them, the last ones for the chosen tokens.
        frame, is_everyone: as in `TokenCache.decode`.

    Returns:
        Hidden states that predict the m tokens.
    """
    head, size = policy.act_head, len(stretch.layout)
    last = torch.tensor([size - 1], device=slots.device)
    place = {"rows": rows, "frame": frame, "is_everyone": is_everyone}
    hidden = [cache.decode(policy, stretch, slots=slots[:, :size], read=last, **place)]
    real = stretch.real[:, -1:]
    for i in range(head.num_queries - 1):
        chosen = head.choose(head.logits(hidden[-1].float()))
        token = piece(head.embed_tokens(chosen).to(stretch.embeds.dtype), real, Kind.QUERY)
        layout = dataclasses.replace(token.layout, index=token.layout.index + size + i)
        media = {name: getattr(stretch, name) for name in ("media", "media_real", "media_frame")}
        token = dataclasses.replace(token, layout=layout, **media)
        hidden.append(cache.decode(policy, token, slots=slots[:, size + i : size + i + 1], read=last * 0, **place))
    return torch.cat(hidden, dim=1).unsqueeze(1)


def predict_actions_once(policy: PolicyParts, stretch: Stretch) -> Float[Tensor, "r 1 m d"]:
    """`choose_actions` for sequences [r, s] that need no past."""
    count, size = stretch.real.shape[0], len(stretch.layout) + policy.act_head.num_queries - 1
    device = stretch.real.device
    cache, rows = TokenCache(count, size, device), torch.arange(count, device=device)
    slots = torch.arange(size, device=device).expand(count, -1)
    first = torch.zeros_like(rows)
    return choose_actions(policy, stretch, cache, rows=rows, slots=slots, frame=first, is_everyone=True)
