"""From a robot's configuration to a run: every part is made, checked and shown before anything moves.

::

    simulator? ─▶ cameras ─▶ model ─▶ task ─▶ log ─▶ pictures ─▶ guard (from here on zero is sent) ─▶ run ─▶ all closed:
                                                                 the guard first (zero), its last records, the log, …
"""

import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from robovlms.errors import ConfigError, SafetyError
from robovlms.robot.cameras import open_camera
from robovlms.robot.config import CameraPart, ModelPart, RobotConfig
from robovlms.robot.feed import CameraFeed, wait_for_view
from robovlms.robot.guard import GuardClient, GuardConfig
from robovlms.robot.interruption import Interruption
from robovlms.robot.run_record import RunRecord, open_record
from robovlms.robot.runtime import RobotRuntime, RunSummary
from robovlms.robot.safety import ActionValidator, ShieldLimits, stopping_distance, stopping_lines
from robovlms.robot.simulator.film import Film
from robovlms.robot.simulator.launch import SimulatedRobot
from robovlms.robot.tasks import Task, make_task
from robovlms.robot.worker import ModelWorker

_FIRST_VIEW_S = 10.0
_STILL = 1e-9  # a validator wants a positive limit; the shield makes zero of it
_MODEL_ANSWERS = {"text": "answers in words", "chunk": "answers with actions"}


def run_robot(config: RobotConfig, film: Path | None = None, say: Callable[[str], None] = print) -> RunSummary:
    """Run a robot's task to its end.

    Args:
        config: of the robot.
        film: file for a film of a simulated robot, ".gif" or ".mp4".
        say: told one line at a time what happens.

    Raises:
        SafetyError: if a part cannot be made or fails; the last thing sent to the robot is zero all the same.
        KeyboardInterrupt: if a signal comes before the guard is started.
        ConfigError: if a part or an option is unknown.
    """
    limits = config.shield_limits
    task = make_task(config.task)
    with Interruption() as interruption, ExitStack() as parts:
        config = parts.enter_context(simulated(config, film, say))
        guard = GuardClient(_guard_config(config, limits))  # knows the ports of a simulated robot
        feeds = {part.view: _feed(part, parts) for part in config.cameras}
        worker = parts.enter_context(_model(config.model, task, say))
        task.prepare(limits, None if worker is None else worker.contract_json)
        record = open_record(config, _fingerprints(worker), say)
        if record is not None:
            parts.callback(_close_record, record, say)
        for line in start_lines(config, limits):
            say(line)
        first_view(feeds)
        runtime = RobotRuntime(
            feeds=feeds,
            task=task,
            output=guard,
            validator=validator_of(limits),
            worker=worker,
            record=record,
            decide_hz=config.decide_hz,
            duration_s=config.duration_s,
            say=say,
        )
        interruption.ends(runtime, guard)
        parts.callback(runtime.hear_the_rest)
        parts.enter_context(guard)
        summary = runtime.run()
        if summary.failure is not None:
            raise SafetyError(summary.failure)
        return summary


def validator_of(limits: ShieldLimits) -> ActionValidator:
    """The validator with the limits of the shield."""
    return ActionValidator(
        max_linear_speed=max(limits.max_velocity[:2]) or _STILL,
        max_angular_speed=limits.max_velocity[2] or _STILL,
        min_confidence=limits.min_confidence,
    )


def start_lines(config: RobotConfig, limits: ShieldLimits) -> list[str]:
    """What was built, and how far the robot goes before it stands, at worst."""
    x, y, yaw = limits.max_velocity
    distance = stopping_distance(
        limits,
        loop_period_s=1 / config.output.rate_hz,
        watchdog_s=config.output.watchdog_s,
        inference_s=limits.max_observation_age_s,
        observation_s=0.0,
    )
    return [
        f"task    {config.task.name} {config.task.options}",
        f"model   {config.model.name or 'none'}",
        "sees    " + ", ".join(f"{part.view} ({part.name})" for part in config.cameras),
        f"drives  {config.driver.name} {config.driver.options} at {config.output.rate_hz:g} Hz",
        f"limits  {x:g} m/s ahead, {y:g} m/s sideways, {yaw:g} rad/s; confidence from {limits.min_confidence:g}; "
        f"observations up to {limits.max_observation_age_s:g} s; watchdog {config.output.watchdog_s:g} s",
        *stopping_lines(distance),
    ]


