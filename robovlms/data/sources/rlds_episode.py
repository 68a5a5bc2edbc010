"""One episode of an RLDS dataset: a record whose keys have a value, or some numbers, for every step."""

import io
from functools import cached_property

import numpy as np
from PIL import Image

from robovlms.actions.contract import CameraSpec
from robovlms.data.sources.base import Steps
from robovlms.data.sources.episode_check import check_finite
from robovlms.data.sources.oxe import OxeStandard
from robovlms.data.sources.stream import StreamedEpisode
from robovlms.data.sources.tf_example import Example
from robovlms.errors import DataError, unknown_name

STEPS, OBSERVATION = "steps/", "steps/observation/"


class RldsEpisode(StreamedEpisode):
    """One record; its pictures are decoded when they are asked for.

    Args:
        standard: what the keys mean.
        cameras: names and sizes.
        task: name of the dataset.
        shard, record: where it lies.
        example: what it holds.
        where: file and record, for messages.

    Raises:
        DataError: if it is no episode.
    """

    def __init__(
        self,
        standard: OxeStandard,
        cameras: tuple[CameraSpec, ...],
        task: str,
        shard: int,
        record: int,
        example: Example,
        where: str,
    ) -> None:
        self.standard, self.cameras, self.task = standard, cameras, task
        self.shard, self.record, self.example, self.where = shard, record, example, where
        self.num_steps = count_steps(example)
        self.length = max(0, self.num_steps - self.standard.skip_first)
        self.num_bytes = example.data.nbytes

    @cached_property
    def instruction(self) -> str:  # type: ignore[override]
        """What the robot was asked to do, at the first step.

        Raises:
            DataError: if it is no text.
        """
        key = STEPS + self.standard.instruction
        try:
            if self.standard.codepoints:
                numbers = self._columns(key)[0].astype(int).tolist()
                return "".join(map(chr, numbers)).partition("\0")[0]
            return bytes(self.example.blob(key, 0)).decode()
        except (UnicodeDecodeError, ValueError) as error:
            raise DataError(f"{self.where}, {key}: not a text: {error}") from error
        except DataError as error:
            raise DataError(f"{self.where}: {error}") from error

    def read(self, frames: np.ndarray, steps: np.ndarray, cameras: tuple[str, ...]) -> Steps:
        for asked in (frames, steps):
            if len(asked) and not (asked.min() >= 0 and asked.max() < self.length):
                raise DataError(f"{self.where}: has {self.length} steps, asked for {asked.tolist()}")
        try:
            images = {name: self._frames(name, frames) for name in cameras}
            actions, proprio = self._actions[steps], None if self._proprio is None else self._proprio[frames]
        except DataError as error:
            raise error if str(error).startswith(self.where) else DataError(f"{self.where}: {error}") from error
        check_finite(actions, self.where, "action", self.standard.dimensions, steps)
        if proprio is not None:
            check_finite(proprio, self.where, "proprio", self.standard.proprio_names, frames)
        return Steps(images=images, proprio=proprio, actions=actions)

    @cached_property
    def _actions(self) -> np.ndarray:
        """Of all steps that count, float32 [length, a]; a gripper may need to know what comes later."""
        found = self.standard.actions(lambda key: self._columns(STEPS + key))
        size = len(self.standard.dimensions)
        if found.shape[1] != size:
            raise DataError(f"expected {size} action numbers {list(self.standard.dimensions)}, found {found.shape[1]}")
        return found[self.standard.skip_first :]

    @cached_property
    def _proprio(self) -> np.ndarray | None:
        if not self.standard.proprio:
            return None
        kept = []
        for key, names in self.standard.proprio.items():
            columns = self._columns(STEPS + key)
            if columns.shape[1] != len(names):
                raise DataError(f"{key}: expected {len(names)} numbers {list(names)}, found {columns.shape[1]}")
            kept.append(columns[:, [i for i, name in enumerate(names) if name != "-"]])
        return np.concatenate(kept, axis=1).astype(np.float32)[self.standard.skip_first :]

    def _columns(self, key: str) -> np.ndarray:
        """Numbers of a key, [steps, m]."""
        numbers = self.example.numbers(key)
        if not self.num_steps or len(numbers) % self.num_steps:
            raise DataError(f"{key}: {len(numbers)} numbers do not share out among {self.num_steps} steps")
        return numbers.reshape(self.num_steps, -1)

    def _frames(self, camera: str, frames: np.ndarray) -> np.ndarray:
        if camera not in self.standard.cameras:
            raise DataError(unknown_name("camera", camera, self.standard.cameras))
        key = OBSERVATION + str(self.standard.cameras[camera])
        spec = next(one for one in self.cameras if one.name == camera)
        count = self.example.count(key)
        if count != self.num_steps:
            raise DataError(f"{key}: expected {self.num_steps} pictures, found {count}")
        unique, inverse = np.unique(frames + self.standard.skip_first, return_inverse=True)
        pictures = [self._picture(key, int(step), spec) for step in unique]
        empty = np.zeros((0, spec.height, spec.width, 3), np.uint8)
        return np.stack(pictures)[inverse] if pictures else empty

    def _picture(self, key: str, step: int, spec: CameraSpec) -> np.ndarray:
        try:
            pixels = np.asarray(open_picture(self.example.blob(key, step)).convert("RGB"))
        except (OSError, SyntaxError, ValueError, DataError) as error:
            raise DataError(f"step {step}, {key}: not readable as a picture: {error}") from error
        if pixels.shape[:2] != (spec.height, spec.width):
            raise DataError(
                f"step {step}, {key}: expected {spec.height}x{spec.width}, got {pixels.shape[0]}x{pixels.shape[1]}"
            )
        return pixels


def count_steps(example: Example) -> int:
    """Steps of an episode: the length of a list that has one entry per step.

    Raises:
        DataError: if there is no such list.
    """
    for key in ("steps/is_first", "steps/is_last", "steps/is_terminal", "steps/reward", "steps/discount"):
        if key in example:
            return example.count(key)
    raise DataError("not an RLDS episode: it has none of steps/is_first, steps/is_last, steps/reward")


def open_picture(data: memoryview) -> Image.Image:
    """Look at the head of a picture.

    Raises:
        DataError: if it is none.
    """
    try:
        return Image.open(io.BytesIO(data))
    except OSError as error:
        raise DataError(f"{len(data)} bytes that are no picture") from error
