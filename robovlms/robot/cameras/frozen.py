"""A camera that shows the same picture for too long is broken, however fresh its stamps are.

The sensor of a camera has noise: two frames of even a white wall differ somewhere. A driver that hangs, a decoder that
repeats its last picture or a cable that came loose gives frames that are equal byte for byte::

    frame      A  A' A" B  B  B  B  B  B  B' ...
    stamp  s   0 .1 .2 .3 .6 .9 1.2 1.4 1.7 1.8
    frozen                               x         B was there for more than 1 s

Pictures without noise, those of a simulator or of a film that stands still, are not for this monitor.
"""

import hashlib

import numpy as np
from jaxtyping import UInt8

from robovlms.errors import ConfigError

STALE_S = 86_400.0  # a day: older than any limit on the age of an observation


class FrozenFrameMonitor:
    """Watches the frames of one camera.

    Args:
        max_same_s: the same frame for longer than this is no observation, s.

    Attributes:
        is_frozen: the last frame was such a one.

    Raises:
        ConfigError: if `max_same_s` is not positive.
    """

    def __init__(self, max_same_s: float = 1.0) -> None:
        if not 0.0 < max_same_s < float("inf"):
            raise ConfigError(f"frozen camera: expected a finite time above 0 s, got {max_same_s!r}")
        self._max_same_s = max_same_s
        self._digest = b""
        self._first_seen_at = 0.0
        self.is_frozen = False

    def observed_at(self, image: UInt8[np.ndarray, "h w 3"], captured_at: float) -> float:
        """Return the time that a frame stands for: `captured_at`, or a day before if the camera is frozen.

        Args:
            image: the frame.
            captured_at: when it was taken, monotonic clock, s.
        """
        digest = _digest(image)
        if digest != self._digest:
            self._digest, self._first_seen_at = digest, captured_at
        self.is_frozen = not captured_at - self._first_seen_at <= self._max_same_s
        return captured_at - STALE_S if self.is_frozen else captured_at


def _digest(image: np.ndarray) -> bytes:
    """16 bytes that differ when the frame differs; about 1 ms for 640 × 480."""
    shape = str(image.shape).encode()
    return hashlib.blake2b(np.ascontiguousarray(image), digest_size=16, salt=shape[:16].ljust(16)).digest()
