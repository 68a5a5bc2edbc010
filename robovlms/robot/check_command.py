"""`robovlms robot check`: is this configuration one to drive with? Looks at every part, sends nothing.

Each camera is opened and must show a picture, the driver is opened and closed again; the model is not loaded.
"""

from argparse import Namespace
from collections.abc import Callable

from robovlms.errors import SimulatorError, one_line
from robovlms.robot.cameras import open_camera
from robovlms.robot.config import CameraPart, RobotConfig, load_robot_config
from robovlms.robot.drivers import open_driver
from robovlms.robot.feed import CameraFeed
from robovlms.robot.launch import first_view, simulated, start_lines
from robovlms.robot.tasks import make_task
from robovlms.robot.worker.models import find_model

EXIT_FAULTS = 1


def run_check(flags: Namespace) -> int:
    """Print what there is, and what is wrong with it; 1 if anything is."""
    config = load_robot_config(flags.config, tuple(flags.set))
    for line in start_lines(config, config.shield_limits):
        print(line)
    try:
        with simulated(config, None, print) as config:
            faults = [_say_fault(name, look) for name, look in _looks(config).items()]
    except SimulatorError:
        faults = [_say_fault("simulator", lambda: str(error))]
    return EXIT_FAULTS if any(faults) else 0


def _say_fault(name: str, look: Callable[[], str | None]) -> bool:
    fault = _fault_of(look)
    print(f"{'ok   ' if fault is None else 'FAULT'}   {name}{'' if fault is None else ': ' + fault}")
    return fault is not None


def _looks(config: RobotConfig) -> dict[str, Callable[[], str | None]]:
    """What is looked at, each with what says what is wrong with it."""
    return {
        f"task {config.task.name}": lambda: _task(config),
        f"model {config.model.name or 'none'}": lambda: _model(config),
        **{f"camera {part.view}": (lambda part=part: _camera(part)) for part in config.cameras},
        f"driver {config.driver.name}": lambda: open_driver(config.driver.name, config.driver.options).close(),
        "zones": lambda: _zones(config),
    }


def _fault_of(look: Callable[[], str | None]) -> str | None:
    try:
        return look()
    except Exception as error:  # of a device's library or of a model of somebody's own
        return one_line(error)


def _task(config: RobotConfig) -> None:
    task = make_task(config.task)
    if task.needs is None:
        task.prepare(config.shield_limits, None)


def _model(config: RobotConfig) -> str | None:
    needs = make_task(config.task).needs
    if config.model.name is None:
        return None if needs is None else f"the task needs a model with {needs} answers; set model.name"
    find_model(config.model.name)
    return None


def _camera(part: CameraPart) -> None:
    feed = CameraFeed(open_camera(part.name, part.options), part.frozen_after_s)
    try:
        first_view({part.view: feed})
    finally:
        feed.close()


def _zones(config: RobotConfig) -> str | None:
    if config.shield_limits.zones is None:
        return None
    return "limits.zones need to know where the robot is; this run time has no pose, so it would never move"
