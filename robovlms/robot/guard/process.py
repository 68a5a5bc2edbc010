"""The guard: reads the newest command, steps the shield, drives. It ends with zero, whatever ends it.

::

    urgent  ─▶ hello, stop, estop, reset, bye ─┐                     ┌─▶ driver
            ◀─ ready or refused, ack, failed   ├─▶ ShieldedOutput ───┤
    stream  ─▶ submit ─────────────────────────┘   (own threads)     └─▶ tick (dropped if the brain does not read)

Two channels, because a stop must not queue behind motion: `urgent` is read first, and has room when `stream` is full.
Every message of the brain carries a number; motion with a number below one already seen is not taken.

The robot comes to rest and the guard ends when

- SIGTERM, SIGINT or SIGHUP comes, or the brain says goodbye;
- the channels close, or the parent is another process: the brain is dead;
- the output itself fails (exit code 1).

A brain that lives but says nothing costs the robot its motion by the watchdog of the output, not the guard its life.
``PR_SET_PDEATHSIG`` (prctl(2)) would not do: it tells of death, but not of a brain that hangs or is stopped; it is
bound to the *thread* that started the guard; and it is set only after the start, when the brain may be dead already.
The guard runs in a session of its own (setsid(2)), so Ctrl-C in a terminal goes to the brain alone, which says goodbye
or dies; both end here.
"""

import os
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from robovlms.errors import ConfigError, RoboVLMsError, SafetyError
from robovlms.robot.drivers import open_driver
from robovlms.robot.guard.channel import VERSION, Channel, ChannelClosedError
from robovlms.robot.guard.config import GuardConfig
from robovlms.robot.output.loop import ShieldedOutput
from robovlms.robot.output.plain import from_plain, is_motion
from robovlms.robot.output.record import TickRecord

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
HELLO_TIMEOUT_S = 10.0
LOOK_AROUND_S = 0.05  # how often it is checked that the parent lives and the output works
REALTIME_PRIORITY = 10  # of 1 to 99: above ordinary processes, below the kernel's own threads (50)
HIGH_PRIORITY = -10  # of 19 to -20, setpriority(2)
MAX_AT_ONCE = 64  # messages of `stream` that are read before `urgent` is looked at again


