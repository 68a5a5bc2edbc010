"""Does a run again: the same calls on a new shield with the logged limits must give the same commands, bit for bit.

::

    FILE.mcap ─┬─ limits ───────────────────────> a new shield ─ result ─┐
               └─ ticks: the calls, and what they were given ──^         ├─ equal?
                         what it returned ───────────────────────────────┘

The proof ends where a tick is missing: from there on, the state of the shield is not known any more. A tick may be
missing because the log dropped it, or because the output did before it came to the log; both leave a gap in `index`.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robovlms.errors import DataError, unknown_name
from robovlms.robot.log.metadata import RunMetadata
from robovlms.robot.log.reader import Missing, read_log
from robovlms.robot.output.record import TickRecord
from robovlms.robot.safety.command import Command, VelocityCommand
from robovlms.robot.safety.joint_limits import JointLimits
from robovlms.robot.safety.joint_shield import JointShield
from robovlms.robot.safety.limits import ShieldLimits
from robovlms.robot.safety.shield import SafetyShield


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A tick whose result is another one.

    Attributes:
        index: number of the tick.
        logged: what the shield returned in the run.
        replayed: what it returns now.
    """

    index: int
    logged: Command
    replayed: Command

    def __str__(self) -> str:
        return f"tick {self.index}: logged {_shown(self.logged)}, replayed {_shown(self.replayed)}"


@dataclass(frozen=True, kw_only=True)
class ReplayReport:
    """What a replay found.

    Attributes:
        path: of the log.
        num_ticks: ticks in the log.
        num_absent: ticks of the run, before the last one in the log, that are not in it.
        num_compared: of them, those whose result was compared: all before the first that is missing.
        num_different: of those, how many differ.
        first_difference: the first of them; None if there is none.
        missing: what the log does not hold.
    """

    path: Path
    num_ticks: int
    num_absent: int
    num_compared: int
    num_different: int
    first_difference: Difference | None
    missing: Missing

    @property
    def is_equal(self) -> bool:
        """Every tick of the log was compared, there is at least one, and all are the same."""
        return 0 < self.num_compared == self.num_ticks and not self.num_different

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "file": self.path.name,
            "is_equal": self.is_equal,
            "num_ticks": self.num_ticks,
            "num_absent": self.num_absent,
            "num_compared": self.num_compared,
            "num_different": self.num_different,
            "first_difference": None if self.first_difference is None else str(self.first_difference),
            "missing": str(self.missing),
        }

    def __str__(self) -> str:
        verdict = "the same" if self.is_equal else "NOT the same"
        lines = [f"{self.path}: {self.num_compared} of {self.num_ticks} ticks replayed: {verdict}, bit for bit"]
        if self.first_difference is not None:
            lines.append(f"{self.num_different} differ; the first is {self.first_difference}")
        if self.num_compared < self.num_ticks:
            lines.append(f"{self.num_absent} ticks are missing; nothing can be compared after the first of them")
        if self.missing:
            lines.append(f"missing: {self.missing}")
        return "\n".join(lines)


def replay(path: Path) -> ReplayReport:
    """Replay a log.

    Raises:
        DataError: if the file is no log of a run, or a tick has a call that no shield has.
        SafetyError: if its limits are not limits of a shield.
    """
    recording = read_log(path)
    shield = build_shield(recording.metadata)
    differences, num_compared = [], 0
    for record in recording.ticks.values():
        if record.index != num_compared:
            break
        replayed = _do(shield, record)
        if to_bits(replayed) != to_bits(record.result):
            differences.append(Difference(index=record.index, logged=record.result, replayed=replayed))
        num_compared += 1
    return ReplayReport(
        path=path,
        num_ticks=len(recording.ticks),
        num_absent=max((record.index + 1 for record in recording.ticks.values()), default=0) - len(recording.ticks),
        num_compared=num_compared,
        num_different=len(differences),
        first_difference=differences[0] if differences else None,
        missing=recording.missing,
    )


def build_shield(metadata: RunMetadata) -> SafetyShield | JointShield:
    """A new shield with the limits of a run.

    Raises:
        SafetyError: if they are not limits of its body.
    """
    # JSON has no tuples.
    limits = {name: tuple(value) if isinstance(value, list) else value for name, value in metadata.limits.items()}
    if metadata.body == "arm":
        return JointShield(JointLimits.from_dict(limits), metadata.measured)
    return SafetyShield(ShieldLimits.from_dict(limits))


def to_bits(command: Command) -> bytes:
    """All that a command says; two are equal if these bytes are, which tells 0.0 from -0.0 and one NaN from another."""
    numbers, texts = _parts(command)
    return struct.pack(f"<{len(numbers)}d", *numbers) + ",".join([type(command).__name__, *texts]).encode()


def _do(shield: SafetyShield | JointShield, record: TickRecord) -> Command | None:
    """Do the calls of a tick; return what the last one returned."""
    calls = {
        "estop": shield.estop,
        "reset": shield.reset,
        "hold": lambda: shield.hold(record.now),
        "step": lambda: shield.step(record.command, record.confidence, record.observation_age_s, record.now),
    }
    result = None
    for call in record.calls:
        if call not in calls:
            raise DataError(f"tick {record.index}: " + unknown_name("call", call, calls))
        result = calls[call]()
    if result is None:
        raise DataError(f"tick {record.index}: expected step or hold as its last call, got {list(record.calls)}")
    return result


def _parts(command: Command) -> tuple[tuple[float, ...], list[str]]:
    reasons = [reason.value for reason in command.reasons]
    if isinstance(command, VelocityCommand):
        return command.velocity, reasons
    return command.positions, [f"gripper {command.gripper}", *reasons]


def _shown(command: Command) -> str:
    numbers, texts = _parts(command)
    return f"({', '.join(map(repr, numbers))})" + (f" {', '.join(texts)}" if texts else "")
