"""The same commands bit for bit, from the file alone; and any difference found."""

import dataclasses
import json
import math
import struct
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest
from robot.log.runs import LIMITS, arm_metadata, arm_run, base_metadata, base_run, steady_run, tick_record, write_run

from robovlms.errors import DataError, SafetyError
from robovlms.robot.log.replay import replay
from robovlms.robot.log.writer import RunLog
from robovlms.robot.replay_command import add_replay_flags, run_replay
from robovlms.robot.safety.command import JointCommand, Reason, VelocityCommand


@pytest.mark.parametrize("seed", range(10))
def test_ten_runs_of_a_base_replay(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    records = write_run(path, base_metadata(), base_run(seed))
    report = replay(path)
    assert report.is_equal, str(report)
    assert report.num_compared == len(records)
    reasons = {reason for record in records for reason in record.result.reasons}
    assert len(reasons) >= 9  # the run was worth replaying
    assert sum(any(record.result.velocity) for record in records) > 25


@pytest.mark.parametrize("seed", range(3))
def test_runs_of_an_arm_replay(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "run.mcap"
    records = write_run(path, arm_metadata(), arm_run(seed))
    report = replay(path)
    assert report.is_equal, str(report)
    assert len({record.result.positions for record in records}) > 10


def test_runs_differ_from_each_other(tmp_path: Path) -> None:
    """Or the tests above would prove nothing."""
    assert list(base_run(0)) != list(base_run(1))


def flipped(number: float, bit: int) -> float:
    (bits,) = struct.unpack("<Q", struct.pack("<d", number))
    return struct.unpack("<d", struct.pack("<Q", bits ^ (1 << bit)))[0]


@pytest.mark.parametrize(("index", "axis", "bit"), [(0, 0, 0), (1, 1, 63), (100, 2, 51), (199, 0, 62)])
def test_one_flipped_bit_of_an_output_is_found(index: int, axis: int, bit: int, tmp_path: Path) -> None:
    records = list(base_run(7))
    velocity = list(records[index].result.velocity)
    velocity[axis] = flipped(velocity[axis], bit)
    spoiled = VelocityCommand(*velocity, records[index].result.reasons)
    records[index] = dataclasses.replace(records[index], result=spoiled)
    write_run(tmp_path / "run.mcap", base_metadata(), iter(records))
    report = replay(tmp_path / "run.mcap")
    assert not report.is_equal
    assert report.num_different == 1
    assert report.first_difference.index == index
    assert f"tick {index}" in str(report)


@pytest.mark.parametrize(
    "limits",
    [
        {"max_acceleration": [math.nextafter(0.5, 1.0), 0.5, 1.5]},
        {"max_velocity": [math.nextafter(0.5, 0.0), 0.3, 1.0]},
        {"min_confidence": math.nextafter(0.3, 1.0)},
        {"keep_direction": False},
    ],
    ids=lambda limits: next(iter(limits)),
)
def test_one_changed_limit_is_found(limits: dict[str, Any], tmp_path: Path) -> None:
    metadata = dataclasses.replace(base_metadata(), limits={**LIMITS.to_dict(), **limits})
    write_run(tmp_path / "run.mcap", metadata, base_run(0))
    assert not replay(tmp_path / "run.mcap").is_equal


@pytest.mark.parametrize(
    "fields",
    [
        {"command": (0.1, 0.0, 0.0)},
        {"confidence": 0.2},
        {"observation_age_s": 0.7},
        {"calls": ("estop", "step")},
        {"calls": ("hold",)},
    ],
    ids=str,
)
def test_one_changed_input_is_found(fields: dict[str, Any], tmp_path: Path) -> None:
    records = list(steady_run())
    records[30] = dataclasses.replace(records[30], **fields)
    write_run(tmp_path / "run.mcap", base_metadata(), iter(records))
    assert replay(tmp_path / "run.mcap").first_difference.index == 30


def test_reasons_and_gripper_count_as_well(tmp_path: Path) -> None:
    records = list(arm_run(0))
    result = records[30].result
    changed = JointCommand(result.positions, "open" if result.gripper != "open" else "close", result.reasons)
    records[30] = dataclasses.replace(records[30], result=changed)
    write_run(tmp_path / "gripper.mcap", arm_metadata(), iter(records))
    assert replay(tmp_path / "gripper.mcap").first_difference.index == 30
    records = list(base_run(0))
    changed = VelocityCommand(*records[30].result.velocity, (*records[30].result.reasons, Reason.ZONE))
    records[30] = dataclasses.replace(records[30], result=changed)
    write_run(tmp_path / "reason.mcap", base_metadata(), iter(records))
    report = replay(tmp_path / "reason.mcap")
    assert report.first_difference.index == 30
    assert "zone" in str(report.first_difference)


@pytest.mark.parametrize("is_dropped_by_the_log", [True, False])
def test_after_a_missing_tick_nothing_is_claimed(is_dropped_by_the_log: bool, tmp_path: Path) -> None:
    with RunLog(tmp_path / "run.mcap", base_metadata()) as log:
        for record in base_run(2):
            if record.index != 100:
                log.tick(record)
            elif is_dropped_by_the_log:
                next(log._sequences["/ticks"])  # as a full queue does
    report = replay(tmp_path / "run.mcap")
    assert (report.num_compared, report.num_ticks, report.num_different, report.num_absent) == (100, 199, 0, 1)
    assert not report.is_equal
    assert "1 ticks are missing" in str(report)
    assert ("1 of /ticks" in str(report)) is is_dropped_by_the_log


def test_a_log_without_ticks_proves_nothing(tmp_path: Path) -> None:
    write_run(tmp_path / "run.mcap", base_metadata(), iter(()))
    assert not replay(tmp_path / "run.mcap").is_equal


def test_a_call_that_no_shield_has_is_refused(tmp_path: Path) -> None:
    for name, calls, text in (("a", ("fly",), "unknown call 'fly'"), ("b", ("reset",), "step or hold")):
        record = tick_record(0, VelocityCommand(), calls=calls)
        write_run(tmp_path / name, base_metadata(), iter([record]))
        with pytest.raises(DataError, match=text):
            replay(tmp_path / name)


def test_limits_that_are_none_are_refused(tmp_path: Path) -> None:
    metadata = dataclasses.replace(base_metadata(), limits={"max_velocity": [1, 1, 1]})
    write_run(tmp_path / "run.mcap", metadata, base_run(0, 3))
    with pytest.raises(SafetyError, match="max_acceleration"):
        replay(tmp_path / "run.mcap")


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_says_by_its_exit_code(as_json: bool, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    records = list(base_run(0, 30))
    write_run(tmp_path / "good.mcap", base_metadata(), iter(records))
    records[5] = dataclasses.replace(records[5], result=VelocityCommand(9.0))
    write_run(tmp_path / "bad.mcap", base_metadata(), iter(records))
    parser = ArgumentParser()
    add_replay_flags(parser)
    for name, code in (("good.mcap", 0), ("bad.mcap", 1)):
        flags = parser.parse_args([str(tmp_path / name), *(["--json"] if as_json else [])])
        assert run_replay(flags) == code
        out = capsys.readouterr().out
        assert json.loads(out)["is_equal"] is (code == 0) if as_json else ("NOT the same" in out) is (code == 1)
