"""From what a dataset read to what the policy takes: normalised, in the policy's columns, and masked. NumPy only."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, UInt8

from robovlms.actions.normalize import ActionCodec, Normalizer
from robovlms.data.mirror import Mirror
from robovlms.data.sources.base import Steps
from robovlms.data.text import PromptEncoder
from robovlms.data.windows import WindowIndices
from robovlms.errors import DataError

Sample = dict[str, np.ndarray]  # the fields of `Batch` but text_mask, without the batch axis


@dataclass(frozen=True, kw_only=True)
class Window:
    """One window as it is on disk, in physical units.

    Attributes:
        episode: index of the episode in the source.
        step: the current step, within the episode.
        indices: which steps were read, and which of them count.
        data: frames and proprio of the t frames, and the t·n actions, row by row.
        instruction: what the robot was asked to do.
    """

    episode: int
    step: int
    indices: WindowIndices
    data: Steps
    instruction: str


@dataclass(frozen=True, kw_only=True)
class SampleBuilder:
    """Makes samples of one dataset, in the layout that all datasets of a run share.

    Attributes:
        cameras: names, in the order the policy takes them.
        height, width: of every frame, in pixels.
        action_codec: physical actions of this dataset -> learned targets.
        action_columns: place of each of its numbers among the policy's.
        action_dim: a, numbers of the policy's action.
        proprio_normalizer: physical proprioception -> learned space; None leaves it out.
        proprio_dim: p, numbers that the policy takes.
        prompt_encoder: instruction -> token ids.
        dataset: number of the dataset in a mixture.
        mirror: how its windows are mirrored; None if they never are.
    """

    cameras: tuple[str, ...]
    height: int
    width: int
    action_codec: ActionCodec
    action_columns: Sequence[int]
    action_dim: int
    proprio_normalizer: Normalizer | None
    proprio_dim: int
    prompt_encoder: PromptEncoder
    dataset: int = 0
    mirror: Mirror | None = None

    def build(self, window: Window, is_mirrored: bool = False) -> Sample:
        """Return one sample.

        Args:
            window: as the dataset gave it.
            is_mirrored: left and right trade places, unless the instruction does not allow it.

        Raises:
            DataError: if a supervised number is not finite, or a frame has another size than the others.
        """
        if is_mirrored and self.mirror is not None:
            window = _mirrored(window, self.mirror)
        indices, data = window.indices, window.data
        images, has_camera = self._images(data, len(indices.frames))
        proprio, proprio_mask = self._proprio(data, indices.frame_mask)
        actions, has_dim = self._actions(window)
        return {
            "images": images,
            "image_mask": indices.frame_mask[:, None] & has_camera,
            "input_ids": self.prompt_encoder.encode(window.instruction),
            "proprio": proprio,
            "proprio_mask": proprio_mask,
            "actions": actions,
            "action_mask": indices.step_mask,
            "action_dim_mask": has_dim,
            "source": np.array([window.episode, window.step]),
            "dataset": np.array(self.dataset),
        }

    def _images(self, data: Steps, length: int) -> tuple[UInt8[np.ndarray, "t v 3 h w"], Bool[np.ndarray, "v"]]:
        """Frames, black where the camera is missing, and which cameras there are."""
        has_camera = np.array([name in data.images for name in self.cameras])
        allocate = np.empty if has_camera.all() else np.zeros
        images = allocate((length, len(self.cameras), 3, self.height, self.width), np.uint8)
        for view, name in enumerate(self.cameras):
            if has_camera[view]:
                frames = data.images[name]
                if frames.shape[1:3] != (self.height, self.width):
                    raise DataError(
                        f"camera {name!r}: expected frames of {self.height}x{self.width}, got "
                        f"{frames.shape[1]}x{frames.shape[2]}"
                    )
                images[:, view] = frames.transpose(0, 3, 1, 2)
        return images, has_camera

    def _proprio(self, data: Steps, frame_mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Normalised proprioception [t, p] and its mask [t]; all False where there is none."""
        if self.proprio_normalizer is None or data.proprio is None:
            return np.zeros((len(frame_mask), self.proprio_dim), np.float32), np.zeros_like(frame_mask)
        if not np.isfinite(data.proprio[frame_mask]).all():
            raise DataError("proprioception is not finite")
        return self.proprio_normalizer.normalize(data.proprio), frame_mask

    def _actions(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        """Targets [t, n, a] in the policy's columns, and which columns are filled, [a]."""
        physical = window.data.actions.reshape(*window.indices.steps.shape, -1)
        if not np.isfinite(physical[window.indices.step_mask]).all():
            raise DataError(f"episode {window.episode}, near step {window.step}: an action is not finite")
        encoded = self.action_codec.encode(physical)
        has_dim = np.zeros(self.action_dim, bool)
        has_dim[list(self.action_columns)] = True
        if has_dim.all() and list(self.action_columns) == list(range(self.action_dim)):
            return encoded, has_dim
        actions = np.zeros((*encoded.shape[:-1], self.action_dim), np.float32)
        actions[..., list(self.action_columns)] = encoded
        return actions, has_dim


def _mirrored(window: Window, mirror: Mirror) -> Window:
    seen = mirror.window(window.data, window.instruction)
    return window if seen is None else replace(window, data=seen[0], instruction=seen[1])
