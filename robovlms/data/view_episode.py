"""One episode as it is shown: every number of it, and some of its frames as JPEG."""

import io
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from PIL import Image

from robovlms.data.sources.base import EpisodeSource
from robovlms.errors import DataError

MOST_FRAMES = 120
_LONGEST_SIDE_PX = 480
_JPEG_QUALITY = 85


@dataclass(frozen=True, kw_only=True)
class EpisodeView:
    """What is shown of an episode.

    Attributes:
        number: index of the episode in its dataset.
        task, instruction: of the episode.
        shown: int64 [k], the steps whose frames are shown.
        frames: camera -> k pictures as JPEG; a camera that the episode lacks is absent.
        actions: float32 [m, a], of every step, physical units.
        proprio: float32 [m, p], of every step; None if there is none.
    """

    number: int
    task: str
    instruction: str
    shown: Int64[np.ndarray, "k"]
    frames: dict[str, tuple[bytes, ...]]
    actions: Float32[np.ndarray, "m a"]
    proprio: Float32[np.ndarray, "m p"] | None

    def __len__(self) -> int:
        return len(self.actions)


def read_episode_view(source: EpisodeSource, number: int) -> EpisodeView:
    """Read all numbers of an episode and at most `MOST_FRAMES` frames of each camera.

    Raises:
        DataError: as `EpisodeSource.read`.
    """
    everything = np.arange(int(source.lengths[number]))
    if not len(everything):
        raise DataError(f"{source.file(number)}: episode {number} has no step")
    shown = evenly(len(everything), MOST_FRAMES)
    numbers = source.read(number, everything, everything, ())
    pictures = source.read(number, shown, shown, tuple(camera.name for camera in source.cameras))
    return EpisodeView(
        number=number,
        task=source.task(number),
        instruction=source.instruction(number),
        shown=shown,
        frames={name: tuple(map(encode_jpeg, images)) for name, images in sorted(pictures.images.items())},
        actions=numbers.actions,
        proprio=numbers.proprio,
    )


def evenly(length: int, most: int) -> Int64[np.ndarray, "k"]:
    """At most `most` of the numbers 0 … length - 1, evenly spread, the first and the last among them.

    >>> evenly(5, 10).tolist(), evenly(11, 3).tolist(), evenly(11, 1).tolist()
    ([0, 1, 2, 3, 4], [0, 5, 10], [0])
    """
    return np.linspace(0, length - 1, min(length, most)).round().astype(np.int64)


def encode_jpeg(frame: UInt8[np.ndarray, "h w 3"], longest_px: int = _LONGEST_SIDE_PX) -> bytes:
    """Return a frame as JPEG, made smaller where a side is longer than `longest_px`."""
    picture = Image.fromarray(frame)
    picture.thumbnail((longest_px, longest_px))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()
