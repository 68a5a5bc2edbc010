"""Loads batches in this process or in several others, in order and with the same result."""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch.utils.data import DataLoader, Dataset

from robovlms.errors import RoboVLMsError


@runtime_checkable
class BatchLoader(Protocol):
    """Makes a whole batch of a plan, so that a worker hands over tensors and not samples."""

    def load(self, plan: Any) -> Any:
        """Return what the plan asks for."""


def load_all(loader: BatchLoader, plans: Iterable[Any], num_workers: int) -> Iterator[Any]:
    """Yield what becomes of each plan, in order.

    Args:
        loader: copied into each process.
        plans: plan i goes to process i modulo `num_workers`; may be endless.
        num_workers: processes; 0 loads in this one.

    Raises:
        RoboVLMsError: what the loader raises, with its message as it is.
    """
    if num_workers == 0:
        return map(loader.load, plans)
    return map(_raise_if_error, _parallel(loader, plans, num_workers))


class _Jobs(Dataset):
    def __init__(self, loader: BatchLoader) -> None:
        self.loader = loader

    def __getitem__(self, plan: Any) -> Any:
        """In a worker: errors are handed over as they are, because torch would wrap their message in a traceback."""
        try:
            return self.loader.load(plan)
        except RoboVLMsError as error:
            return error


def _parallel(loader: BatchLoader, plans: Iterable[Any], num_workers: int) -> Iterable[Any]:
    return DataLoader(
        _Jobs(loader),
        sampler=plans,
        batch_size=None,
        num_workers=num_workers,
        collate_fn=_as_it_is,
        generator=torch.Generator(),  # its own, so that workers do not change the random numbers of training
    )


def _as_it_is(loaded: Any) -> Any:
    return loaded


def _raise_if_error(loaded: Any) -> Any:
    if isinstance(loaded, RoboVLMsError):
        raise loaded
    return loaded
