"""How long one step of a shield takes.

Four cases, each a run of commands that change all the time, some of them bad: the shield of a base, the same with zones
(a workspace, two areas to keep out of, one to be slow in), the shield of an arm of seven joints, and the validator of
actions; target: p99 < 100 µs of the processor.

    python benchmarks/shield.py --json OUT
"""

import argparse
import json
import math
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import describe

from robovlms.robot.action import ActionType, RobotAction
from robovlms.robot.safety import ActionValidator, JointLimits, JointShield, SafetyShield, ShieldLimits

ROOT = Path(__file__).parents[1]
TARGET_P99_US = 100.0
PERIOD_S = 0.02
LIMITS = {
    "max_velocity": (0.5, 0.5, 1.0),
    "max_acceleration": (0.5, 0.5, 1.5),
    "max_deceleration": (1.0, 1.0, 3.0),
}
ZONES = {
    "margin_m": 0.2,
    "workspace": [[0, 0], [8, 0], [8, 5], [4, 6], [0, 5]],
    "keep_out": [[[2, 1], [3, 2]], [[5, 2], [6, 2], [6, 4], [5, 3]]],
    "slow": [{"area": [[0, 0], [1, 1]], "max_speed": 0.1}],
}
ARM = {
    "names": [f"joint_{i}" for i in range(7)],
    "position_low": [-2.0] * 7,
    "position_high": [2.0] * 7,
    "max_velocity": [1.0] * 7,
    "max_acceleration": [3.0] * 7,
}


def velocities(steps: int) -> list[tuple[float, float, float]]:
    """Commands, one in ten of them spoiled."""
    rng = random.Random(0)
    drawn = [(rng.uniform(-1, 1), rng.uniform(-1, 1), rng.uniform(-2, 2)) for _ in range(steps)]
    return [(math.nan, y, yaw) if rng.random() < 0.1 else (x, y, yaw) for x, y, yaw in drawn]


def base_steps(steps: int, zones: dict[str, Any] | None) -> Callable[[int], Any]:
    """One step of the shield of a base."""
    shield, commands = SafetyShield(ShieldLimits.from_dict({**LIMITS, "zones": zones})), velocities(steps)
    rng = random.Random(1)
    poses = [(rng.uniform(0.3, 7), rng.uniform(0.3, 4.5), rng.uniform(-3, 3)) for _ in range(steps)]
    return lambda i: shield.step(commands[i], 0.9, 0.05, i * PERIOD_S, pose=poses[i], pose_age_s=0.02)


def arm_steps(steps: int) -> Callable[[int], Any]:
    """One step of the shield of an arm."""
    shield, rng = JointShield(JointLimits.from_dict(ARM), [0.0] * 7), random.Random(2)
    shield.step([0.0] * 7, 1.0, 0.0, -PERIOD_S)
    commands = [tuple(rng.uniform(-2, 2) for _ in range(7)) for _ in range(steps)]
    return lambda i: shield.step(commands[i], 0.9, 0.05, i * PERIOD_S)


def validator_steps(steps: int) -> Callable[[int], Any]:
    """One action judged."""
    validator = ActionValidator()
    actions = [RobotAction(ActionType.MOVE, *velocity, confidence=0.9) for velocity in velocities(steps)]
    return lambda i: validator.validate_action(actions[i])


def measure(step: Callable[[int], Any], steps: int) -> dict[str, float]:
    """Median and 99th percentile of what a step takes of the processor, and of what passes meanwhile, µs.

    On a machine that does other things as well, the first is the cost of the step, the second that of the neighbours.
    """
    costs, waits = [], []
    for index in range(steps):
        wall, start = time.perf_counter_ns(), time.thread_time_ns()
        step(index)
        costs.append((time.thread_time_ns() - start) / 1e3)
        waits.append((time.perf_counter_ns() - wall) / 1e3)
    costs.sort()
    waits.sort()
    middle, most = steps // 2, steps * 99 // 100
    return {"p50_us": costs[middle], "p99_us": costs[most], "wall_p50_us": waits[middle], "wall_p99_us": waits[most]}


def main() -> None:
    """Measure and print; write JSON if asked."""
    parser = argparse.ArgumentParser(description="Cost of a step of the shields.")
    parser.add_argument("--json", type=Path, help="file for the result")
    parser.add_argument("--steps", type=int, default=20_000)
    arguments = parser.parse_args()
    steps = arguments.steps
    cases = {
        "base": base_steps(steps, None),
        "base_with_zones": base_steps(steps, ZONES),
        "arm": arm_steps(steps),
        "validator": validator_steps(steps),
    }
    result = {name: {**measure(step, steps), "target_p99_us": TARGET_P99_US} for name, step in cases.items()}
    result |= {"steps": steps, **describe(ROOT)}
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
