"""The brain's end of the guard: hands over commands, hears of every tick, and takes over when the guard is gone.

::

    brain                                                       guard (own process)
    submit() ── motion ───────────────▶ stream ──────────────▶  ┐
    submit(zero), stop(), estop() ────▶ urgent ──────────────▶  ├─ shield ─▶ driver ─▶ robot
    records() ◀── thread that listens ◀── a record per tick ◀─  ┘
                     │ no record for watchdog_s, or the channel closed
                     └─▶ kill -9 the guard ─▶ open the driver here, send zero ─▶ every call raises SafetyError
"""

import atexit
import contextlib
import math
import select
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from typing import Any

from robovlms import errors
from robovlms.errors import SafetyError
from robovlms.robot.drivers import open_driver
from robovlms.robot.guard.channel import VERSION, Channel, ChannelClosedError
from robovlms.robot.guard.config import GuardConfig
from robovlms.robot.output.loop import KEPT_RECORDS
from robovlms.robot.output.plain import at_rest, is_motion, to_plain
from robovlms.robot.output.record import TickRecord
from robovlms.robot.output.slot import observation_stamp
from robovlms.robot.safety.command import Command, VelocityCommand
from robovlms.robot.safety.reading import read_number

START_TIMEOUT_S = 20.0  # a ROS 2 driver takes seconds
END_TIMEOUT_S = 2.0
MAX_REASON = 200  # characters; a stop must fit into a message
LAST_RESORT_SENDS = 5  # zeros; one datagram may get lost


