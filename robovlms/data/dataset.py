"""Windows of episodes as training samples: what the model sees, normalised and masked. NumPy only, no torch."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import UInt8

from robovlms.actions.normalize import ActionCodec, Normalizer
from robovlms.data.images import shift_into
from robovlms.data.sources.base import EpisodeSource, Steps
from robovlms.data.text import PromptEncoder
from robovlms.data.windows import WindowIndices, window_at
from robovlms.errors import DataError, unknown_name

Sample = dict[str, np.ndarray]  # the fields of `Batch` but text_mask, without the batch axis
_SHIFTS_PER_BLOCK = 1024


@dataclass(frozen=True, kw_only=True)
class Window:
    """One window as it is on disk, in physical units.

    Attributes:
        episode: index of the episode in the source.
        step: the current step, within the episode.
        indices: which steps were read, and which of them count.
        data: frames and proprio of the t frames, and the t·n actions, row by row.
    """

    episode: int
    step: int
    indices: WindowIndices
    data: Steps


class BaseTaskDataset:
    """Every step of the chosen episodes as one window, of which that step is "now".

    A sample is a dict of the fields of `Batch` without the batch axis; its prompt is not padded yet.

    Args:
        source: where episodes come from.
        window_size: t, frames per window, now included.
        fwd_pred_next_n: n, actions per frame.
        cameras: names, in the order the policy takes them; all of one size.
        action_codec: physical actions -> learned targets.
        proprio_normalizer: physical proprioception -> learned space; None leaves it out.
        prompt_encoder: instruction -> token ids.
        episodes: which episodes; None takes all.
        random_shift_px: frames are moved at most this many pixels each way, all of a window alike; 0 leaves them.
        seed: of the shift.

    Raises:
        DataError: if the source lacks a camera, proprioception or an episode, or cameras differ in size.
    """

    def __init__(
        self,
        source: EpisodeSource,
        *,
        window_size: int,
        fwd_pred_next_n: int,
        cameras: Sequence[str],
        action_codec: ActionCodec,
        proprio_normalizer: Normalizer | None,
        prompt_encoder: PromptEncoder,
        episodes: Sequence[int] | None = None,
        random_shift_px: int = 0,
        seed: int = 0,
    ) -> None:
        self.source, self.cameras = source, tuple(cameras)
        self.window_size, self.fwd_pred_next_n = window_size, fwd_pred_next_n
        self.action_codec, self.proprio_normalizer = action_codec, proprio_normalizer
        self.prompt_encoder = prompt_encoder
        self.random_shift_px, self.seed = random_shift_px, seed
        self.episodes = np.arange(len(source)) if episodes is None else np.array(episodes, np.int64)
        self.height, self.width = _common_size(source, self.cameras)
        self._check_arguments()
        self._ends = np.cumsum(source.lengths[self.episodes])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, where: int | tuple[int, int]) -> Sample:
        """Return one sample.

        Args:
            where: index of the window, or (position, index): the position in the training run seeds the shift, so that
                a window is not moved alike in every epoch.
        """
        position, index = where if isinstance(where, tuple) else (where, where)
        window = self.window(index)
        indices, data = window.indices, window.data
        images, has_camera = self._images(data, position)
        proprio, proprio_mask = self._proprio(data, indices.frame_mask)
        return {
            "images": images,
            "image_mask": indices.frame_mask[:, None] & has_camera,
            "input_ids": self.prompt_encoder.encode(self.source.instruction(window.episode)),
            "proprio": proprio,
            "proprio_mask": proprio_mask,
            "actions": self.action_codec.encode(data.actions.reshape(*indices.steps.shape, -1)),
            "action_mask": indices.step_mask,
            "source": np.array([window.episode, window.step]),
        }

    def window(self, index: int) -> Window:
        """Read the window whose current step is the `index`-th of all steps of the chosen episodes.

        Raises:
            IndexError: if there are not as many steps.
            DataError: if the source cannot be read.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} of a dataset with {len(self)} windows")
        number = int(self._ends.searchsorted(index, side="right"))
        episode = int(self.episodes[number])
        length = int(self.source.lengths[episode])
        step = int(index - self._ends[number] + length)
        indices = window_at(step, length=length, window_size=self.window_size, fwd_pred_next_n=self.fwd_pred_next_n)
        data = self.source.read(episode, indices.frames, indices.steps.ravel(), self.cameras)
        return Window(episode=episode, step=step, indices=indices, data=data)

    def _images(self, data: Steps, position: int) -> tuple[UInt8[np.ndarray, "t v 3 h w"], np.ndarray]:
        """Frames, moved by one shift for all of the window, and which cameras there are, bool [v]."""
        dy, dx = _random_shift(self.seed, position, self.random_shift_px)
        has_camera = np.array([name in data.images for name in self.cameras])
        images = np.zeros((self.window_size, len(self.cameras), 3, self.height, self.width), np.uint8)
        for view, name in enumerate(self.cameras):
            if has_camera[view]:
                shift_into(images[:, view], data.images[name].transpose(0, 3, 1, 2), dy, dx)
        return images, has_camera

    def _proprio(self, data: Steps, frame_mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Normalised proprioception [t, p] and its mask [t]; p = 0 and all False if it is left out."""
        if self.proprio_normalizer is None or data.proprio is None:
            return np.zeros((self.window_size, 0), np.float32), np.zeros_like(frame_mask)
        return self.proprio_normalizer.normalize(data.proprio), frame_mask

    def _check_arguments(self) -> None:
        if self.proprio_normalizer is not None and not self.source.proprio_names:
            raise DataError("the policy takes proprioception, but the dataset has none; set model.use_proprio: false")
        unknown = [episode for episode in self.episodes.tolist() if not 0 <= episode < len(self.source)]
        if unknown:
            raise DataError(f"episodes {unknown} of a dataset with {len(self.source)} episodes")
        if self.random_shift_px >= min(self.height, self.width):
            raise DataError(
                f"data.random_shift_px is {self.random_shift_px}, too far for frames of {self.height}x{self.width}"
            )


def split_episodes(source: EpisodeSource, val_episodes_per_task: int) -> tuple[list[int], list[int]]:
    """Hold out the last episodes of each task; return (training, validation) episodes, in order.

    Raises:
        DataError: if a task would be left without training episodes.
    """
    by_task: dict[str, list[int]] = defaultdict(list)
    for episode in range(len(source)):
        by_task[source.task(episode)].append(episode)
    for task, episodes in by_task.items():
        if len(episodes) <= val_episodes_per_task:
            raise DataError(
                f"task {task!r} has {len(episodes)} episodes and data.val_episodes holds out {val_episodes_per_task}: "
                "nothing is left to train on; collect more, or hold out fewer"
            )
    keep = {episode for episodes in by_task.values() for episode in episodes[: len(episodes) - val_episodes_per_task]}
    return sorted(keep), sorted(set(range(len(source))) - keep)


def _random_shift(seed: int, position: int, limit_px: int) -> tuple[int, int]:
    """(dy, dx) of a position in the run, each in [-limit_px, limit_px]."""
    if limit_px == 0:
        return 0, 0
    block, row = divmod(position, _SHIFTS_PER_BLOCK)
    return _shift_block(seed, block, limit_px)[row]


@lru_cache(maxsize=4)
def _shift_block(seed: int, block: int, limit_px: int) -> list[tuple[int, int]]:
    """Shifts of consecutive positions at once: making a generator costs more than moving a frame."""
    shifts = np.random.default_rng([seed, block]).integers(-limit_px, limit_px, (_SHIFTS_PER_BLOCK, 2), endpoint=True)
    return [(dy, dx) for dy, dx in shifts.tolist()]


def _common_size(source: EpisodeSource, cameras: tuple[str, ...]) -> tuple[int, int]:
    """Height and width that all `cameras` share."""
    known: dict[str, Any] = {camera.name: camera for camera in source.cameras}
    for name in cameras:
        if name not in known:
            raise DataError(unknown_name("camera", name, known))
    sizes = {name: (known[name].height, known[name].width) for name in cameras}
    if len(set(sizes.values())) != 1:
        raise DataError(f"cameras must be of one height and width, got {sizes}; choose fewer in data.cameras")
    return next(iter(sizes.values()))
