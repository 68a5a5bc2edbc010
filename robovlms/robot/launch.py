"""From a robot's configuration to a run: every part is made, checked and shown before anything moves.

::

    simulator? ─▶ cameras ─▶ model ─▶ task ─▶ log ─▶ guard (from here on zero is sent) ─▶ run ─▶ all closed, guard first
"""

import dataclasses
import hashlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from robovlms.errors import ConfigError, SafetyError
from robovlms.robot.cameras import open_camera
from robovlms.robot.config import CameraPart, ModelPart, RobotConfig
from robovlms.robot.feed import CameraFeed, wait_for_view
from robovlms.robot.guard import GuardClient, GuardConfig
from robovlms.robot.run_record import open_record
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
        ConfigError: if a part or an option is unknown.
    """
    limits = config.shield_limits
    task = make_task(config.task)
    with ExitStack() as parts:
        config = parts.enter_context(_simulated(config, film, say))
        feeds = {part.view: _feed(part, parts) for part in config.cameras}
        worker = parts.enter_context(_model(config.model, task, say))
        task.prepare(limits, None if worker is None else worker.contract_json)
        record = open_record(config, _fingerprints(worker), say)
        if record is not None:
            parts.callback(lambda: say(f"log: {record.close().path}"))
        for line in start_lines(config, limits):
            say(line)
        if wait_for_view(feeds, _FIRST_VIEW_S) is None:
            raise SafetyError(_blind(feeds))
        output = parts.enter_context(GuardClient(_guard_config(config, limits)))
        runtime = RobotRuntime(
            feeds=feeds,
            task=task,
            output=output,
            validator=validator_of(limits),
            worker=worker,
            record=record,
            decide_hz=config.decide_hz,
            duration_s=config.duration_s,
            say=say,
        )
        with _ended_by_signals(runtime, output):
            return runtime.run()


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
def _simulated(config: RobotConfig, film: Path | None, say: Callable[[str], None]) -> Iterator[RobotConfig]:
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
        driver = dataclasses.replace(driver, options={"host": "127.0.0.1", "port": command_port})
    return dataclasses.replace(config, cameras=cameras, driver=driver)


def _feed(part: CameraPart, parts: ExitStack) -> CameraFeed:
    feed = CameraFeed(open_camera(part.name, part.options), part.frozen_after_s)
    parts.callback(feed.close)
    return feed


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


def _blind(feeds: dict[str, CameraFeed]) -> str:
    errors = [f"camera {name}: {feed.error}" for name, feed in feeds.items() if feed.error]
    silent = [name for name, feed in feeds.items() if feed.newest is None]
    return errors[0] if errors else f"no picture of {', '.join(silent)} within {_FIRST_VIEW_S:g} s"


@contextmanager
def _ended_by_signals(runtime: RobotRuntime, guard: GuardClient) -> Iterator[None]:
    """The first SIGINT or SIGTERM ends the run by the ramp, a second one is an emergency stop."""
    is_second = False

    def end(number: int, frame: object) -> None:
        nonlocal is_second
        del frame
        runtime.stop(f"ended by {signal.Signals(number).name}")
        if is_second:  # in a thread: the handler may have interrupted the very lock that it would wait for
            threading.Thread(target=guard.estop, args=("second signal",), daemon=True).start()
        is_second = True

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
