"""What a robot sees at one moment."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class View:
    """What all cameras show.

    Attributes:
        images: camera -> uint8 [h, w, 3].
        observed_at: capture time of the oldest of them, s on the monotonic clock.
    """

    images: dict[str, np.ndarray]
    observed_at: float

    @property
    def image(self) -> np.ndarray:
        """The picture of the first camera."""
        return next(iter(self.images.values()))
