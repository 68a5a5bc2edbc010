"""Which window a position of the training run holds: a function of the seed alone.

A run is one endless sequence of positions. Two questions are answered for each::

    position   0  1  2  3  4  5  6  7  8 …      weights 2 : 1
    dataset    a  b  a  a  a  b  b  a  a        in every block of positions each dataset has its share, shuffled
    draw       0  0  1  2  3  1  2  4  5        the how-many-th sample of that dataset it is
    window     ↓ a dataset's draws run through a permutation of its windows, then through the next one, …

So a run that resumes at a position sees exactly what it would have seen, on any number of processes.

>>> shares = Shares([2.0, 1.0], seed=0, block=6)
>>> [shares.at(position)[0] for position in range(6)].count(0)
4
>>> order = WindowOrder([range(0, 3), range(3, 5)], seed=0)
>>> sorted(order.window(draw) for draw in range(5)), sorted(order.window(draw) for draw in range(5, 10))
([0, 1, 2, 3, 4], [0, 1, 2, 3, 4])
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, Literal

import numpy as np

from robovlms.errors import ConfigError

_BLOCK = 4096  # positions; shares of a mixture are multiples of 1/4096
_FRAMES, _EPISODES, _WITHIN, _SHARES = 0, 1, 2, 3  # keep the random numbers of different questions apart


class WindowOrder:
    """The order in which the windows of one dataset are drawn.

    Args:
        spans: windows of each episode, one after the other.
        seed: of the order.
        part: number of the dataset in a mixture; each has an order of its own.
        balance: "frame" draws every window once per epoch; "episode" draws every episode once per round, so that a long
            one counts no more than a short one, and runs through an episode's windows over the rounds.
    """

    def __init__(
        self, spans: Sequence[range], *, seed: int, part: int = 0, balance: Literal["frame", "episode"] = "frame"
    ) -> None:
        self.balance = balance
        self.spans = [span for span in spans if len(span)]
        self.num_windows = sum(len(span) for span in self.spans)
        self._seed, self._part = seed, part
        self._permutation = lru_cache(maxsize=2)(self._permute)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(WindowOrder, seed=self._seed, part=self._part, balance=self.balance), (self.spans,)

    def window(self, draw: int) -> int:
        """Window of the `draw`-th draw."""
        if self.balance == "frame":
            epoch, offset = divmod(draw, self.num_windows)
            return int(self._permutation(self.num_windows, epoch, _FRAMES)[offset])
        turn, place = divmod(draw, len(self.spans))
        number = int(self._permutation(len(self.spans), turn, _EPISODES)[place])
        span = self.spans[number]
        lap, step = divmod(turn, len(span))
        return span[int(self._permute(len(span), lap, _WITHIN, number)[step])]

    def _permute(self, size: int, epoch: int, *question: int) -> np.ndarray:
        return np.random.default_rng([self._seed, epoch, self._part, *question]).permutation(size)


class Shares:
    """Deals the positions of a run to the datasets of a mixture.

    Args:
        weights: share of each dataset, relative to the others.
        seed: of the order.
        block: positions after which every dataset has had exactly its share.

    Attributes:
        quotas: positions of each dataset per block, at least 1.

    Raises:
        ConfigError: if a weight is not positive, or there are more datasets than positions in a block.
    """

    def __init__(self, weights: Sequence[float], *, seed: int, block: int = _BLOCK) -> None:
        if not weights or min(weights) <= 0 or len(weights) > block:
            raise ConfigError(f"a mixture needs 1 to {block} positive weights, got {list(weights)}")
        self.quotas, self._seed, self._block = _quotas(weights, block), seed, sum(_quotas(weights, block))
        self._dealt = lru_cache(maxsize=2)(self._deal)

    def at(self, position: int) -> tuple[int, int]:
        """The dataset of a position, and how many draws of that dataset came before."""
        if len(self.quotas) == 1:
            return 0, position
        number, offset = divmod(position, self._block)
        part, before = self._dealt(number)
        dataset = int(part[offset])
        return dataset, number * self.quotas[dataset] + int(before[offset])

    def _deal(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Dataset of each position of a block, and how many positions of that dataset came before it in the block."""
        parts = np.repeat(np.arange(len(self.quotas)), self.quotas)
        parts = np.random.default_rng([self._seed, number, 0, _SHARES]).permutation(parts)
        before = np.empty_like(parts)
        for dataset, quota in enumerate(self.quotas):
            before[parts == dataset] = np.arange(quota)
        return parts, before


def _quotas(weights: Sequence[float], block: int) -> list[int]:
    """Whole numbers near `block` × share, by largest remainders; none is 0.

    >>> _quotas([1.0, 1.0, 1.0], 4), _quotas([1000.0, 1.0], 4)
    ([2, 1, 1], [3, 1])
    """
    exact = np.array(weights, np.float64) / np.sum(weights) * block
    quotas = np.maximum(np.floor(exact).astype(np.int64), 1)
    by_remainder = np.argsort(-(exact - np.floor(exact)), kind="stable")
    for place in range(block - int(quotas.sum())):
        quotas[by_remainder[place % len(quotas)]] += 1
    while quotas.sum() > block:
        quotas[quotas.argmax()] -= 1
    return quotas.tolist()