class Guard:
    """Serves one brain.

    Args:
        urgent: for what must not wait.
        stream: for motion and records.
        wakeup: becomes readable when a signal came.
    """

    def __init__(self, urgent: Channel, stream: Channel, wakeup: socket.socket) -> None:
        self._urgent, self._stream, self._wakeup = urgent, stream, wakeup
        self._parent = os.getppid()
        self._is_over = False
        self._last_number = -1
        self._unconfirmed: dict[str, deque[int]] = {"estop": deque(), "reset": deque()}
        self._body: str
        self._output: ShieldedOutput
        self._poll = select.poll()
        for end in (urgent, stream, wakeup):
            self._poll.register(end, select.POLLIN)

    def run(self) -> int:
        """Serve until something ends it; return the exit code."""
        try:
            config = self._hello()
            if config is None:
                return 0
            self._body = config.body
            schedule = _raise_priority() if config.realtime else "normal"  # before there are threads: they inherit it
            self._output = _open_output(config, self._report)
        except RoboVLMsError as error:
            self._urgent.send("refused", type(error).__name__, str(error))
            return 2
        try:
            with self._output:
                self._urgent.send("ready", VERSION, schedule)
                self._serve()
        except SafetyError as error:
            self._urgent.send("failed", str(error))
            return 1
        return 0

    def _hello(self) -> GuardConfig | None:
        """Wait for the configuration; None if the brain is gone, or a signal came."""
        deadline = time.monotonic() + HELLO_TIMEOUT_S
        while time.monotonic() < deadline and not self._is_over:
            self._poll.poll(LOOK_AROUND_S * 1000.0)
            self._look_around()
            try:
                message = self._urgent.receive()
            except ChannelClosedError:
                return None
            if message is not None:
                return _config_of(message)
        return None

    def _serve(self) -> None:
        while not self._is_over and self._output.error is None:
            self._poll.poll(LOOK_AROUND_S * 1000.0)
            self._look_around()
            self._read(self._urgent, sys.maxsize)
            self._read(self._stream, MAX_AT_ONCE)

    def _look_around(self) -> None:
        try:
            if self._wakeup.recv(64):
                self._is_over = True
        except BlockingIOError:
            pass  # no signal came
        if os.getppid() != self._parent:
            self._is_over = True

    def _read(self, channel: Channel, most: int) -> None:
        """Do what up to `most` messages say; one that is none is a reason to stop."""
        for _ in range(most):
            try:
                message = channel.receive()
                if message is None:
                    return
                self._obey(message)
            except ChannelClosedError:
                self._is_over = True
                return
            except (SafetyError, LookupError, TypeError, ValueError):
                self._output.stop()
            if self._output.error is not None:
                return

    def _obey(self, message: list[Any]) -> None:
        """Do what one message says.

        Raises:
            SafetyError, LookupError, TypeError, ValueError: if it says nothing known.
        """
        name, number, *values = message
        is_newest = number > self._last_number
        self._last_number = max(number, self._last_number)
        if name == "submit":
            command, confidence, observed_at = from_plain(values[0]), values[1], values[2]
            if is_newest or not is_motion(command, self._body):
                self._output.submit(command, confidence, observed_at)
        elif name in self._unconfirmed:
            self._unconfirmed[name].append(number)
            self._output.estop(str(values[0])) if name == "estop" else self._output.reset()
        elif name == "stop":
            self._output.stop()
        elif name == "bye":
            self._is_over = True
        else:
            raise SafetyError(f"unknown message {name!r}")

    def _report(self, record: TickRecord) -> None:
        """Tell of a tick, and confirm what was done in it; from the thread of the output, which must not wait."""
        for call in ("estop", "reset") if "estop" in record.calls else record.calls[:-1]:  # an estop undoes a reset
            waiting = self._unconfirmed[call]
            while waiting:
                self._urgent.send("ack", waiting.popleft())
        self._stream.send("tick", record.to_dict())


def _raise_priority() -> str:
    """Run before other processes as far as the system lets us; return how: "realtime", "high" or "normal"."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(REALTIME_PRIORITY))
        return "realtime"
    except OSError:
        pass  # not granted; the next best thing
    try:
        os.setpriority(os.PRIO_PROCESS, 0, HIGH_PRIORITY)
        return "high"
    except OSError:
        return "normal"


def _config_of(message: list[Any]) -> GuardConfig:
    if message[0] != "hello" or len(message) != 3 or not isinstance(message[2], dict):
        raise SafetyError(f"the guard expected hello, got {message[0]!r}")
    if message[1] != VERSION:
        raise SafetyError(f"the guard speaks version {VERSION}, the brain {message[1]!r}: install the same package")
    return GuardConfig.from_dict(message[2])


def _open_output(config: GuardConfig, on_record: Callable[[TickRecord], None]) -> ShieldedOutput:
    try:
        driver = open_driver(config.driver, config.driver_options)
    except RoboVLMsError:
        raise
    except Exception as error:  # a driver is foreign code
        raise SafetyError(f"driver {config.driver!r} cannot start: {type(error).__name__}: {error}") from error
    if driver.body != config.body:
        driver.close()
        raise ConfigError(f"the driver {config.driver!r} is for the body {driver.body!r}, not {config.body!r}")
    return ShieldedOutput(config.open_shield(), driver, config.rate_hz, config.watchdog_s, on_record=on_record)


def main(arguments: Sequence[str]) -> int:
    """Run the guard on two inherited sockets.

    Args:
        arguments: their file descriptors: urgent, stream.
    """
    sys.setswitchinterval(0.001)  # s; the thread that reads commands must not hold up the one that drives
    for_signals, wakeup = socket.socketpair()
    for_signals.setblocking(False)
    wakeup.setblocking(False)
    signal.set_wakeup_fd(for_signals.fileno(), warn_on_full_buffer=False)
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)
    urgent, stream = (Channel(socket.socket(fileno=int(argument))) for argument in arguments)
    return Guard(urgent, stream, wakeup).run()
