"""Starts the simulated robot and knows where it listens."""

import contextlib
import json
import select
import subprocess
import sys
import tempfile
from types import TracebackType
from typing import Any

from robovlms.errors import ConfigError, RoboVLMsError, SimulatorError

_START_S = 60.0
_MOST_FPS = 1000.0
_LAST_WORDS_S = 0.2


class SimulatedRobot:
    """A simulated robot in a process of its own; as a context manager it tells if it ended before it was closed.

    Args:
        scene: key of `robovlms.robot.simulator.room.SCENES`.
        seed: of what the scene leaves open, and of the camera's noise.
        width, height: of the camera, px.
        fps: pictures per second.

    Attributes:
        command_port: UDP port on this machine that takes commands.
        picture_port: TCP port on this machine that gives pictures.
        things: name of each thing and where it stands, (x, y), m.

    Raises:
        SimulatorError: if it cannot start; says why.
        ConfigError: if a value is out of range.
    """

    def __init__(
        self, scene: str = "things", seed: int = 0, width: int = 320, height: int = 240, fps: float = 10.0
    ) -> None:
        if not 0 < fps <= _MOST_FPS:
            raise ConfigError(f"simulator: fps must be positive and at most {_MOST_FPS:g}, got {fps}")
        values = {"scene": scene, "seed": seed, "width": width, "height": height, "fps": fps}
        flags = [text for name, value in values.items() for text in (f"--{name}", str(value))]
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  of what libraries print, a pipe would be full one day
        self._process = subprocess.Popen(
            [sys.executable, "-m", "robovlms.robot.simulator", *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            start_new_session=True,
        )
        try:
            greeting = self._greeting()
        except BaseException:
            self.close()
            raise
        self.command_port: int = greeting["command_port"]
        self.picture_port: int = greeting["picture_port"]
        self.things: dict[str, tuple[float, float]] = {name: tuple(at) for name, at in greeting["things"].items()}

    def __enter__(self) -> "SimulatedRobot":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:  # it may be the cause, and be about to end
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_LAST_WORDS_S)
        reason = self._end_of_process()
        self.close()
        if reason is not None and (kind is None or issubclass(kind, RoboVLMsError)):
            raise SimulatorError(f"the simulator ended during the run: {reason}") from error

    def close(self) -> None:
        """End the process; nothing if it was closed before."""
        if self._said.closed:
            return
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._said):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]

    def _end_of_process(self) -> str | None:
        """The last line that it said before it ended by itself; None if it has not."""
        if self._said.closed or self._process.poll() is None:
            return None
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return f"{lines[-1] if lines else 'it said nothing'} (exit code {self._process.returncode})"

    def _greeting(self) -> dict[str, Any]:
        stream = self._process.stdout
        assert stream is not None
        if not select.select([stream], [], [], _START_S)[0]:
            raise SimulatorError(f"the simulator did not start within {_START_S:g} s")
        line = stream.readline()
        if not line:
            self._process.wait()
            raise SimulatorError(f"the simulator ended at its start: {self._end_of_process()}")
        greeting = json.loads(line)
        if "error" in greeting:
            raise SimulatorError(f"the simulator cannot start: {greeting['error']}")
        return greeting
