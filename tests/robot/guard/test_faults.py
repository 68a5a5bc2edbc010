"""Everything that can go wrong above the wire, 20 times each, seen from the robot.

Gate: the robot begins to brake within the watchdog and two ticks, and stands a ramp later (0 or 4 ticks here). Set
``ROBOVLMS_FAULT_TRIALS`` for another number of trials. A bound is extended by exactly the time that the machine
withheld from a process that only sleeps (`Lateness`) during the same trial.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from robot.guard.fake_robot import (
    FAST,
    LIMITS,
    NUM_TRIALS,
    RATE_HZ,
    SLOW,
    TICK_S,
    WATCHDOG_S,
    Brain,
    FakeRobot,
    Gate,
    Lateness,
    Pacer,
    is_alive,
    linux_only,
    wait_for,
)

from robovlms.errors import SafetyError
from robovlms.robot.cameras.frozen import FrozenFrameMonitor
from robovlms.robot.drivers.udp import UdpDriver
from robovlms.robot.guard import GuardClient
from robovlms.robot.output import ShieldedOutput
from robovlms.robot.safety.command import Command
from robovlms.robot.safety.limits import ShieldLimits
from robovlms.robot.safety.shield import SafetyShield

pytestmark = [linux_only, pytest.mark.slow]

BOUND_S = WATCHDOG_S + 2 * TICK_S
RAMP_S = 4 * TICK_S  # 0.1 m/s at 1 m/s²: five ticks, of which the first is where braking begins
NUM_FEW = max(1, NUM_TRIALS // 4)  # of a fault that is all but the same as another
AT_ONCE = 4  # trials that run side by side


def _many(trial: Callable[[], None], count: int = NUM_TRIALS) -> None:
    """Run all trials, a few at a time; the first failure is raised."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for one in [pool.submit(trial) for _ in range(count)]:
            one.result()


def _share(some: Callable[[int], None]) -> None:
    """Do all trials in a few lots, side by side; `some` does as many in turn as it is told."""
    shares = [len(range(start, NUM_TRIALS, AT_ONCE)) for start in range(AT_ONCE)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for one in [pool.submit(some, count) for count in shares if count]:
            one.result()


def _spread(deed: Callable[[FakeRobot, GuardClient], None]) -> None:
    """Do a deed in all trials; a few guards share them."""

    def some(count: int) -> None:
        with FakeRobot() as robot, GuardClient(robot.config) as guard:
            for _ in range(count):
                deed(robot, guard)

    _share(some)


def _driving(robot: FakeRobot, guard: GuardClient | ShieldedOutput, speed: float = SLOW) -> Pacer:
    """Submit until the robot moves at that speed, and once more."""
    pacer = Pacer(lambda now: guard.submit((speed, 0.0, 0.0), 0.9, now))
    _wait_until_fast(robot, pacer, speed)
    return pacer


def _wait_until_fast(robot: FakeRobot, pacer: Pacer, speed: float = SLOW) -> None:
    wait_for(lambda: robot.speed == speed)
    moves_at = time.monotonic()
    wait_for(lambda: pacer.stamp > moves_at)


@pytest.mark.parametrize(("speed", "ramp_s"), [(SLOW, 0.0), (FAST, RAMP_S)], ids=["slow", "with a ramp"])
def test_the_model_hangs(lateness: Lateness, speed: float, ramp_s: float):
    gate = Gate(f"model hangs at {speed} m/s", lateness)

    def deed(robot: FakeRobot, guard: GuardClient) -> None:
        fault_at = _driving(robot, guard, speed).hang()
        wait_for(lambda: robot.speed == 0.0)
        time.sleep(2 * TICK_S)
        gate.judge(fault_at, robot.stopping(fault_at, speed), BOUND_S, ramp_s)

    _spread(deed)
    gate.report()


def test_the_camera_gives_one_stamp_again_and_again(lateness: Lateness):
    gate = Gate("camera repeats its stamp", lateness)

    def deed(robot: FakeRobot, guard: GuardClient) -> None:
        before = _driving(robot, guard)
        before.hang()
        fault_at = before.stamp
        pacer = Pacer(lambda now: guard.submit((SLOW, 0.0, 0.0), 0.9, fault_at))
        wait_for(lambda: robot.speed == 0.0)
        time.sleep(2 * TICK_S)
        pacer.hang()
        gate.judge(fault_at, robot.stopping(fault_at, SLOW), LIMITS["max_observation_age_s"] + 2 * TICK_S)

    _spread(deed)
    gate.report()


def test_the_camera_shows_one_frame_under_fresh_stamps(lateness: Lateness):
    gate = Gate("camera freezes (same frame for 1 s)", lateness)

    def deed(robot: FakeRobot, guard: GuardClient) -> None:
        monitor, noise, frame = FrozenFrameMonitor(1.0), np.random.default_rng(0), np.zeros((8, 8, 3), np.uint8)
        is_frozen, seen_at = threading.Event(), [0.0]

        def look(now: float) -> None:
            if not is_frozen.is_set():
                frame[:] = noise.integers(0, 256, frame.shape)
                seen_at[0] = now
            guard.submit((SLOW, 0.0, 0.0), 0.9, monitor.observed_at(frame, now))

        pacer = Pacer(look)
        _wait_until_fast(robot, pacer)
        is_frozen.set()
        wait_for(lambda: robot.speed == 0.0)
        time.sleep(2 * TICK_S)
        pacer.hang()
        gate.judge(seen_at[0], robot.stopping(seen_at[0], SLOW), 1.0 + TICK_S + BOUND_S)

    _spread(deed)
    gate.report()


def test_the_model_raises(lateness: Lateness):
    gate = Gate("model raises, brain ends", lateness)

    def trial() -> None:
        with FakeRobot() as robot, Brain(robot, "raise") as brain:
            wait_for(lambda: robot.speed == SLOW)
            print("now", file=brain.process.stdin, flush=True)
            fault_at = float(brain.process.stdout.readline())
            wait_for(lambda: not is_alive(brain.guard_pid))
            gate.judge(fault_at, robot.stopping(fault_at, SLOW), BOUND_S)
            assert brain.process.wait(5.0) == 1

    _many(trial)
    gate.report()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_brain_is_killed(lateness: Lateness, number: signal.Signals):
    gate = Gate(f"brain {number.name}", lateness)

    def trial() -> None:
        with FakeRobot() as robot, Brain(robot) as brain:
            wait_for(lambda: robot.speed == SLOW)
            fault_at = brain.signal(number)
            wait_for(lambda: not is_alive(brain.guard_pid))
            robot.settle()
            assert robot.arrivals[-1][1]["stop"], "the last message is zero"
            gate.judge(fault_at, robot.stopping(fault_at, SLOW), BOUND_S)

    _many(trial, NUM_TRIALS if number == signal.SIGKILL else NUM_FEW)
    gate.report()


def test_the_brain_is_stopped_and_goes_on(lateness: Lateness):
    gate = Gate("brain SIGSTOP", lateness)

    def some(count: int) -> None:
        with FakeRobot() as robot, Brain(robot) as brain:
            for _ in range(count):
                wait_for(lambda: robot.speed == SLOW)
                fault_at = brain.signal(signal.SIGSTOP)
                wait_for(lambda: robot.speed == 0.0)
                time.sleep(0.1)
                gate.judge(fault_at, robot.stopping(fault_at, SLOW), BOUND_S)
                brain.signal(signal.SIGCONT)
            wait_for(lambda: robot.speed == SLOW)

    _share(some)
    gate.report()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["kill -9", "SIGSTOP"])
