"""What every dataset format offers: episodes by index, any steps of them, without reading the whole set."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from robovlms.actions.contract import CameraSpec
from robovlms.actions.normalize import FeatureStatistics
from robovlms.actions.space import ActionSpace


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Some steps of one episode, in the order they were asked for.

    Attributes:
        images: camera name -> uint8 [k, h, w, 3]; a camera that the episode lacks is absent.
        proprio: float32 [k, p] in physical units; None if the dataset has none.
        actions: float32 [m, a] in physical units; m = k for whole episodes.
    """

    images: dict[str, UInt8[np.ndarray, "k h w 3"]]
    proprio: Float32[np.ndarray, "k p"] | None
    actions: Float32[np.ndarray, "m a"]


@dataclass(frozen=True, kw_only=True)
class Episode:
    """One demonstration.

    Attributes:
        task: task name, for grouping.
        instruction: what the robot was asked to do.
        steps: all steps, in time order.
        seed: of the simulator; None for a recording.
    """

    task: str
    instruction: str
    steps: Steps
    seed: int | None = None

    def __len__(self) -> int:
        return len(self.steps.actions)


class EpisodeSource(ABC):
    """A dataset on disk. Opening one reads its description, not its episodes; it can be pickled.

    A class takes the folder or file first and its own options as keywords.

    Attributes:
        path: folder or file.
        action_space: meaning of the action numbers.
        cameras: every camera, sorted by name.
        proprio_names: name of each proprioceptive number; empty if there is none.
        provenance: how the data was made (simulator, seeds, noise, …), for `robovlms info`.
        is_dear_to_scan: whether one pass over all numbers takes so long that somebody must ask for it.
    """

    is_dear_to_scan: bool = False
    path: Path
    action_space: ActionSpace
    cameras: tuple[CameraSpec, ...]
    proprio_names: tuple[str, ...]
    provenance: dict[str, Any]

    @classmethod
    @abstractmethod
    def is_at(cls, path: Path) -> bool:
        """Whether `path` looks like a dataset of this format; a glance at names, no file is read in full."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of episodes."""

    @property
    @abstractmethod
    def lengths(self) -> np.ndarray:
        """Number of steps of each episode, int64 [episodes]."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 that changes when the data does; made of names, sizes and descriptions, not of all bytes."""

    @abstractmethod
    def task(self, episode: int) -> str:
        """Task name of an episode."""

    @abstractmethod
    def instruction(self, episode: int) -> str:
        """Instruction of an episode."""

    @abstractmethod
    def file(self, episode: int) -> Path:
        """The file (or the folder) that holds an episode, for messages."""

    @abstractmethod
    def read(self, episode: int, frames: np.ndarray, steps: np.ndarray, cameras: tuple[str, ...]) -> Steps:
        """Read images and proprioception at `frames` and actions at `steps` of one episode.

        Args:
            episode: index of the episode.
            frames: int64 [k], step indices within the episode at which to look.
            steps: int64 [m], step indices within the episode whose actions are wanted.
            cameras: which cameras to decode; none decodes no picture.

        Returns:
            Steps with images and proprio of k entries and actions of m entries.

        Raises:
            DataError: names the file, the episode and the step that cannot be read.
        """

    @cached_property
    def statistics(self) -> dict[str, FeatureStatistics]:
        """ "action" and, if there is proprioception, "proprio"; in physical units. Kept between runs.

        Raises:
            StatisticsMissingError: if they are not known and too dear to compute without being asked.
        """
        from robovlms.data.statistics_cache import statistics_of  # that module reads sources, so it imports this one

        return statistics_of(self)

    def numbers(self) -> Iterator[dict[str, np.ndarray]]:
        """Yield "action" [k, a] and, if there is any, "proprio" [k, p], float32, piece by piece; no picture is decoded.

        Steps come in the order of the episodes, so that a message can say where a bad number is. A format that stores
        numbers in columns reads them a file at a time instead.
        """
        for episode, length in enumerate(self.lengths.tolist()):
            everything = np.arange(length)
            steps = self.read(episode, everything, everything, ())
            yield {"action": steps.actions} | ({} if steps.proprio is None else {"proprio": steps.proprio})

    def read_episode(self, episode: int, cameras: tuple[str, ...] | None = None) -> Episode:
        """Read a whole episode; None takes all cameras.

        Raises:
            DataError: as `read`.
        """
        everything = np.arange(int(self.lengths[episode]))
        names = tuple(camera.name for camera in self.cameras) if cameras is None else cameras
        steps = self.read(episode, everything, everything, names)
        return Episode(task=self.task(episode), instruction=self.instruction(episode), steps=steps)
