"""Items of the original RoboVLMs' format -> one batch, under the names that its trainer reads."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robovlms.data.action_prediction import IGNORE_INDEX
from robovlms.errors import DataError

# Name in a batch -> name in a sample, as the original has them.
_BATCH_NAMES = {
    "rgb": "image_tensors",
    "hand_rgb": "gripper_image_tensors",
    "fwd_rgb_chunck": "image_chunk",
    "fwd_hand_rgb_chunck": "gripper_image_chunk",
    "fwd_mask": "image_chunk_mask",
    "text": "input_ids",
    "text_mask": "attention_mask",
    "action": "action_tensors",
    "action_mask": "action_mask",
    "action_chunck": "action_chunk",
    "chunck_mask": "action_chunk_mask",
    "instr_and_action_ids": "input_ids",
    "instr_and_action_labels": "labels",
    "instr_and_action_mask": "attention_mask",
}


@dataclass(frozen=True, kw_only=True)
class ActionPredictionPaddedCollator:
    """Makes one batch of items of `ActionPredictionBatchTransform`.

    Attributes:
        pad_token_id: fills shorter rows of ids on the right; their labels are -100, their attention mask False.
        window_size, fwd_pred_next_n: W and F that the action chunks must have; None = whatever they have.
        organize_type, discrete: decide whether ids must be [W, L] or [L]; None = as they are.
    """

    pad_token_id: int = 0
    window_size: int | None = None
    fwd_pred_next_n: int | None = None
    organize_type: str | None = None
    discrete: bool | None = None

    def __call__(self, instances: Sequence[dict[str, Tensor | None]]) -> dict[str, Tensor | None]:
        """Return the batch, under the original's names; None where the items have nothing.

        ============================================  ==================================================
        rgb, hand_rgb                                 images of the window, [b, W, 3, h, w]
        fwd_rgb_chunck, fwd_hand_rgb_chunck           those that follow each, [b, W, F, 3, h, w]
        fwd_mask                                      which of them are real, [b, W, F]
        action, action_mask                           [b, W + F - 1, A] and [b, W + F - 1]
        action_chunck, chunck_mask                    [b, W, F, A] and [b, W, F]
        text, text_mask                               ids and attention mask, [b, L] or [b, W, L]
        instr_and_action_ids, _mask                   the same again
        instr_and_action_labels                       labels
        ============================================  ==================================================

        Raises:
            DataError: if there are no items, or they do not fit each other or the settings.
        """
        if not instances:
            raise DataError("a batch of no items")
        self._check(instances[0])
        fill = {"input_ids": self.pad_token_id, "labels": IGNORE_INDEX, "attention_mask": False}
        stacked = {key: _stack(key, instances, fill.get(key)) for key in dict.fromkeys(_BATCH_NAMES.values())}
        return {name: stacked[key] for name, key in _BATCH_NAMES.items()}

    def _check(self, item: dict[str, Tensor | None]) -> None:
        chunk, ids = item.get("action_chunk"), item["input_ids"]
        for axis, size in enumerate((self.window_size, self.fwd_pred_next_n)):
            if size is not None and chunk is not None and chunk.shape[axis] != size:
                expected = f"window_size {self.window_size}, fwd_pred_next_n {self.fwd_pred_next_n}"
                raise DataError(f"items of {expected} were expected, got action chunks {list(chunk.shape)}")
        if self.organize_type is not None and self.discrete is not None:
            num_axes = 2 if self.organize_type == "interleave" and self.discrete else 1
            if ids.ndim != num_axes:
                raise DataError(
                    f"organize_type {self.organize_type!r}, discrete {self.discrete} has ids of {num_axes} axes, "
                    f"got {list(ids.shape)}"
                )


def _stack(key: str, items: Sequence[dict[str, Tensor | None]], fill: int | bool | None) -> Tensor | None:
    """One tensor of a key of all items, filled up on the right with `fill`; None if no item has the key."""
    values = [item.get(key) for item in items]
    missing = [i for i, value in enumerate(values) if value is None]
    if len(missing) == len(values):
        return None
    if missing:
        raise DataError(f"item {missing[0]} of the batch has no {key!r}, others have")
    if fill is not None:
        longest = max(value.shape[-1] for value in values)
        values = [torch.nn.functional.pad(value, (0, longest - value.shape[-1]), value=fill) for value in values]
    for i, value in enumerate(values):
        if value.shape != values[0].shape:
            raise DataError(f"{key!r}: item {i} of the batch is {list(value.shape)}, item 0 {list(values[0].shape)}")
    return torch.stack(values)
