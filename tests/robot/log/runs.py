"""Runs to be logged: seeded streams of commands, good and bad, through a real shield."""

import math
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from robovlms.robot.action import ActionType, RobotAction
from robovlms.robot.log.metadata import RunMetadata
from robovlms.robot.log.writer import RunLog
from robovlms.robot.output.record import TickRecord
from robovlms.robot.safety.command import Command, JointCommand
from robovlms.robot.safety.joint_limits import JointLimits
from robovlms.robot.safety.joint_shield import JointShield
from robovlms.robot.safety.limits import ShieldLimits
from robovlms.robot.safety.shield import SafetyShield

LIMITS = ShieldLimits((0.5, 0.3, 1.0), (0.5, 0.5, 1.5), (1.0, 1.0, 3.0))
JOINTS = JointLimits(("a", "b"), (-1.0, -2.0), (1.0, 2.0), (0.5, 1.0), (1.0, 2.0))
MEASURED = (0.1, -0.2)


def tick_record(index: int, result: Command, **fields: Any) -> TickRecord:
    """A record of which most is as it usually is."""
    usual = {
        "now": index / 50,
        "lateness_s": 0.0,
        "calls": ("step",),
        "command": (0.1, 0.0, 0.2),
        "confidence": 0.9,
        "observation_age_s": 0.1,
        "sent": result,
        "estop": None,
        "driver_error": None,
        "num_driver_errors": 0,
        "num_refused": 0,
        "num_overruns": 0,
    }
    return TickRecord(index=index, result=result, **{**usual, **fields})


def base_metadata() -> RunMetadata:
    return RunMetadata.of("driver:\n  name: dry_run\n", body="base", limits=LIMITS.to_dict())


def arm_metadata() -> RunMetadata:
    return RunMetadata.of("", body="arm", limits=JOINTS.to_dict(), measured=MEASURED)


def base_run(seed: int, num_ticks: int = 200) -> Iterator[TickRecord]:
    """Ticks of a base whose model, camera, clock and people do everything wrong now and then."""
    rng, shield = random.Random(seed), SafetyShield(LIMITS)
    yield from _run(rng, shield, num_ticks, lambda: _velocity(rng))


def steady_run(num_ticks: int = 40) -> Iterator[TickRecord]:
    """Ticks of a base that is asked for one thing all the time."""
    shield = SafetyShield(LIMITS)
    for index in range(num_ticks):
        yield tick_record(index, shield.step((0.1, 0.0, 0.2), 0.9, 0.1, index / 50))


def arm_run(seed: int, num_ticks: int = 200) -> Iterator[TickRecord]:
    """The same of an arm."""
    rng, shield = random.Random(seed), JointShield(JOINTS, MEASURED)
    yield from _run(rng, shield, num_ticks, lambda: _positions(rng))


def write_run(path: Path, metadata: RunMetadata, records: Iterator[TickRecord]) -> list[TickRecord]:
    """Log a run; return its records."""
    written = list(records)
    with RunLog(path, metadata) as log:
        for record in written:
            log.tick(record)
    return written


def wait_until(condition: Any, seconds: float = 5.0) -> None:
    """Fail if a condition does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.005)


def _run(rng: random.Random, shield: Any, num_ticks: int, draw: Any) -> Iterator[TickRecord]:
    clock, command = 1000.0, draw()
    for index in range(num_ticks):
        clock += rng.choice([0.02] * 20 + [0.0, 0.3, -3600.0, 1e9])
        now = clock if rng.random() > 0.02 else math.nan
        command = draw() if rng.random() < 0.2 else command
        call = rng.choice([None] * 40 + ["estop", "reset", "reset"])
        if call is not None:
            getattr(shield, call)()
        given = {
            "command": command,
            "confidence": rng.choice([0.9] * 15 + [0.3, 0.1, math.nan, None, 2.0]),
            "observation_age_s": rng.choice([0.05] * 15 + [0.5, 0.6, math.inf, math.nan, -0.1]),
        }
        kind = "hold" if rng.random() < 0.05 else "step"
        result = shield.hold(now) if kind == "hold" else shield.step(*given.values(), now)
        yield tick_record(index, result, now=now, calls=(call, kind) if call else (kind,), **given)


def _velocity(rng: random.Random) -> Any:
    good = tuple(rng.uniform(-1.5, 1.5) for _ in range(3))
    spoiled = (good[0], rng.choice([math.nan, math.inf, -math.inf]), good[2])
    action = RobotAction(rng.choice(list(ActionType)), *good)
    return rng.choice([good] * 12 + [list(good), action, spoiled, (0.0, 0.0, 0.0), None, "go", object(), {"x": 1}])


def _positions(rng: random.Random) -> Any:
    near = tuple(at + rng.uniform(-0.04, 0.04) for at in MEASURED)
    far = tuple(rng.uniform(-3.0, 3.0) for _ in MEASURED)
    command = JointCommand(rng.choice([near, far]), rng.choice([None, "open", "close"]))
    return rng.choice([command] * 10 + [(math.nan, 0.0), None, JointCommand((0.0,)), "go"])
