"""Ways to reach a robot. A new one is one file and one line here."""

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from robovlms.errors import ConfigError, unknown_name
from robovlms.robot.drivers.base import Driver

# name -> module:class; imported when it is used
DRIVERS: dict[str, str] = {
    "dry_run": "robovlms.robot.drivers.dry_run:DryRunDriver",
    "ros2_trajectory": "robovlms.robot.drivers.ros2_trajectory:Ros2TrajectoryDriver",
    "ros2_twist": "robovlms.robot.drivers.ros2_twist:Ros2TwistDriver",
    "serial": "robovlms.robot.drivers.serial_line:SerialDriver",
    "udp": "robovlms.robot.drivers.udp:UdpDriver",
}


def open_driver(name: str, options: Mapping[str, Any]) -> Driver:
    """Return the driver `name`, connected.

    Args:
        name: a key of `DRIVERS`.
        options: keywords of its class.

    Raises:
        ConfigError: if there is no such driver, or it does not take these options.
    """
    if name not in DRIVERS:
        raise ConfigError(unknown_name("driver", name, DRIVERS))
    module, _, attribute = DRIVERS[name].partition(":")
    kind = getattr(importlib.import_module(module), attribute)
    parameters = inspect.signature(kind, eval_str=True).parameters
    for option in options:
        if option not in parameters:
            raise ConfigError(unknown_name(f"option of the driver {name!r}", option, parameters))
    required = [key for key, parameter in parameters.items() if parameter.default is parameter.empty]
    missing = [key for key in required if key not in options]
    if missing:
        raise ConfigError(f"driver {name!r}: option {missing[0]!r} is missing; required are {', '.join(required)}")
    return kind(**{key: _typed(name, key, value, parameters[key].annotation) for key, value in options.items()})


def _typed(name: str, option: str, value: Any, wanted: Any) -> Any:
    """`value`, if it is of the type that is wanted; a whole number will do for a float."""
    if wanted is float and type(value) is int:
        return float(value)
    if wanted in (str, int, float, bool) and type(value) is not wanted:
        raise ConfigError(f"driver {name!r}: option {option!r} must be of type {wanted.__name__}, got {value!r}")
    return value