class GuardClient:
    """Starts a guard and speaks with it. No method waits for the guard, except `start`, `estop`, `reset` and `close`.

    Use it as a context manager, or `start` and `close` it. Every method may be called from any thread.

    Args:
        config: how the guard drives.

    Attributes:
        schedule: how the system runs the guard: "realtime", "high" or "normal"; see `GuardConfig.realtime`.
        num_dropped: commands that did not fit because the guard did not read; a stop is never among them while the
            guard works.
    """

    def __init__(self, config: GuardConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._number = 0
        self._confirmed = threading.Condition()
        self._acks: set[int] = set()
        self._records: deque[TickRecord] = deque(maxlen=KEPT_RECORDS)
        self._newest: TickRecord | None = None
        self._failure: str | None = None
        self._has_spoken, self._has_given_up = threading.Event(), threading.Event()
        self._is_closed = False
        self.schedule = "normal"
        self.num_dropped = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._urgent: Channel
        self._stream: Channel
        self._listener = threading.Thread(target=self._listen, name="guard-listener", daemon=True)

    def start(self) -> "GuardClient":
        """Start the guard and wait for its first tick; it sends zero until a command comes.

        Raises:
            ConfigError: if the driver does not take its options.
            SafetyError: if the guard does not start.
        """
        self._spawn()
        self._urgent.send("hello", VERSION, self._config.to_dict())
        try:
            self._await_ready()
            self._listener.start()
            self._await_tick()
        except BaseException:  # an interruption, too, must not leave a guard behind
            self._abandon()
            raise
        atexit.register(self.close)  # a brain that fails says goodbye before it takes its time to end
        return self

    def __enter__(self) -> "GuardClient":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Of the guard's process."""
        return self._process.pid

    @property
    def newest(self) -> TickRecord | None:
        """The last tick that was heard of."""
        return self._newest

    def submit(self, command: object, confidence: object, observed_at: object) -> bool:
        """Hand over the newest command.

        Args:
            command: any object; what is no motion of this robot is a wish to stop.
            confidence: in [0, 1].
            observed_at: when the observation behind it was made, ``time.monotonic`` of this machine, s.

        Returns:
            Whether it is on its way.

        Raises:
            SafetyError: if the guard has failed or was closed.
        """
        body = self._config.body
        channel = self._stream if is_motion(command, body) else self._urgent
        values = to_plain(command, body), read_number(confidence), observation_stamp(observed_at)
        return self._tell(channel, "submit", *values) is not None

    def records(self) -> list[TickRecord]:
        """What happened in each tick since the last call, the oldest first; a gap in `index` is what was dropped."""
        return [self._records.popleft() for _ in range(len(self._records))]

    def stop(self) -> None:
        """Come to rest; only what is observed from now on moves the robot again.

        Raises:
            SafetyError: if the guard has failed or was closed.
        """
        self._tell(self._urgent, "stop")

    def estop(self, reason: str = "asked for") -> None:
        """Zero at once, until `reset` and a command observed after it. Returns when zero was handed to the driver.

        Raises:
            SafetyError: if the guard has failed, now or before; zero was then sent from here.
        """
        self._tell_and_wait("estop", str(reason)[:MAX_REASON])

    def reset(self) -> None:
        """Let commands through again that are observed from now on.

        Raises:
            SafetyError: if the guard has failed.
        """
        self._tell_and_wait("reset")

    def close(self) -> None:
        """Let the robot come to rest and the guard end; a second call does nothing.

        Raises:
            SafetyError: if the guard had failed, or ends with an error.
        """
        if self._is_closed or self._process is None:
            return
        self._is_closed = True
        atexit.unregister(self.close)
        if self._failure is None:
            self._urgent.send("bye", self._number + 1)
            try:
                self._process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._give_up(f"it did not end within {END_TIMEOUT_S:g} s")
        self._listener.join()
        self._close_channels()
        if self._failure is None and self._process.returncode:
            self._failure = f"it ended with exit code {self._process.returncode}"
        if self._failure is not None:
            raise self._error()

    def _spawn(self) -> None:
        """Start the process; its ends of the channels are closed here, so that its death is heard."""
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
        theirs = [pair[1] for pair in pairs]
        self._urgent, self._stream = (Channel(pair[0]) for pair in pairs)
        numbers = [end.fileno() for end in theirs]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "robovlms.robot.guard", *map(str, numbers)],
            pass_fds=numbers,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        for end in theirs:
            end.close()

    def _await_ready(self) -> None:
        """Wait until the guard is ready.

        Raises:
            RoboVLMsError: of the kind that the guard names, if it refuses.
            SafetyError: if it ends, or says nothing in time.
        """
        select.select([self._urgent], [], [], START_TIMEOUT_S)
        try:
            message = self._urgent.receive()
        except ChannelClosedError:
            raise SafetyError("the guard ended while it was starting") from None
        if message is None:
            raise SafetyError(f"the guard was not ready within {START_TIMEOUT_S:g} s")
        if message[0] == "refused":
            kind = {"ConfigError": errors.ConfigError, "MissingDependencyError": errors.MissingDependencyError}
            raise kind.get(message[1], SafetyError)(message[2])
        if message[:2] != ["ready", VERSION]:
            raise SafetyError(f"the guard speaks version {message[1:2]}, the brain {VERSION}: install the same package")
        self.schedule = message[2]

    def _await_tick(self) -> None:
        """Wait for the first sign of the guard; only from then on it is missed."""
        if not self._has_spoken.wait(START_TIMEOUT_S):
            self._give_up(f"it did not tick within {START_TIMEOUT_S:g} s")
        if self._failure is not None:
            raise self._error()

    def _abandon(self) -> None:
        """Leave nothing of a start that failed."""
        self._is_closed = True
        self._process.kill()
        self._process.wait()
        if self._listener.ident is not None:
            self._listener.join()
        self._close_channels()

    def _tell(self, channel: Channel, name: str, *values: Any) -> int | None:
        """Send a message; return its number, None if it did not fit."""
        if self._failure is not None:
            raise self._error()
        if self._is_closed:
            raise SafetyError("the guard was closed")
        with self._lock:
            self._number += 1
            if channel.send(name, self._number, *values):
                return self._number
            self.num_dropped += 1
        return None

    def _tell_and_wait(self, name: str, *values: Any) -> None:
        """Send a message that the guard confirms; one that does not within the watchdog is given up."""
        number = self._tell(self._urgent, name, *values)
        with self._confirmed:
            if number is not None:
                self._confirmed.wait_for(lambda: number in self._acks or self._failure, self._config.watchdog_s)
            is_confirmed = number in self._acks
            self._acks.discard(number)
        if not is_confirmed:
            self._give_up(f"it did not confirm {name} within {self._config.watchdog_s:g} s")
            raise self._error()

    def _listen(self) -> None:
        """Read what the guard says until it says no more."""
        try:
            self._listen_until_silence()
        except Exception as error:
            self._give_up(f"{type(error).__name__}: {error}")

    def _listen_until_silence(self) -> None:
        poll, step_s = select.poll(), 0.5 / self._config.rate_hz
        for channel in (self._urgent, self._stream):
            poll.register(channel, select.POLLIN)
        heard_at = math.inf
        while self._failure is None:
            if poll.poll(step_s * 1000.0):
                if not self._hear():
                    return
                heard_at = time.monotonic()
            elif time.monotonic() - heard_at > self._config.watchdog_s and not poll.poll(0):
                # asked again: it may be this thread that was late, not the guard
                self._give_up(f"it gave no sign for {self._config.watchdog_s:g} s")

    def _hear(self) -> bool:
        """Take all messages that wait; False if the guard has closed its end."""
        try:
            for channel in (self._urgent, self._stream):
                while (message := channel.receive()) is not None:
                    self._take(message)
        except ChannelClosedError:
            if not self._is_closed:
                self._give_up("its process ended")
            return False
        return True

    def _take(self, message: list[Any]) -> None:
        name, value = message[:2]
        if name == "tick":
            self._newest = TickRecord.from_dict(value)
            self._records.append(self._newest)
            self._has_spoken.set()
        elif name == "ack":
            with self._confirmed:
                self._acks.add(value)
                self._confirmed.notify_all()
        elif name == "failed":
            self._give_up(str(value))
        else:
            raise SafetyError(f"unknown message {name!r}")

    def _give_up(self, why: str) -> None:
        """Kill the guard, send zero from here; the first caller does it, others wait until it is done."""
        with self._lock:
            is_first, self._failure = self._failure is None, self._failure or why
        if is_first:
            self._process.kill()  # also ends one that is stopped
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(self._config.watchdog_s)
            self._send_last_resort()
            self._has_given_up.set()
            self._has_spoken.set()
            with self._confirmed:
                self._confirmed.notify_all()
        elif threading.current_thread() is not self._listener:
            self._has_given_up.wait(END_TIMEOUT_S)

    def _send_last_resort(self) -> None:
        """Open the driver in this process and send zero."""
        rest = self._rest()
        try:
            driver = open_driver(self._config.driver, self._config.driver_options)
            try:
                for _ in range(LAST_RESORT_SENDS if rest is not None else 0):
                    driver.send(rest)
                    time.sleep(1.0 / self._config.rate_hz)
            finally:
                driver.close()
        except Exception as error:  # whatever a driver raises: who asks next must hear of it
            self._failure = f"{self._failure}; zero could not be sent from here: {type(error).__name__}: {error}"

    def _rest(self) -> Command | None:
        """Zero for a base; for an arm where it was sent to last, None if nowhere."""
        if self._config.body == "base":
            return VelocityCommand()
        return None if self._newest is None else at_rest(self._newest.sent)

    def _error(self) -> SafetyError:
        return SafetyError(f"the guard is gone: {self._failure}")

    def _close_channels(self) -> None:
        self._urgent.close()
        self._stream.close()
