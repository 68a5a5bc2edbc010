"""A robot at work with stand-ins at both ends; shield, output and model process are the real ones."""

import dataclasses
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from robovlms.errors import SafetyError
from robovlms.robot.cameras.base import Camera, CameraEnded, Frame
from robovlms.robot.drivers.base import Driver
from robovlms.robot.feed import CameraFeed, view_of, wait_for_view
from robovlms.robot.output import ShieldedOutput
from robovlms.robot.output.record import TickRecord
from robovlms.robot.parser import VLAActionParser
from robovlms.robot.run_record import RunRecord
from robovlms.robot.runtime import RobotRuntime, RunSummary, _held
from robovlms.robot.safety import ActionValidator, SafetyShield, ShieldLimits
from robovlms.robot.safety.command import VelocityCommand
from robovlms.robot.tasks.ask import Ask
from robovlms.robot.tasks.base import Decision, Task, standing
from robovlms.robot.tasks.say import Say
from robovlms.robot.view import View
from robovlms.robot.worker import ModelWorker

LIMITS = ShieldLimits((0.5, 0.5, 1.0), (2.0, 2.0, 6.0), (4.0, 4.0, 12.0), max_observation_age_s=0.3)
PARSER = VLAActionParser()  # slow to make


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


class FakeRecord(RunRecord):
    """Keeps what a run writes down; may fail after some ticks."""

    def __init__(self, fails_after: int = 10**9) -> None:
        self.ticks: list[TickRecord] = []
        self.events: list[tuple[str, str]] = []
        self._fails_after = fails_after

    @property
    def failure(self) -> str:
        return "log x: the disk is full"

    @property
    def must_stop(self) -> bool:
        return len(self.ticks) > self._fails_after

    def tick(self, record: TickRecord) -> None:
        self.ticks.append(record)

    def event(self, level: str, message: str) -> None:
        self.events.append((level, message))

    def decision(self, *_: object) -> None:
        pass

    question = answer = view = decision


def run(
    task: Task,
    camera: FakeCamera,
    worker: ModelWorker | None = None,
    duration_s: float = 20.0,
    record: FakeRecord | None = None,
) -> tuple[RunSummary, Watcher, list[str]]:
    task.prepare(LIMITS, None)
    robot, lines = Watcher(), []
    feed = CameraFeed(camera, 1.0).start()
    assert wait_for_view({"front": feed}, 5.0) is not None
    output = ShieldedOutput(SafetyShield(LIMITS), robot, rate_hz=50.0, watchdog_s=0.2)
    runtime = RobotRuntime(
        feeds={"front": feed},
        task=task,
        output=output,
        validator=ActionValidator(),
        worker=worker,
        record=record,
        duration_s=duration_s,
        say=lines.append,
    )
    with output:
        summary = runtime.run()
    runtime.hear_the_rest()
    feed.close()
    assert not any(robot.heard[-1][1].velocity)
    return summary, robot, lines


def travelled(robot: Watcher) -> float:
    return sum((after - at) * one.linear_x for (at, one), (after, _) in zip(robot.heard, robot.heard[1:], strict=False))


def test_a_sentence_is_done_and_the_robot_stands() -> None:
    summary, robot, lines = run(Say("go forward 30 cm then turn left 20 degrees", parser=PARSER), FakeCamera())
    assert summary.is_done
    assert travelled(robot) == pytest.approx(0.3, abs=0.06)
    assert [line.split(":")[0] for line in lines if line.startswith(("move", "turn"))] == ["move", "turn"]
    assert summary.ticks > 50
    assert set(summary.reasons) <= {"rate_limited", "hold"}  # holds before the first decision


class Breaks(Say):
    """Drives, then raises where it is told."""

    def __init__(self, where: str, error: Exception) -> None:
        super().__init__("go forward 50 m", parser=PARSER)
        self.where, self.error, self.calls = where, error, 0

    def _do(self, where: str) -> None:
        self.calls += where == self.where
        if self.calls > 20:
            raise self.error

    def decide(self, view: View, now: float) -> Decision:
        self._do("decide")
        return super().decide(view, now)

    def feel(self, command: VelocityCommand, seconds: float) -> None:
        self._do("feel")
        super().feel(command, seconds)


@pytest.mark.parametrize("where", ["decide", "feel"])
@pytest.mark.parametrize(
    ("error", "line"), [(ZeroDivisionError("a\nb"), "ZeroDivisionError: a b"), (SafetyError("no camera"), "no camera")]
)
def test_a_task_that_raises_ends_the_run_in_order(where: str, error: Exception, line: str) -> None:
    record = FakeRecord()
    summary, robot, lines = run(Breaks(where, error), FakeCamera(), record=record)
    assert robot.moving
    assert (summary.failure, summary.outcome, summary.is_done) == (line, line, False)
    assert lines[-1] == f"at rest: {line}"
    assert "Traceback" in record.events[0][1]
    assert [one.index for one in record.ticks] == list(range(summary.ticks))  # to the last one
    assert not any(record.ticks[-1].sent.velocity)
    speeds = [command.linear_x for _, command in robot.heard]
    assert max(before - after for before, after in zip(speeds, speeds[1:], strict=False)) < 0.2  # by the ramp


def test_a_log_that_fails_ends_the_run() -> None:
    summary, robot, lines = run(Say("go forward 50 m", parser=PARSER), FakeCamera(), record=FakeRecord(30))
    assert robot.moving
    assert (summary.failure, lines[-1]) == ("log x: the disk is full", "at rest: log x: the disk is full")


