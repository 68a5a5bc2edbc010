"""A film of a run in the simulated room: what the camera sees, the room from above, and how the base moves."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from robovlms.errors import SafetyError, SimulatorError
from robovlms.robot.cameras.simulator import SimulatorCamera
from robovlms.robot.simulator.film_file import open_film_file

_BAR_PX = 28
_TRAIL = (255, 120, 0)


class Film:
    """Takes every picture of the simulator until it is closed.

    Args:
        port: `SimulatedRobot.picture_port`.
        path: ".gif" or ".mp4"; the latter needs PyAV.
        title: drawn above; characters that the font lacks are left out.

    Raises:
        ConfigError: if the file is of no known kind, or has no place.
    """

    def __init__(self, port: int, path: Path, title: str) -> None:
        self._file = open_film_file(path)
        self._title = title.encode("latin-1", "ignore").decode("latin-1").strip()
        self._camera = SimulatorCamera(port)
        self._error: OSError | None = None
        self._is_closing = False
        self._thread = threading.Thread(target=self._take, name="film", daemon=True)
        self._thread.start()

    def close(self) -> Path | None:
        """Finish the film; return where it is, or None if there was no picture.

        Raises:
            SimulatorError: if it could not be written.
        """
        self._is_closing = True
        self._thread.join()
        self._camera.close()
        try:
            if self._error is not None:
                raise self._error
            return self._file.close()
        except OSError as error:
            raise SimulatorError(f"film: cannot be written: {error}") from error

    def _take(self) -> None:
        try:
            while not self._is_closing:
                frame = self._camera.read()
                self._file.add(compose(self._camera.last, self._title), frame.captured_at)
        except SafetyError:
            return  # the simulator has ended, and so has the film
        except OSError as error:
            self._error = error


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
