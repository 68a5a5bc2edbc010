"""ShieldedOutput: rate, watchdog, stops, and drivers that do not work."""

import math
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from robot.output.stand_ins import PlainShield, Robot, wait_for

from robovlms.errors import ConfigError, SafetyError
from robovlms.robot.output import ShieldedOutput, TickRecord
from robovlms.robot.safety.command import VelocityCommand
from robovlms.robot.safety.limits import ShieldLimits
from robovlms.robot.safety.shield import SafetyShield

GO = (0.1, 0.0, 0.0)


def _drive(output: ShieldedOutput, robot: Robot, speed: float = 0.1) -> None:
    """Submit until the robot moves."""

    def moves() -> bool:
        output.submit((speed, 0.0, 0.0), 1.0, time.monotonic())
        return bool(robot.sent) and robot.sent[-1].linear_x == speed

    wait_for(moves)


def test_the_rate_is_kept_without_drift_and_what_is_late_is_counted():
    robot, records = Robot(), []
    with ShieldedOutput(PlainShield(), robot, 50.0, 0.2, on_record=records.append) as output:
        time.sleep(0.5)
    assert set(robot.speeds) == {0.0}
    assert [record.index for record in records] == list(range(len(records)))
    planned = [(record.now - record.lateness_s - records[0].now) * 50.0 for record in records]
    assert max(abs(at - round(at)) for at in planned) < 1e-2, "deadlines are multiples of the period"
    assert round(planned[-1]) == len(records) - 1 + output.num_overruns
    assert planned[-1] > 20


def test_periods_that_are_missed_are_counted_and_not_made_up_for():
    class Slow(PlainShield):
        def step(self, command, confidence, observation_age_s, now):
            time.sleep(0.07 if len(records) == 5 else 0.0)
            return super().step(command, confidence, observation_age_s, now)

    records = []
    with ShieldedOutput(Slow(), Robot(), 50.0, 0.2, on_record=records.append) as output:
        wait_for(lambda: len(records) > 10)
    times = [record.now for record in records]
    assert output.num_overruns >= 2
    assert times[6] - times[5] > 0.06
    assert times[10] - times[6] > 0.06, "four periods, and no burst"


def test_silence_for_the_watchdog_stops_and_a_command_goes_on():
    robot, records = Robot(), []
    with ShieldedOutput(PlainShield(), robot, 50.0, 0.1, on_record=records.append) as output:
        _drive(output, robot)
        wait_for(lambda: robot.sent[-1].linear_x == 0.0)
        assert records[-1].observation_age_s == math.inf
        assert records[-1].command == GO
        _drive(output, robot)


def test_the_age_is_that_of_the_observation():
    records = []
    with ShieldedOutput(PlainShield(), Robot(), 50.0, 0.2, on_record=records.append) as output:
        output.submit(GO, 1.0, time.monotonic() - 0.3)
        wait_for(lambda: records[-1].command == GO)
        assert 0.3 <= records[-1].observation_age_s < 0.5
        output.submit(GO, 1.0, time.monotonic() + 60.0)
        wait_for(lambda: records[-1].command == GO and records[-1].observation_age_s < 0.0)


@pytest.mark.parametrize("stamp", [None, "now", math.nan, math.inf])
def test_a_stamp_that_is_none_never_looks_fresh(stamp):
    robot, records = Robot(), []
    with ShieldedOutput(PlainShield(), robot, 50.0, 0.2, on_record=records.append) as output:
        output.submit(GO, 1.0, stamp)
        wait_for(lambda: records and records[-1].command == GO)
    ages = [record.observation_age_s for record in records if record.calls == ("step",)]
    assert not any(0.0 <= age <= 1e9 for age in ages)
    assert set(robot.speeds) == {0.0}


def test_estop_is_out_at_once_latched_and_needs_a_fresh_command_after_reset():
    robot = Robot()
    with ShieldedOutput(PlainShield(), robot, 10.0, 0.3) as output:
        _drive(output, robot)
        count = len(robot.sent)
        wait_for(lambda: len(robot.sent) > count)  # the next tick is 100 ms away
        before = time.monotonic()
        output.estop("test")
        wait_for(lambda: robot.sent[-1].linear_x == 0.0)
        assert robot.times[-1] - before < 0.08
        assert output.estop_reason == "test"
        output.estop("again")
        assert not output.submit(GO, 1.0, before)
        assert output.submit(GO, 1.0, time.monotonic())
        output.reset()
        count = len(robot.sent)
        wait_for(lambda: len(robot.sent) > count + 2)
        assert set(robot.speeds[count:]) == {0.0}, "nothing from before the reset"
        assert output.estop_reason is None
        _drive(output, robot)


