"""The guard on a serial line: a port that takes nothing, and a guard that dies with the port in its hand."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from robot.guard.fake_robot import FAST, LIMITS, SLOW, WATCHDOG_S, Pacer, linux_only, wait_for

from robovlms.errors import DataError, SafetyError
from robovlms.robot.drivers.wire import decode
from robovlms.robot.guard import GuardClient, GuardConfig

pytestmark = linux_only
pytest.importorskip("serial", reason="pyserial is not installed")
pty, tty = pytest.importorskip("pty"), pytest.importorskip("tty")


class Board:
    """Reads lines from a pseudo-terminal while it is awake."""

    def __init__(self) -> None:
        self._end, self._line = pty.openpty()
        tty.setraw(self._line)
        os.set_blocking(self._end, False)
        self.port = os.ttyname(self._line)
        self.messages: list[dict] = []
        self.is_awake, self._is_closing = threading.Event(), threading.Event()
        self.is_awake.set()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop reading."""
        self._is_closing.set()
        self._thread.join()
        os.close(self._line)
        os.close(self._end)

    def config(self, **options: object) -> GuardConfig:
        """Of a guard that drives this board."""
        return GuardConfig(driver="serial", driver_options={"port": self.port, **options}, limits=LIMITS)

    @property
    def speed(self) -> float | None:
        """The last that was asked for, m/s."""
        return self.messages[-1]["linear"][0] if self.messages else None

    def _read(self) -> None:
        rest = b""
        while not self._is_closing.wait(0.002):
            if not self.is_awake.is_set():
                continue
            with suppress(BlockingIOError):
                *lines, rest = (rest + os.read(self._end, 65536)).split(b"\n")
                for line in filter(None, lines):
                    with suppress(DataError):  # a line that was cut
                        self.messages.append(decode(line))


@pytest.fixture
def board() -> Iterator[Board]:
    """A board that reads."""
    listener = Board()
    yield listener
    listener.close()


def test_a_guard_that_is_killed_leaves_the_port_to_the_client(board: Board):
    guard = GuardClient(board.config()).start()
    pacer = Pacer(lambda now: guard.submit((SLOW, 0.0, 0.0), 0.9, now))
    wait_for(lambda: board.speed == SLOW)
    os.kill(guard.pid, signal.SIGKILL)
    at = time.monotonic()
    wait_for(lambda: board.speed == 0.0)
    assert time.monotonic() - at < 2.0
    pacer.hang()
    with pytest.raises(SafetyError, match="the guard is gone: its process ended"):
        guard.close()
    assert board.messages[-1]["stop"]


def test_a_port_that_takes_nothing_latches_and_zero_comes_first_after_it(board: Board):
    with GuardClient(board.config(write_timeout_s=5.0 * WATCHDOG_S)) as guard:
        pacer = Pacer(lambda now: guard.submit((FAST, 0.0, 0.0), 0.9, now))
        wait_for(lambda: board.speed == FAST)
        board.is_awake.clear()
        wait_for(lambda: guard.newest.estop is not None)
        assert "the driver blocked" in guard.newest.estop
        before = len(board.messages)
        board.is_awake.set()
        wait_for(lambda: board.speed == 0.0)
        time.sleep(0.2)
        pacer.hang()
        assert guard.newest.num_driver_errors <= 1
    speeds = [message["linear"][0] for message in board.messages[before:]]
    assert set(speeds[speeds.index(0.0) :]) == {0.0}, "what waited in the line, then zero"
