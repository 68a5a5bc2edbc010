"""The serial driver on a pseudo-terminal: lines, a port that takes nothing, a port that goes away."""

import os
import select
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from robovlms.errors import ConfigError, DataError, SafetyError
from robovlms.robot.drivers import open_driver
from robovlms.robot.drivers.base import Driver
from robovlms.robot.drivers.wire import MAX_BYTES, decode
from robovlms.robot.safety.command import VelocityCommand

serial = pytest.importorskip("serial", reason="pyserial is not installed")
pty, tty = pytest.importorskip("pty"), pytest.importorskip("tty")


@dataclass
class Board:
    """The other end of the line."""

    end: int
    port: str

    def lines(self, timeout_s: float = 0.2) -> list[bytes]:
        """All that comes until nothing comes for `timeout_s`."""
        data = b""
        while select.select([self.end], [], [], timeout_s)[0]:
            data += os.read(self.end, 65536)
        return data.splitlines()


@pytest.fixture
def board() -> Iterator[Board]:
    """A pseudo-terminal that passes bytes as they are."""
    end, line = pty.openpty()
    tty.setraw(line)
    yield Board(end, os.ttyname(line))
    os.close(line)
    os.close(end)


def _seconds_until_refused(driver: Driver) -> float:
    """Send motion until it is refused; how long the last send took."""
    for _ in range(2000):
        before = time.monotonic()
        try:
            driver.send(VelocityCommand(0.1))
        except SafetyError:
            return time.monotonic() - before
    raise AssertionError("a port that nobody reads took everything")


def _readable(lines: list[bytes]) -> list[dict]:
    found = []
    for line in lines:
        try:
            found.append(decode(line))
        except DataError:
            continue
    return found


def test_one_line_per_command(board):
    driver = open_driver("serial", {"port": board.port})
    driver.send(VelocityCommand(0.1, 0.0, -0.2))
    driver.send(VelocityCommand())
    first, second = map(decode, board.lines())
    driver.close()
    assert (first["linear"], first["angular"], first["seq"]) == ([0.1, 0.0], -0.2, 0)
    assert (second["stop"], second["seq"]) == (True, 1)


def test_a_port_that_takes_nothing_is_an_error_in_time(board):
    driver = open_driver("serial", {"port": board.port, "write_timeout_s": 0.05})
    assert _seconds_until_refused(driver) < 1.0
    driver.send(VelocityCommand())
    messages = _readable(board.lines())
    driver.close()
    assert messages[-1]["stop"], "the line after the one that was cut is readable"


def test_old_motion_does_not_wait_in_the_buffer_of_a_slow_port(board, monkeypatch):
    drops = []
    driver = open_driver("serial", {"port": board.port})
    monkeypatch.setattr(serial.Serial, "out_waiting", MAX_BYTES + 1)
    monkeypatch.setattr(serial.Serial, "reset_output_buffer", lambda port: drops.append(port.port))
    with pytest.raises(SafetyError, match="slower than the commands"):
        driver.send(VelocityCommand(0.1))
    monkeypatch.setattr(serial.Serial, "out_waiting", 0)
    driver.send(VelocityCommand())
    driver.close()
    assert drops == [board.port]
    assert [message["stop"] for message in _readable(board.lines())] == [True]


def test_a_port_that_goes_away_is_an_error():
    end, line = pty.openpty()
    tty.setraw(line)
    driver = open_driver("serial", {"port": os.ttyname(line)})
    os.close(line)
    os.close(end)
    for _ in range(3):
        with pytest.raises(SafetyError, match="serial"):
            driver.send(VelocityCommand())
    driver.close()


def test_a_second_sender_is_refused(board):
    driver = open_driver("serial", {"port": board.port})
    with pytest.raises(ConfigError, match="cannot open"):
        open_driver("serial", {"port": board.port})
    driver.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "option 'port' is missing"),
        ({"port": "/dev/ttyNone"}, "cannot open '/dev/ttyNone' at 115200 baud"),
        ({"port": 3}, "option 'port' must be of type str, got 3"),
        ({"port": "/dev/ttyNone", "baudrate": -1}, "at -1 baud"),
        ({"port": "/dev/ttyNone", "write_timeout_s": 0}, "write_timeout_s must be in"),
        ({"port": "/dev/ttyNone", "baud": 9600}, "unknown option of the driver 'serial' 'baud'; did you mean"),
    ],
)
def test_wrong_options_are_one_clear_line(options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        open_driver("serial", options)
    assert "\n" not in str(caught.value)
