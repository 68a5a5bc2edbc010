"""Where pictures come from. A new camera is one file and one line here."""

from collections.abc import Mapping
from typing import Any

from robovlms.robot.cameras.base import Camera, CameraEnded, Frame
from robovlms.robot.parts import make_part

# name -> module:class; imported when it is used
CAMERAS: dict[str, str] = {
    "folder": "robovlms.robot.cameras.folder:FolderCamera",
    "opencv": "robovlms.robot.cameras.opencv:OpenCvCamera",
    "simulator": "robovlms.robot.cameras.simulator:SimulatorCamera",
    "video": "robovlms.robot.cameras.video:VideoCamera",
}

__all__ = ["CAMERAS", "Camera", "CameraEnded", "Frame", "open_camera"]


def open_camera(name: str, options: Mapping[str, Any]) -> Camera:
    """Return the camera `name`, ready to read.

    Args:
        name: a key of `CAMERAS`.
        options: keywords of its class.

    Raises:
        ConfigError: if there is no such camera, it does not take these options, or it cannot be opened.
    """
    return make_part("camera", CAMERAS, name, options)
