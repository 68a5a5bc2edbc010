"""A robot that is not there: what would be sent is kept, and printed when it changes."""

from collections import deque

from robovlms.robot.drivers.base import Driver
from robovlms.robot.drivers.wire import check_body
from robovlms.robot.safety.command import Command, VelocityCommand

KEPT = 10_000  # commands; over three minutes at 50 Hz


class DryRunDriver(Driver):
    """Keeps the last commands in `sent`.

    Args:
        body: "base" or "arm".
        quiet: True prints nothing.
    """

    def __init__(self, body: str = "base", quiet: bool = False) -> None:
        self.body = check_body(body)
        self._quiet = quiet
        self.sent: deque[Command] = deque(maxlen=KEPT)

    def send(self, command: Command) -> None:
        """Keep it; print it if it is another than the last."""
        if not self._quiet and (not self.sent or self.sent[-1] != command):
            print(describe(command), flush=True)
        self.sent.append(command)

    def close(self) -> None:
        """Nothing to let go of."""


def describe(command: Command) -> str:
    """One line for people.

    >>> print(describe(VelocityCommand(0.2, 0.0, -0.5)))
    forward +0.200 m/s  left +0.000 m/s  turn -0.500 rad/s
    """
    if isinstance(command, VelocityCommand):
        x, y, yaw = (value + 0.0 for value in command.velocity)  # no -0.0
        text = f"forward {x:+.3f} m/s  left {y:+.3f} m/s  turn {yaw:+.3f} rad/s"
    else:
        text = "joints " + " ".join(f"{position:+.3f}" for position in command.positions)
        text += f"  gripper {command.gripper}" if command.gripper else ""
    reasons = ", ".join(reason.value for reason in command.reasons)
    return f"{text}  ({reasons})" if reasons else text
