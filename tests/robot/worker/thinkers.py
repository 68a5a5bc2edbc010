"""Models for the tests, good ones and bad ones."""

import os
import time

import numpy as np

from robovlms.types import Observation


class Echo:
    """Answers with the prompt and the mean of the picture."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix

    def generate(self, prompt: str, image: np.ndarray) -> str:
        print("a library that prints")
        if prompt == "raise":
            raise ValueError("two\nlines")
        if prompt == "hang":
            time.sleep(60)
        if prompt == "die":
            os._exit(3)
        return f"{self.prefix}{prompt} {image.mean():g}"


class Drive:
    """Drives straight on, three steps."""

    contract_json = "{}"

    def __init__(self) -> None:
        self.asked = 0

    def chunk(self, observation: Observation) -> np.ndarray:
        self.asked += 1
        return np.full((3, 2), float(self.asked) + observation.timestamp_s, np.float32)

    def reset(self) -> None:
        self.asked = 0


class Nothing:
    """Answers in no way."""
