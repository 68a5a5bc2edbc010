"""Feeds training and validation: which windows, in which order, in which process.

Training is one endless sequence of positions. Each epoch is a permutation of all windows, and a batch takes the next
`batch_size` positions, across the border of an epoch where that falls inside it::

    position  0  1  2  3  4 | 5  6  7  8  9 | 10 …        5 windows, batches of 2
    window    2  4  3  0  1 | 1  4  3  0  2 |  …
    batch     └ 0 ┘└ 1 ┘└─ 2 ──┘└ 3 ┘└ 4 ┘

What a position holds is a function of the seed alone. So a run that resumes at a step sees exactly the batches it would
have seen, shifted by the same pixels, with any number of workers.

>>> batches = shuffled_batches(5, 2, seed=0)
>>> [[index for _, index in next(batches)] for _ in range(5)]
[[2, 4], [3, 0], [1, 1], [4, 3], [0, 2]]
>>> next(shuffled_batches(5, 2, seed=0, start_step=2))
[(4, 1), (5, 1)]
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import count

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from robovlms.data.batch import Batch
from robovlms.data.collate import collate
from robovlms.data.dataset import BaseTaskDataset
from robovlms.errors import DataError, RoboVLMsError

Positions = list[tuple[int, int]]  # (position in the run, index of the window) of each sample of a batch


class GRDataModule:
    """Batches of a training and a validation set.

    Args:
        train_dataset: windows to learn from.
        val_dataset: windows to measure on; None if there are none.
        batch_size: b, windows per batch.
        num_workers: loader processes; 0 loads in this one. Batches do not depend on it.
        seed: of the order.

    Raises:
        DataError: if there is nothing to train on.
    """

    def __init__(
        self,
        *,
        train_dataset: BaseTaskDataset,
        val_dataset: BaseTaskDataset | None = None,
        batch_size: int,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        if len(train_dataset) == 0:
            raise DataError("the training set has no window; collect episodes, or hold out fewer")
        self.train_dataset, self.val_dataset = train_dataset, val_dataset
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed

    def train_batches(self, start_step: int = 0) -> Iterator[Batch]:
        """Endless shuffled batches; the first one is that of step `start_step`."""
        batches = shuffled_batches(len(self.train_dataset), self.batch_size, seed=self.seed, start_step=start_step)
        return self._load(self.train_dataset, batches)

    def val_batches(self) -> Iterator[Batch]:
        """Every validation window once, in order; the last batch may be smaller. Nothing if there is no such set."""
        if self.val_dataset is None:
            return iter(())
        return self._load(self.val_dataset, ordered_batches(len(self.val_dataset), self.batch_size))

    def _load(self, dataset: BaseTaskDataset, batches: Iterator[Positions]) -> Iterator[Batch]:
        loader = _BatchLoader(dataset)
        if self.num_workers == 0:
            return map(loader.load, batches)
        return map(_raise_if_error, _parallel(loader, batches, self.num_workers))


def shuffled_batches(num_windows: int, batch_size: int, *, seed: int, start_step: int = 0) -> Iterator[Positions]:
    """Yield the positions of the batches of steps `start_step`, `start_step` + 1, … without end."""
    permutation = lru_cache(maxsize=2)(lambda epoch: np.random.default_rng([seed, epoch]).permutation(num_windows))
    for step in count(start_step):
        places = [(position, *divmod(position, num_windows)) for position in _span(step, batch_size)]
        yield [(position, int(permutation(epoch)[offset])) for position, epoch, offset in places]


def ordered_batches(num_windows: int, batch_size: int) -> Iterator[Positions]:
    """Yield every window once, in order."""
    for begin in range(0, num_windows, batch_size):
        yield [(index, index) for index in range(begin, min(begin + batch_size, num_windows))]


def _span(step: int, batch_size: int) -> range:
    return range(step * batch_size, (step + 1) * batch_size)


class _BatchLoader(Dataset):
    """Makes whole batches, so that a worker hands over tensors and not samples."""

    def __init__(self, dataset: BaseTaskDataset) -> None:
        self.dataset = dataset

    def load(self, positions: Positions) -> Batch:
        return collate([self.dataset[where] for where in positions])

    def __getitem__(self, positions: Positions) -> Batch | RoboVLMsError:
        """In a worker: errors are handed over as they are, because torch would wrap their message in a traceback."""
        try:
            return self.load(positions)
        except RoboVLMsError as error:
            return error


def _parallel(loader: _BatchLoader, batches: Iterable[Positions], num_workers: int) -> Iterable[Batch | RoboVLMsError]:
    return DataLoader(
        loader,
        sampler=batches,
        batch_size=None,
        num_workers=num_workers,
        collate_fn=_as_it_is,
        generator=torch.Generator(),  # its own, so that workers do not change the random numbers of training
    )


def _as_it_is(batch: Batch | RoboVLMsError) -> Batch | RoboVLMsError:
    return batch


def _raise_if_error(batch: Batch | RoboVLMsError) -> Batch:
    if isinstance(batch, RoboVLMsError):
        raise batch
    return batch
