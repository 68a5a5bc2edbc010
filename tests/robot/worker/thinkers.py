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
        if prompt == "read":
            input()
        if prompt == "long":
            return "go " * 100_000
        if prompt == "fork" and os.fork() == 0:  # a child that holds the pipes, and takes its time
            time.sleep(60)
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
        if observation.instruction == "half":
            return np.zeros((3, 2), np.float16)
        if observation.instruction == "endless":
            return np.zeros((100_000, 2), np.float32)
        return np.full((3, 2), float(self.asked) + observation.timestamp_s, np.float32)


class Nothing:
    """Answers in no way."""


class Dies:
    """Cannot be loaded a second time."""

    def __init__(self, mark: str) -> None:
        if os.path.exists(mark):
            os._exit(1)
        open(mark, "w").close()

    def generate(self, prompt: str, image: np.ndarray) -> str:
        os._exit(1)


class Changes:
    """Another policy after each restart."""

    def __init__(self, mark: str) -> None:
        self.contract_json = "{}" if os.path.exists(mark) else "{...}"
        open(mark, "w").close()

    def chunk(self, observation: Observation) -> np.ndarray:
        os._exit(1)


class NotLoadedTwice:
    """Hangs where it is loaded a second time."""

    def __init__(self, mark: str) -> None:
        if os.path.exists(mark):
            time.sleep(60)
        open(mark, "w").close()

    def generate(self, prompt: str, image: np.ndarray) -> str:
        os._exit(1)
