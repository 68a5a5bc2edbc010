"""The promises of shields and validator, each asked 500 times; `scripts/nightly_shield.sh` asks 20 000 times."""

import time

import pytest
from robot.safety.examples import ASKED, FEW
from robot.safety.joint_invariants import ARM, START
from robot.safety.mutants import copied
from robot.safety.runs import LIMITS
from robot.safety.suites import SUITES

from robovlms.robot import safety

PROMISES = [(suite, name) for suite, promises in SUITES.items() for name in promises]


@pytest.fixture(scope="session")
def unchecked(tmp_path_factory):
    """The package without the run-time check of types, which takes most of the time."""
    return copied(tmp_path_factory.mktemp("copy"), "safety_copy")


@pytest.mark.parametrize(("suite", "name"), PROMISES)
def test_promise_is_kept(suite, name, unchecked):
    ASKED(SUITES[suite][name](unchecked))()


@pytest.mark.parametrize("suite", SUITES)
def test_types_are_as_annotated(suite):
    for promise in list(SUITES[suite].values())[:1]:
        FEW(promise(safety))()


@pytest.mark.parametrize("arm", [False, True])
def test_a_step_takes_little_time(arm, unchecked):
    velocities, positions = ((0.4, 0.1, 0.9), (-0.4, 0.3, -9.0)), ((0.9, 0.1), (-0.9, 0.3))
    shield = unchecked.SafetyShield(unchecked.ShieldLimits(**LIMITS))
    if arm:
        shield = unchecked.JointShield(unchecked.JointLimits(**ARM), START)
        shield.step(START, 1.0, 0.0, 0.0)
    costs = []
    for tick in range(1, 3001):
        command = (positions if arm else velocities)[tick // 50 % 2]
        start = time.thread_time_ns()
        shield.step(command, 1.0, 0.0, tick * 0.02)
        costs.append(time.thread_time_ns() - start)
    assert sorted(costs)[len(costs) * 99 // 100] < 100_000  # ns of the processor
