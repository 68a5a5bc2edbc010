"""What a robot is and what it is to do: one YAML file per robot, apart from the configuration of a training run.

::

    RobotConfig
    ├── simulator: SimulatorPart            a simulated robot in place of a real one
    ├── cameras: CameraPart, any number     where pictures come from
    ├── model: ModelPart                    what looks at them and decides; none for a task that needs none
    ├── task: Part                          what is asked of it
    ├── limits                              of the shield, all required
    ├── output: OutputConfig                rate and watchdog
    ├── driver: Part                        what carries the commands
    └── log: LogConfig

Limits belong to the robot, so they are here and nowhere else.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from robovlms.errors import ConfigError, SafetyError
from robovlms.robot.output.loop import check_timing
from robovlms.robot.safety.limits import ShieldLimits
from robovlms.typed_yaml import build, check_types, dump_yaml, merge, parse_overrides, read_yaml, require

_FASTEST_HZ = 200.0
_SIMULATED_DRIVERS = ("udp", "dry_run")


@dataclass(frozen=True, kw_only=True)
class Part:
    """One exchangeable part.

    Attributes:
        name: key of its table: `robovlms.robot.tasks.TASKS`, `robovlms.robot.drivers.DRIVERS`.
        options: keywords of its class.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CameraPart:
    """One camera.

    Attributes:
        view: what the policy calls it.
        name: key of `robovlms.robot.cameras.CAMERAS`.
        options: keywords of its class.
        frozen_after_s: the same picture for longer than this counts as no picture; None where pictures have no noise,
            as in a simulator.
    """

    view: str = "front"
    name: str = "opencv"
    options: dict[str, Any] = field(default_factory=dict)
    frozen_after_s: float | None = 1.0

    def __post_init__(self) -> None:
        positive = self.frozen_after_s is None or self.frozen_after_s > 0
        require(positive, f"cameras: frozen_after_s of {self.view} must be positive or null, got {self.frozen_after_s}")


@dataclass(frozen=True, kw_only=True)
class ModelPart:
    """What decides, in a process of its own.

    Attributes:
        name: key of `robovlms.robot.worker.MODELS`, or package.module:name of your own; None for no model.
        options: keywords of the model.
        timeout_s: a model that thinks longer is replaced.
        load_timeout_s: longest time to load it.
    """

    name: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    timeout_s: float = 10.0
    load_timeout_s: float = 600.0

    def __post_init__(self) -> None:
        for name in ("timeout_s", "load_timeout_s"):
            value = getattr(self, name)
            require(0 < value < math.inf, f"model.{name} must be positive and finite, got {value}")


@dataclass(frozen=True, kw_only=True)
class OutputConfig:
    """The fixed-rate output.

    Attributes:
        rate_hz: commands per second to the robot.
        watchdog_s: without a decision for so long, the robot comes to rest.
    """

    rate_hz: float = 50.0
    watchdog_s: float = 0.2

    def __post_init__(self) -> None:
        check_timing(self.rate_hz, self.watchdog_s)


@dataclass(frozen=True, kw_only=True)
class LogConfig:
    """The record of a run.

    Attributes:
        folder: a run writes one MCAP file here; None writes none.
        images_hz: pictures per second that are kept of each camera.
        when_it_fails: what a robot does whose log cannot be written: "stop" or "go_on".
    """

    folder: Path | None = Path("runs/robot")
    images_hz: float = 5.0
    when_it_fails: Literal["stop", "go_on"] = "stop"

    def __post_init__(self) -> None:
        require(self.images_hz >= 0, f"log.images_hz must not be negative, got {self.images_hz}")


@dataclass(frozen=True, kw_only=True)
class SimulatorPart:
    """A simulated robot, started for the run. Cameras "simulator" and the driver "udp" find their ports by themselves.

    Attributes:
        is_used: whether there is one.
        scene: key of `robovlms.robot.simulator.room.SCENES`.
        seed: of what the scene leaves open, and of the camera's noise.
        width: of its camera, px.
        height: of its camera, px.
        fps: pictures per second.
    """

    is_used: bool = False
    scene: str = "things"
    seed: int = 0
    width: int = 320
    height: int = 240
    fps: float = 10.0


