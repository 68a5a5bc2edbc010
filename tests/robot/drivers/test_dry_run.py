"""The driver without a robot, and the dict of drivers."""

import importlib

import pytest

from robovlms.errors import ConfigError
from robovlms.robot.drivers import DRIVERS, open_driver
from robovlms.robot.drivers.base import Driver
from robovlms.robot.safety.command import JointCommand, Reason, VelocityCommand


def test_what_changes_is_printed_and_everything_is_kept(capsys):
    driver = open_driver("dry_run", {})
    for command in (VelocityCommand(0.1), VelocityCommand(0.1), VelocityCommand(reasons=(Reason.ESTOP,))):
        driver.send(command)
    driver.close()
    assert capsys.readouterr().out.splitlines() == [
        "forward +0.100 m/s  left +0.000 m/s  turn +0.000 rad/s",
        "forward +0.000 m/s  left +0.000 m/s  turn +0.000 rad/s  (estop)",
    ]
    assert len(driver.sent) == 3


def test_an_arm_and_silence(capsys):
    driver = open_driver("dry_run", {"body": "arm"})
    driver.send(JointCommand((0.1, -0.2), "open"))
    assert capsys.readouterr().out == "joints +0.100 -0.200  gripper open\n"
    open_driver("dry_run", {"quiet": True}).send(VelocityCommand())
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", DRIVERS)
def test_every_line_of_the_dict_is_a_driver(name):
    module, _, attribute = DRIVERS[name].partition(":")
    assert issubclass(getattr(importlib.import_module(module), attribute), Driver)


def test_an_unknown_driver_names_the_nearest():
    with pytest.raises(ConfigError, match="unknown driver 'dryrun'; did you mean 'dry_run'"):
        open_driver("dryrun", {})
