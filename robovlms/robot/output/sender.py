"""Calls the driver in a thread of its own, so that one that blocks does not stop the clock of the output."""

import threading
import time
from collections.abc import Callable

from robovlms.robot.drivers.base import Driver
from robovlms.robot.output.plain import at_rest
from robovlms.robot.safety.command import Command

LONGEST_WAIT_S = 5.0  # for a thread that the machine does not let run; the last zero is worth it


class Sender:
    """A mailbox with one place, and the thread that empties it into the driver.

    After a send that failed or took longer than `limit_s`, only commands at rest are sent until one got through.

    Args:
        driver: where commands go; only this thread calls `send`.
        limit_s: how long a send may take, s.
        clock: monotonic time, s.
    """

    def __init__(self, driver: Driver, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._driver, self._limit_s, self._clock = driver, limit_s, clock
        self._changed = threading.Condition()
        self._waiting: Command | None = None
        self._started_at: float | None = None
        self._is_closing = False  # takes nothing more from `put`
        self._must_end = False
        self.num_errors = 0
        self.num_blocked = 0  # sends that took too long
        self.last_error: Exception | None = None
        self.is_failing = False
        self.last_sent: Command | None = None
        self._thread = threading.Thread(target=self._run, name="robot-sender", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def put(self, command: Command) -> None:
        """Leave a command for the driver; one that still waits is replaced."""
        with self._changed:
            if not self._is_closing:
                self._waiting = command
                self._changed.notify_all()

    def is_blocked(self, now: float) -> bool:
        """Whether the send under way has taken longer than allowed."""
        started_at = self._started_at
        return started_at is not None and now - started_at > self._limit_s

    def close(self, last: Command | None, timeout_s: float, period_s: float) -> bool:
        """Send `last` (nothing if None) until it got through, then end; say whether it did.

        Args:
            last: a command at rest.
            timeout_s: a driver that raises or blocks is given up after this; a machine that is merely late is not, s.
            period_s: between two attempts, s.
        """
        start = self._clock()
        with self._changed:
            self._is_closing, self._waiting = True, None
        is_sent = last is None or not self._thread.is_alive()
        while not is_sent and not self._is_hopeless(self._clock() - start, timeout_s):
            is_sent = self._send_last(last, self._clock() + period_s)
        with self._changed:
            self._must_end, self._waiting = True, None
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(period_s)
        return is_sent

    def _is_hopeless(self, seconds: float, timeout_s: float) -> bool:
        is_broken = self.is_failing or self._started_at is not None
        return seconds > (timeout_s if is_broken else LONGEST_WAIT_S)

    def _send_last(self, command: Command, until: float) -> bool:
        """Have one command sent; say whether it got through before `until`."""
        with self._changed:
            self._waiting = command
            self._changed.notify_all()
            while self.last_sent is not command and self._clock() < until:
                self._changed.wait(max(0.0, until - self._clock()))
            return self.last_sent is command

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._waiting is None and not self._must_end:
                    self._changed.wait()
                if self._waiting is None:
                    return
                command, self._waiting = self._waiting, None
                self._started_at = self._clock()
            self._send(command)

    def _send(self, command: Command) -> None:
        """One call of the driver, and what came of it."""
        if self.is_failing:
            command = at_rest(command)
        error: Exception | None = None
        try:
            self._driver.send(command)
        except Exception as raised:
            error = raised
        with self._changed:
            took_too_long = self.is_blocked(self._clock())
            self._started_at = None
            self.num_blocked += took_too_long
            self.is_failing = error is not None or took_too_long
            if error is not None:
                self.num_errors, self.last_error = self.num_errors + 1, error
            else:
                self.last_sent = command
            self._changed.notify_all()
