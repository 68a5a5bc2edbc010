"""Starts the simulated robot and knows where it listens."""

import contextlib
import json
import select
import subprocess
import sys
from typing import Any

from robovlms.errors import ConfigError, SimulatorError

_START_S = 60.0


class SimulatedRobot:
    """A simulated robot in a process of its own; use as a context manager.

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
        for name, value in (("width", width), ("height", height), ("fps", fps)):
            if not value > 0:
                raise ConfigError(f"simulator: {name} must be positive, got {value}")
        values = {"scene": scene, "seed": seed, "width": width, "height": height, "fps": fps}
        flags = [text for name, value in values.items() for text in (f"--{name}", str(value))]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "robovlms.robot.simulator", *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
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

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]

    def _greeting(self) -> dict[str, Any]:
        stream = self._process.stdout
        assert stream is not None
        assert self._process.stderr is not None
        if not select.select([stream], [], [], _START_S)[0]:
            raise SimulatorError(f"the simulator did not start within {_START_S:g} s")
        line = stream.readline()
        if not line:
            last = self._process.stderr.read().decode(errors="replace").strip().splitlines()[-1:]
            raise SimulatorError(f"the simulator ended at its start: {''.join(last) or 'it said nothing'}")
        greeting = json.loads(line)
        if "error" in greeting:
            raise SimulatorError(f"the simulator cannot start: {greeting['error']}")
        return greeting
