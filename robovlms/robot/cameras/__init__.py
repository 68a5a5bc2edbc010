"""Where pictures come from. A new camera is one file and one line here."""

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from robovlms.errors import ConfigError, unknown_name
from robovlms.robot.cameras.base import Camera, CameraEnded, Frame

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
    if name not in CAMERAS:
        raise ConfigError(unknown_name("camera", name, CAMERAS))
    module, _, attribute = CAMERAS[name].partition(":")
    kind = getattr(importlib.import_module(module), attribute)
    parameters = inspect.signature(kind).parameters
    for option in options:
        if option not in parameters:
            raise ConfigError(unknown_name(f"option of the camera {name!r}", option, parameters))
    required = [key for key, parameter in parameters.items() if parameter.default is parameter.empty]
    missing = [key for key in required if key not in options]
    if missing:
        raise ConfigError(f"camera {name!r}: option {missing[0]!r} is missing")
    return kind(**options)