def test_estop_then_reset_before_the_tick_still_stops():
    shield, robot, records = PlainShield(), Robot(), []
    output = ShieldedOutput(shield, robot, 50.0, 0.2)
    output.submit(GO, 1.0, time.monotonic())
    output.tick()
    output.estop()
    output.reset()
    records = [output.tick(), output.tick(), output.tick()]
    assert [record.calls for record in records] == [("estop", "hold"), ("reset", "hold"), ("hold",)]
    assert [record.sent.linear_x for record in records] == [0.0] * 3


def test_estop_undoes_a_reset_that_waits():
    output = ShieldedOutput(PlainShield(), Robot(), 50.0, 0.2)
    output.reset()
    output.estop()
    assert [output.tick().calls for _ in range(2)] == [("estop", "hold"), ("hold",)]
    assert output.estop_reason == "asked for"


def test_a_stop_goes_out_before_fresh_motion_that_comes_in_the_same_tick():
    output = ShieldedOutput(PlainShield(), Robot(), 50.0, 0.2)
    output.submit(GO, 1.0, time.monotonic())
    assert output.tick().sent.linear_x == 0.1
    output.stop()
    assert output.submit(GO, 1.0, time.monotonic())
    assert [output.tick().sent.linear_x for _ in range(2)] == [0.0, 0.1]


def test_stop_ramps_and_then_waits_for_what_is_observed_later():
    robot = Robot()
    output = ShieldedOutput(PlainShield(step=0.04), robot, 50.0, 0.2)
    stamp = time.monotonic()
    output.submit(GO, 1.0, stamp)
    assert output.tick().sent.linear_x == 0.1
    output.stop()
    assert not output.submit(GO, 1.0, stamp)
    speeds = [output.tick().sent.linear_x for _ in range(4)]
    assert speeds == pytest.approx([0.06, 0.02, 0.0, 0.0])


def test_a_driver_that_raises_gets_zero_every_tick_until_it_works():
    robot, records = Robot(), []
    with ShieldedOutput(PlainShield(step=0.01), robot, 50.0, 0.2, on_record=records.append) as output:
        _drive(output, robot)
        robot.raises = True
        wait_for(lambda: output.submit(GO, 1.0, time.monotonic()) and records[-1].num_driver_errors >= 3)
        count = len(robot.sent)
        robot.raises = False
        wait_for(lambda: output.submit(GO, 1.0, time.monotonic()) and len(robot.sent) >= count + 3)
        assert set(robot.speeds[count : count + 3]) == {0.0}, "no jump into the middle of a ramp"
        _drive(output, robot)
    assert records[-1].driver_error == "SafetyError: no link"


def test_a_driver_that_blocks_latches_and_gets_zero_first():
    robot, records = Robot(), []
    with ShieldedOutput(PlainShield(), robot, 50.0, 0.1, on_record=records.append) as output:
        _drive(output, robot)
        robot.may_go_on.clear()
        wait_for(lambda: output.submit(GO, 1.0, time.monotonic()) and output.estop_reason is not None)
        ticks = records[-1].index
        wait_for(lambda: records[-1].index > ticks + 3)
        count = len(robot.sent)
        robot.may_go_on.set()
        wait_for(lambda: len(robot.sent) > count + 5)
        assert "blocked" in records[-1].estop
        assert set(robot.speeds[count + 1 :]) == {0.0}, "the one under way, then zero"


def test_a_short_block_costs_no_stop():
    robot = Robot()
    with ShieldedOutput(PlainShield(), robot, 50.0, 0.5) as output:
        _drive(output, robot)
        robot.may_go_on.clear()
        time.sleep(0.06)
        robot.may_go_on.set()
        _drive(output, robot)
        assert output.estop_reason is None


def test_a_shield_that_fails_ends_in_zero_and_an_error_that_the_owner_sees():
    class Broken(PlainShield):
        def step(self, command, confidence, observation_age_s, now):
            if command == (0.2, 0.0, 0.0):
                raise ZeroDivisionError("bug")
            return super().step(command, confidence, observation_age_s, now)

    robot = Robot()
    output = ShieldedOutput(Broken(), robot, 50.0, 0.2).start()
    _drive(output, robot)
    output.submit((0.2, 0.0, 0.0), 1.0, time.monotonic())
    wait_for(lambda: output.error is not None)
    with pytest.raises(SafetyError, match="ZeroDivisionError: bug"):
        output.submit(GO, 1.0, time.monotonic())
    count = len(robot.sent)
    wait_for(lambda: len(robot.sent) > count + 2)
    assert robot.sent[-1] == VelocityCommand()
    with pytest.raises(SafetyError, match="bug"):
        output.close()
    assert robot.is_closed


def test_a_log_that_raises_does_not_stop_the_robot_and_is_counted():
    def fails(record: TickRecord) -> None:
        raise OSError("disk full")

    robot = Robot()
    with ShieldedOutput(PlainShield(), robot, 50.0, 0.2, on_record=fails) as output:
        _drive(output, robot)
        assert output.num_record_errors > 0


