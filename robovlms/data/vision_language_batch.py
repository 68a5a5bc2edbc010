"""The tensor contract of conversations about images.

::

    images      uint8 [b, 3, h, w]   RGB; zeros where there is none
    image_mask  bool  [b]            True = there is an image
    image_at    int64 [b]            tokens of the row that stand before its image
    input_ids   int64 [b, l]         text without the image's tokens, padded on the right
    labels      int64 [b, l]         ids of the answers and their end tokens, else -100; not shifted
    text_mask   bool  [b, l]         True = a real token
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor

from robovlms.data.text import pad_right
from robovlms.data.vision_language import VisionLanguageSample
from robovlms.data.vision_language_text import IGNORED
from robovlms.errors import DataError


@dataclass(frozen=True, kw_only=True)
class VisionLanguageBatch:
    """Some conversations; see the module's drawing."""

    images: UInt8[Tensor, "b 3 h w"]
    image_mask: Bool[Tensor, "b"]
    image_at: Int64[Tensor, "b"]
    input_ids: Int64[Tensor, "b l"]
    labels: Int64[Tensor, "b l"]
    text_mask: Bool[Tensor, "b l"]

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str) -> "VisionLanguageBatch":
        """Copy every tensor to `device`."""
        moved = {f.name: getattr(self, f.name).to(device, non_blocking=True) for f in dataclasses.fields(self)}
        return VisionLanguageBatch(**moved)

    def validate(self) -> "VisionLanguageBatch":
        """Check shapes, dtypes, and that every row has something to learn, after its image; return self.

        Raises:
            DataError: names the tensor, and the first bad row.
        """
        b, length = self.input_ids.shape
        expected = {
            "images": (torch.uint8, (b, 3, *self.images.shape[2:])),
            "image_mask": (torch.bool, (b,)),
            "image_at": (torch.int64, (b,)),
            "input_ids": (torch.int64, (b, length)),
            "labels": (torch.int64, (b, length)),
            "text_mask": (torch.bool, (b, length)),
        }
        for name, (dtype, shape) in expected.items():
            tensor = getattr(self, name)
            if tensor.dtype != dtype or tuple(tensor.shape) != shape:
                raise DataError(
                    f"batch.{name}: expected {dtype} {list(shape)}, got {tensor.dtype} {list(tensor.shape)}"
                )
        is_learned = self.labels != IGNORED
        first = torch.where(is_learned.any(1), is_learned.int().argmax(1), -1)
        refused = {
            "text_mask: padding is not on the right": (self.text_mask[:, 1:] & ~self.text_mask[:, :-1]).any(1),
            "labels: nothing is learned": first < 0,
            "labels: not the ids of real tokens": (
                is_learned & ~(self.text_mask & (self.labels == self.input_ids))
            ).any(1),
            "image_at: the image does not stand before the first answer": (self.image_at < 0) | (self.image_at > first),
        }
        for what, rows in refused.items():
            if rows.any():
                raise DataError(f"batch.{what} in row {int(rows.int().argmax())}")
        return self


def collate_vision_language(samples: Sequence[VisionLanguageSample]) -> VisionLanguageBatch:
    """Stack samples of `VisionLanguageDataset` into a checked batch, padded on the right.

    Raises:
        DataError: names the first row that does not fit.
    """
    input_ids, text_mask = pad_right([sample["input_ids"] for sample in samples])
    labels, _ = pad_right([sample["labels"] for sample in samples], pad_id=IGNORED)
    arrays = {name: np.stack([sample[name] for sample in samples]) for name in ("image", "image_mask", "image_at")}
    arrays = {"images": arrays.pop("image"), **arrays, "input_ids": input_ids, "labels": labels, "text_mask": text_mask}
    return VisionLanguageBatch(**{name: torch.from_numpy(array) for name, array in arrays.items()}).validate()
