"""What every dataset format offers: episodes by index, any steps of them, without reading the whole set."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
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
    """A dataset on disk.

    Attributes:
        action_space: meaning of the action numbers.
        cameras: every camera, sorted by name.
        proprio_names: name of each proprioceptive number; empty if there is none.
        statistics: "action" and, if there is proprioception, "proprio"; in physical units.
        provenance: how the data was made (simulator, seeds, noise, …), for `robovlms info`.
    """

    action_space: ActionSpace
    cameras: tuple[CameraSpec, ...]
    proprio_names: tuple[str, ...]
    statistics: dict[str, FeatureStatistics]
    provenance: dict[str, Any]

    @abstractmethod
    def __len__(self) -> int:
        """Number of episodes."""

    @property
    @abstractmethod
    def lengths(self) -> np.ndarray:
        """Number of steps of each episode, int64 [episodes]."""

    @abstractmethod
    def task(self, episode: int) -> str:
        """Task name of an episode."""

    @abstractmethod
    def instruction(self, episode: int) -> str:
        """Instruction of an episode."""

    @abstractmethod
    def read(self, episode: int, frames: np.ndarray, steps: np.ndarray, cameras: tuple[str, ...]) -> Steps:
        """Read images and proprioception at `frames` and actions at `steps` of one episode.

        Args:
            episode: index of the episode.
            frames: int64 [k], step indices within the episode at which to look.
            steps: int64 [m], step indices within the episode whose actions are wanted.
            cameras: which cameras to decode.

        Returns:
            Steps with images and proprio of k entries and actions of m entries.

        Raises:
            DataError: names the file, the episode and the step that cannot be read.
        """
