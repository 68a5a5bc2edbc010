"""Statistics of the numbers and pictures of a dataset, gathered episode by episode.

Numbers are kept (4 bytes each) until the end, so that quantiles are exact; pictures only as histograms.
"""

from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from robovlms.actions.normalize import FeatureStatistics

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
