"""Windows of episodes in the original RoboVLMs' format: a dict of tensors per window.

Which windows there are depends on how they are put into words (see `chunking` for the rows)::

    organize_type   rows                                 of an episode with T steps
    interleave      sliding, without left padding        max(0, T - W + 1)
    segment         range, with left padding             T · W

`sample(i)` gives the same window in the format of this project's own trainer.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from robovlms.actions.normalize import ActionCodec, Normalizer
from robovlms.actions.tokenizer import ActionTokenizer
from robovlms.data.action_prediction import ActionPredictionBatchTransform, pad_id
from robovlms.data.action_prediction_collator import ActionPredictionPaddedCollator
from robovlms.data.chunking import chunk_rows, num_chunk_rows
from robovlms.data.dataset import BaseTaskDataset
from robovlms.data.sources.base import EpisodeSource
from robovlms.data.text import ByteTokenizer, PromptEncoder, Tokenizer
from robovlms.errors import ConfigError, DataError, unknown_name

_ROWS = {
    "interleave": {"window_sample": "sliding", "left_pad": False},
    "segment": {"window_sample": "range", "left_pad": True},
}


class ActionPredictionDataset(BaseTaskDataset):
    """Windows of a source as `ActionPredictionBatchTransform` makes them.

    Args:
        source: where episodes come from.
        cameras: one or two; the first gives `image_tensors`, the second `gripper_image_tensors`. None takes all.
        episodes: which episodes; None takes all.
        window_size: W.
        fwd_pred_next_n: F.
        action_codec: physical actions -> numbers in [-1, 1], gripper 1 = open, before the transform's own settings.
            None maps the 1 % and 99 % quantiles of the source to -1 and 1.
        tokenizer: of the text; None takes the built-in one.
        action_tokenizer: numbers -> ids; None makes one of `n_bin` bins if the policy is discrete.
        n_bin: bins of that.
        proprio_normalizer, prompt_encoder: for `sample`, as in `BaseTaskDataset`; None leaves proprioception out, and
            gives the bare instruction.
        settings: any other field of `ActionPredictionBatchTransform`.

    Attributes:
        batch_transform: makes the items.
        collater_fn: makes batches of items.

    Raises:
        ConfigError: if a setting is unknown or contradicts another, or there are more than two cameras.
        DataError: as `BaseTaskDataset`.
    """

    def __init__(
        self,
        source: EpisodeSource,
        *,
        cameras: Sequence[str] | None = None,
        episodes: Sequence[int] | None = None,
        window_size: int = 16,
        fwd_pred_next_n: int = 2,
        action_codec: ActionCodec | None = None,
        tokenizer: Tokenizer | None = None,
        action_tokenizer: ActionTokenizer | None = None,
        n_bin: int = 256,
        proprio_normalizer: Normalizer | None = None,
        prompt_encoder: PromptEncoder | None = None,
        **settings: Any,
    ) -> None:
        tokenizer = ByteTokenizer() if tokenizer is None else tokenizer
        names = tuple(camera.name for camera in source.cameras) if cameras is None else tuple(cameras)
        if not 1 <= len(names) <= 2:
            raise ConfigError(f"cameras: one or two, got {list(names)}; choose among those of the dataset")
        super().__init__(
            source,
            window_size=window_size,
            fwd_pred_next_n=fwd_pred_next_n,
            cameras=names,
            action_codec=_quantile_codec(source) if action_codec is None else action_codec,
            proprio_normalizer=proprio_normalizer,
            prompt_encoder=PromptEncoder(tokenizer, "{instruction}", 512) if prompt_encoder is None else prompt_encoder,
            episodes=episodes,
        )
        _check_settings(settings)
        if action_tokenizer is None and settings.get("discrete", True):
            limits = {name: settings[name] for name in ("min_action", "max_action") if name in settings}
            action_tokenizer = ActionTokenizer(tokenizer, n_bin, **limits)
        self.batch_transform = ActionPredictionBatchTransform(
            tokenizer=tokenizer,
            action_tokenizer=action_tokenizer,
            window_size=window_size,
            fwd_pred_next_n=fwd_pred_next_n,
            **{"gripper_dims": source.action_space.gripper_dims} | settings,
        )
        self.collater_fn = ActionPredictionPaddedCollator(
            pad_token_id=pad_id(tokenizer),
            window_size=window_size,
            fwd_pred_next_n=fwd_pred_next_n,
            organize_type=self.batch_transform.organize_type,
            discrete=self.batch_transform.discrete,
        )
        self._rows = _ROWS[self.batch_transform.organize_type] | {"window_size": window_size}
        counts = [num_chunk_rows(length, **self._rows) for length in source.lengths[self.episodes].tolist()]
        self._ends = np.cumsum(np.array(counts, np.int64))

    def __getitem__(self, index: int) -> dict[str, Tensor | None]:
        """Return one window; keys and shapes as `ActionPredictionBatchTransform.__call__`.

        Raises:
            IndexError: if there are not as many windows.
            DataError: if the source cannot be read, an episode lacks a camera, or an action is not finite.
        """
        episode, row = self._row(index)
        steps, mask = (part[0] for part in self._window(episode, row))
        if self.batch_transform.mode == "inference":  # nothing after now is known
            steps, mask = steps[: self.window_size], mask[: self.window_size]
        data = self.source.read(episode, steps, steps, self.cameras)
        where = f"{self.source.file(episode)}: episode {episode}"
        for name in self.cameras:
            if name not in data.images:
                raise DataError(f"{where} has no camera {name!r}; choose other cameras or episodes")
        is_bad = mask & ~np.isfinite(data.actions).all(1)
        if is_bad.any():
            raise DataError(f"{where}, step {steps[is_bad][0]}: an action is not finite")
        actions = self.action_codec.encode(data.actions)
        if self.batch_transform.mode == "inference":
            actions = actions[:-1]
        images = [data.images[name] for name in self.cameras]
        return self.batch_transform(self.source.instruction(episode), actions, mask, *images)

    def place(self, index: int) -> tuple[int, int]:
        """Episode and current step of a window.

        Raises:
            IndexError: if there are not as many windows.
        """
        episode, row = self._row(index)
        steps, _ = self._window(episode, row)
        return episode, int(steps[0, self.window_size - 1])

    def collater(self, items: Sequence[dict[str, Tensor | None]]) -> dict[str, Tensor | None]:
        """Return the batch of some items, for `torch.utils.data.DataLoader(collate_fn=…)`."""
        return self.collater_fn(items)

    def _row(self, index: int) -> tuple[int, int]:
        """Episode of a window, and its number among those of the episode."""
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} of a dataset with {len(self)} windows")
        number = int(self._ends.searchsorted(index, side="right"))
        return int(self.episodes[number]), index - self.span(number).start

    def _window(self, episode: int, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Steps and mask of a window, [1, W + F]."""
        length = int(self.source.lengths[episode])
        return chunk_rows(np.array([row]), length=length, fwd_pred_next_n=self.fwd_pred_next_n, **self._rows)


def _quantile_codec(source: EpisodeSource) -> ActionCodec:
    normalizer = Normalizer.from_statistics("quantile", source.statistics["action"])
    return ActionCodec(space=source.action_space, normalizer=normalizer)


def _check_settings(settings: dict[str, Any]) -> None:
    known = [field.name for field in dataclasses.fields(ActionPredictionBatchTransform)]
    for name in settings:
        if name not in known:
            raise ConfigError("ActionPredictionDataset: " + unknown_name("setting", name, known))
    placeholder = settings.get("special_history_id")
    if placeholder is not None and placeholder < 0:
        raise ConfigError(
            f"special_history_id: {placeholder} is no token, so that no policy could embed it; leave it out for the "
            "padding token, or name a token that no text has"
        )
