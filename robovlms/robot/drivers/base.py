"""What carries commands to a robot. A driver is one file and one line in `DRIVERS`."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

from robovlms.robot.safety.command import Command


class Driver(ABC):
    """Sends what the shield lets through, and nothing else: it neither repeats nor smooths nor remembers.

    `send` is called at a fixed rate from one thread. It should return within a tick; whoever calls it treats one that
    does not as broken. A class takes its options as keywords.

    Attributes:
        body: which commands it takes: velocities of a base, or joint positions of an arm.
        on_estop: for a driver that hears of an emergency stop from its robot, to call with a text; the output latches
            its own. None before an output has the driver.
    """

    body: Literal["base", "arm"] = "base"
    on_estop: Callable[[str], None] | None = None

    @abstractmethod
    def send(self, command: Command) -> None:
        """Hand one command to the robot.

        Raises:
            SafetyError: if it cannot be sent.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the connection; the last command that was sent was zero."""
