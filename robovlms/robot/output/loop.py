"""The output: shield and driver at a fixed rate, in a thread that nothing upstream can stop or hurry.

::

    submit() ─▶ NewestSlot ─▶ shield.step ─▶ Sender (own thread, one place) ─▶ driver ─▶ robot
    any thread               every period      └─ record of the tick ─▶ on_record
                                │
    nothing for watchdog_s ─────┤ hold: come to rest with the limits of the shield
    stop()  ────────────────────┤ hold, and only what is observed later counts
    estop() ────────────────────┤ zero now, latched until reset(), then zero until a fresh command
    a send fails ───────────────┤ at rest, tried again every tick
    a send takes > watchdog_s ──┤ estop; what is sent first after it is zero
    the loop itself fails ──────┘ zero until close(), and submit() and close() raise SafetyError

The deadlines are absolute (``start + n · period``): a late tick does not shift those after it, and periods that were
missed are counted, not made up for. All times are of one monotonic clock; on Linux ``time.monotonic`` is the same in
every process of the machine (CLOCK_MONOTONIC, https://docs.python.org/3/library/time.html#time.monotonic).
"""

import atexit
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from robovlms.errors import ConfigError, SafetyError
from robovlms.robot.drivers.base import Driver
from robovlms.robot.output.plain import at_rest
from robovlms.robot.output.record import TickRecord
from robovlms.robot.output.sender import Sender
from robovlms.robot.output.slot import NewestSlot, Submission, observation_stamp
from robovlms.robot.safety.command import Command, VelocityCommand

RATE_RANGE_HZ = (10.0, 200.0)
WATCHDOG_RANGE_S = (0.02, 2.0)
RAMP_TIMEOUT_S = 0.6  # close() comes to rest within the limits for so long, then at once
LAST_SEND_TIMEOUT_S = 0.2
END_TIMEOUT_S = 1.0
KEPT_RECORDS = 10_000  # over three minutes at 50 Hz, then the oldest go


@runtime_checkable
class Shield(Protocol):
    """What stands before the driver: `SafetyShield` of a base or `JointShield` of an arm."""

    def step(self, command: object, confidence: object, observation_age_s: object, now: object) -> Command:
        """Return what may be sent now."""

    def hold(self, now: object) -> Command:
        """Return what may be sent now to come to rest."""

    def estop(self) -> None:
        """Latch: no motion until `reset`."""

    def reset(self) -> None:
        """Unlatch: no motion until a fresh command."""


