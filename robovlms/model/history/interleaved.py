"""Interleaved: one causal sequence over the frames. A frame sees the prefix and the last t frames, its own included.

Two layouts::

    default        [lead · text] [images · proprio · queries] [images · proprio · queries] …
    repeat_text    [lead · images · text · proprio · queries · tail] [lead · images · text · proprio · queries · tail] …

The text once is shorter and made for streaming; the text in every frame is what the original was trained with ("pre").

The mask is the same band in training and in streaming, so keys and values of past frames never change and can be kept:
a new frame costs one frame. A cache of t frames is enough, and the newest frame takes the slots of the one that falls
out of the band::

    row    [ prefix | frame 4 | frame 5 | frame 2 | frame 3 ]      t = 4, the newest is frame 5

The original reads its window anew at every step, with positions from 0; its weights know nothing else. A policy with
`original_layout` therefore does the same (`WindowStream`), at t times the cost, pictures encoded once.

Positions grow with the episode. A decoder that cannot tell so many apart starts again from the prefix and the last
t - 1 frames when it would run out.
"""

from collections import deque
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from robovlms.errors import PolicyError
from robovlms.model.history.base import Features, HeadMemory, History, Stream, WindowStream, index_of
from robovlms.model.history.decode import TokenCache, choose_actions, read_features
from robovlms.model.history.frames import Frames
from robovlms.model.history.sequence import Stretch, fold, length_of, prepend, unroll


class InterleavedHistory(History):
    """Frames follow each other in the decoder's own sequence."""

    def features(self, frames: Frames, queries: Float[Tensor, "b s known d"], choose: bool) -> Features:
        if choose:
            return self._choose_step_by_step(frames)
        repeat_text = self.policy.config.repeat_text
        stretch = unroll(self.builder.frames(frames, queries, with_prompt=repeat_text))
        if not repeat_text:
            stretch = prepend(self.builder.prefix(frames), stretch)
        return read_features(self.policy, stretch, frames.step_mask.shape[1]), frames.step_mask

    def _choose_step_by_step(self, frames: Frames) -> Features:
        """A frame sees the tokens chosen at the frames before it, so they are chosen in order."""
        b, t = frames.step_mask.shape
        stream, head, d = self.stream(b), self.policy.act_head, self.policy.backbone.hidden_size
        features = self.policy.action_token.new_zeros(b, t, head.num_queries, d)
        for step in range(t):
            rows = frames.step_mask[:, step].nonzero()[:, 0].tolist()
            if rows:
                chosen, _ = stream.step(frames.step(step).rows(rows), rows)
                features[rows, step] = chosen[:, -1].to(features.dtype)
        return features, frames.step_mask

    def stream(self, num_rows: int) -> Stream:
        if self.policy.config.original_layout and not self.policy.act_head.is_discrete:
            return WindowStream(self, num_rows)
        return InterleavedStream(self, num_rows)


