"""Ways to reach a robot. A new one is one file and one line here."""

from collections.abc import Mapping
from typing import Any

from robovlms.robot.drivers.base import Driver
from robovlms.robot.parts import make_part

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
    return make_part("driver", DRIVERS, name, options)
