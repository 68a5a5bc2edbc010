"""Small synthetic episodes: every number and pixel tells which episode and step it is of."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from robovlms.actions.contract import CameraSpec
from robovlms.actions.normalize import ActionCodec, Normalizer
from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.data.dataset import BaseTaskDataset
from robovlms.data.sources.base import Episode, Steps
from robovlms.data.sources.lerobot import LeRobotSource
from robovlms.data.sources.lerobot_writer import LeRobotWriter
from robovlms.data.text import ByteTokenizer, PromptEncoder

SIZE = 16
SPACE = ActionSpace(
    dimensions=(
        ActionDimension(name="x", unit="m", low=-1.0, high=1.0),
        ActionDimension(name="y", unit="m", low=-1.0, high=1.0),
        ActionDimension(name="gripper", unit="1", low=-1.0, high=1.0, kind="gripper"),
    ),
    frame="world",
    is_delta=True,
    gripper_opens="negative",
    control_hz=10.0,
)
STATIC = CameraSpec(name="static", height=SIZE, width=SIZE, source="test/static")
WRIST = CameraSpec(name="wrist", height=SIZE, width=SIZE, source="test/wrist")
PROPRIO = ("joint_0", "joint_1")


def make_episode(index: int, length: int, *, task: str = "reach", cameras: tuple[str, ...] = ("static",)) -> Episode:
    """Frames of random pixels whose first ones are (episode, step, camera); numbers that grow with the step."""
    rng = np.random.default_rng(index)
    images = {name: rng.integers(0, 256, (length, SIZE, SIZE, 3), np.uint8) for name in cameras}
    for camera, frames in enumerate(images.values()):
        frames[:, 0, 0] = [(index, step, camera) for step in range(length)]
    step = np.arange(length, dtype=np.float32)
    actions = np.stack([step / 100, -step / 100, np.sign(step % 2 - 0.5)], axis=1).astype(np.float32)
    proprio = np.stack([np.full(length, index), step], axis=1).astype(np.float32)
    steps = Steps(images=images, proprio=proprio, actions=actions)
    return Episode(task=task, instruction=f"please {task}", steps=steps, seed=100 + index)


def default_episodes() -> list[Episode]:
    return [make_episode(i, length, task=("reach", "push")[i % 2]) for i, length in enumerate((7, 3, 5, 9))]


def make_writer(path: Path, **changes: Any) -> LeRobotWriter:
    """A writer of such episodes; `changes` replace its arguments."""
    arguments = {"action_space": SPACE, "cameras": (STATIC,), "proprio_names": PROPRIO, "fps": 10.0}
    arguments |= {"robot_type": "test", "provenance": {"simulator": "test", "noise": 0.1}} | changes
    return LeRobotWriter(path, **arguments)


def write(path: Path, episodes: list[Episode], **changes: Any) -> Path:
    """Write a dataset."""
    with make_writer(path, **changes) as writer:
        for episode in episodes:
            writer.add_episode(episode)
    return path


def replaced(episode: Episode, **changes: Any) -> Episode:
    """The episode with other fields of its steps, unchecked, as a careless caller would hand them in."""
    steps = object.__new__(Steps)
    for field in dataclasses.fields(Steps):
        object.__setattr__(steps, field.name, changes.get(field.name, getattr(episode.steps, field.name)))
    return dataclasses.replace(episode, steps=steps)


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """The helpers above, for tests."""
    helpers = {
        "episode": make_episode,
        "episodes": default_episodes,
        "writer": make_writer,
        "write": write,
        "replaced": replaced,
    }
    return SimpleNamespace(**helpers, SPACE=SPACE, STATIC=STATIC, WRIST=WRIST, PROPRIO=PROPRIO, SIZE=SIZE)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four episodes of 7, 3, 5, 9 steps, two tasks, one camera, PNG."""
    return write(tmp_path_factory.mktemp("data") / "four", default_episodes())


@pytest.fixture
def writable(tmp_path: Path) -> Callable[..., Path]:
    """Write the four episodes into a folder that a test may damage."""
    return lambda **changes: write(tmp_path / "four", default_episodes(), **changes)


@pytest.fixture(scope="session")
def build() -> Callable[..., BaseTaskDataset]:
    """Windows of a source; arguments replace those of the dataset."""

    def build(source: LeRobotSource, **changes: Any) -> BaseTaskDataset:
        statistics = source.statistics
        arguments = {
            "window_size": 1,
            "fwd_pred_next_n": 1,
            "cameras": ("static",),
            "action_codec": ActionCodec(
                space=source.action_space, normalizer=Normalizer.from_statistics("min_max", statistics["action"])
            ),
            "proprio_normalizer": Normalizer.from_statistics("mean_std", statistics["proprio"]),
            "prompt_encoder": PromptEncoder(ByteTokenizer(), "do: {instruction}", 64),
        }
        return BaseTaskDataset(source, **(arguments | changes))

    return build


@pytest.fixture
def windows(dataset: Path, build: Callable[..., BaseTaskDataset]) -> Callable[..., BaseTaskDataset]:
    """Windows of the four episodes."""
    return lambda **changes: build(LeRobotSource(dataset), **changes)