class InterleavedStream(Stream):
    """Keys and values of the prefix and of the last t frames of several rows.

    Args:
        history: how a frame becomes tokens.
        num_rows: robots.
    """

    def __init__(self, history: InterleavedHistory, num_rows: int) -> None:
        self._history, self._policy, self._num_rows = history, history.policy, num_rows
        self._memory = HeadMemory(history.policy, num_rows)
        self._window = history.policy.config.window_size
        self._cache: TokenCache | None = None
        self._prefix_slots = self._frame_slots = 0
        self._seen, self._used = [0] * num_rows, [0] * num_rows  # frames seen, positions used at most
        limited = history.policy.backbone.max_positions is not None
        self._past: list[deque[Frames]] = [deque(maxlen=self._window - 1 if limited else 0) for _ in range(num_rows)]

    def _reset(self, rows: Sequence[int]) -> None:
        self._memory.reset(rows)
        for row in rows:
            self._past[row].clear()
            self._forget(row)

    def _step(self, frames: Frames, rows: Sequence[int]) -> Features:
        frame = fold(self._frame_tokens(frames))
        for i, row in enumerate(rows):
            if self._runs_out(row, len(frame.layout)):
                self._start_again(row, frames.rows([i]))
        features = self._advance(frames, frame, rows)
        for i, row in enumerate(rows):
            self._past[row].append(frames.rows([i]))
        return self._memory.append(rows, features)

    def _frame_tokens(self, frames: Frames) -> Stretch:
        queries = self._history.first_queries(frames)
        return self._history.builder.frames(frames, queries, with_prompt=self._policy.config.repeat_text)

    def _advance(self, frames: Frames, frame: Stretch, rows: Sequence[int]) -> Float[Tensor, "f 1 q d"]:
        new = [i for i, row in enumerate(rows) if not self._seen[row]]
        if new and not self._policy.config.repeat_text:
            self._read_prefix(frames.rows(new), [rows[i] for i in new])
        head = self._policy.act_head
        size = len(frame.layout) + (head.num_queries - 1 if head.is_discrete else 0)
        cache = self._with_room(self._prefix_slots, size, frame.embeds.device)
        index, seen = (index_of(x, frame.embeds.device) for x in (rows, [self._seen[row] for row in rows]))
        begin = self._prefix_slots + (seen % self._window) * self._frame_slots
        slots = begin.unsqueeze(1) + torch.arange(size, device=index.device)
        self._free(cache, index, begin)
        place = {"rows": index, "slots": slots, "frame": seen, "is_everyone": list(rows) == [*range(self._num_rows)]}
        if head.is_discrete:
            features = choose_actions(self._policy, frame, cache, **place)
        else:
            features = cache.features(self._policy, frame, **place)
        for row in rows:
            self._seen[row] += 1
        self._count_positions(rows, frame, size - len(frame.layout))
        return features

    def _count_positions(self, rows: Sequence[int], stretch: Stretch, more: int) -> None:
        """Add up positions, where they may run out; padding takes none."""
        if self._policy.backbone.max_positions is not None:
            for row, length in zip(rows, length_of(stretch).tolist(), strict=True):
                self._used[row] += length + more

    def _read_prefix(self, frames: Frames, rows: Sequence[int]) -> None:
        prefix = self._history.builder.prefix(frames)
        device, size = prefix.embeds.device, len(prefix.layout)
        empty = prepend(prefix, fold(self._frame_tokens(frames)))  # images from outside: none is of the prefix
        prefix = _first(empty, size)
        cache = self._with_room(size, 0, device)
        index, slots = index_of(rows, device), torch.arange(size, device=device).expand(len(rows), -1)
        first, nothing = torch.zeros_like(index), torch.zeros(1, dtype=torch.int64, device=device)
        cache.decode(self._policy, prefix, rows=index, slots=slots, frame=first, read=nothing)
        self._count_positions(rows, prefix, 0)

    def _free(self, cache: TokenCache, rows: Int64[Tensor, "f"], begin: Int64[Tensor, "f"]) -> None:
        """Empty the slots of the frame that falls out of the band; the new one may have fewer tokens."""
        slots = begin.unsqueeze(1) + torch.arange(self._frame_slots, device=begin.device)
        cache.keys.real[rows.unsqueeze(1), slots] = False

    def _with_room(self, prefix: int, frame: int, device: torch.device) -> TokenCache:
        """The cache, grown if a prefix or a frame needs more slots than there are."""
        prefix, frame = max(prefix, self._prefix_slots), max(frame, self._frame_slots)
        size = prefix + self._window * frame
        if self._cache is None:
            self._cache = TokenCache(self._num_rows, size, device)
        elif (prefix, frame) != (self._prefix_slots, self._frame_slots):
            old_prefix = torch.arange(self._prefix_slots, device=device)
            starts = prefix + frame * torch.arange(self._window, device=device)
            old_frames = (starts.unsqueeze(1) + torch.arange(self._frame_slots, device=device)).flatten()
            self._cache = self._cache.move(size, torch.cat([old_prefix, old_frames]))
        self._prefix_slots, self._frame_slots = prefix, frame
        return self._cache

    def _forget(self, row: int) -> None:
        self._seen[row] = self._used[row] = 0
        if self._cache is not None:
            self._cache.clear(index_of([row], self._cache.next_position.device))

    def _runs_out(self, row: int, size: int) -> bool:
        limit, head = self._policy.backbone.max_positions, self._policy.act_head
        if limit is None:
            return False
        return self._used[row] + size + (head.num_queries if head.is_discrete else 0) > limit

    def _start_again(self, row: int, now: Frames) -> None:
        past = list(self._past[row])
        self._forget(row)
        for frames in past:
            self._advance(frames, fold(self._frame_tokens(frames)), [row])
        if self._runs_out(row, len(fold(self._frame_tokens(now)).layout)):
            limit = self._policy.backbone.max_positions
            raise PolicyError(
                f"a window of {self._window} frames needs more than the decoder's {limit} positions; "
                "train with a smaller model.window_size or fewer image tokens"
            )


def _first(stretch: Stretch, size: int) -> Stretch:
    """The first `size` tokens, with the images from outside."""
    layout = stretch.layout
    cut = type(layout)(
        kinds=layout.kinds[:size],
        **{name: getattr(layout, name)[..., :size] for name in ("frame", "index", "block", "advance", "offset")},
    )
    return Stretch(
        embeds=stretch.embeds[:, :size],
        real=stretch.real[:, :size],
        layout=cut,
        media=stretch.media,
        media_real=stretch.media_real,
        media_frame=stretch.media_frame,
    )
