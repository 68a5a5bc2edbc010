"""What a dataset offers that can be read front to back without an index: shards of records, an episode each."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import numpy as np

from robovlms.data.sources.base import Steps


class StreamedEpisode(ABC):
    """One record, in memory as it is stored; pictures are decoded when they are asked for.

    Attributes:
        shard: which file it is of.
        record: which record of that file.
        length: steps.
        task: task name, for grouping.
        instruction: what the robot was asked to do.
        num_bytes: held in memory.
    """

    shard: int
    record: int
    length: int
    task: str
    instruction: str
    num_bytes: int

    @abstractmethod
    def read(self, frames: np.ndarray, steps: np.ndarray, cameras: tuple[str, ...]) -> Steps:
        """As `EpisodeSource.read`, of this episode."""


class StreamableSource(ABC):
    """A dataset whose episodes lie one after the other in shards.

    Attributes:
        num_shards: files.
    """

    @property
    @abstractmethod
    def num_shards(self) -> int:
        """Number of shards."""

    @abstractmethod
    def shard_records(self, shard: int) -> int:
        """Number of records of a shard, from the description of the dataset."""

    @abstractmethod
    def episode_at(self, shard: int, record: int) -> StreamedEpisode:
        """Read one record.

        Raises:
            DataError: names the file and the record that cannot be read.
        """

    def episodes(self, shard: int, first_record: int = 0) -> Iterator[StreamedEpisode]:
        """Read a shard from a record on."""
        for record in range(first_record, self.shard_records(shard)):
            yield self.episode_at(shard, record)
