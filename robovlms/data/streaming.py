"""Windows of a dataset that is read front to back: no index, no seeking, a pool of episodes that is mixed.

The records of all shards are cut into blocks. An epoch is a permutation of the blocks, dealt to lanes::

    lane 0    block 7 │ block 2 │ …      one loader process reads a lane; several lanes may share one
    lane 1    block 4 │ block 9 │ …

    lane      ─ next episode ─▶ pool of k episodes ─ random episode, its next random window ─▶ sample
                                     └ one that has no window left makes room for the next

Every window of an epoch is drawn once. What a lane draws depends on the seed, the number of the lane and the number of
lanes, not on who reads it; its state is a few numbers per episode of the pool, so a run resumes exactly.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from robovlms.actions.normalize import ActionCodec, Normalizer
from robovlms.data.dataset import common_size
from robovlms.data.mirror import Mirror
from robovlms.data.quarantine import BadWindow
from robovlms.data.sample import Sample, SampleBuilder, Window
from robovlms.data.sources.base import EpisodeSource
from robovlms.data.sources.stream import StreamableSource, StreamedEpisode
from robovlms.data.sources.view import SourceView
from robovlms.data.text import PromptEncoder
from robovlms.data.windows import window_at
from robovlms.errors import DataError

_BLOCK = 32  # records that follow each other in a shard
_BLOCKS_PER_LANE = 4  # at least, so that lanes are of about equal length
_EPOCH, _DRAW, _WITHIN = 4, 5, 6  # keep the random numbers of different questions apart


class StreamingDataset:
    """Windows of a streamable dataset in a pseudo-random order.

    Args:
        source: the dataset, or a view of one.
        builder: makes samples of its windows.
        window_size: t, frames per window, now included.
        fwd_pred_next_n: n, actions per frame.
        pool_episodes: episodes that are mixed, over all lanes.
        num_frames: steps of the dataset, where somebody counted them; None = unknown.

    Raises:
        DataError: if the dataset cannot be streamed.
    """

    def __init__(
        self,
        source: EpisodeSource,
        *,
        builder: SampleBuilder,
        window_size: int,
        fwd_pred_next_n: int,
        pool_episodes: int = 64,
        num_frames: int | None = None,
    ) -> None:
        self.source, self.num_frames = source, num_frames
        self.view = source if isinstance(source, SourceView) else None
        inner = source.source if isinstance(source, SourceView) else source
        if not isinstance(inner, StreamableSource):
            raise DataError(
                f"{source.path}: a dataset of {type(inner).__name__} cannot be streamed; set data.stream: false"
            )
        self.stream: StreamableSource = inner
        self.builder, self.cameras = builder, builder.cameras
        self.window_size, self.fwd_pred_next_n = window_size, fwd_pred_next_n
        self.pool_episodes = pool_episodes
        records = [inner.shard_records(shard) for shard in range(inner.num_shards)]
        self.first_record = np.cumsum([0, *records])  # number of the first episode of each shard
        self.num_episodes = int(self.first_record[-1])

    @classmethod
    def of(
        cls,
        source: EpisodeSource,
        *,
        window_size: int,
        fwd_pred_next_n: int,
        cameras: tuple[str, ...],
        action_codec: ActionCodec,
        proprio_normalizer: Normalizer | None,
        prompt_encoder: PromptEncoder,
        action_columns: Sequence[int],
        action_dim: int,
        proprio_dim: int,
        dataset: int = 0,
        mirror: Mirror | None = None,
        pool_episodes: int = 64,
        num_frames: int | None = None,
    ) -> "StreamingDataset":
        """Make one with the arguments of `BaseTaskDataset`."""
        height, width = common_size(source, cameras)
        builder = SampleBuilder(
            cameras=cameras,
            height=height,
            width=width,
            action_codec=action_codec,
            action_columns=action_columns,
            action_dim=action_dim,
            proprio_normalizer=proprio_normalizer,
            proprio_dim=proprio_dim,
            prompt_encoder=prompt_encoder,
            dataset=dataset,
            mirror=mirror,
        )
        return cls(
            source,
            builder=builder,
            window_size=window_size,
            fwd_pred_next_n=fwd_pred_next_n,
            pool_episodes=pool_episodes,
            num_frames=num_frames,
        )

    def lane(self, number: int, num_lanes: int, seed: int, state: dict[str, Any] | None = None) -> "Lane":
        """One of `num_lanes` parts of the dataset, from its beginning or from a state.

        Raises:
            DataError: if there are fewer episodes than lanes.
        """
        if self.num_episodes < num_lanes:
            raise DataError(
                f"{self.source.path}: {self.num_episodes} episodes are too few for the {num_lanes} parts that a stream "
                "is read in; set data.stream: false"
            )
        return Lane(self, number, num_lanes, seed, state)

    def blocks(self, num_lanes: int) -> list[tuple[int, int, int]]:
        """(shard, first record, records) of every block."""
        size = max(1, min(_BLOCK, self.num_episodes // (num_lanes * _BLOCKS_PER_LANE)))
        records = np.diff(self.first_record).tolist()
        return [
            (shard, first, min(size, count - first))
            for shard, count in enumerate(records)
            for first in range(0, count, size)
        ]


@dataclass(kw_only=True)
class _Pooled:
    """An episode of the pool, and how many of its windows were drawn."""

    episode: StreamedEpisode
    epoch: int
    used: int = 0
    order: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def left(self) -> int:
        return self.episode.length - self.used


class Lane:
    """Run-time state of one lane.

    Attributes:
        bad: episodes that could not be read since this was emptied last.
        is_over: nothing is left to read; every further sample fails.
    """

    def __init__(
        self, dataset: StreamingDataset, number: int, num_lanes: int, seed: int, state: dict[str, Any] | None
    ) -> None:
        self.dataset, self.number, self.num_lanes, self.seed = dataset, number, num_lanes, seed
        self.bad: list[BadWindow] = []
        self.is_over = False
        self._blocks = dataset.blocks(num_lanes)
        self._size = max(1, min(dataset.pool_episodes, dataset.num_episodes) // num_lanes)
        state = state or {"epoch": 0, "block": 0, "record": 0, "draws": 0, "pool": []}
        self.draws = int(state["draws"])
        self._epoch, self._block, self._record = int(state["epoch"]), int(state["block"]), int(state["record"])
        self._incoming = self._episodes()
        self._pool = [self._reopen(*entry) for entry in state["pool"]]
        while len(self._pool) < self._size:
            self._pool.append(self._next())

    def state(self) -> dict[str, Any]:
        """What `StreamingDataset.lane` needs to go on exactly here; plain numbers."""
        pool = [[p.episode.shard, p.episode.record, p.epoch, p.used] for p in self._pool]
        return {"epoch": self._epoch, "block": self._block, "record": self._record, "draws": self.draws, "pool": pool}

    def sample(self, is_mirrored: bool = False) -> Sample:
        """Draw the next sample; `is_mirrored` as in `SampleBuilder.build`.

        Raises:
            DataError: if its window cannot be read, or nothing is left. The lane has moved on and forgotten that
                episode, so the next call draws from another one.
        """
        slot, step = self._draw()
        chosen = self._pool[slot]
        episode = chosen.episode
        dataset = self.dataset
        indices = window_at(
            step,
            length=episode.length,
            window_size=dataset.window_size,
            fwd_pred_next_n=dataset.fwd_pred_next_n,
        )
        keys = dataset.cameras if dataset.view is None else dataset.view.keys_of(dataset.cameras)
        number = int(dataset.first_record[episode.shard]) + episode.record
        try:
            data = episode.read(indices.frames, indices.steps.ravel(), keys)
            data = data if dataset.view is None else dataset.view.seen(data)
            window = Window(episode=number, step=step, indices=indices, data=data, instruction=episode.instruction)
            sample = dataset.builder.build(window, is_mirrored)
        except DataError as error:
            self._report(episode.shard, episode.record, error)
            self._pool[slot] = self._next()
            raise
        if chosen.left == 0:
            self._pool[slot] = self._next()
        return sample

    def _next(self) -> _Pooled:
        """The next episode to come.

        Raises:
            DataError: if there is none that can be read.
        """
        try:
            return next(self._incoming)
        except (DataError, StopIteration) as error:
            self.is_over = True
            raise DataError(f"{self.dataset.source.path}: no episode can be read; the last: {self.bad[-1:]}") from error

    def _draw(self) -> tuple[int, int]:
        """Choose an episode of the pool by its windows left, and the next of its windows: (place in the pool, step)."""
        if self.is_over:
            raise DataError(f"{self.dataset.source.path}: the stream ended because nothing in it can be read")
        random = np.random.default_rng([self.seed, self.number, self.draws, _DRAW])
        self.draws += 1
        ends = np.cumsum([pooled.left for pooled in self._pool])
        slot = int(np.searchsorted(ends, random.integers(ends[-1]), side="right"))
        chosen = self._pool[slot]
        if not len(chosen.order):
            chosen.order = self._order(chosen)
        step = int(chosen.order[chosen.used])
        chosen.used += 1
        return slot, step

    def _order(self, pooled: _Pooled) -> np.ndarray:
        question = [self.seed, pooled.episode.shard, pooled.episode.record, pooled.epoch, _WITHIN]
        return np.random.default_rng(question).permutation(pooled.episode.length)

    def _reopen(self, shard: int, record: int, epoch: int, used: int) -> _Pooled:
        return _Pooled(episode=self.dataset.stream.episode_at(shard, record), epoch=epoch, used=used)

    def _episodes(self) -> Iterator[_Pooled]:
        """Episodes of this lane; `_epoch`, `_block`, `_record` say which is next. Ends after an epoch without any."""
        fruitless = 0
        while fruitless < 2:  # the first may begin in the middle
            order = np.random.default_rng([self.seed, self._epoch, 0, _EPOCH]).permutation(len(self._blocks))
            mine = order[self.number :: self.num_lanes]
            count = 0
            while self._block < len(mine):
                for episode in self._block_episodes(*self._blocks[mine[self._block]]):
                    count += 1
                    yield _Pooled(episode=episode, epoch=self._epoch)
                self._block, self._record = self._block + 1, 0
            self._epoch, self._block = self._epoch + 1, 0
            fruitless = 0 if count else fruitless + 1

    def _block_episodes(self, shard: int, first: int, count: int) -> Iterator[StreamedEpisode]:
        """What is left of a block; a record that cannot be read is reported and left out."""
        while self._record < count:
            record = first + self._record
            self._record += 1
            try:
                episode = self.dataset.stream.episode_at(shard, record)
            except DataError as error:
                self._report(shard, record, error)
                continue
            if episode.length:
                yield episode

    def _report(self, shard: int, record: int, error: DataError) -> None:
        number = int(self.dataset.first_record[shard]) + record
        bad = BadWindow(
            dataset=self.dataset.builder.dataset,
            window=number,
            file=str(self.dataset.source.file(number)),
            reason=str(error),
        )
        self.bad.append(bad)
