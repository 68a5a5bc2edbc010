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
        self.num_steps, self.length = count_steps(example), usable_steps(example, standard)
        self.num_bytes = example.data.nbytes

    @cached_property
    def instruction(self) -> str:  # type: ignore[override]
        """What the robot was asked to do, at the first step; nothing if there is none.

        Raises:
            DataError: if it is no text.
        """
        if not self.num_steps:
            return ""
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
            if not self.length:
                return self._nothing(cameras)
            images = {name: self._frames(name, frames) for name in cameras}
            actions, proprio = self._actions[steps], None if self._proprio is None else self._proprio[frames]
        except DataError as error:
            raise error if str(error).startswith(self.where) else DataError(f"{self.where}: {error}") from error
        check_finite(actions, self.where, "action", self.standard.dimensions, steps)
        if proprio is not None:
            check_finite(proprio, self.where, "proprio", self.standard.proprio_names, frames)
        return Steps(images=images, proprio=proprio, actions=actions)

    def _nothing(self, cameras: tuple[str, ...]) -> Steps:
        """What an episode without a step that counts holds; its keys may be empty lists, whose shapes are unknown."""
        empty = {one.name: np.zeros((0, one.height, one.width, 3), np.uint8) for one in self.cameras}
        width = len(self.standard.proprio_names)
        return Steps(
            images={name: empty[name] for name in cameras},
            proprio=np.zeros((0, width), np.float32) if width else None,
            actions=np.zeros((0, len(self.standard.dimensions)), np.float32),
        )

    @cached_property
    def _actions(self) -> np.ndarray:
        """Of all steps that count, float32 [length, a]; a gripper may need to know what comes later."""
        found = self.standard.actions(lambda key: self._columns(STEPS + key))
        size = len(self.standard.dimensions)
        if found.shape[1] != size:
            raise DataError(f"expected {size} action numbers {list(self.standard.dimensions)}, found {found.shape[1]}")
        return self._counted(found)

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
        return self._counted(np.concatenate(kept, axis=1).astype(np.float32))

    def _counted(self, rows: np.ndarray) -> np.ndarray:
        """Those of all steps that count."""
        return rows[self.standard.skip_first : self.standard.skip_first + self.length]

    def _columns(self, key: str) -> np.ndarray:
        """Numbers of a key, [steps, m], m at least 1."""
        numbers = self.example.numbers(key)
        if not len(numbers) or len(numbers) % self.num_steps:
            raise DataError(f"{key}: {len(numbers)} numbers do not share out among {self.num_steps} steps")
        return numbers.reshape(self.num_steps, -1)

    def _frames(self, camera: str, frames: np.ndarray) -> np.ndarray:
        known = {spec.name: spec for spec in self.cameras}
        if camera not in known:
            raise DataError(unknown_name("camera", camera, known))
        key, spec = OBSERVATION + str(self.standard.cameras[camera]), known[camera]
        count = self.example.count(key)
        if count != self.num_steps:
            raise DataError(f"{key}: expected {self.num_steps} pictures, found {count}")
        unique, inverse = np.unique(frames + self.standard.skip_first, return_inverse=True)
        pictures = [self._picture(key, int(step), spec) for step in unique]
        empty = np.zeros((0, spec.height, spec.width, 3), np.uint8)
        return np.stack(pictures)[inverse] if pictures else empty

    def _picture(self, key: str, step: int, spec: CameraSpec) -> np.ndarray:
        try:
            picture = open_picture(self.example.blob(key, step))
            pixels = np.asarray(picture.convert("RGB"))
            if picture.format == "PNG" and spec.name in self.standard.blue_first_png:
                pixels = np.ascontiguousarray(pixels[..., ::-1])
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


def usable_steps(example: Example, standard: OxeStandard) -> int:
    """Steps that count; 0 if the episode failed, or nobody said what was to be done and the standard asks for it.

    Raises:
        DataError: if it is no episode.
    """
    steps = max(0, count_steps(example) - standard.skip_first - standard.skip_last)
    if steps and standard.success and standard.success in example and not example.numbers(standard.success).any():
        return 0
    return 0 if steps and standard.needs_instruction and _is_silent(example, standard) else steps


def _is_silent(example: Example, standard: OxeStandard) -> bool:
    """Whether the instruction is there, but empty; one that is missing or damaged is named when it is read."""
    key = STEPS + standard.instruction
    if key not in example:
        return False
    if example.kind(key) == "bytes":
        return not bytes(example.blob(key, 0)).strip()
    return not example.numbers(key)[:1].any()


def open_picture(data: memoryview) -> Image.Image:
    """Look at the head of a picture.

    Raises:
        DataError: if it is none.
    """
    try:
        return Image.open(io.BytesIO(data))
    except OSError as error:
        raise DataError(f"{len(data)} bytes that are no picture") from error
