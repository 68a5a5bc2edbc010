"""Windows of episodes as training samples, at random or in order. NumPy only, no torch."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from robovlms.actions.normalize import ActionCodec, Normalizer
from robovlms.data.mirror import Mirror
from robovlms.data.sample import Sample, SampleBuilder, Window
from robovlms.data.sources.base import EpisodeSource
from robovlms.data.text import PromptEncoder
from robovlms.data.windows import window_at
from robovlms.errors import DataError, unknown_name


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
        action_columns: place of each number of the dataset's action among the policy's; None = the same.
        action_dim: a, numbers of the policy's action; None = the dataset's.
        proprio_dim: p, numbers of the policy's proprioception; None = the dataset's, or 0 without a normalizer.
        dataset: number of the dataset in a mixture.
        mirror: how its windows are mirrored; None if they never are.

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
        action_columns: Sequence[int] | None = None,
        action_dim: int | None = None,
        proprio_dim: int | None = None,
        dataset: int = 0,
        mirror: Mirror | None = None,
    ) -> None:
        self.source, self.cameras = source, tuple(cameras)
        self.window_size, self.fwd_pred_next_n = window_size, fwd_pred_next_n
        self.action_codec, self.proprio_normalizer = action_codec, proprio_normalizer
        self.prompt_encoder = prompt_encoder
        self.height, self.width = common_size(source, self.cameras)
        if proprio_normalizer is not None and not source.proprio_names:
            raise DataError("the policy takes proprioception, but the dataset has none; set model.use_proprio: false")
        size, own_proprio = action_codec.space.size, 0 if proprio_normalizer is None else len(source.proprio_names)
        self.builder = SampleBuilder(
            cameras=self.cameras,
            height=self.height,
            width=self.width,
            action_codec=action_codec,
            action_columns=tuple(range(size)) if action_columns is None else tuple(action_columns),
            action_dim=size if action_dim is None else action_dim,
            proprio_normalizer=proprio_normalizer,
            proprio_dim=own_proprio if proprio_dim is None else proprio_dim,
            prompt_encoder=prompt_encoder,
            dataset=dataset,
            mirror=mirror,
        )
        self.episodes = np.arange(len(source)) if episodes is None else np.array(episodes, np.int64)
        unknown = [episode for episode in self.episodes.tolist() if not 0 <= episode < len(source)]
        if unknown:
            raise DataError(f"episodes {unknown} of a dataset with {len(source)} episodes")
        self._ends = np.cumsum(source.lengths[self.episodes])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> Sample:
        """Return one sample, see `sample`."""
        return self.sample(index)

    def sample(self, index: int, is_mirrored: bool = False) -> Sample:
        """Return the sample whose current step is the `index`-th of all steps of the chosen episodes.

        Args:
            index: of the window.
            is_mirrored: as in `SampleBuilder.build`.

        Raises:
            IndexError: if there are not as many steps.
            DataError: if the source cannot be read, or holds numbers that are not finite.
        """
        return self.builder.build(self.window(index), is_mirrored)

    def window(self, index: int) -> Window:
        """Read the window whose current step is the `index`-th of all steps of the chosen episodes.

        Raises:
            IndexError: if there are not as many steps.
            DataError: if the source cannot be read.
        """
        episode, step = self.place(index)
        indices = window_at(
            step,
            length=int(self.source.lengths[episode]),
            window_size=self.window_size,
            fwd_pred_next_n=self.fwd_pred_next_n,
        )
        data = self.source.read(episode, indices.frames, indices.steps.ravel(), self.cameras)
        instruction = self.source.instruction(episode)
        return Window(episode=episode, step=step, indices=indices, data=data, instruction=instruction)

    def place(self, index: int) -> tuple[int, int]:
        """Episode and step of a window.

        Raises:
            IndexError: if there are not as many windows.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} of a dataset with {len(self)} windows")
        number = int(self._ends.searchsorted(index, side="right"))
        episode = int(self.episodes[number])
        return episode, int(index - self._ends[number] + self.source.lengths[episode])

    def span(self, number: int) -> range:
        """Windows of the `number`-th of the chosen episodes."""
        return range(int(self._ends[number - 1]) if number else 0, int(self._ends[number]))


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


def common_size(source: EpisodeSource, cameras: tuple[str, ...]) -> tuple[int, int]:
    """Height and width that all `cameras` share.

    Raises:
        DataError: if there is no camera, or they differ.
    """
    known: dict[str, Any] = {camera.name: camera for camera in source.cameras}
    for name in cameras:
        if name not in known:
            raise DataError(unknown_name("camera", name, known))
    sizes = {name: (known[name].height, known[name].width) for name in cameras}
    if len(set(sizes.values())) != 1:
        raise DataError(
            f"cameras must be of one height and width, got {sizes}; set data.image_size, or choose fewer cameras"
        )
    return next(iter(sizes.values()))
