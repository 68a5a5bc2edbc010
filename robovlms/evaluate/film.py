"""Frames to a film that every browser plays."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from robovlms.errors import SimulatorError

_SMALLEST_PX, _FRAMES_PER_S = 288, 20


def write_film(path: Path, frames: Sequence[np.ndarray]) -> None:
    """Write an H.264 film, small frames enlarged by a whole factor, atomically.

    Args:
        path: `.mp4` file.
        frames: uint8 [h, w, 3], all of one size.

    Raises:
        SimulatorError: if there is no frame.
    """
    import av

    if not frames:
        raise SimulatorError(f"no frame to film for {path}")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    factor = max(1, -(-_SMALLEST_PX // min(frames[0].shape[:2])))
    with av.open(str(temporary), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=_FRAMES_PER_S, options={"crf": "24", "preset": "veryfast"})
        stream.height, stream.width = (2 * (side * factor // 2) for side in frames[0].shape[:2])
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            large = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(large.reformat(stream.width, stream.height, interpolation="BICUBIC")))
        container.mux(stream.encode())
    temporary.rename(path)
