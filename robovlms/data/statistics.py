"""Statistics of the numbers and pictures of a dataset, gathered piece by piece in one pass.

Count, extremes, mean and standard deviation of numbers are exact, whatever the order of the pieces; quantiles as
`quantile_sketch` says. Pictures are kept as histograms.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from robovlms.actions.normalize import FeatureStatistics
from robovlms.data.quantile_sketch import QuantileSketch
from robovlms.errors import DataError

_ROWS_AT_ONCE = 2**15  # of an array that is added, so that its float64 copy stays in the processor's cache
QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}


def summarize(values: Float[np.ndarray, "k p"]) -> dict[str, list]:
    """Return min, max, mean, std, count and quantiles per column; all lists of p floats, count a list of one int."""
    exact = values.astype(np.float64)
    quantiles = np.quantile(exact, list(QUANTILES.values()), axis=0).tolist()
    moments = {"mean": exact.mean(0).tolist(), "std": exact.std(0).tolist(), "count": [len(exact)]}
    extremes = {"min": exact.min(0).tolist(), "max": exact.max(0).tolist()}
    return {**extremes, **moments, **dict(zip(QUANTILES, quantiles, strict=True))}


def feature_statistics(summary: dict[str, Any]) -> FeatureStatistics:
    """Return what normalisation needs of the result of `summarize`."""
    names = ("min", "max", "mean", "std", "q01", "q99")
    return FeatureStatistics.from_dict({**{name: summary[name] for name in names}, "count": summary["count"][0]})


class FeatureAccumulator:
    """Statistics of one feature, in one pass and bounded memory; two accumulators of parts merge into that of all.

    Attributes:
        count: rows seen.
        mean: float64 [p].
        min, max: [p].

    >>> accumulator = FeatureAccumulator().add(np.float32([[0, 5], [2, 5]])).add(np.float32([[7, 5]]))
    >>> summary = accumulator.summary()
    >>> summary["count"], summary["mean"], summary["max"]
    ([3], [3.0, 5.0], [7.0, 5.0])
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.min = self.max = self._squares = np.zeros(0)  # squares: sum of (x - mean)²
        self._sketch = QuantileSketch()

    def add(self, values: Float[np.ndarray, "k p"]) -> "FeatureAccumulator":
        """Take rows; return self.

        Raises:
            DataError: if a number is NaN or infinite, or the rows are not as wide as the ones before. Nothing of the
                rows is taken then.
        """
        self._check(values)
        for begin in range(0, len(values), _ROWS_AT_ONCE):
            piece = values[begin : begin + _ROWS_AT_ONCE]
            exact = piece.astype(np.float64)
            mean = exact.mean(0)
            squares = np.square(exact - mean).sum(0)
            self._take(len(piece), mean, squares, piece.min(0), piece.max(0))
            self._sketch.add(piece)
        return self

    def merge(self, other: "FeatureAccumulator") -> "FeatureAccumulator":
        """Take what `other` has seen; return self. The other is left as it is.

        Raises:
            DataError: if the two have not the same number of dimensions.
        """
        if other.count:
            self._check_width(len(other.mean))
            self._take(other.count, other.mean, other._squares, other.min, other.max)
            self._sketch.merge(other._sketch)
        return self

    def summary(self) -> dict[str, list]:
        """As the free `summarize`.

        Raises:
            DataError: if no row was added.
        """
        if not self.count:
            raise DataError("statistics of no rows")
        quantiles = self._sketch.quantiles(list(QUANTILES.values())).tolist()
        std = np.sqrt(self._squares / self.count)
        columns = {"min": self.min, "max": self.max, "mean": self.mean, "std": std}
        lists = {name: column.astype(np.float64).tolist() for name, column in columns.items()}
        return {**lists, "count": [self.count], **dict(zip(QUANTILES, quantiles, strict=True))}

    def _check(self, values: np.ndarray) -> None:
        if len(values):
            self._check_width(values.shape[1])
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            row, column = bad[0]
            first, last = self.count + row, self.count + bad[-1][0]
            raise DataError(
                f"row {first}: dimension {column} is {values[row, column]}; in rows {first} to {last}, "
                f"{len(np.unique(bad[:, 0]))} hold NaN or infinity"
            )

    def _check_width(self, width: int) -> None:
        if self.count and width != len(self.mean):
            raise DataError(f"row {self.count}: expected {len(self.mean)} numbers, got {width}")

    def _take(self, count: int, mean: np.ndarray, squares: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
        """Source: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm", 1979, equations 2.1."""
        if not self.count:
            self.count, self.mean, self._squares, self.min, self.max = count, mean, squares, low, high
            return
        total, delta = self.count + count, mean - self.mean
        self._squares = self._squares + squares + delta**2 * (self.count * count / total)
        self.mean = self.mean + delta * (count / total)
        self.min, self.max, self.count = np.minimum(self.min, low), np.maximum(self.max, high), total


class PixelHistogram:
    """How often each value occurs in each colour channel.

    Attributes:
        counts: int64 [3, 256].
    """

    def __init__(self) -> None:
        self.counts = np.zeros((3, 256), np.int64)

    def add(self, frames: UInt8[np.ndarray, "k h w 3"]) -> "PixelHistogram":
        """Count the pixels of `frames`; return self."""
        for channel in range(3):
            self.counts[channel] += np.bincount(frames[..., channel].ravel(), minlength=256)
        return self

    def merge(self, other: "PixelHistogram") -> None:
        """Add the counts of another histogram."""
        self.counts += other.counts

    def summarize(self, num_frames: int) -> dict[str, list]:
        """As the free `summarize`, with pixels in [0, 1] and values of shape [3, 1, 1], as LeRobot has them."""
        share = self.counts / self.counts.sum(1, keepdims=True)
        level = np.arange(256) / 255
        mean = share @ level
        columns = {
            "min": level[(self.counts > 0).argmax(1)],
            "max": level[255 - (self.counts > 0)[:, ::-1].argmax(1)],
            "mean": mean,
            "std": np.sqrt(np.maximum(share @ level**2 - mean**2, 0)),
            **{name: level[(share.cumsum(1) < q).sum(1).clip(max=255)] for name, q in QUANTILES.items()},
        }
        return {"count": [num_frames], **{name: column.reshape(3, 1, 1).tolist() for name, column in columns.items()}}
