"""Commands as JSON lines over a serial port; `wire` says what is in them and what the receiver must do."""

import time
from typing import Any

from robovlms.errors import ConfigError, MissingDependencyError, SafetyError
from robovlms.robot.drivers.base import Driver
from robovlms.robot.drivers.wire import MAX_BYTES, WireWriter, check_body
from robovlms.robot.safety.command import Command

WRITE_TIMEOUT_RANGE_S = (0.005, 10.0)


class SerialDriver(Driver):
    """One line per command.

    A line that the port does not take in time is an error. What waits in the system's buffer is dropped then, so that
    the next command, which is zero, does not queue behind old motion. The same happens when the port is slower than
    the commands: half a second of them in a buffer would be half a second of delay for a stop.

    Args:
        port: for example "/dev/ttyUSB0"; nobody else may have it open.
        baudrate: bits per second. At 50 commands per second of about 120 bytes, 115200 is twice what is needed.
        write_timeout_s: how long one line may take, in [0.005, 10] s.
        body: "base" or "arm".

    Raises:
        ConfigError: if the port cannot be opened.
        MissingDependencyError: if pyserial is not installed.
    """

    def __init__(self, port: str, baudrate: int = 115200, write_timeout_s: float = 0.05, body: str = "base") -> None:
        self.body = check_body(body)
        low, high = WRITE_TIMEOUT_RANGE_S
        if not low <= write_timeout_s <= high:
            raise ConfigError(f"driver 'serial': write_timeout_s must be in [{low}, {high}], got {write_timeout_s!r}")
        self._line = _open(port, baudrate, write_timeout_s)
        self._writer = WireWriter()
        self._is_cut = False

    def send(self, command: Command) -> None:
        """Write one line.

        Raises:
            SafetyError: if the port does not take it in time, or is gone.
        """
        message = self._writer.encode(command, time.monotonic()) + b"\n"
        try:
            if self._line.out_waiting > MAX_BYTES:
                self._drop()
                raise SafetyError("driver 'serial': the port is slower than the commands; raise the baudrate")
            self._line.write(b"\n" + message if self._is_cut else message)
            self._is_cut = False
        except OSError as error:  # also SerialException and its time-out
            self._drop()
            raise SafetyError(f"driver 'serial': cannot write: {error}") from error

    def close(self) -> None:
        """Close the port when what was written is out, at most after the write time-out."""
        deadline = time.monotonic() + self._line.write_timeout
        try:
            while self._line.out_waiting and time.monotonic() < deadline:
                time.sleep(0.001)
        except OSError:
            self._is_cut = True  # the port is gone, and nothing waits any more
        self._line.close()

    def _drop(self) -> None:
        """Forget what waits in the system's buffer; the next line then starts on a line of its own."""
        self._is_cut = True
        try:
            self._line.reset_output_buffer()
        except Exception as error:  # pyserial raises termios.error, which is no OSError, when the port is gone
            raise SafetyError(f"driver 'serial': the port is gone: {error}") from error


def _open(port: str, baudrate: int, write_timeout_s: float) -> Any:
    try:
        import serial
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "the driver 'serial' needs pyserial; install it with: pip install pyserial"
        ) from error
    if not port:
        raise ConfigError("driver 'serial': port must be a path, it is empty")
    try:
        return serial.Serial(port, baudrate, timeout=0, write_timeout=write_timeout_s, exclusive=True)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"driver 'serial': cannot open {port!r} at {baudrate!r} baud: {error}") from error
