"""A dataset in memory that can be read as a stream: shards of episodes whose actions tell where they come from."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from robovlms.actions.contract import CameraSpec
from robovlms.actions.normalize import ActionCodec, Normalizer
from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.data.sample import SampleBuilder
from robovlms.data.sources.base import EpisodeSource, Steps
from robovlms.data.sources.stream import StreamableSource, StreamedEpisode
from robovlms.data.streaming import StreamingDataset
from robovlms.data.text import ByteTokenizer, PromptEncoder
from robovlms.errors import DataError

SPACE = ActionSpace(
    dimensions=(ActionDimension(name="x", unit="m", low=-1e6, high=1e6),), frame="world", is_delta=True, control_hz=10.0
)
SIZE = 4


class FakeEpisode(StreamedEpisode):
    """Step t of record r of shard s has the action 1000 s + 100 r + t."""

    def __init__(self, source: "FakeStream", shard: int, record: int) -> None:
        self.source, self.shard, self.record = source, shard, record
        self.length = source.shards[shard][record]
        self.task, self.instruction, self.num_bytes = "fake", "go", 0

    def read(self, frames: np.ndarray, steps: np.ndarray, cameras: tuple[str, ...]) -> Steps:
        if (self.shard, self.record) in self.source.unreadable_windows:
            raise DataError(f"shard {self.shard}, record {self.record}: broken picture")
        images = {
            name: np.full((len(frames), self.source.size, self.source.size, 3), self.record, np.uint8)
            for name in cameras
        }
        actions = (1000 * self.shard + 100 * self.record + steps)[:, None].astype(np.float32)
        return Steps(images=images, proprio=None, actions=actions)


class FakeStream(EpisodeSource, StreamableSource):
    """Shards given as lists of episode lengths."""

    def __init__(self, shards: list[list[int]]) -> None:
        self.shards, self.path = shards, Path("fake")
        self.action_space, self.proprio_names, self.provenance = SPACE, (), {}
        self.cameras = (CameraSpec(name="static", height=SIZE, width=SIZE, source="fake"),)
        self.unreadable_windows: set[tuple[int, int]] = set()
        self.unreadable_records: set[tuple[int, int]] = set()
        self.size = SIZE
        self.opened: list[tuple[int, int]] = []

    @property
    def num_shards(self) -> int:
        return len(self.shards)

    def shard_records(self, shard: int) -> int:
        return len(self.shards[shard])

    def episode_at(self, shard: int, record: int) -> FakeEpisode:
        if (shard, record) in self.unreadable_records:
            raise DataError(f"shard {shard}, record {record}: truncated")
        self.opened.append((shard, record))
        return FakeEpisode(self, shard, record)

    def episodes(self, shard: int, first_record: int = 0) -> Iterator[FakeEpisode]:
        for record in range(first_record, len(self.shards[shard])):
            yield self.episode_at(shard, record)

    def file(self, episode: int) -> Path:
        return Path(f"fake-{episode}")

    @classmethod
    def is_at(cls, path: Path) -> bool:
        return False

    def __len__(self) -> int:
        raise AssertionError("a stream is not counted")

    lengths = fingerprint = property(__len__)

    def task(self, episode: int) -> str:
        raise AssertionError("a stream has no index")

    instruction = task

    def read(self, *_: Any) -> Steps:
        raise AssertionError("a stream is not read at random")


def stream_dataset(
    source: FakeStream, *, window_size: int = 1, dataset: int = 0, action_dim: int = 1, size: int = SIZE, **changes: Any
) -> StreamingDataset:
    """Windows of it, actions not normalised."""
    source.size = size
    codec = ActionCodec(space=SPACE, normalizer=Normalizer(offset=np.zeros(1), scale=np.ones(1), is_bounded=False))
    builder = SampleBuilder(
        cameras=("static",),
        height=size,
        width=size,
        action_codec=codec,
        action_columns=(0,),
        action_dim=action_dim,
        proprio_normalizer=None,
        proprio_dim=0,
        prompt_encoder=PromptEncoder(ByteTokenizer(), "do: {instruction}", 64),
        dataset=dataset,
    )
    return StreamingDataset(source, builder=builder, window_size=window_size, fwd_pred_next_n=2, **changes)
