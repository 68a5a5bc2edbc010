"""A robot at work with stand-ins at both ends; shield, output and model process are the real ones."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from robovlms.robot.cameras.base import Camera, CameraEnded, Frame
from robovlms.robot.drivers.base import Driver
from robovlms.robot.feed import CameraFeed, view_of, wait_for_view
from robovlms.robot.output import ShieldedOutput
from robovlms.robot.runtime import RobotRuntime, RunSummary
from robovlms.robot.safety import ActionValidator, SafetyShield, ShieldLimits
from robovlms.robot.safety.command import VelocityCommand
from robovlms.robot.tasks.ask import Ask
from robovlms.robot.tasks.base import Task
from robovlms.robot.tasks.say import Say
from robovlms.robot.worker import ModelWorker

LIMITS = ShieldLimits((0.5, 0.5, 1.0), (2.0, 2.0, 6.0), (4.0, 4.0, 12.0), max_observation_age_s=0.3)


class FakeCamera(Camera):
    """Noise at 50 Hz; may freeze, end or break after some frames."""

    def __init__(self, *, after: int = 10**9, then: str = "") -> None:
        self._after, self._then, self._number = after, then, 0
        self._random = np.random.default_rng(0)
        self.is_closed = False

    def read(self) -> Frame:
        time.sleep(0.02)
        self._number += 1
        if self._number > self._after:
            if self._then == "end":
                raise CameraEnded("the film is over")
            if self._then == "break":
                raise OSError("cable")
            if self._then == "hang":
                time.sleep(1.5)
        image = self._random.integers(0, 255, (8, 8, 3), np.uint8)
        return Frame(image=image, captured_at=time.monotonic(), number=self._number)

    def close(self) -> None:
        self.is_closed = True


class Watcher(Driver):
    """A robot that remembers what it was told, and when."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, VelocityCommand]] = []
        self.lock = threading.Lock()

    def send(self, command) -> None:
        with self.lock:
            self.heard.append((time.monotonic(), command))

    def close(self) -> None:
        pass

    @property
    def moving(self) -> list[float]:
        return [at for at, command in self.heard if any(command.velocity)]


def run(
    task: Task, camera: FakeCamera, worker: ModelWorker | None = None, duration_s: float = 20.0
) -> tuple[RunSummary, Watcher, list[str]]:
    task.prepare(LIMITS, None)
    robot, lines = Watcher(), []
    feed = CameraFeed(camera, 1.0)
    assert wait_for_view({"front": feed}, 5.0) is not None
    with ShieldedOutput(SafetyShield(LIMITS), robot, rate_hz=50.0, watchdog_s=0.2) as output:
        runtime = RobotRuntime(
            feeds={"front": feed},
            task=task,
            output=output,
            validator=ActionValidator(),
            worker=worker,
            duration_s=duration_s,
            say=lines.append,
        )
        summary = runtime.run()
    feed.close()
    assert not any(robot.heard[-1][1].velocity)
    return summary, robot, lines


def travelled(robot: Watcher) -> float:
    return sum((after - at) * one.linear_x for (at, one), (after, _) in zip(robot.heard, robot.heard[1:], strict=False))


def test_a_sentence_is_done_and_the_robot_stands() -> None:
    summary, robot, lines = run(Say("go forward 30 cm then turn left 20 degrees"), FakeCamera())
    assert summary.is_done
    assert travelled(robot) == pytest.approx(0.3, abs=0.06)
    assert [line.split(":")[0] for line in lines if line.startswith(("move", "turn"))] == ["move", "turn"]
    assert summary.ticks > 50
    assert set(summary.reasons) <= {"rate_limited", "hold"}  # holds before the first decision


def test_the_time_is_over() -> None:
    summary, robot, _ = run(Say("go forward 50 m"), FakeCamera(), duration_s=1.0)
    assert (summary.is_done, summary.outcome) == (False, "1 s are over")
    assert robot.moving


@pytest.mark.parametrize(
    ("then", "outcome"), [("end", "camera front has come to its end"), ("break", "camera front: OSError: cable")]
)
def test_a_camera_that_ends_or_breaks_ends_the_run(then: str, outcome: str) -> None:
    summary, robot, _ = run(Say("go forward 50 m"), FakeCamera(after=40, then=then))
    assert summary.outcome == outcome
    assert robot.moving


def test_a_camera_that_hangs_stops_the_robot_at_the_age_limit() -> None:
    summary, robot, _ = run(Say("go forward 50 m"), FakeCamera(after=30, then="hang"), duration_s=1.8)
    assert summary.reasons["stale"] > 10
    gaps = [after - before for before, after in zip(robot.moving, robot.moving[1:], strict=False)]
    assert max(gaps, default=0.0) > 0.8 or robot.heard[-1][0] - robot.moving[-1] > 0.5


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ModelWorker]]:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent / "worker"), *sys.path]))
    started: list[ModelWorker] = []

    def start(timeout_s: float = 5.0) -> ModelWorker:
        started.append(ModelWorker("thinkers:Echo", {}, timeout_s=timeout_s))
        started[-1].wait_ready()
        return started[-1]

    yield start
    for one in started:
        one.close()


def test_a_model_drives_picture_by_picture(model) -> None:
    task = Ask("x", prompt="{instruction}")
    task._prompt = "turn left"  # what the model echoes
    summary, robot, _ = run(task, FakeCamera(), model(), duration_s=1.5)
    assert summary.answers > 5
    assert {command.angular_z > 0 for _, command in robot.heard if any(command.velocity)} <= {True}


@pytest.mark.parametrize("prompt", ["hang", "die", "raise"])
def test_a_model_that_fails_never_moves_the_robot(model, prompt: str) -> None:
    task = Ask("x", prompt="{instruction}")
    task._prompt = prompt
    summary, robot, lines = run(task, FakeCamera(), model(timeout_s=0.3), duration_s=1.2)
    assert robot.moving == []
    assert summary.failed_answers
    assert any(line.startswith("model: ") for line in lines)
    assert summary.ticks > 40  # the output went on all the while


def test_no_view_before_every_camera_has_shown_something() -> None:
    feed, dark = CameraFeed(FakeCamera(), None), CameraFeed(FakeCamera(after=0, then="hang"), None)
    assert wait_for_view({"a": feed}, 5.0) is not None
    assert view_of({"a": feed, "b": dark}) is None
    feed.close()
    dark.close()
