"""What happened in one tick: enough to do it again, bit for bit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from robovlms.robot.output.plain import command_from_dict, command_to_dict, from_plain, to_plain
from robovlms.robot.safety.command import Command


@dataclass(frozen=True, kw_only=True)
class TickRecord:
    """One period of the output.

    To replay: do `calls` on the shield in their order, then
    ``shield.step(command, confidence, observation_age_s, now)``; it returns `result`.

    Attributes:
        index: counts from 0; a gap means that records were dropped.
        now: monotonic time that the shield was given, s.
        lateness_s: how much later than planned the tick began, s.
        calls: "estop" or "reset", if it was done before the step.
        command: what the shield was given, any object.
        confidence: with which confidence, any object.
        observation_age_s: how old the observation behind it is, s; infinite if nothing came for too long.
        result: what the shield returned.
        sent: what was handed to the driver; at rest while the driver does not work.
        estop: why the emergency stop is latched; None if it is not.
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
    sent: Command | None
    estop: str | None
    num_driver_errors: int
    num_refused: int
    num_overruns: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values; what the shield was given is kept as far as `to_plain` knows it."""
        confidence = self.confidence if type(self.confidence) in (int, float) else None
        return {
            **{name: getattr(self, name) for name in _PLAIN},
            "calls": list(self.calls),
            "command": to_plain(self.command),
            "confidence": confidence,
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
    "num_driver_errors",
    "num_refused",
    "num_overruns",
)