def test_the_guard_is_killed_or_stopped(lateness: Lateness, number: signal.Signals):
    gate = Gate(f"guard {number.name}", lateness)

    def trial() -> None:
        with FakeRobot() as robot:
            guard = GuardClient(robot.config).start()
            pacer = _driving(robot, guard)
            fault_at = time.monotonic()
            os.kill(guard.pid, number)
            wait_for(lambda: robot.speed == 0.0)
            pacer.hang()
            with pytest.raises(SafetyError, match="the guard is gone"):
                guard.close()
            gate.judge(fault_at, robot.stopping(fault_at, SLOW), BOUND_S)
            for refused in (lambda: guard.submit((SLOW, 0.0, 0.0), 0.9, time.monotonic()), guard.estop, guard.stop):
                with pytest.raises(SafetyError, match="the guard is gone"):
                    refused()
            assert not is_alive(guard.pid)

    _many(trial)
    gate.report()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_guard_ends_in_zero(lateness: Lateness, number: signal.Signals):
    gate = Gate(f"guard {number.name}", lateness)

    def trial() -> None:
        with FakeRobot() as robot:
            guard = GuardClient(robot.config).start()
            pacer = _driving(robot, guard)
            fault_at = time.monotonic()
            os.kill(guard.pid, number)
            wait_for(lambda: not is_alive(guard.pid))
            gone_after = time.monotonic() - fault_at
            pacer.hang()
            wait_for(lambda: guard._failure is not None)  # it notices in a thread of its own
            with pytest.raises(SafetyError, match="the guard is gone"):
                guard.close()
            robot.settle()
            assert robot.arrivals[-1][1]["stop"], "the last message is zero"
            gate.judge(fault_at, robot.stopping(fault_at, SLOW), 2 * TICK_S)
            assert gone_after <= 1.0 + lateness.between(fault_at, fault_at + gone_after)

    _many(trial, NUM_TRIALS if number == signal.SIGTERM else NUM_FEW)
    gate.report()


class _Blocks(UdpDriver):
    """Sends, then blocks while it is told to."""

    def __init__(self, port: int) -> None:
        super().__init__("127.0.0.1", port)
        self.may_return = threading.Event()
        self.may_return.set()
        self.blocked_at: float | None = None

    def send(self, command: Command) -> None:
        super().send(command)
        if not self.may_return.is_set():
            self.blocked_at = self.blocked_at or time.monotonic()
            self.may_return.wait()


def test_the_driver_blocks(lateness: Lateness):
    gate = Gate("driver blocks, estop latched", lateness)

    def trial() -> None:
        records = []
        with FakeRobot() as robot:
            driver = _Blocks(robot.port)
            shield = SafetyShield(ShieldLimits.from_dict(LIMITS))
            with ShieldedOutput(shield, driver, RATE_HZ, WATCHDOG_S, on_record=records.append) as output:
                pacer = _driving(robot, output)
                driver.may_return.clear()
                wait_for(lambda: output.estop_reason is not None)
                latched = next(record.now for record in records if record.estop is not None) - driver.blocked_at
                freed_at = time.monotonic()
                driver.may_return.set()
                wait_for(lambda: robot.since(freed_at))
                time.sleep(3 * TICK_S)
                pacer.hang()
                assert {speed for _, speed in robot.since(freed_at)} == {0.0}
                assert "blocked" in records[-1].estop
                gate.judge(driver.blocked_at, (latched, latched), BOUND_S)

    _many(trial)
    gate.report()
