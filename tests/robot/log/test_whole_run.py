"""From a command to the proof: the real output, the real guard, the log, the replay."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from robot.log.runs import JOINTS, LIMITS, MEASURED, arm_metadata, base_metadata

from robovlms.robot.action import ActionType, RobotAction
from robovlms.robot.drivers.base import Driver
from robovlms.robot.guard import GuardClient, GuardConfig
from robovlms.robot.log.reader import read_log
from robovlms.robot.log.replay import replay
from robovlms.robot.log.writer import RunLog
from robovlms.robot.output import ShieldedOutput
from robovlms.robot.safety.command import Command, JointCommand
from robovlms.robot.safety.joint_shield import JointShield
from robovlms.robot.safety.shield import SafetyShield

COMMANDS: list[Any] = [
    (0.3, 0.1, 0.2),
    [0.2, 0, -0.5],
    np.array([0.1, 0.0, 0.3], np.float32),
    RobotAction(ActionType.MOVE, 0.4, confidence=0.9),
    RobotAction(ActionType.STOP),
    (0.3, math.nan, 0.0),
    None,
    "forward",
    {"linear_x": 0.2, "linear_y": 0.0, "angular_z": 0.1},
]


class Nowhere(Driver):
    """Takes everything."""

    def __init__(self, body: Any = "base") -> None:
        self.body = body

    def send(self, command: Command) -> None:
        pass

    def close(self) -> None:
        pass


def drive(output: Any, draw: Callable[[int], Any], num_commands: int = 60) -> None:
    """Submit, stop and release for a second."""
    for index in range(num_commands):
        confidence = (0.9, np.float32(0.8), 0.1, math.nan)[index % 17 % 4]
        output.submit(draw(index), confidence, time.monotonic() - 0.01 * (index % 3))
        if index % 20 == 12:
            output.estop("button")
        if index % 20 == 15:
            output.reset()
        if index % 20 == 18:
            output.stop()
        time.sleep(0.01)


def prove(path: Path, min_ticks: int) -> None:
    report = replay(path)
    assert report.is_equal, str(report)
    assert report.num_compared >= min_ticks
    calls = {call for record in read_log(path).ticks.values() for call in record.calls}
    assert calls == {"step", "hold", "estop", "reset"}


def test_a_base_driven_in_this_process_replays(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "run.mcap", base_metadata())
    with log, ShieldedOutput(SafetyShield(LIMITS), Nowhere(), rate_hz=100, on_record=log.tick) as output:
        drive(output, lambda index: COMMANDS[index // 3 % len(COMMANDS)])
    prove(tmp_path / "run.mcap", min_ticks=50)


def test_an_arm_driven_in_this_process_replays(tmp_path: Path) -> None:
    def wave(index: int) -> JointCommand:
        return JointCommand((MEASURED[0] + 0.03 * math.sin(index / 5), MEASURED[1]), ("open", "close")[index // 30])

    log = RunLog(tmp_path / "run.mcap", arm_metadata())
    with log, ShieldedOutput(JointShield(JOINTS, MEASURED), Nowhere("arm"), rate_hz=100, on_record=log.tick) as output:
        drive(output, wave)
    prove(tmp_path / "run.mcap", min_ticks=50)
    positions = {record.result.positions for record in read_log(tmp_path / "run.mcap").ticks.values()}
    assert len(positions) > 10


def test_a_base_driven_by_the_guard_replays(tmp_path: Path) -> None:
    """Records come over a pipe from another process, and must still be what its shield was given."""
    config = GuardConfig(driver="dry_run", limits=LIMITS.to_dict(), rate_hz=100.0)
    with RunLog(tmp_path / "run.mcap", base_metadata()) as log, GuardClient(config) as guard:
        drive(guard, lambda index: COMMANDS[index // 3 % len(COMMANDS)])
        time.sleep(0.05)
        for record in guard.records():
            log.tick(record)
    prove(tmp_path / "run.mcap", min_ticks=50)
