"""A dataset seen as another robot's: its cameras under other names and in one size, its proprioception in other order.

What the dataset lacks stays away, so that samples mask it: a missing camera is absent from `Steps.images`, and if any
proprioceptive number is missing there is no proprioception.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robovlms.actions.contract import CameraSpec
from robovlms.data.sources.base import EpisodeSource, Steps
from robovlms.errors import ConfigError, unknown_name
from robovlms.resize import resize_frames


class SourceView(EpisodeSource):
    """One dataset through the eyes of a policy.

    Args:
        source: the dataset, or another view of it.
        cameras: what the policy sees: names and sizes; frames are resized to them.
        camera_keys: policy's camera -> the dataset's, where the names differ.
        proprio_names: what the policy feels, in its order; None keeps the dataset's.

    Attributes:
        source: the dataset itself.
        native: what was given.

    Raises:
        ConfigError: if a camera that is mapped to does not exist.
    """

    def __init__(
        self,
        source: EpisodeSource,
        *,
        cameras: tuple[CameraSpec, ...],
        camera_keys: Mapping[str, str] | None = None,
        proprio_names: tuple[str, ...] | None = None,
    ) -> None:
        own = {camera.name for camera in source.cameras}
        for key in (camera_keys or {}).values():
            if key not in own:
                raise ConfigError(f"{source.path}: " + unknown_name("camera", key, own))
        keys = {camera.name: (camera_keys or {}).get(camera.name, camera.name) for camera in cameras}
        self.native, self.path = source, source.path
        self.source = source.source if isinstance(source, SourceView) else source
        inner = source.keys if isinstance(source, SourceView) else {name: name for name in own}
        self.keys = {name: inner[key] for name, key in keys.items() if key in inner}
        self.cameras, self._sizes = cameras, {camera.name: (camera.height, camera.width) for camera in cameras}
        self.action_space, self.provenance = source.action_space, source.provenance
        wanted = source.proprio_names if proprio_names is None else proprio_names
        has_all = set(wanted) <= set(source.proprio_names)
        self.proprio_names = wanted if has_all else ()
        self._columns = [self.source.proprio_names.index(name) for name in self.proprio_names]

    @classmethod
    def is_at(cls, path: Path) -> bool:
        return False  # it is made of an open dataset

    def __len__(self) -> int:
        return len(self.source)

    @property
    def lengths(self) -> np.ndarray:
        return self.source.lengths

    @property
    def fingerprint(self) -> str:
        return self.source.fingerprint

    def task(self, episode: int) -> str:
        return self.source.task(episode)

    def instruction(self, episode: int) -> str:
        return self.source.instruction(episode)

    def file(self, episode: int) -> Path:
        return self.source.file(episode)

    def read(self, episode: int, frames: np.ndarray, steps: np.ndarray, cameras: tuple[str, ...]) -> Steps:
        return self.seen(self.source.read(episode, frames, steps, self.keys_of(cameras)))

    def keys_of(self, cameras: tuple[str, ...]) -> tuple[str, ...]:
        """The dataset's names of those cameras that it has."""
        return tuple(self.keys[name] for name in cameras if name in self.keys)

    def seen(self, steps: Steps) -> Steps:
        """What the dataset read, as the policy takes it."""
        images = {
            name: resize_frames(steps.images[key], *self._sizes[name])
            for name, key in self.keys.items()
            if key in steps.images
        }
        proprio = None if steps.proprio is None or not self.proprio_names else steps.proprio[:, self._columns]
        return Steps(images=images, proprio=proprio, actions=steps.actions)

    @property
    def statistics(self) -> dict[str, Any]:  # type: ignore[override]
        return self.source.statistics