@contextmanager
def simulated(config: RobotConfig, film: Path | None, say: Callable[[str], None]) -> Iterator[RobotConfig]:
    """Start the simulated robot, if there is one; yield the configuration with its ports."""
    if not config.simulator.is_used:
        if film is not None:
            raise ConfigError("a film is made of a simulated robot only; set simulator.is_used=true")
        yield config
        return
    settings = dataclasses.asdict(config.simulator)
    del settings["is_used"]
    with SimulatedRobot(**settings) as robot, ExitStack() as parts:
        for name, (x, y) in robot.things.items():
            say(f"room    {name} at ({x:.1f}, {y:.1f}) m")
        if film is not None:
            title = f"{config.task.name}: " + " ".join(str(value) for value in config.task.options.values())
            camera = Film(robot.picture_port, film, title)
            parts.callback(lambda: say(f"film: {camera.close()}"))
        yield with_ports(config, robot.command_port, robot.picture_port)


def with_ports(config: RobotConfig, command_port: int, picture_port: int) -> RobotConfig:
    """The configuration with the ports of a simulated robot in its cameras and its driver."""
    cameras = tuple(
        dataclasses.replace(part, options={**part.options, "port": picture_port}) if part.name == "simulator" else part
        for part in config.cameras
    )
    driver = config.driver
    if driver.name == "udp":
        driver = dataclasses.replace(driver, options={**driver.options, "host": "127.0.0.1", "port": command_port})
    return dataclasses.replace(config, cameras=cameras, driver=driver)


def _feed(part: CameraPart, parts: ExitStack) -> CameraFeed:
    """Open a camera, so that one that is not there is named before a model is loaded for minutes."""
    feed = CameraFeed(open_camera(part.name, part.options), part.frozen_after_s)
    parts.callback(feed.close)
    return feed


def first_view(feeds: Mapping[str, CameraFeed]) -> None:
    """Begin to read the cameras and wait until each has shown something.

    Raises:
        SafetyError: if one does not.
    """
    for feed in feeds.values():
        feed.start()
    if wait_for_view(feeds, _FIRST_VIEW_S) is not None:
        return
    for name, feed in feeds.items():
        if feed.error is not None:
            raise SafetyError(f"camera {name}: {feed.error}")
    silent = [name for name, feed in feeds.items() if feed.newest is None]
    raise SafetyError(f"no picture of {', '.join(silent)} within {_FIRST_VIEW_S:g} s")


def _close_record(record: RunRecord, say: Callable[[str], None]) -> None:
    """Finish the log.

    Raises:
        SafetyError: if it lacks something and no robot is to drive without it.
    """
    say(f"log: {record.close().path}")
    if record.must_stop:
        raise SafetyError(record.failure)


@contextmanager
def _model(part: ModelPart, task: Task, say: Callable[[str], None]) -> Iterator[ModelWorker | None]:
    if task.needs is None:
        yield None
        return
    if part.name is None:
        raise SafetyError(f"the task needs a model that {_MODEL_ANSWERS[task.needs]}; set model.name")
    worker = ModelWorker(part.name, part.options, timeout_s=part.timeout_s, load_timeout_s=part.load_timeout_s)
    try:
        start = time.monotonic()
        worker.wait_ready()
        if worker.kind != task.needs:
            raise SafetyError(
                f"the task needs a model that {_MODEL_ANSWERS[task.needs]}, {part.name!r} "
                f"{_MODEL_ANSWERS.get(worker.kind or '', 'does something else')}"
            )
        say(f"model   {part.name} loaded in {time.monotonic() - start:.1f} s")
        yield worker
    finally:
        worker.close()


def _fingerprints(worker: ModelWorker | None) -> dict[str, str]:
    """Hash of the policy's contract, if there is one."""
    if worker is None or worker.contract_json is None:
        return {}
    return {"contract": hashlib.sha256(worker.contract_json.encode()).hexdigest()}


def _guard_config(config: RobotConfig, limits: ShieldLimits) -> GuardConfig:
    return GuardConfig(
        driver=config.driver.name,
        driver_options=config.driver.options,
        limits=limits.to_dict(),
        rate_hz=config.output.rate_hz,
        watchdog_s=config.output.watchdog_s,
    )
