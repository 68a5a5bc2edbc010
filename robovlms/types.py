"""What passes between robot or simulator and policy. NumPy only: the robot side installs without torch."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What the robot sees and feels at one control step.

    Attributes:
        images: camera name -> RGB frame, uint8 [h, w, 3].
        proprio: joint or end-effector state in the units of the dataset, float32 [p]; None if the robot has none.
        instruction: what the robot is asked to do, in plain words.
        timestamp_s: capture time on the monotonic clock of the machine that acts, in seconds.
    """

    images: dict[str, UInt8[np.ndarray, "h w 3"]]
    proprio: Float32[np.ndarray, "p"] | None
    instruction: str
    timestamp_s: float
