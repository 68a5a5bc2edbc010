"""Quantiles of a stream of rows in bounded memory: exact for a million rows, within 0.1 % of the rank for any number.

Rows wait in levels; a row of level h stands for 2^h rows. A level that is full is sorted, column by column, and every
second value goes up a level; which of the two, the even or the odd ones, takes turns::

    level 0   1 3 4 7 | 8 9        full with 4: sorted 1 3 4 7 -> 1 4 go up and count twice, 8 9 stay
    level 1   1 4                  next time the other halves go up: errors of one kind do not add up

Sorting out 2^h-fold values moves the rank of any number by at most 2^h, and happens at most n / (2^h capacity) times:
each level adds at most n / capacity. With 32 768 rows a level and n = 10^12 steps, 25 levels: below 0.08 % of n.
Nothing is random, so that the same stream gives the same quantiles.

Source: Manku, Rajagopalan, Lindsay, "Approximate medians and other quantiles in one pass and with limited memory",
1998.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

NUM_EXACT = 2**20  # rows for which quantiles are exact
CAPACITY = 2**15  # rows of a level, above that


class QuantileSketch:
    """Quantiles of each column of the rows added.

    Args:
        num_exact: up to so many rows every value is kept.
        capacity: rows of each level, above that; even.

    Attributes:
        count: rows added.

    >>> sketch = QuantileSketch().add(np.array([[0.0], [1.0], [4.0]]))
    >>> sketch.quantiles([0.0, 0.25, 0.5]).tolist()
    [[0.0], [0.5], [1.0]]
    """

    def __init__(self, num_exact: int = NUM_EXACT, capacity: int = CAPACITY) -> None:
        self.num_exact, self.capacity, self.count = num_exact, capacity, 0
        self._levels: list[list[np.ndarray]] = [[]]
        self._turns: list[int] = [0]

    @property
    def is_exact(self) -> bool:
        """Whether every value is still kept."""
        return len(self._levels) == 1

    @property
    def num_bytes(self) -> int:
        """Memory of the values kept."""
        return sum(rows.nbytes for level in self._levels for rows in level)

    def add(self, rows: Float[np.ndarray, "k p"]) -> "QuantileSketch":
        """Take rows, finite; return self. They are copied."""
        self.count += len(rows)
        self._levels[0].append(rows.copy())
        self._compact()
        return self

    def merge(self, other: "QuantileSketch") -> "QuantileSketch":
        """Take what `other` has seen; return self. The other is left as it is."""
        self.count += other.count
        for number, level in enumerate(other._levels):
            self._level(number).extend(level)
        self._compact()
        return self

    def quantiles(self, shares: Sequence[float]) -> Float[np.ndarray, "q p"]:
        """Value below which a share of the rows lies, for each share in [0, 1] and each column; float64.

        Between two values as NumPy's default where all are kept, else one of the values seen.
        """
        levels = [(np.concatenate(rows), 2**number) for number, rows in enumerate(self._levels) if rows]
        columns = range(levels[0][0].shape[1])
        return np.stack([self._column([(rows[:, i], w) for rows, w in levels], shares) for i in columns], axis=1)

    def _column(self, levels: list[tuple[np.ndarray, int]], shares: Sequence[float]) -> np.ndarray:
        values = np.concatenate([rows for rows, _ in levels]).astype(np.float64)
        if self.is_exact:
            return np.quantile(values, shares)
        order = values.argsort(kind="stable")
        ranks = np.repeat([weight for _, weight in levels], [len(rows) for rows, _ in levels])[order].cumsum()
        return values[order][ranks.searchsorted(np.array(shares) * (self.count - 1), side="right")]

    def _level(self, number: int) -> list[np.ndarray]:
        while number >= len(self._levels):
            self._levels.append([])
            self._turns.append(0)
        return self._levels[number]

    def _compact(self) -> None:
        """Send half of each level that is full one up."""
        number = 0
        while number < len(self._levels):
            level = self._levels[number]
            limit = self.num_exact if self.is_exact else self.capacity - 1
            if sum(map(len, level)) > limit:
                rows = np.concatenate(level)
                even = len(rows) // 2 * 2
                self._levels[number] = [rows[even:].copy()] if even < len(rows) else []
                rows = np.sort(rows[:even], axis=0)
                self._level(number + 1).append(rows[self._turns[number] :: 2].copy())
                self._turns[number] ^= 1
            number += 1
