"""What a camera gives: RGB frames, each with the time it was captured."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from jaxtyping import UInt8

from robovlms.errors import SafetyError


class CameraEnded(SafetyError):
    """There are no more frames, as at the end of a film."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One picture.

    Attributes:
        image: uint8 [h, w, 3], RGB.
        captured_at: s on the monotonic clock.
        number: counts from 0.
    """

    image: UInt8[np.ndarray, "h w 3"]
    captured_at: float
    number: int


class Camera(ABC):
    """One camera; options are keywords. `read` is called from one thread."""

    @abstractmethod
    def read(self) -> Frame:
        """The newest frame, waited for if there is no newer one than the last.

        Raises:
            CameraEnded: there are no more.
            SafetyError: the camera is broken.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the device."""

    def __enter__(self) -> "Camera":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