class Curious(Task):
    """Asks about every view and keeps it."""

    needs = "text"

    def __init__(self) -> None:
        self.seen: list[tuple[float, float]] = []

    def decide(self, view: View, now: float) -> Decision:
        self.seen.append((view.observed_at, now))
        return standing(view, "looks")


def test_no_view_is_from_the_future() -> None:
    """`now` is taken after the view; a picture that comes in between must not be from the future."""
    task = Curious()
    run(task, FakeCamera(), duration_s=0.5)
    assert len(task.seen) > 5
    assert all(observed_at <= now for observed_at, now in task.seen)


def test_records_that_were_lost_count_as_the_faster_one() -> None:
    def tick(index: int, *velocity: float) -> TickRecord:
        return dataclasses.replace(some, index=index, sent=VelocityCommand(*velocity))

    some = ShieldedOutput(SafetyShield(LIMITS), Watcher()).tick()

    slow, fast = (0.1, 0.0, -0.8), (0.5, 0.0, 0.2)
    assert _held(tick(4, *slow), tick(5, *fast)).velocity == slow
    assert _held(tick(4, *slow), tick(6, *fast)).velocity == (0.5, 0.0, -0.8)


def test_the_time_is_over() -> None:
    summary, robot, _ = run(Say("go forward 50 m", parser=PARSER), FakeCamera(), duration_s=1.0)
    assert (summary.is_done, summary.outcome) == (False, "1 s are over")
    assert robot.moving


@pytest.mark.parametrize(
    ("then", "outcome"), [("end", "camera front has come to its end"), ("break", "camera front: OSError: cable")]
)
def test_a_camera_that_ends_or_breaks_ends_the_run(then: str, outcome: str) -> None:
    summary, robot, _ = run(Say("go forward 50 m", parser=PARSER), FakeCamera(after=40, then=then))
    assert summary.outcome == outcome
    assert summary.failure == (outcome if then == "break" else None)
    assert robot.moving


def test_a_camera_that_hangs_stops_the_robot_at_the_age_limit() -> None:
    summary, robot, _ = run(Say("go forward 50 m", parser=PARSER), FakeCamera(after=30, then="hang"), duration_s=1.8)
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
    task = Ask("x", prompt="{instruction}", parser=PARSER)
    task._prompt = "turn left"  # what the model echoes
    summary, robot, _ = run(task, FakeCamera(), model(), duration_s=1.5)
    assert summary.answers > 5
    assert {command.angular_z > 0 for _, command in robot.heard if any(command.velocity)} <= {True}


@pytest.mark.parametrize("prompt", ["hang", "die", "raise"])
def test_a_model_that_fails_never_moves_the_robot(model, prompt: str) -> None:
    task = Ask("x", prompt="{instruction}", parser=PARSER)
    task._prompt = prompt
    summary, robot, lines = run(task, FakeCamera(), model(timeout_s=0.3), duration_s=1.2)
    assert robot.moving == []
    assert summary.failed_answers
    assert any(line.startswith("model: ") for line in lines)
    assert summary.ticks > 40  # the output went on all the while


def test_a_model_that_never_comes_back_ends_the_run(model) -> None:
    worker = model()
    worker.failure = "the model failed 5 times in a row"
    summary, robot, _ = run(Ask("x", parser=PARSER), FakeCamera(), worker)
    assert (summary.failure, robot.moving) == ("the model failed 5 times in a row", [])


class Stamps(FakeCamera):
    """Stamps of its own."""

    def __init__(self, captured_at: float) -> None:
        super().__init__()
        self._captured_at = captured_at

    def read(self) -> Frame:
        return dataclasses.replace(super().read(), captured_at=self._captured_at)


def test_a_view_is_as_old_as_the_oldest_picture() -> None:
    feeds = {name: CameraFeed(Stamps(at), None).start() for name, at in (("a", 5.0), ("b", 3.0), ("c", 4.0))}
    view = wait_for_view(feeds, 5.0)
    assert view is not None
    assert (view.observed_at, view.image is view.images["a"]) == (3.0, True)
    for feed in feeds.values():
        feed.close()


@pytest.mark.parametrize("captured_at", [math.nan, math.inf])
def test_a_stamp_that_is_no_time_breaks_the_camera(captured_at: float) -> None:
    feeds = {"a": CameraFeed(Stamps(5.0), None).start(), "b": CameraFeed(Stamps(captured_at), None).start()}
    assert wait_for_view(feeds, 5.0) is None
    assert "no time" in (feeds["b"].error or "")
    for feed in feeds.values():
        feed.close()


def test_a_camera_that_ends_before_it_shows_anything_is_not_waited_for() -> None:
    feed, start = CameraFeed(FakeCamera(after=0, then="end"), None).start(), time.monotonic()
    assert wait_for_view({"a": feed}, 10.0) is None
    assert time.monotonic() - start < 2.0
    feed.close()


def test_a_feed_that_was_never_started_closes_its_camera() -> None:
    camera = FakeCamera()
    CameraFeed(camera, None).close()
    assert camera.is_closed


def test_no_view_before_every_camera_has_shown_something() -> None:
    feed, dark = (CameraFeed(camera, None).start() for camera in (FakeCamera(), FakeCamera(after=0, then="hang")))
    assert wait_for_view({"a": feed}, 5.0) is not None
    assert view_of({"a": feed, "b": dark}) is None
    feed.close()
    dark.close()
