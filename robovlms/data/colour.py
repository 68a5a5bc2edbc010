"""Brightness, contrast, saturation and hue as one linear map of colours, so that a picture is gone over once.

Each of the four maps a colour (red, green, blue) linearly, and all but brightness leave grey as it is::

    brightness  b    x ─> b x
    contrast    c    x ─> c x + (1 - c) m        m: mean grey of the picture
    saturation  s    x ─> s x + (1 - s) grey(x)  grey = 0.299 red + 0.587 green + 0.114 blue
    hue         φ    x ─> T⁻¹ R(φ) T x           T: to YIQ; R turns its colour plane by φ and leaves Y, the grey, alone

    together         x ─> H S c b x + (1 - c) b m,  rounded to the nearest level and clipped to 0 … 255 once, at the end

The rows of H S sum to 1, so x ─> k g + A₀ (r - g) + A₂ (b - g) with k = c b: grey has no differences and stays grey
to the bit.

Source: factors, grey weights and the blends of brightness, contrast and saturation as torchvision
`v2.functional.adjust_brightness / _contrast / _saturation` and Pillow's `ImageEnhance`, which round after each of them;
YIQ: FCC NTSC standard of 1953, 47 CFR § 73.682. torchvision turns the hue in HSV instead, which changes the grey.

>>> grey_ramp = np.arange(4, dtype=np.uint8).reshape(1, 1, 1, 4).repeat(3, axis=1)
>>> recolour(grey_ramp, ColourChange(brightness=2.0, hue=0.25))
>>> grey_ramp[0, :, 0].tolist()
[[0, 2, 4, 6], [0, 2, 4, 6], [0, 2, 4, 6]]
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8

_GREY = np.array([0.299, 0.587, 0.114])
_TO_YIQ = np.array([_GREY, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)


@dataclass(frozen=True, kw_only=True)
class ColourChange:
    """How the colours of a picture change; the defaults leave them.

    Attributes:
        brightness, contrast, saturation: factors, at least 0; 1 leaves the picture.
        hue: turn of the colour circle in turns, red towards green positive; 0 leaves it.
    """

    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0
    hue: float = 0.0


def recolour(frames: UInt8[np.ndarray, "k 3 h w"], change: ColourChange) -> None:
    """Change the colours of frames in place; the mean grey of each frame is its own.

    Args:
        frames: uint8 [k, 3, h, w], RGB.
        change: the same for all of them.
    """
    matrix = colour_matrix(change).astype(np.float32)
    gain = np.float32(change.brightness * change.contrast)
    blend = np.stack([matrix[:, 0], np.full(3, gain), matrix[:, 2]], axis=1)  # of red - green, green, blue - green
    mean_share = np.float32((1 - change.contrast) * change.brightness)
    _, _, height, width = frames.shape
    pixels, mixed = np.empty((2, 3, height * width), np.float32)  # of one frame, so that they stay in the cache
    for frame in frames:
        pixels[...] = frame.reshape(3, -1)
        offset = mean_share * np.float32(_GREY @ pixels.mean(axis=1)) if mean_share else np.float32(0)
        pixels[0] -= pixels[1]
        pixels[2] -= pixels[1]
        np.matmul(blend, pixels, out=mixed)
        mixed += offset + np.float32(0.5)  # the cast below rounds down
        np.clip(mixed, 0, 255, out=mixed)
        frame[...] = mixed.reshape(frame.shape)


def colour_matrix(change: ColourChange) -> Float64[np.ndarray, "3 3"]:
    """The linear part of a change, [3, 3]; each row sums to brightness · contrast."""
    angle = 2 * np.pi * change.hue
    turn = np.array([[1, 0, 0], [0, np.cos(angle), np.sin(angle)], [0, -np.sin(angle), np.cos(angle)]])
    saturate = change.saturation * np.eye(3) + (1 - change.saturation) * _GREY
    return change.brightness * change.contrast * (_FROM_YIQ @ turn @ _TO_YIQ @ saturate)
