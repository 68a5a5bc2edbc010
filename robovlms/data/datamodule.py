"""Feeds training and validation: which windows, in which order, in which process.

Training is one endless sequence of positions, see `robovlms.data.order`. A step takes the next `batch_size` positions
of each rank, across the border of an epoch where that falls inside it::

    position  0  1  2  3  4 | 5  6  7  8  9 | 10 …        5 windows, 1 rank, batches of 2
    window    2  4  3  0  1 | 1  4  3  0  2 |  …
    step      └ 0 ┘└ 1 ┘└─ 2 ──┘└ 3 ┘└ 4 ┘

What a position holds is a function of the seed alone, so any number of workers gives the same batches, and the ranks
together see what one rank with their batches in a row would see. Streams cannot be asked for a position; each batch
draws from one lane of them, whose state comes back with the batch and goes into the checkpoint. Either way a run that
resumes at a step sees exactly the batches it would have seen, changed by the same random numbers.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any, Literal

from robovlms.actions.space import ActionSpace
from robovlms.augment_config import AugmentConfig
from robovlms.data.augment import Augmentation
from robovlms.data.batch import Batch
from robovlms.data.dataset import BaseTaskDataset
from robovlms.data.loading import BatchPlan, Draw, Loader
from robovlms.data.mixture import Mixture, Part, parts_of
from robovlms.data.order import Shares, WindowOrder
from robovlms.data.processes import load_all
from robovlms.data.quarantine import BadWindow, Quarantine
from robovlms.data.streaming import StreamingDataset
from robovlms.data.vision_language import VisionLanguageDataset
from robovlms.data.vision_language_batch import VisionLanguageBatch
from robovlms.data.vision_language_loader import DATASET as CONVERSATIONS
from robovlms.data.vision_language_loader import VisionLanguageLoader
from robovlms.errors import ConfigError, DataError, unknown_name

_VISION_LANGUAGE = 1_000_000  # number of their order, beyond that of any dataset


class GRDataModule:
    """Batches of a training and a validation set.

    Args:
        train_dataset: windows to learn from: a dataset, a stream, or a mixture of them.
        val_dataset: windows to measure on, one after the other; None if there are none.
        batch_size: b, windows per batch of a rank.
        num_workers: loader processes; 0 loads in this one. Batches do not depend on it.
        seed: of the order.
        rank, world_size: which of how many training processes this is.
        balance: within a dataset, draw each window or each episode equally often.
        augment: changes of the training images; None leaves them.
        bad_budget: share of windows that may be unreadable before training stops.
        stream_lanes: parts that streams are read in; a multiple of ranks × workers.
        vision_language: conversations about images, to be learned beside the actions; None = none.
        vision_language_batch_size: conversations per step of a rank.

    Attributes:
        quarantine: windows that could not be read; each was replaced by another one.

    Raises:
        DataError: if there is nothing to train on.
        ConfigError: if the lanes cannot be dealt to ranks and workers.
    """

    def __init__(
        self,
        *,
        train_dataset: Part | Mixture,
        val_dataset: BaseTaskDataset | Mixture | None = None,
        batch_size: int,
        num_workers: int = 0,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        balance: Literal["frame", "episode"] = "frame",
        augment: AugmentConfig | None = None,
        bad_budget: float = 0.001,
        stream_lanes: int = 4,
        vision_language: VisionLanguageDataset | None = None,
        vision_language_batch_size: int = 8,
    ) -> None:
        self.train_dataset, self.val_dataset = train_dataset, val_dataset
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self.rank, self.world_size, self.stream_lanes = rank, world_size, stream_lanes
        self.vision_language, self.vision_language_batch_size = vision_language, vision_language_batch_size
        parts = parts_of(train_dataset)
        if any(isinstance(part, BaseTaskDataset) and len(part) == 0 for part in parts):
            raise DataError("the training set has no window; collect episodes, or hold out fewer")
        self._augmentation = None if augment is None else _augmentation(augment, parts[0].builder.cameras, seed)
        shares = train_dataset.shares if isinstance(train_dataset, Mixture) else (1.0,)
        self._shares = Shares(shares, seed=seed)
        self._orders = [_order(part, seed, number, balance) for number, part in enumerate(parts)]
        self._has_streams = None in self._orders
        self._lanes: dict[int, dict[str, Any]] = {}
        self._check_lanes()
        totals = dict(enumerate(map(_size, parts)))
        totals |= {} if vision_language is None else {CONVERSATIONS: len(vision_language)}
        self.quarantine = Quarantine(bad_budget, totals)
        self._is_loaded = False

    @property
    def robot_dataset(self) -> Part:
        """The training set whose robot the policy is for."""
        return self.train_dataset.robot_part if isinstance(self.train_dataset, Mixture) else self.train_dataset

    @property
    def action_space(self) -> ActionSpace:
        """Meaning of the numbers in `Batch.actions`, before normalisation."""
        given = self.train_dataset.action_space if isinstance(self.train_dataset, Mixture) else None
        return given or self.robot_dataset.source.action_space

    def train_batches(self, start_step: int = 0) -> Iterator[Batch]:
        """Endless shuffled batches; the first one is that of step `start_step`.

        Raises:
            DataError: if a stream should be resumed without its state, or too many windows are bad.
        """
        if start_step and self._has_streams and not self._is_loaded:
            raise DataError("a stream resumes from the state in a checkpoint, and there is none; use load_state")
        if start_step == 0:
            self._lanes = {}
        share = 0.0 if self._augmentation is None else self._augmentation.config.mirror
        loader = Loader(parts_of(self.train_dataset), self._augmentation, self.seed, self.stream_lanes, share)
        for loaded in load_all(loader, self._plans(start_step), self.num_workers):
            self.quarantine.add(loaded.bad)
            if loaded.lane_state is not None:
                self._lanes[loaded.lane] = loaded.lane_state
            yield loaded.batch

    def vision_language_batches(self, start_step: int = 0) -> Iterator[VisionLanguageBatch]:
        """Endless shuffled conversations; the first batch is that of step `start_step`. Nothing if there are none.

        Raises:
            DataError: if too much cannot be read.
        """
        if self.vision_language is None:
            return
        order = WindowOrder([range(len(self.vision_language))], seed=self.seed, part=_VISION_LANGUAGE)
        loader = VisionLanguageLoader(self.vision_language, order, self.seed)
        for loaded in load_all(loader, self._vision_language_plans(start_step), self.num_workers):
            self.quarantine.add(loaded.bad)
            yield loaded.batch

    def _vision_language_plans(self, start_step: int) -> Iterator[range]:
        size = self.vision_language_batch_size
        for step in count(start_step):
            number = step * self.world_size + self.rank
            yield range(number * size, (number + 1) * size)

    def val_batches(self) -> Iterator[Batch]:
        """Every validation window once, in order; the last batch may be smaller. Nothing if there is no such set.

        Raises:
            DataError: if a window cannot be read: a measure of something else would pass for it.
        """
        if self.val_dataset is None:
            return
        loader = Loader(parts_of(self.val_dataset), None, self.seed, self.stream_lanes)
        plans = _in_order(parts_of(self.val_dataset), self.batch_size)
        for loaded in load_all(loader, plans, self.num_workers):
            Quarantine(0.0, dict(enumerate(map(_size, parts_of(self.val_dataset))))).add(loaded.bad)
            yield loaded.batch

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold for `load_state`, as JSON can: the streams' places, and what was bad."""
        return {
            "lanes": {str(lane): state for lane, state in sorted(self._lanes.items())},
            "num_lanes": self.stream_lanes,
            "bad": [vars(window) for window in self.quarantine.found.values()],
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a state; call before `train_batches`.

        Raises:
            ConfigError: if streams were read in another number of lanes.
        """
        if self._has_streams and state["num_lanes"] != self.stream_lanes:
            raise ConfigError(
                f"data.stream_lanes was {state['num_lanes']}, is {self.stream_lanes}; a stream resumes in as many"
            )
        self._is_loaded = True
        self._lanes = {int(lane): streams for lane, streams in state["lanes"].items()}
        self.quarantine.found = {(bad["dataset"], bad["window"]): BadWindow(**bad) for bad in state["bad"]}

    def _check_lanes(self) -> None:
        processes = self.world_size * max(1, self.num_workers)
        if self._has_streams and self.stream_lanes % processes:
            raise ConfigError(
                f"streams are read in {self.stream_lanes} lanes, which {self.world_size} ranks with {self.num_workers} "
                f"workers cannot share; use a multiple of {processes}"
            )

    def _plans(self, start_step: int) -> Iterator[BatchPlan]:
        handed = set()
        for step in count(start_step):
            number = step * self.world_size + self.rank
            lane = number % self.stream_lanes
            state = self._lanes.get(lane) if lane not in handed else None
            handed.add(lane)
            positions = range(number * self.batch_size, (number + 1) * self.batch_size)
            yield BatchPlan(draws=tuple(map(self._draw, positions)), lane=lane, lane_state=state)

    def _draw(self, position: int) -> Draw:
        part, draw = self._shares.at(position)
        order = self._orders[part]
        return Draw(position=position, part=part, window=None if order is None else order.window(draw))


def _augmentation(config: AugmentConfig, cameras: tuple[str, ...], seed: int) -> Augmentation:
    for name in config.cameras or ():
        if name not in cameras:
            raise ConfigError("data.augment.cameras: " + unknown_name("camera", name, cameras))
    views = None if config.cameras is None else [cameras.index(name) for name in config.cameras]
    return Augmentation(config, seed, views)


def _size(part: Part) -> int:
    """Windows; of a stream, episodes."""
    return len(part) if isinstance(part, BaseTaskDataset) else part.num_episodes


def _order(part: Part, seed: int, number: int, balance: Literal["frame", "episode"]) -> WindowOrder | None:
    if isinstance(part, StreamingDataset):
        return None
    spans = [part.span(i) for i in range(len(part.episodes))] if balance == "episode" else [range(len(part))]
    return WindowOrder(spans, seed=seed, part=number, balance=balance)


def _in_order(parts: tuple[Part, ...], batch_size: int) -> Iterator[BatchPlan]:
    draws = [
        Draw(position=0, part=number, window=window) for number, part in enumerate(parts) for window in range(len(part))
    ]
    for begin in range(0, len(draws), batch_size):
        chosen = draws[begin : begin + batch_size]
        yield BatchPlan(draws=tuple(replace(draw, position=begin + i) for i, draw in enumerate(chosen)))
