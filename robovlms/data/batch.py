"""The tensor contract between data and model: one batch of windows, checked once at the loader.

::

    images       uint8   [b, t, v, 3, h, w]   RGB frames
    image_mask   bool    [b, t, v]            True = a real frame; False = before the episode, or camera missing
    input_ids    int64   [b, l]               prompt tokens, padded on the right
    text_mask    bool    [b, l]               True = a real token
    proprio      float32 [b, t, p]            normalised; p = 0 if there is none
    proprio_mask bool    [b, t]               True = a real measurement
    actions      float32 [b, t, n, a]         learned targets: arm normalised, gripper 1 = open
    action_mask  bool    [b, t, n]            True = a real, supervised step
    action_dim_mask bool [b, a]               True = a number that this window's robot has
    source       int64   [b, 2]               (episode index, index of the current step): where a window came from
    dataset      int64   [b]                  which dataset of a mixture; 0 if there is one

b batch · t window step (the last is now) · v camera · n chunk step · l text token · p proprio dim · a action dim
"""

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float32, Int64, UInt8
from torch import Tensor

from robovlms.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One batch of windows; see the module's drawing."""

    images: UInt8[Tensor, "b t v 3 h w"]
    image_mask: Bool[Tensor, "b t v"]
    input_ids: Int64[Tensor, "b l"]
    text_mask: Bool[Tensor, "b l"]
    proprio: Float32[Tensor, "b t p"]
    proprio_mask: Bool[Tensor, "b t"]
    actions: Float32[Tensor, "b t n a"]
    action_mask: Bool[Tensor, "b t n"]
    action_dim_mask: Bool[Tensor, "b a"]
    source: Int64[Tensor, "b 2"]
    dataset: Int64[Tensor, "b"]

    @property
    def supervised(self) -> Bool[Tensor, "b t n a"]:
        """Which single numbers are learned."""
        return self.action_mask.unsqueeze(-1) & self.action_dim_mask[:, None, None]

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device | str) -> "Batch":
        """Copy every tensor to `device`."""
        moved = {f.name: getattr(self, f.name).to(device, non_blocking=True) for f in dataclasses.fields(self)}
        return Batch(**moved)

    def with_images(self, images: UInt8[Tensor, "b t v 3 h w"]) -> "Batch":
        """The batch with other pictures."""
        return dataclasses.replace(self, images=images)

    def validate(self) -> "Batch":
        """Check shapes, dtypes and that every supervised number is finite; return self.

        Raises:
            DataError: names the tensor, and the episode and step of the first bad window.
        """
        b, t, v = self.images.shape[:3]
        n = self.actions.shape[2]
        expected = {
            "images": (torch.uint8, (b, t, v, 3, *self.images.shape[4:])),
            "image_mask": (torch.bool, (b, t, v)),
            "input_ids": (torch.int64, (b, self.input_ids.shape[1])),
            "text_mask": (torch.bool, tuple(self.input_ids.shape)),
            "proprio": (torch.float32, (b, t, self.proprio.shape[-1])),
            "proprio_mask": (torch.bool, (b, t)),
            "actions": (torch.float32, (b, t, n, self.actions.shape[-1])),
            "action_mask": (torch.bool, (b, t, n)),
            "action_dim_mask": (torch.bool, (b, self.actions.shape[-1])),
            "source": (torch.int64, (b, 2)),
            "dataset": (torch.int64, (b,)),
        }
        for name, (dtype, shape) in expected.items():
            tensor = getattr(self, name)
            if tensor.dtype != dtype or tuple(tensor.shape) != shape:
                raise DataError(
                    f"batch.{name}: expected {dtype} {list(shape)}, got {tensor.dtype} {list(tensor.shape)}"
                )
        for name, mask in (("actions", self.supervised), ("proprio", self.proprio_mask.unsqueeze(-1))):
            is_bad = (~torch.isfinite(getattr(self, name)) & mask).flatten(1).any(1)
            if is_bad.any():
                episode, step = self.source[is_bad][0].tolist()
                raise DataError(f"batch.{name}: not finite in the window of episode {episode}, step {step}")
        return self