@dataclass(frozen=True, kw_only=True)
class RobotConfig:
    """One robot and its task.

    Attributes:
        simulator: a simulated robot in place of a real one.
        cameras: where pictures come from.
        model: what decides.
        task: what is asked of it.
        limits: of `robovlms.robot.safety.ShieldLimits`; velocity, acceleration and deceleration have no defaults.
        output: rate and watchdog.
        driver: what carries the commands to the robot.
        decide_hz: decisions per second that are handed to the output.
        duration_s: the robot comes to rest after this; None for until it is stopped.
        log: the record of the run.
    """

    simulator: SimulatorPart = SimulatorPart()
    cameras: tuple[CameraPart, ...] = (CameraPart(),)
    model: ModelPart = ModelPart()
    task: Part = Part(name="say")
    limits: dict[str, Any] = field(default_factory=dict)
    output: OutputConfig = OutputConfig()
    driver: Part = Part(name="dry_run")
    decide_hz: float = 20.0
    duration_s: float | None = 60.0
    log: LogConfig = LogConfig()

    def __post_init__(self) -> None:
        require(bool(self.cameras), "cameras: a robot that sees nothing does not move; name at least one")
        views = [camera.view for camera in self.cameras]
        require(len(set(views)) == len(views), f"cameras: each needs a view of its own, got {views}")
        require(self.duration_s is None or self.duration_s > 0, f"duration_s must be positive, got {self.duration_s}")
        require(0 < self.decide_hz <= _FASTEST_HZ, f"decide_hz must lie in (0, {_FASTEST_HZ:g}], got {self.decide_hz}")
        require(
            not self.simulator.is_used or self.driver.name in _SIMULATED_DRIVERS,
            f"simulator.is_used: pictures of a simulated room must not drive a real robot; driver.name is "
            f"{self.driver.name!r}, expected one of {', '.join(_SIMULATED_DRIVERS)}",
        )
        require(
            self.decide_hz * self.output.watchdog_s >= 2,
            f"decide_hz is {self.decide_hz:g}, so a decision comes every {1 / self.decide_hz:.3g} s; "
            f"output.watchdog_s ({self.output.watchdog_s:g}) must be at least twice as long",
        )
        if not self.limits:
            raise ConfigError("limits: max_velocity, max_acceleration and max_deceleration of this robot are missing")
        try:
            limits = self.shield_limits
        except SafetyError as error:
            raise ConfigError(f"limits: {error}") from None
        require(
            self.output.rate_hz * limits.max_step_s >= 1,
            f"limits.max_step_s is {limits.max_step_s:g} s, but a command goes out every {1 / self.output.rate_hz:g} s "
            "only (output.rate_hz): the robot would brake more slowly than its limits say",
        )

    @property
    def shield_limits(self) -> ShieldLimits:
        """The limits, checked."""
        return ShieldLimits.from_dict(self.limits)


def load_robot_config(path: str | Path, overrides: tuple[str, ...] = ()) -> RobotConfig:
    """Read a robot's configuration.

    Args:
        path: YAML file.
        overrides: what differs from it: texts like "task.options.text=stop".

    Raises:
        ConfigError: the file is missing or no YAML, or a key is unknown, of the wrong type, or contradicts another one.
    """
    values = check_types(RobotConfig, read_yaml(Path(path)), where=f"{path}: ")
    for override in parse_overrides(overrides):
        values = merge(values, check_types(RobotConfig, override, where="override "))
    try:
        return build(RobotConfig, values)
    except ConfigError as error:
        raise ConfigError(f"{path}{' with overrides' if overrides else ''}: {error}") from None


def dump_robot_config(config: RobotConfig) -> str:
    """Return YAML of every value; `load_robot_config` makes an equal configuration of it."""
    return dump_yaml(config)
