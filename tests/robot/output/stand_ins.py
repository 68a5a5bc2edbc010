"""A shield and drivers that do what a test says."""

import math
import threading
import time

from robovlms.errors import SafetyError
from robovlms.robot.drivers.base import Driver
from robovlms.robot.safety.command import Command, Reason, VelocityCommand


class PlainShield:
    """Lets (x, 0, 0) through if it is fresh and finite, else lowers the speed by `step` at a time; latches."""

    def __init__(self, step: float = 1.0) -> None:
        self.speed, self.step_size, self.is_latched = 0.0, step, False

    def estop(self) -> None:
        self.is_latched, self.speed = True, 0.0

    def reset(self) -> None:
        self.is_latched = False

    def hold(self, now: object) -> VelocityCommand:
        return self.step(None, 0.0, math.inf, now)

    def step(self, command: object, confidence: object, observation_age_s: object, now: object) -> VelocityCommand:
        if self.is_latched:
            return VelocityCommand(reasons=(Reason.ESTOP,))
        good = isinstance(command, tuple) and math.isfinite(command[0]) and 0 <= observation_age_s <= 0.5
        self.speed = command[0] if good else max(0.0, self.speed - self.step_size)
        return VelocityCommand(self.speed, reasons=() if good else (Reason.STALE,))


class Robot(Driver):
    """Remembers what it was sent, and when; raises or blocks when told to."""

    def __init__(self) -> None:
        self.sent: list[Command] = []
        self.times: list[float] = []
        self.raises = False
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.is_closed = False

    def send(self, command: Command) -> None:
        self.may_go_on.wait()
        if self.raises:
            raise SafetyError("no link")
        self.sent.append(command)
        self.times.append(time.monotonic())

    def close(self) -> None:
        self.is_closed = True

    @property
    def speeds(self) -> list[float]:
        return [command.linear_x for command in self.sent]


def wait_for(condition, timeout_s: float = 3.0) -> None:
    """Wait until `condition()` holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.002)
