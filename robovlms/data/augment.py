"""Random changes of training images: shift, then crop, then colours, on uint8 frames, batch by batch.

One draw holds for a whole window, all its frames and cameras, so that what moved between two frames still did so
because of the robot. It depends on the seed of the run and on the sample's position in the run only: not on the batch,
the loader process or the rank, so a run that resumes sees the pictures it would have seen::

    position ─┬─ block of 1024 positions ─> shifts of the block   ─┐
              │                          └> 7 numbers per position ─┴─ its row ─> WindowChange ─> [t, v, 3, h, w]
              │        columns: area, top, left of the crop, brightness, contrast, saturation, hue
              └─ a column belongs to one change, so turning on another one moves none of them

Validation and robots see the images unchanged.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int64, UInt8
from torch import Tensor

from robovlms.augment_config import AugmentConfig
from robovlms.data.colour import ColourChange, recolour
from robovlms.data.images import shift_into
from robovlms.errors import ConfigError

_PER_BLOCK = 1024  # making a generator costs more than moving a frame
_UNIFORM = 11  # keeps these random numbers apart from others of the same seed
_COLUMNS = 7


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A part of the picture, in pixels.

    Attributes:
        top, left: its first row and column.
        height, width: of the part.
    """

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True, kw_only=True)
class WindowChange:
    """What happens to the frames of one window, in this order.

    Attributes:
        dy, dx: shift in pixels, down and right positive; the border is repeated.
        crop: part that is blown up to the size of the picture; None keeps all of it.
        colour: change of the colours; None leaves them.
    """

    dy: int = 0
    dx: int = 0
    crop: Crop | None = None
    colour: ColourChange | None = None

    def write(self, frames: UInt8[np.ndarray, "t v 3 h w"], out: UInt8[np.ndarray, "t v 3 h w"]) -> None:
        """Write the changed frames to `out`, which is contiguous and other memory than `frames`."""
        if self.dy or self.dx:
            shift_into(out, frames, self.dy, self.dx)
        else:
            out[...] = frames
        if self.crop is not None:
            resize_crop(out, self.crop)
        if self.colour is not None:
            recolour(out.reshape(-1, *out.shape[2:]), self.colour)


class Augmentation:
    """Changes the images of training batches.

    Args:
        config: how far images are changed. `mirror` is not done here but before the instruction becomes tokens, see
            `robovlms.data.mirror`.
        seed: of the run.
        views: places of the cameras that are changed, among those of a batch; None changes all.
    """

    def __init__(self, config: AugmentConfig, seed: int, views: Sequence[int] | None = None) -> None:
        self.config, self.seed = config, seed
        self.views = None if views is None else list(views)
        self._has_colour = any((config.brightness, config.contrast, config.saturation, config.hue))

    def apply(
        self, images: UInt8[Tensor, "b t v 3 h w"], positions: Int64[Tensor, "b"]
    ) -> UInt8[Tensor, "b t v 3 h w"]:
        """Return changed images; the same tensor if the settings change nothing.

        Args:
            images: on the CPU; left as they are.
            positions: of each sample in the training run, at least 0.

        Raises:
            ConfigError: if the shift is as large as the picture.
        """
        if not (self.config.shift_px or self.config.crop_scale or self._has_colour):
            return images
        if self.views is not None:
            changed = images.clone()
            changed[:, :, self.views] = self._change(images[:, :, self.views], positions)
            return changed
        return self._change(images, positions)

    def draw(self, positions: Sequence[int], height: int, width: int) -> list[WindowChange]:
        """What happens to the windows at `positions`, whose frames have `height` and `width`.

        Raises:
            ConfigError: if the shift is as large as the picture.
        """
        limit_px = self.config.shift_px
        if limit_px >= min(height, width):
            raise ConfigError(f"data.augment.shift_px is {limit_px}, too far for frames of {height}x{width}")
        shifts = _rows(positions, lambda block: _shift_block(self.seed, block, limit_px)) if limit_px else None
        numbers = _rows(positions, lambda block: _uniform_block(self.seed, block))
        return [
            WindowChange(
                dy=0 if shifts is None else int(shifts[i, 0]),
                dx=0 if shifts is None else int(shifts[i, 1]),
                crop=self._crop(numbers[i, :3], height, width),
                colour=self._colour(numbers[i, 3:]),
            )
            for i in range(len(positions))
        ]

    def _change(self, images: Tensor, positions: Tensor) -> Tensor:
        frames = images.numpy()
        out = np.empty(frames.shape, np.uint8)
        for window, change in enumerate(self.draw(positions.tolist(), *frames.shape[-2:])):
            change.write(frames[window], out[window])
        return torch.from_numpy(out)

    def _crop(self, numbers: np.ndarray, height: int, width: int) -> Crop | None:
        """A part of the picture's shape, its area and place uniform; None without cropping."""
        if self.config.crop_scale is None:
            return None
        smallest, largest = self.config.crop_scale
        area, top, left = numbers.tolist()
        side = float(np.sqrt(smallest + (largest - smallest) * area))
        kept_height, kept_width = max(1, round(side * height)), max(1, round(side * width))
        return Crop(
            top=int(top * (height - kept_height + 1)),
            left=int(left * (width - kept_width + 1)),
            height=kept_height,
            width=kept_width,
        )

    def _colour(self, numbers: np.ndarray) -> ColourChange | None:
        """Factors uniform in [1 - x, 1 + x], the turn of the hue in [-x, x]; None if all x are 0."""
        if not self._has_colour:
            return None
        config = self.config
        reach = np.array([config.brightness, config.contrast, config.saturation, config.hue])
        brightness, contrast, saturation, hue = ((2 * numbers - 1) * reach).tolist()
        return ColourChange(brightness=1 + brightness, contrast=1 + contrast, saturation=1 + saturation, hue=hue)


def resize_crop(frames: UInt8[np.ndarray, "t v 3 h w"], crop: Crop) -> None:
    """Blow a part of the frames up to their size, in place; bilinear between pixel centres, no anti-aliasing.

    torch interpolates uint8 along one axis, rounds, then along the other: within 1 level of the result in float.
    """
    height, width = frames.shape[-2:]
    if (crop.height, crop.width) == (height, width):
        return
    part = frames[..., crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    pictures = torch.from_numpy(np.ascontiguousarray(part)).flatten(0, 1)
    resized = F.interpolate(pictures, size=(height, width), mode="bilinear", align_corners=False, antialias=False)
    frames[...] = resized.numpy().reshape(frames.shape)


def _rows(positions: Sequence[int], make_block: Callable[[int], np.ndarray]) -> np.ndarray:
    """Random numbers of each position, a row each."""
    places = [divmod(position, _PER_BLOCK) for position in positions]
    blocks = {block: make_block(block) for block in {block for block, _ in places}}
    return np.stack([blocks[block][row] for block, row in places])


def _shift_block(seed: int, block: int, limit_px: int) -> np.ndarray:
    """Shifts (dy, dx) of a block's positions, each in [-limit_px, limit_px]."""
    return np.random.default_rng([seed, block]).integers(-limit_px, limit_px, (_PER_BLOCK, 2), endpoint=True)


def _uniform_block(seed: int, block: int) -> np.ndarray:
    """Numbers in [0, 1) of a block's positions."""
    return np.random.default_rng([seed, block, _UNIFORM]).random((_PER_BLOCK, _COLUMNS))