def test_records_are_kept_until_they_are_taken():
    with ShieldedOutput(PlainShield(), Robot(), 50.0, 0.2) as output:
        time.sleep(0.1)
        first = output.records()
        time.sleep(0.1)
    indices = [record.index for record in first + output.records()]
    assert len(first) >= 1
    assert indices == list(range(len(indices)))
    assert output.records() == []


def test_close_ramps_down_sends_zero_last_and_refuses_the_rest():
    robot = Robot()
    output = ShieldedOutput(PlainShield(step=0.02), robot, 50.0, 0.2).start()
    _drive(output, robot)
    output.close()
    output.close()
    assert robot.is_closed
    assert robot.sent[-1] == VelocityCommand()
    from_full_speed = robot.speeds[robot.speeds.index(0.1) :]
    assert from_full_speed == sorted(from_full_speed, reverse=True)
    assert any(0.0 < speed < 0.1 for speed in robot.speeds), "ramped"
    with pytest.raises(SafetyError, match="closed"):
        output.submit(GO, 1.0, time.monotonic())


def test_close_of_a_shield_that_never_comes_to_rest_is_zero_all_the_same():
    robot = Robot()
    output = ShieldedOutput(PlainShield(step=0.0), robot, 50.0, 0.2).start()
    _drive(output, robot)
    started = time.monotonic()
    output.close()
    assert robot.sent[-1] == VelocityCommand()
    assert time.monotonic() - started < 2.0


def test_close_says_when_the_last_zero_did_not_get_through():
    robot = Robot()
    output = ShieldedOutput(PlainShield(), robot, 50.0, 0.2).start()
    _drive(output, robot)
    robot.raises = True
    with pytest.raises(SafetyError, match="last zero did not reach the robot.*no link"):
        output.close()
    assert robot.is_closed


def test_a_storm_of_commands_from_many_threads_does_not_delay_a_stop():
    robot, goes_on = Robot(), threading.Event()
    goes_on.set()

    def storm() -> None:
        while goes_on.is_set():
            output.submit(GO, 1.0, time.monotonic())
            time.sleep(0.0001)

    with ShieldedOutput(PlainShield(), robot, 50.0, 0.2) as output:
        threads = [threading.Thread(target=storm) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_for(lambda: robot.sent and robot.sent[-1].linear_x == 0.1)
        for _ in range(5):
            count = len(robot.sent)
            output.submit((0.0, 0.0, 0.0), 1.0, time.monotonic())
            wait_for(lambda count=count: len(robot.sent) >= count + 3)
            assert 0.0 in robot.speeds[count : count + 3]
        goes_on.clear()
        for thread in threads:
            thread.join()


def test_the_records_give_the_same_commands_again_bit_for_bit():
    limits = ShieldLimits((0.5, 0.0, 1.0), (0.5, 0.5, 1.5), (1.0, 1.0, 3.0))
    records, robot = [], Robot()
    with ShieldedOutput(SafetyShield(limits), robot, 100.0, 0.05, on_record=records.append) as output:
        for deed in (None, output.estop, output.reset, output.stop):
            if deed is not None:
                deed()
            for speed in (0.3, -0.2, math.nan):
                output.submit((speed, 0.0, 0.1), 0.9, time.monotonic())
                time.sleep(0.03)
            time.sleep(0.06)
    shield = SafetyShield(limits)
    for record in (TickRecord.from_dict(record.to_dict()) for record in records):
        for call in record.calls[:-1]:
            (shield.estop if call == "estop" else shield.reset)()
        if record.calls[-1] == "hold":
            result = shield.hold(record.now)
        else:
            result = shield.step(record.command, record.confidence, record.observation_age_s, record.now)
        assert result == record.result
    assert {call for record in records for call in record.calls} == {"step", "hold", "estop", "reset"}
    assert any(record.sent.linear_x > 0.0 for record in records)


@pytest.mark.parametrize(
    ("rate", "watchdog", "message"),
    [
        (0.0, 0.2, "rate_hz must be in"),
        (math.nan, 0.2, "rate_hz must be in"),
        (50.0, math.inf, "watchdog_s must be in"),
        (10.0, 0.1, "at least two periods"),
    ],
)
def test_timing_that_makes_no_sense_is_refused(rate, watchdog, message):
    with pytest.raises(ConfigError, match=message):
        ShieldedOutput(PlainShield(), Robot(), rate, watchdog)


def test_an_owner_that_fails_without_closing_still_ends_in_zero():
    code = """
import time
from robot.output.stand_ins import PlainShield
from robovlms.robot.drivers.dry_run import DryRunDriver
from robovlms.robot.output import ShieldedOutput
output = ShieldedOutput(PlainShield(), DryRunDriver()).start()
for _ in range(10):
    output.submit((0.1, 0.0, 0.0), 1.0, time.monotonic())
    time.sleep(0.02)
raise RuntimeError("bug")
"""
    paths = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": paths}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 1
    lines = run.stdout.splitlines()
    assert any(line.startswith("forward +0.100") for line in lines)
    assert lines[-1].startswith("forward +0.000")
