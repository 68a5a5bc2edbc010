"""What one loader process does: from the plan of a batch to its tensors."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from robovlms.data.augment import Augmentation
from robovlms.data.batch import Batch
from robovlms.data.collate import collate
from robovlms.data.dataset import BaseTaskDataset
from robovlms.data.mirror import is_mirrored
from robovlms.data.mixture import Part
from robovlms.data.quarantine import BadWindow
from robovlms.data.sample import Sample
from robovlms.data.streaming import Lane
from robovlms.errors import DataError

_REPLACEMENT = 7  # keeps its random numbers apart from others of the same seed
_MOST_ATTEMPTS = 100


@dataclass(frozen=True, kw_only=True)
class Draw:
    """One sample of a batch.

    Attributes:
        position: in the training run; seeds what is random about the sample.
        part: number of the dataset.
        window: which one; None = the next of a stream.
    """

    position: int
    part: int
    window: int | None


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """What a batch consists of.

    Attributes:
        draws: one per sample.
        lane: part of the streams that is drawn from.
        lane_state: where its streams begin; None = go on, or begin anew if this process has not read the lane yet.
    """

    draws: tuple[Draw, ...]
    lane: int = 0
    lane_state: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What comes back.

    Attributes:
        batch: the tensors.
        bad: windows that could not be read, and were replaced.
        lane: as in the plan.
        lane_state: where its streams stand after this batch; None without streams.
    """

    batch: Batch
    bad: tuple[BadWindow, ...]
    lane: int
    lane_state: dict[str, Any] | None


class Loader:
    """Loads batches; a copy per process.

    Args:
        parts: the datasets.
        augmentation: of the images; None leaves them.
        seed: of replacements and streams.
        num_lanes: of the streams.
        mirrored_share: share of the samples that are mirrored.
    """

    def __init__(
        self,
        parts: tuple[Part, ...],
        augmentation: Augmentation | None,
        seed: int,
        num_lanes: int,
        mirrored_share: float = 0.0,
    ) -> None:
        self.parts, self.augmentation, self.seed, self.num_lanes = parts, augmentation, seed, num_lanes
        self.mirrored_share = mirrored_share
        self._lanes: dict[tuple[int, int], Lane] = {}

    def load(self, plan: BatchPlan) -> Loaded:
        """Read the samples of a batch and stack them.

        Raises:
            DataError: if a window cannot be read, and no other one either.
        """
        bad: list[BadWindow] = []
        if plan.lane_state is not None:
            for part, state in plan.lane_state.items():
                self._open_lane(int(part), plan.lane, state)
        batch = collate([self._sample(draw, plan.lane, bad) for draw in plan.draws])
        if self.augmentation is not None:
            positions = torch.tensor([draw.position for draw in plan.draws])
            batch = batch.with_images(self.augmentation.apply(batch.images, positions))
        streams = {str(part): lane.state() for (part, number), lane in self._lanes.items() if number == plan.lane}
        return Loaded(batch=batch, bad=tuple(bad), lane=plan.lane, lane_state=streams or None)

    def _sample(self, draw: Draw, lane: int, bad: list[BadWindow]) -> Sample:
        part, mirror = self.parts[draw.part], is_mirrored(self.seed, draw.position, self.mirrored_share)
        if isinstance(part, BaseTaskDataset):
            return self._from_windows(part, draw, mirror, bad)
        stream = self._lanes.get((draw.part, lane)) or self._open_lane(draw.part, lane, None)
        return self._from_stream(stream, mirror, bad)

    def _from_windows(self, part: BaseTaskDataset, draw: Draw, mirror: bool, bad: list[BadWindow]) -> Sample:
        """The window, or, if it cannot be read, one that the position alone decides."""
        window, reason = draw.window, None
        random = None
        for _ in range(_MOST_ATTEMPTS):
            try:
                return part.sample(window, mirror)
            except DataError as error:
                reason = error
                file = str(part.source.file(part.place(window)[0]))
                bad.append(BadWindow(dataset=draw.part, window=window, file=file, reason=str(error)))
            random = random or np.random.default_rng([self.seed, draw.position, 0, _REPLACEMENT])
            window = int(random.integers(len(part)))
        raise DataError(f"{_MOST_ATTEMPTS} windows in a row cannot be read, the last because: {reason}")

    def _from_stream(self, lane: Lane, mirror: bool, bad: list[BadWindow]) -> Sample:
        reason = None
        for _ in range(_MOST_ATTEMPTS):
            try:
                return lane.sample(mirror)
            except DataError as error:
                if lane.is_over:
                    raise
                reason = error
            finally:
                bad += lane.bad
                lane.bad.clear()
        raise DataError(f"{_MOST_ATTEMPTS} windows in a row cannot be read, the last because: {reason}")

    def _open_lane(self, part: int, lane: int, state: dict[str, Any] | None) -> Lane:
        opened = self.parts[part].lane(lane, self.num_lanes, self.seed, state)
        self._lanes[part, lane] = opened
        return opened
