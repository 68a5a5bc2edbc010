"""What happened in one tick: enough to do it again, bit for bit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from robovlms.robot.output.plain import command_from_dict, command_to_dict, from_plain, to_plain
from robovlms.robot.safety.command import Command, VelocityCommand
from robovlms.robot.safety.reading import read_number


@dataclass(frozen=True, kw_only=True)
class TickRecord:
    """One period of the output.

    To replay, do `calls` on the shield in their order; the last of them returned `result`::

        "estop"  shield.estop()          "step"  shield.step(command, confidence, observation_age_s, now)
        "reset"  shield.reset()          "hold"  shield.hold(now): nothing came, or it had to stop

    Attributes:
        index: counts from 0; a gap means that records were dropped.
        now: monotonic time that the shield was given, s.
        lateness_s: how much later than planned the tick began, s.
        calls: what was done with the shield; the last one is "step" or "hold".
        command: what the shield was given, any object; None for a hold.
        confidence: with which confidence, any object; None for a hold.
        observation_age_s: how old the observation behind it is, s; infinite for a hold, or if nothing came for longer
            than the watchdog allows.
        result: what the shield returned.
        sent: what was handed to the driver; at rest while the driver does not work.
        estop: why the emergency stop is latched; None if it is not.
        driver_error: what the last send that failed said; None if none did.
        num_driver_errors: sends that failed so far.
        num_refused: commands refused so far because their observation was older than one already taken.
        num_overruns: periods missed so far because the machine was late.
    """

    index: int
    now: float
    lateness_s: float
    calls: tuple[str, ...]
    command: object
    confidence: object
    observation_age_s: float
    result: Command
    sent: Command
    estop: str | None
    driver_error: str | None
    num_driver_errors: int
    num_refused: int
    num_overruns: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values; what the shield was given is kept as far as `to_plain` knows it."""
        return {
            **{name: getattr(self, name) for name in _PLAIN},
            "calls": list(self.calls),
            "command": to_plain(self.command, "base" if isinstance(self.result, VelocityCommand) else "arm"),
            "confidence": read_number(self.confidence),
            "result": command_to_dict(self.result),
            "sent": command_to_dict(self.sent),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TickRecord":
        """Inverse of `to_dict`."""
        return cls(
            **{name: values[name] for name in _PLAIN},
            calls=tuple(values["calls"]),
            command=from_plain(values["command"]),
            confidence=values["confidence"],
            result=command_from_dict(values["result"]),
            sent=command_from_dict(values["sent"]),
        )


_PLAIN = (
    "index",
    "now",
    "lateness_s",
    "observation_age_s",
    "estop",
    "driver_error",
    "num_driver_errors",
    "num_refused",
    "num_overruns",
)
