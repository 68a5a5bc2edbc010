"""A robot at work: cameras to task to output, at a fixed rate, with the model in a process of its own.

::

    this process                                                  others
    CameraFeed (thread per camera) ─▶ View ─┬─ question ────────▶ ModelWorker: may take seconds, hang, crash
                                            │      answer ◀────── (process)
                        Task.decide ◀───────┘
                             │ decide_hz times a second
                        ActionValidator ─▶ GuardClient.submit ──▶ guard: shield and driver at rate_hz
                             ▲                                    (process)
                        Task.feel ◀── records of every tick ◀──── and the log

Nothing here waits: a model that thinks, a camera that hangs or a disk that is full costs decisions, and the guard
brings the robot to rest when decisions or pictures are missing.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from robovlms.errors import SafetyError
from robovlms.robot.action import RobotAction
from robovlms.robot.feed import CameraFeed, view_of
from robovlms.robot.output.record import TickRecord
from robovlms.robot.run_record import RunRecord
from robovlms.robot.safety.command import VelocityCommand
from robovlms.robot.safety.validator import ActionValidator
from robovlms.robot.tasks.base import Decision, Task
from robovlms.robot.view import View
from robovlms.robot.worker.client import ModelWorker

_REST_S = 2.0  # longest time that a run waits at its end for the robot to stand


@runtime_checkable
class Output(Protocol):
    """Where decisions go: `GuardClient`, or `ShieldedOutput` in this process."""

    def submit(self, command: object, confidence: object, observed_at: object) -> object:
        """Hand over the newest decision."""

    def records(self) -> Iterable[TickRecord]:
        """What happened in the ticks since the last call."""


@dataclass
class RunSummary:
    """How a run went.

    Attributes:
        outcome: of the task, or why the run ended before it.
        is_done: the task was finished.
        seconds: of the run.
        decisions: how many were handed to the output.
        ticks: of the output.
        reasons: why the shield changed commands, with the number of ticks.
        answers: of the model; "failed" ones apart.
        failed_answers: why a model gave none.
        frames: camera -> pictures read.
    """

    outcome: str = "not started"
    is_done: bool = False
    seconds: float = 0.0
    decisions: int = 0
    ticks: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    answers: int = 0
    failed_answers: Counter[str] = field(default_factory=Counter)
    frames: dict[str, int] = field(default_factory=dict)


class RobotRuntime:
    """Runs one task on one robot, once.

    Args:
        feeds: view -> camera.
        task: what to do; prepared.
        output: where decisions go; started, and closed by whoever started it.
        validator: judges every action of the task.
        worker: the model; None if the task needs none.
        record: takes down what happens; None for nothing.
        decide_hz: decisions per second.
        duration_s: the run ends after this; None for until the task is done or `stop` is called.
        say: told one line whenever what the robot does changes.
        clock: monotonic, s.
    """

    def __init__(
        self,
        *,
        feeds: Mapping[str, CameraFeed],
        task: Task,
        output: Output,
        validator: ActionValidator,
        worker: ModelWorker | None = None,
        record: RunRecord | None = None,
        decide_hz: float = 20.0,
        duration_s: float | None = None,
        say: Callable[[str], None] = print,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._feeds, self._task, self._output, self._validator = feeds, task, output, validator
        self._worker, self._record, self._say, self._clock = worker, record, say, clock
        self._period_s, self._duration_s = 1 / decide_hz, duration_s
        self._why_stop: str | None = None
        self._last_line = ""
        self._last_tick_at: float | None = None
        self._sent = VelocityCommand()
        self.summary = RunSummary()

    def stop(self, why: str) -> None:
        """End the run at the next decision; may be called from a signal handler."""
        self._why_stop = why

    def run(self) -> RunSummary:
        """Work until the task is done, the time is over, or something ends it; the robot is told to stand then."""
        start = deadline = self._clock()
        while (why := self._over(start)) is None:
            self._step(self._clock())
            deadline = max(deadline + self._period_s, self._clock())
            time.sleep(max(0.0, deadline - self._clock()))
        self._come_to_rest(why)
        self.summary.seconds = self._clock() - start
        self.summary.is_done = self._task.is_done
        self.summary.outcome = self._task.outcome if self._task.is_done else why
        self.summary.frames = {name: feed.num_frames for name, feed in self._feeds.items()}
        return self.summary

    def _over(self, start: float) -> str | None:
        """Why the run is over; None while it is not."""
        if self._why_stop is not None:
            return self._why_stop
        if self._task.is_done:
            return self._task.outcome
        if self._duration_s is not None and self._clock() - start >= self._duration_s:
            return f"{self._duration_s:g} s are over"
        if self._record is not None and self._record.must_stop:
            return self._record.failure
        for name, feed in self._feeds.items():
            if feed.error is not None:
                return f"camera {name}: {feed.error}"
            if feed.is_over:
                return f"camera {name} has come to its end"
        return None

    def _step(self, now: float) -> None:
        self._hear(now)
        self._feel()
        view = view_of(self._feeds)
        if view is None:
            return  # nothing seen, nothing decided: the watchdog holds
        self._ask(view, now)
        self._keep(view)
        self._submit(self._task.decide(view, now))

    def _submit(self, decision: Decision) -> None:
        action = self._validator.validate_action(decision.action)
        self._output.submit(action, action.confidence, decision.observed_at)
        self.summary.decisions += 1
        if self._record is not None:
            self._record.decision(decision.action, action, decision.observed_at, self._clock())
        self._tell(action)

    def _hear(self, now: float) -> None:
        answer = None if self._worker is None else self._worker.poll()
        if answer is None:
            return
        if answer.error is None:
            self.summary.answers += 1
        else:
            self.summary.failed_answers[answer.error] += 1
            self._say(f"model: {answer.error}")
        if self._record is not None:
            self._record.answer(answer)
        self._task.take(answer, now)

    def _ask(self, view: View, now: float) -> None:
        if self._worker is None or not self._worker.is_idle:
            return
        question = self._task.question(view, now)
        if question is not None and self._worker.ask(question) and self._record is not None:
            self._record.question(question)

    def _feel(self) -> None:
        """Hear from the output what was really sent."""
        for record in self._output.records():
            self.summary.ticks += 1
            self.summary.reasons.update(reason.value for reason in record.result.reasons)
            if self._record is not None:
                self._record.tick(record)
            if isinstance(record.sent, VelocityCommand):
                seconds = 0.0 if self._last_tick_at is None else max(0.0, record.now - self._last_tick_at)
                self._task.feel(self._sent, seconds)  # what was sent before held until now
                self._sent = record.sent
            self._last_tick_at = record.now

    def _keep(self, view: View) -> None:
        if self._record is not None:
            self._record.view(view)

    def _come_to_rest(self, why: str) -> None:
        """Ask for zero until the robot stands; the guard does the same if this process cannot."""
        end = self._clock() + _REST_S
        action = self._validator.get_safe_default_action()
        while True:
            try:
                self._output.submit(action, 1.0, self._clock())
            except SafetyError as error:
                self._say(str(error))
                return
            time.sleep(self._period_s)
            self._feel()
            if not any(self._sent.velocity) or self._clock() >= end:
                self._say(f"at rest: {why}")
                return

    def _tell(self, action: RobotAction) -> None:
        """One line when something else is done than before."""
        line = f"{action.action_type.value}: {action.description}" if action.description else action.action_type.value
        if line != self._last_line:
            self._last_line = line
            self._say(line)
