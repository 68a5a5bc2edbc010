"""Frames in another size, the same in training and on a robot."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image


def resize_frame(frame: UInt8[np.ndarray, "h w 3"], height: int, width: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Return the frame at another size, bilinear with anti-aliasing; the frame itself if it has that size.

    >>> resize_frame(np.full((2, 4, 3), 7, np.uint8), 1, 2).tolist()
    [[[7, 7, 7], [7, 7, 7]]]
    """
    if frame.shape[:2] == (height, width):
        return frame
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR))


def resize_frames(frames: UInt8[np.ndarray, "k h w 3"], height: int, width: int) -> UInt8[np.ndarray, "k h2 w2 3"]:
    """`resize_frame` of each."""
    if frames.shape[1:3] == (height, width):
        return frames
    return np.stack([resize_frame(frame, height, width) for frame in frames])
