"""A film of a run in the simulated room: what the camera sees, the room from above, and how the base moves."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from robovlms.errors import ConfigError, SafetyError
from robovlms.robot.cameras.simulator import SimulatorCamera

_BAR_PX = 28
_GIF_FPS, _GIF_COLOURS = 5.0, 64
_GIF_STEP = 16  # grey levels that count as one: the camera's noise would triple the file
_TRAIL = (255, 120, 0)


class Film:
    """Takes every picture of the simulator until it is closed, then writes the file.

    Args:
        port: `SimulatedRobot.picture_port`.
        path: ".gif" or ".mp4"; the latter needs PyAV.
        title: drawn above; characters that the font lacks are left out.
        fps: pictures per second of the simulator.

    Raises:
        ConfigError: if the file is of no known kind.
    """

    def __init__(self, port: int, path: Path, title: str, fps: float) -> None:
        if path.suffix not in (".gif", ".mp4"):
            raise ConfigError(f"film: expected a file that ends with .gif or .mp4, got {path.name}")
        if path.suffix == ".mp4":
            import av  # noqa: F401  missing libraries are named now, not after the run
        is_gif = path.suffix == ".gif"
        self._path, self._every = path, max(1, round(fps / _GIF_FPS)) if is_gif else 1
        self._fps = fps / self._every
        self._title = title.encode("latin-1", "ignore").decode("latin-1").strip()
        self._camera = SimulatorCamera(port)
        self._frames: list[Image.Image] = []
        self._is_closing = False
        self._thread = threading.Thread(target=self._take, name="film", daemon=True)
        self._thread.start()

    def close(self) -> Path | None:
        """Write the film; return where, or None if there was no picture."""
        self._is_closing = True
        self._thread.join(5.0)
        self._camera.close()
        if not self._frames:
            return None
        self._path.parent.mkdir(parents=True, exist_ok=True)
        (self._write_gif if self._path.suffix == ".gif" else self._write_mp4)()
        return self._path

    def _take(self) -> None:
        try:
            while not self._is_closing:
                if self._camera.read().number % self._every:
                    continue
                picture = compose(self._camera.last, self._title)
                is_gif = self._path.suffix == ".gif"
                self._frames.append(_with_few_colours(picture) if is_gif else Image.fromarray(picture))
        except SafetyError:
            return  # the simulator has ended, and so has the film

    def _write_gif(self) -> None:
        first, *rest = self._frames
        first.save(self._path, save_all=True, append_images=rest, duration=round(1000 / self._fps), loop=0)

    def _write_mp4(self) -> None:
        import av

        width, height = self._frames[0].size
        with av.open(str(self._path), "w", options={"movflags": "+faststart"}) as container:
            stream = container.add_stream("libx264", rate=round(self._fps), options={"crf": "23"})
            stream.width, stream.height, stream.pix_fmt = width // 2 * 2, height // 2 * 2, "yuv420p"
            for picture in self._frames:
                frame = av.VideoFrame.from_image(picture)
                container.mux(stream.encode(frame.reformat(stream.width, stream.height)))
            container.mux(stream.encode())


def _with_few_colours(picture: np.ndarray) -> Image.Image:
    flat = np.minimum((picture.astype(np.uint16) + _GIF_STEP // 2) // _GIF_STEP * _GIF_STEP, 255).astype(np.uint8)
    return Image.fromarray(flat).quantize(_GIF_COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)


def compose(picture: dict[str, Any], title: str) -> UInt8[np.ndarray, "h w 3"]:
    """Camera and map side by side under a bar with text.

    Args:
        picture: a message of the simulator.
        title: text of the bar.
    """
    views = np.concatenate([picture["image"], picture["map"]], axis=1)
    canvas = Image.new("RGB", (views.shape[1], views.shape[0] + _BAR_PX), (20, 20, 20))
    canvas.paste(Image.fromarray(views), (0, _BAR_PX))
    x, y, yaw = picture["velocity"]
    side = f"   {y:+.2f} m/s sideways" if y else ""
    draw = ImageDraw.Draw(canvas)
    draw.text((6, 2), title, fill=(255, 255, 255))
    draw.text((6, 14), f"{x:+.2f} m/s ahead{side}   {yaw:+.2f} rad/s to the left", fill=_TRAIL)
    return np.asarray(canvas)
