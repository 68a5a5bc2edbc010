"""Pictures of a folder, one after the other, as if a camera took them now."""

import time
from pathlib import Path

import numpy as np

from robovlms.errors import ConfigError, SafetyError
from robovlms.robot.cameras.base import Camera, CameraEnded, Frame

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


class FolderCamera(Camera):
    """Gives the pictures of a folder in the order of their names.

    Args:
        path: of the folder.
        fps: pictures per second; infinite for as fast as they are read.
        loop: begin again after the last.

    Raises:
        ConfigError: if there is no such folder, or no picture in it.
    """

    def __init__(self, path: str, fps: float = 10.0, loop: bool = False) -> None:
        if not fps > 0:
            raise ConfigError(f"camera 'folder': fps must be positive, got {fps}")
        folder = Path(path)
        if not folder.is_dir():
            raise ConfigError(f"camera 'folder': {path} is no folder")
        self._files = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
        if not self._files:
            raise ConfigError(f"camera 'folder': {path} holds no picture ({', '.join(SUFFIXES)})")
        self._period_s, self._loop = 1 / fps, loop
        self._number, self._due = 0, time.monotonic()

    def read(self) -> Frame:
        from PIL import Image, ImageOps

        if self._number >= len(self._files) and not self._loop:
            raise CameraEnded(f"camera 'folder': {len(self._files)} pictures were shown")
        file = self._files[self._number % len(self._files)]
        time.sleep(max(0.0, self._due - time.monotonic()))
        captured_at = time.monotonic()  # before it is decoded, as of any camera
        try:
            with Image.open(file) as picture:
                image = np.array(ImageOps.exif_transpose(picture).convert("RGB"))
        except Exception as error:  # Pillow raises what its decoders raise, SyntaxError among others
            raise SafetyError(f"camera 'folder': {file.name} is no picture: {error}") from error
        self._due = captured_at + self._period_s
        self._number += 1
        return Frame(image=image, captured_at=captured_at, number=self._number - 1)

    def close(self) -> None:
        """Nothing is held."""
        self._number = len(self._files)
