"""A dataset at a lower control rate: every k-th frame, and actions that do the work of k.

::

    source    20 Hz    frame 0 1 2 3 4 5 6      action a0 a1 a2 a3 a4 a5 a6
    here      10 Hz    frame 0   2   4   6      action a0·a1  a2·a3  a4·a5  a6

What "·" is depends on the number: deltas are composed (translations add up, rotations multiply), targets and grippers
take the last of the group, velocities of a base their mean. A group at the end may be shorter.
"""

import dataclasses
import hashlib
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from robovlms.actions.pose import compose_delta
from robovlms.actions.space import ActionSpace
from robovlms.data.sources.base import EpisodeSource, Steps
from robovlms.errors import ConfigError

_POSE = 6  # numbers of a translation and a rotation
_COMPOSABLE = ("euler_xyz", "axis_angle")
_RADIANS = re.compile(r"(?:([\d.]+) )?rad")


class ResampledSource(EpisodeSource):
    """Another dataset at `target_hz`.

    Args:
        source: the dataset.
        target_hz: actions per second; the dataset's rate divided by a whole number.

    Raises:
        ConfigError: if the rate is no such fraction, or the actions cannot be composed.
    """

    def __init__(self, source: EpisodeSource, target_hz: float) -> None:
        self.source, self.path, self.target_hz = source, source.path, target_hz
        space = source.action_space
        ratio = space.control_hz / target_hz
        self.stride = round(ratio)
        if self.stride < 1 or abs(ratio - self.stride) > 1e-6:
            rates = [f"{space.control_hz / k:g}" for k in (1, 2, 3, 4, 5)]
            raise ConfigError(
                f"{source.path}: runs at {space.control_hz:g} Hz, which data.target_hz = {target_hz:g} does not divide;"
                f" choose for example {', '.join(rates)}"
            )
        self.action_space = _at_rate(space, target_hz, self.stride, source.path)
        self.cameras, self.proprio_names, self.provenance = source.cameras, source.proprio_names, source.provenance

    @classmethod
    def is_at(cls, path: Path) -> bool:
        return False  # it is made of an open dataset

    def __len__(self) -> int:
        return len(self.source)

    @cached_property
    def lengths(self) -> np.ndarray:
        return -(-self.source.lengths // self.stride)

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.source.fingerprint} every {self.stride}".encode()).hexdigest()

    def task(self, episode: int) -> str:
        return self.source.task(episode)

    def instruction(self, episode: int) -> str:
        return self.source.instruction(episode)

    def file(self, episode: int) -> Path:
        return self.source.file(episode)

    def read(self, episode: int, frames: np.ndarray, steps: np.ndarray, cameras: tuple[str, ...]) -> Steps:
        length = int(self.source.lengths[episode])
        members = steps[:, None] * self.stride + np.arange(self.stride)
        inside = members < length
        read = self.source.read(episode, frames * self.stride, np.minimum(members, length - 1).ravel(), cameras)
        actions = read.actions.reshape(*members.shape, -1)
        return Steps(images=read.images, proprio=read.proprio, actions=self._combine(actions, inside))

    def numbers(self) -> Iterator[dict[str, np.ndarray]]:
        for episode, length in enumerate(self.lengths.tolist()):
            everything = np.arange(length)
            steps = self.read(episode, everything, everything, ())
            yield {"action": steps.actions} | ({} if steps.proprio is None else {"proprio": steps.proprio})

    def _combine(self, actions: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """Actions [m, k, a] of each group and which of them exist, [m, k] -> one action per group, [m, a]."""
        space = self.source.action_space
        rows = np.arange(len(actions))
        combined = actions[rows, inside.sum(1) - 1].astype(np.float64)  # the last that exists
        kinds = np.array([dimension.kind for dimension in space.dimensions])
        weights = inside[..., None]
        base = np.flatnonzero(kinds == "base")
        combined[:, base] = (actions[..., base] * weights).sum(1) / weights.sum(1)
        if space.is_delta:
            arm = np.flatnonzero(kinds == "arm")
            still = np.where(weights, actions, 0.0)
            combined[:, arm] = still[..., arm].sum(1)
            if space.rotation != "none":
                pose, scale = arm[:_POSE], _radians(space)
                physical = compose_delta(still[..., pose] * scale, frame=space.frame, rotation=space.rotation)
                combined[:, pose] = physical / scale
        return combined.astype(np.float32)


def _radians(space: ActionSpace) -> np.ndarray:
    """What each number of the pose is multiplied with so that angles are in rad; translations keep their unit.

    "0.05 rad" is a number that is 1 at an angle of 0.05 rad, as CALVIN and robosuite scale theirs.
    """
    arm = [dimension for dimension in space.dimensions if dimension.kind == "arm"]
    turns = [float(_RADIANS.fullmatch(dimension.unit)[1] or 1) for dimension in arm[3:_POSE]]
    return np.array([1.0, 1.0, 1.0, *turns])


def _at_rate(space: ActionSpace, hz: float, stride: int, path: Path) -> ActionSpace:
    """The action space at the new rate: deltas reach further."""
    arm = [dimension for dimension in space.dimensions if dimension.kind == "arm"]
    if space.is_delta and space.rotation != "none":
        turns = [dimension.unit for dimension in arm[3:_POSE]]
        if space.rotation not in _COMPOSABLE or len(turns) != 3 or not all(map(_RADIANS.fullmatch, turns)):
            raise ConfigError(
                f"{path}: rotations are {space.rotation} in {turns or 'no numbers'}; composing deltas to another rate "
                f"needs three numbers in rad as one of {_COMPOSABLE}; leave data.target_hz out"
            )
    factor = stride if space.is_delta else 1
    dimensions = tuple(
        dataclasses.replace(one, low=one.low * factor, high=one.high * factor) if one.kind == "arm" else one
        for one in space.dimensions
    )
    return dataclasses.replace(space, dimensions=dimensions, control_hz=hz)