class ShieldedOutput:
    """Sends what the shield lets through, at a fixed rate, until it is closed; the last command is zero.

    Use it as a context manager, or `start` and `close` it. Every method may be called from any thread.

    Args:
        shield: judges every command; only the thread of the output calls it.
        driver: carries commands to the robot; only one thread calls its `send`.
        rate_hz: ticks per second, in [10, 200].
        watchdog_s: without a command for so long, the robot comes to rest; in [0.02, 2] s and at least two periods.
        clock: monotonic time, s.
        on_record: called in the thread of the output with what happened in each tick, in place of keeping it for
            `records`; it must not block. One that raises does not stop the robot: it is counted in
            `num_record_errors`.

    Raises:
        ConfigError: if rate and watchdog are out of range, or do not go together.
    """

    def __init__(
        self,
        shield: Shield,
        driver: Driver,
        rate_hz: float = 50.0,
        watchdog_s: float = 0.2,
        clock: Callable[[], float] = time.monotonic,
        on_record: Callable[[TickRecord], None] | None = None,
    ) -> None:
        check_timing(rate_hz, watchdog_s)
        self._shield, self._driver, self._clock = shield, driver, clock
        self._kept: deque[TickRecord] = deque(maxlen=KEPT_RECORDS)
        self._on_record = on_record or self._kept.append
        self._period_s, self._watchdog_s = 1.0 / rate_hz, watchdog_s
        self._slot = NewestSlot(driver.body)
        self._sender = Sender(driver, watchdog_s, clock)
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="robot-output", daemon=True)
        self._estop_wanted: str | None = None
        self._reset_wanted = False
        self._stop_wanted = False
        self._closing_at: float | None = None
        self._is_closed = False
        self._must_rest = False
        driver.on_estop = self.estop
        self._is_still = False
        self._num_blocked = 0
        self._result: Command | None = None
        self._index = 0
        self.estop_reason: str | None = None
        self.error: Exception | None = None
        self.num_overruns = 0
        self.num_record_errors = 0

    def start(self) -> "ShieldedOutput":
        """Begin to send; zero until a command comes."""
        self._sender.start()
        self._thread.start()
        atexit.register(self.close)
        return self

    def __enter__(self) -> "ShieldedOutput":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, command: object, confidence: object, observed_at: object) -> bool:
        """Hand over the newest command; it replaces the one before, unless that one is a stop that waits.

        Args:
            command: any object; what is no motion of this robot is a wish to stop.
            confidence: in [0, 1].
            observed_at: when the observation behind it was made, on the clock of the output, s.

        Returns:
            Whether it was taken: motion that follows from an older observation than one before it is not.

        Raises:
            SafetyError: if the output has failed or is closed.
        """
        self._check()
        with self._lock:
            return self._slot.put(Submission(command, confidence, observation_stamp(observed_at), self._clock()))

    def stop(self) -> None:
        """Come to rest; only what is observed from now on moves the robot again."""
        with self._lock:
            self._stop_wanted = True
            self._slot.clear(self._clock())

    def estop(self, reason: str = "asked for") -> None:
        """Zero now, not at the next tick, until `reset` and a command observed after it."""
        self._latch(reason)
        self._wake.set()

    def reset(self) -> None:
        """Let commands through again that are observed from now on; an estop that waits goes out first."""
        with self._lock:
            self._reset_wanted = True
            self._slot.clear(self._clock())

    def close(self) -> None:
        """Come to rest, send zero, close the driver; a second call does nothing.

        Raises:
            SafetyError: if the output had failed, or the last zero did not get through.
        """
        if self._is_closed:
            return
        self._is_closed = True
        atexit.unregister(self.close)
        self._closing_at = self._clock()
        if self._thread.is_alive():
            self._thread.join(RAMP_TIMEOUT_S + 2 * self._period_s)
        is_sent = self._sender.close(self._rest(), LAST_SEND_TIMEOUT_S, self._period_s)
        self._driver.close()
        if self.error is not None:
            raise SafetyError(f"the output failed: {_describe(self.error)}") from self.error
        if self._thread.is_alive():
            self._thread.join(END_TIMEOUT_S)
        if self._thread.is_alive():
            raise SafetyError("the output does not end: its shield or its `on_record` blocks; zero was sent")
        if not is_sent:
            last = self._sender.last_error
            raise SafetyError(f"the last zero did not reach the robot: {_describe(last) if last else 'driver blocks'}")

    def records(self) -> list[TickRecord]:
        """What happened in each tick since the last call, the oldest first."""
        return [self._kept.popleft() for _ in range(len(self._kept))]

    def tick(self, deadline: float | None = None) -> TickRecord:
        """Do one period: ask the shield, hand over what it returns. The thread of the output calls it.

        Args:
            deadline: when it was planned, on the clock of the output, s; None for now.
        """
        now = self._clock()
        lateness_s = 0.0 if deadline is None else max(0.0, now - deadline)
        self._watch_driver(now)
        call, taken = self._take()
        if call is not None:
            (self._shield.estop if call == "estop" else self._shield.reset)()
        result, asked = self._ask_shield(taken, now)
        self._is_still = self._is_at_rest(result)
        self._must_rest = self._sender.is_failing or (self._must_rest and not self._is_still)
        self._result, sent = result, at_rest(result) if self._must_rest else result
        if isinstance(sent, VelocityCommand) or sent.positions:  # an arm whose joints nobody knows is left alone
            self._sender.put(sent)
        return self._record(asked, call, now=now, lateness_s=lateness_s, result=result, sent=sent)

    def _record(self, asked: dict[str, Any], call: str | None, **fields: Any) -> TickRecord:
        calls = (asked.pop("call"),) if call is None else (call, asked.pop("call"))
        index, self._index = self._index, self._index + 1
        last = self._sender.last_error
        return TickRecord(
            index=index,
            calls=calls,
            estop=self.estop_reason,
            driver_error=None if last is None else _describe(last),
            num_driver_errors=self._sender.num_errors,
            num_refused=self._slot.num_refused,
            num_overruns=self.num_overruns,
            **asked,
            **fields,
        )

    def _check(self) -> None:
        if self.error is not None:
            raise SafetyError(f"the output failed: {_describe(self.error)}") from self.error
        if self._is_closed:
            raise SafetyError("the output is closed")

    def _latch(self, reason: str) -> None:
        with self._lock:
            self._estop_wanted, self._reset_wanted = reason, False
            self._slot.clear(self._clock())

    def _watch_driver(self, now: float) -> None:
        """Latch if a send takes, or took, longer than the watchdog allows."""
        is_blocked, num_blocked = self._sender.is_blocked(now), self._sender.num_blocked
        if num_blocked > self._num_blocked or (is_blocked and self.estop_reason is None):
            self._latch(f"the driver blocked for more than {self._watchdog_s:g} s")
        self._num_blocked = num_blocked

    def _take(self) -> tuple[str | None, Submission | None]:
        """What to call on the shield, and what to give it; an estop is out before a reset is done."""
        with self._lock:
            if self._estop_wanted is not None:
                self.estop_reason, self._estop_wanted = self._estop_wanted, None
                return "estop", None
            if self._reset_wanted:
                self._reset_wanted, self.estop_reason = False, None
                return "reset", None
            if self._stop_wanted or self._must_rest or self._closing_at is not None:
                self._stop_wanted = False
                return None, None
            return None, self._slot.take()

    def _ask_shield(self, taken: Submission | None, now: float) -> tuple[Command, dict[str, Any]]:
        """What the shield lets through, and what it was given; an age beyond all limits if nothing came for long."""
        if taken is None:
            asked = {"call": "hold", "command": None, "confidence": None, "observation_age_s": math.inf}
            return self._shield.hold(now), asked
        is_recent = now - taken.received_at <= self._watchdog_s
        age = now - taken.observed_at if is_recent else math.inf
        result = self._shield.step(taken.command, taken.confidence, age, now)
        return result, {
            "call": "step",
            "command": taken.command,
            "confidence": taken.confidence,
            "observation_age_s": age,
        }

    def _is_at_rest(self, result: Command) -> bool:
        if isinstance(result, VelocityCommand):
            return not any(result.velocity)
        return self._result is not None and result.positions == self._result.positions

    def _rest(self) -> Command | None:
        """Zero for a base; for an arm where it was sent to last, None if nowhere."""
        return VelocityCommand() if self._driver.body == "base" else self._sender.last_sent

    def _run(self) -> None:
        try:
            self._loop()
        except Exception as error:
            self.error = error
            while self._closing_at is None:
                if (rest := self._rest()) is not None:
                    self._sender.put(rest)
                time.sleep(self._period_s)

    def _loop(self) -> None:
        next_at, is_due = self._clock(), True
        while True:
            deadline = next_at
            if is_due:
                next_at = self._next_deadline(deadline, self._clock())
            record = self.tick(deadline)
            self._report(record)
            if self._closing_at is not None and self._has_come_to_rest(record):
                return
            is_due = not self._wake.wait(max(0.0, next_at - self._clock())) or self._clock() >= next_at
            self._wake.clear()

    def _next_deadline(self, deadline: float, now: float) -> float:
        """The first deadline after `now` in steps of the period; those missed are counted."""
        missed = max(0, int((now - deadline) / self._period_s))
        self.num_overruns += missed
        return deadline + (missed + 1) * self._period_s

    def _has_come_to_rest(self, record: TickRecord) -> bool:
        """Whether the loop may end: at rest by a hold, or given up."""
        return (self._is_still and record.calls[-1] == "hold") or record.now - self._closing_at > RAMP_TIMEOUT_S

    def _report(self, record: TickRecord) -> None:
        try:
            self._on_record(record)
        except Exception:
            self.num_record_errors += 1


def check_timing(rate_hz: float, watchdog_s: float) -> None:
    """Check that rate and watchdog are in range and go together.

    Raises:
        ConfigError: if they do not.
    """
    for name, value, (low, high) in (("rate_hz", rate_hz, RATE_RANGE_HZ), ("watchdog_s", watchdog_s, WATCHDOG_RANGE_S)):
        if not isinstance(value, int | float) or not low <= value <= high:
            raise ConfigError(f"output: {name} must be in [{low:g}, {high:g}], got {value!r}")
    if watchdog_s < 2.0 / rate_hz:
        raise ConfigError(
            f"output: watchdog_s must be at least two periods, but it is {watchdog_s:g} s at {rate_hz:g} Hz "
            f"(two periods are {2.0 / rate_hz:g} s)"
        )


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
