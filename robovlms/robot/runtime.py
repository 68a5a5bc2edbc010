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
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from robovlms.errors import SafetyError, one_line
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
        failure: what broke; None if nothing did.
        has_end: the task is one that can be finished.
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
    failure: str | None = None
    has_end: bool = True
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
        self._num_restarts = 0
        self._last_tick: TickRecord | None = None
        self.summary = RunSummary(has_end=task.has_end)

    def stop(self, why: str) -> None:
        """End the run at the next decision; may be called from a signal handler."""
        self._why_stop = why

    def run(self) -> RunSummary:
        """Work until the task is done, the time is over, or something fails; the robot is told to stand then."""
        start = self._clock()
        try:
            why = self._work(start)
        except Exception as error:  # of a task, which may be anybody's, or of the output: nothing may drive on
            why = self.summary.failure = one_line(error)
            if self._record is not None:
                self._record.event("error", traceback.format_exc())
        self._come_to_rest(why)
        self.summary.seconds = self._clock() - start
        self.summary.is_done = self._task.is_done
        self.summary.outcome = why
        self.summary.frames = {name: feed.num_frames for name, feed in self._feeds.items()}
        if self._record is not None:
            self._record.event("info", f"{why}, after {self.summary.seconds:.3f} s")
        return self.summary

    def hear_the_rest(self) -> None:
        """Take down what the output still said after the run, once it is closed: how it came to rest."""
        for record in self._output.records():
            self._take_down(record)

    def _work(self, start: float) -> str:
        """Decide at the fixed rate until the run is over; return why it is."""
        deadline = start
        while (why := self._over(start)) is None:
            self._step()
            deadline = max(deadline + self._period_s, self._clock())
            time.sleep(max(0.0, deadline - self._clock()))
        return why

    def _over(self, start: float) -> str | None:
        """Why the run is over; None while it is not."""
        if self._why_stop is not None:
            return self._why_stop
        if self._task.is_done:
            return self._task.outcome
        self.summary.failure = self._failure()
        if self.summary.failure is not None:
            return self.summary.failure
        if self._duration_s is not None and self._clock() - start >= self._duration_s:
            return f"{self._duration_s:g} s are over"
        over = [name for name, feed in self._feeds.items() if feed.is_over]
        return f"camera {over[0]} has come to its end" if over else None

    def _failure(self) -> str | None:
        """What broke, other than the output, which raises."""
        if self._record is not None and self._record.must_stop:
            return self._record.failure
        if self._worker is not None and self._worker.failure is not None:
            return self._worker.failure
        broken = [f"camera {name}: {feed.error}" for name, feed in self._feeds.items() if feed.error is not None]
        return broken[0] if broken else None

    def _step(self) -> None:
        self._hear()
        self._feel()
        view = view_of(self._feeds)
        if view is None:
            return  # nothing seen, nothing decided: the watchdog holds
        now = self._clock()  # not before the view: it would be from the future
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

    def _hear(self) -> None:
        if self._worker is None:
            return
        answer = self._worker.poll()
        if self._worker.restarts > self._num_restarts:
            self._num_restarts = self._worker.restarts
            self._say(f"model: its process is taken down and started again ({self._num_restarts})")
        if answer is None:
            return
        if answer.error is None:
            self.summary.answers += 1
        else:
            self.summary.failed_answers[answer.error] += 1
            self._say(f"model: {answer.error}")
        if self._record is not None:
            self._record.answer(answer)
        self._task.take(answer, self._clock())

    def _ask(self, view: View, now: float) -> None:
        if self._worker is None or not self._worker.is_idle:
            return
        question = self._task.question(view, now)
        if question is not None and self._worker.ask(question) and self._record is not None:
            self._record.question(question)

    def _feel(self) -> None:
        """Hear from the output what was really sent."""
        before, records = self._last_tick, list(self._output.records())
        for record in records:  # all of them, before the task may raise
            self._take_down(record)
        for record in records:
            if before is not None and isinstance(record.sent, VelocityCommand):
                self._task.feel(_held(before, record), max(0.0, record.now - before.now))
            before = record

    def _take_down(self, record: TickRecord) -> None:
        self.summary.ticks += 1
        self.summary.reasons.update(reason.value for reason in record.result.reasons)
        self._last_tick = record
        if self._record is not None:
            self._record.tick(record)

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
                self.summary.failure = self.summary.failure or str(error)
                self._say(f"{why}; {error}" if str(error) != why else why)
                return
            time.sleep(self._period_s)
            self.hear_the_rest()
            if self._stands or self._clock() >= end:
                self._say(f"{'at rest' if self._stands else 'still moving'}: {why}")
                return

    @property
    def _stands(self) -> bool:
        """Whether the last thing that was sent is zero, as far as is known."""
        sent = None if self._last_tick is None else self._last_tick.sent
        return not isinstance(sent, VelocityCommand) or not any(sent.velocity)

    def _tell(self, action: RobotAction) -> None:
        """One line when something else is done than before."""
        line = f"{action.action_type.value}: {action.description}" if action.description else action.action_type.value
        if line != self._last_line:
            self._last_line = line
            self._say(line)


def _held(before: TickRecord, after: TickRecord) -> VelocityCommand:
    """What the robot did between two ticks: what was sent in the first.

    Where records between them were lost, the faster of both on each axis, so that a distance rather ends too early.
    """
    if after.index == before.index + 1:
        return before.sent
    pairs = zip(before.sent.velocity, after.sent.velocity, strict=True)
    return VelocityCommand(*(max(pair, key=abs) for pair in pairs))
