"""A log is whole, or says what is missing; and writing it never makes anybody wait."""

import errno
import io
import os
import random
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from robot.log.runs import base_metadata, base_run, tick_record, wait_until, write_run

from robovlms.errors import ConfigError, DataError
from robovlms.robot.log.mcap_file import McapFile
from robovlms.robot.log.metadata import RunMetadata
from robovlms.robot.log.reader import read_images, read_log
from robovlms.robot.log.records import CommandRecord
from robovlms.robot.log.replay import replay
from robovlms.robot.log.writer import LogSettings, RunLog
from robovlms.robot.safety.command import VelocityCommand

STILL = VelocityCommand()
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(str(Path(__file__).parents[up]) for up in (2, 3))}


def python(program: str, path: Path) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(program), str(path)]


def test_everything_comes_back(tmp_path: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    records = list(base_run(0, 20))
    command = CommandRecord(command=[0.1, float("nan"), 0.0], confidence=0.5, observed_at_s=3.5, source="model")
    with RunLog(tmp_path / "run.mcap", base_metadata(), LogSettings(image_format="png")) as log:
        for record in records:
            log.tick(record)
        log.command(command)
        log.text("prompt", "where is the cup? \ud800 컵", camera="front")
        log.timing("model", 0.25)
        log.timing("parse", float("nan"))
        log.event("warning", "slow", "brain")
        log.image("front", frame, time.monotonic())
        log.image("wrist", frame[::2], time.monotonic())
    recording = read_log(tmp_path / "run.mcap")
    assert not recording.missing
    assert str(recording.missing) == "nothing"
    assert [record.result for record in recording.ticks.values()] == [record.result for record in records]
    assert repr(recording.commands) == repr((command,))
    assert recording.texts == ({"kind": "prompt", "text": "where is the cup? \ud800 컵", "camera": "front"},)
    assert recording.timings == ({"part": "model", "duration_s": 0.25}, {"part": "parse", "duration_s": None})
    assert [(event["level"], event["message"], event["name"]) for event in recording.events] == [(3, "slow", "brain")]
    assert recording.num_images == {"front": 1, "wrist": 1}
    ((captured_ns, image),) = read_images(tmp_path / "run.mcap", "front")
    assert np.array_equal(image, frame)
    assert abs(captured_ns - time.time_ns()) < 60e9


def test_metadata_comes_back_without_the_users_home() -> None:
    text = f"model: {Path.home()}/runs/a\n"
    metadata = RunMetadata.of(text, body="arm", limits={"a": [0.1, 1e-300]}, measured=(0.1,), fingerprints={"c": "ab"})
    assert RunMetadata.from_texts(metadata.to_texts()) == metadata
    assert str(Path.home()) not in str(metadata.to_texts())
    digest = RunMetadata.of("abc", body="base", limits={}).config_sha256
    assert digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert {"python", "numpy", "mcap"} <= set(metadata.versions)


@pytest.mark.parametrize(
    "spoil", [{"format": "2"}, {"body": "boat"}, {"limits": "{"}, {"started_unix_ns": "x"}, {"measured": "3"}]
)
def test_damaged_metadata_is_refused(spoil: dict[str, str]) -> None:
    with pytest.raises(DataError):
        RunMetadata.from_texts({**base_metadata().to_texts(), **spoil})


def test_a_log_is_never_overwritten(tmp_path: Path) -> None:
    write_run(tmp_path / "run.mcap", base_metadata(), base_run(0, 3))
    with pytest.raises(ConfigError, match="exists already"):
        RunLog(tmp_path / "run.mcap", base_metadata())
    with pytest.raises(ConfigError, match="cannot be made"):
        RunLog(tmp_path / "run.mcap" / "inside.mcap", base_metadata())


@pytest.mark.parametrize(
    "values",
    [
        {"max_pending": 0},
        {"flush_every_s": float("nan")},
        {"jpeg_quality": 100},
        {"max_stall_s": 0.5},
    ],
    ids=lambda values: next(iter(values)),
)
def test_settings_are_checked(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        LogSettings(**values)


def test_what_is_changed_after_it_was_logged_is_logged_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, command = SlowDisk(monkeypatch), [0.1, 0.2, 0.3]
    with RunLog(tmp_path / "run.mcap", base_metadata()) as log:
        log.tick(tick_record(0, STILL))
        assert disk.is_waiting.wait(5.0)
        log.tick(tick_record(1, STILL, command=command))
        log.command(CommandRecord(command=command))
        command[0] = 9.0
        disk.is_open.set()
    recording = read_log(tmp_path / "run.mcap")
    assert recording.ticks[1].command == recording.commands[0].command == [0.1, 0.2, 0.3]


# ------------------------------------------------------------------------------------------------------- cut, damaged


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A log of three chunks and 200 ticks."""
    path = tmp_path_factory.mktemp("whole") / "run.mcap"
    write_run(path, base_metadata(), base_run(1))
    return path.read_bytes()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A log of 40 ticks."""
    path = tmp_path_factory.mktemp("small") / "run.mcap"
    write_run(path, base_metadata(), base_run(1, 40))
    return path.read_bytes()


@pytest.mark.parametrize("fraction", [0.3, 0.5, 0.66, 0.8, 0.95, 0.999])
def test_a_cut_file_gives_its_ticks_and_says_what_is_missing(fraction: float, whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut.mcap"
    path.write_bytes(whole[: int(len(whole) * fraction)])
    recording = read_log(path)
    numbers = list(recording.ticks)
    assert numbers == list(range(len(numbers)))  # from the first one on, without a gap
    assert recording.missing.is_cut
    assert "cut" in str(recording.missing)
    report = replay(path)
    assert report.num_compared == len(numbers)
    assert not report.num_different
    if fraction >= 0.8:
        assert len(numbers) >= 100
    if fraction > 0.9:
        assert len(numbers) == 200


def test_a_file_cut_anywhere_is_read_or_refused(small: bytes, tmp_path: Path) -> None:
    path, rng, counts, refused = tmp_path / "cut.mcap", random.Random(0), [], []
    for length in sorted([0, 7, 8, 9, *(rng.randrange(len(small)) for _ in range(60))]):
        path.write_bytes(small[:length])
        try:
            counts.append(len(read_log(path).ticks))
        except DataError:
            refused.append(length)
    assert max(refused) < 1500  # within the head, where it does not say yet what the run was
    assert counts == sorted(counts)
    assert counts[-1] == 40


def test_a_damaged_file_is_read_or_refused(small: bytes, tmp_path: Path) -> None:
    path, rng = tmp_path / "damaged.mcap", random.Random(0)
    true = list(base_run(1, 40))
    num_read = 0
    for _ in range(100):
        damaged = bytearray(small)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            recording = read_log(path)
        except DataError:
            continue
        num_read += 1
        for number, record in recording.ticks.items():  # a chunk has a checksum: what is read is as it was written
            assert repr(record.result) == repr(true[number].result)
    assert num_read > 50


@pytest.mark.parametrize("number", [0, -1])
def test_a_damaged_chunk_is_left_out_and_counted(number: int, whole: bytes, tmp_path: Path) -> None:
    """Even the first one, which says which channel is which."""
    from mcap.stream_reader import StreamReader

    stream, ends = io.BytesIO(whole), []
    for record in StreamReader(stream, emit_chunks=True).records:
        if type(record).__name__ == "Chunk":
            ends.append(stream.tell())
    assert len(ends) >= 2
    damaged = bytearray(whole)
    damaged[ends[number] - 20] ^= 1
    (tmp_path / "run.mcap").write_bytes(damaged)
    recording = read_log(tmp_path / "run.mcap")
    assert recording.missing.num_damaged_chunks == 1
    assert not recording.missing.is_cut
    assert 20 < len(recording.ticks) < 180
    assert recording.missing.num_gaps["/ticks"] == 200 - len(recording.ticks)
    report = replay(tmp_path / "run.mcap")
    assert not report.num_different
    if number == 0:
        assert not report.is_equal  # nothing is claimed about what follows the gap
        assert (report.num_compared, report.num_absent) == (0, 200 - len(recording.ticks))


def test_a_cut_file_that_a_tool_has_closed_again_is_still_cut(small: bytes, tmp_path: Path) -> None:
    from mcap.reader import make_reader
    from mcap.writer import Writer

    reader, stream = make_reader(io.BytesIO(small)), io.BytesIO()
    writer = Writer(stream)
    writer.start()
    writer.add_metadata("run", next(reader.iter_metadata()).metadata)
    channels = {}
    for _, channel, message in reader.iter_messages():
        if channel.topic not in channels:
            channels[channel.topic] = writer.register_channel(channel.topic, channel.message_encoding, 0)
        writer.add_message(channels[channel.topic], message.log_time, message.data, 0, message.sequence)
    writer.finish()
    (tmp_path / "recovered.mcap").write_bytes(stream.getvalue())
    recording = read_log(tmp_path / "recovered.mcap")
    assert len(recording.ticks) == 40
    assert recording.missing.is_cut


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89MCAP0\r\n"])
def test_what_is_no_log_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.mcap").write_bytes(content)
    with pytest.raises(DataError, match="no MCAP file"):
        read_log(tmp_path / "x.mcap")
    with pytest.raises(DataError, match=r"nothing.mcap: cannot be read"):
        read_log(tmp_path / "nothing.mcap")
    with pytest.raises(DataError, match=r"nothing.mcap: cannot be read"):
        next(read_images(tmp_path / "nothing.mcap", "front"))


def test_an_mcap_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    from mcap.writer import Writer

    writer = Writer(str(tmp_path / "x.mcap"))
    writer.start()
    writer.finish()
    with pytest.raises(DataError, match=r"x.mcap: no log of a run"):
        read_log(tmp_path / "x.mcap")


WRITER = """
    import sys, time
    from pathlib import Path
    from robot.log.runs import base_metadata, base_run
    from robovlms.robot.log.writer import LogSettings, RunLog

    log = RunLog(Path(sys.argv[1]), base_metadata(), LogSettings(flush_every_s=0.2))
    for record in base_run(5, 100000):
        log.tick(record)
        print(record.index, flush=True)
        time.sleep(PERIOD_S)
"""


@pytest.mark.parametrize(("num_ticks", "period_s"), [(60, 0.02), (700, 0.0005)])  # within a chunk, over several
def test_a_writer_that_is_killed_loses_no_more_than_the_open_chunk(
    num_ticks: int, period_s: float, tmp_path: Path
) -> None:
    path, program = tmp_path / "run.mcap", WRITER.replace("PERIOD_S", str(period_s))
    with subprocess.Popen(python(program, path), stdout=subprocess.PIPE, env=ENVIRONMENT, text=True) as process:
        times = {}
        for line in process.stdout:
            times[int(line)] = time.monotonic()
            if int(line) >= num_ticks:
                break
        process.send_signal(signal.SIGKILL)
        process.wait()
    recording = read_log(path)
    assert recording.missing.is_cut
    last = max(recording.ticks)
    assert list(recording.ticks) == list(range(last + 1))
    assert times[num_ticks] - times[last] < 0.2 + 0.6  # the flush interval, and what a busy machine needs
    report = replay(path)
    assert report.num_compared == last + 1
    assert not report.num_different


# --------------------------------------------------------------------------------------- a disk that is slow, or full


class SlowDisk:
    """Holds up the writer's thread while it is closed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_open = threading.Event()
        self.is_waiting = threading.Event()
        write = McapFile.write

        def slow(file: McapFile, *values: Any) -> None:
            self.is_waiting.set()
            self.is_open.wait()
            write(file, *values)

        monkeypatch.setattr(McapFile, "write", slow)


def test_a_full_queue_drops_counts_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SlowDisk(monkeypatch)
    log = RunLog(tmp_path / "run.mcap", base_metadata(), LogSettings(max_pending=10))
    log.tick(tick_record(0, STILL))
    assert disk.is_waiting.wait(5.0)  # one message is in the writer's hands, the queue is empty
    longest_s = 0.0
    for index in range(1, 51):
        start = time.monotonic()
        log.tick(tick_record(index, STILL))
        longest_s = max(longest_s, time.monotonic() - start)
    assert log.num_dropped == {"/ticks": 40}
    assert longest_s < 0.1
    assert not log.must_stop
    disk.is_open.set()
    wait_until(lambda: log._queue.empty())
    log.tick(tick_record(51, STILL))
    summary = log.close()
    assert summary.num_dropped == {"/ticks": 40}
    assert summary.num_written["/ticks"] == 12
    recording = read_log(tmp_path / "run.mcap")
    assert list(recording.ticks) == [*range(11), 51]
    assert recording.missing.num_dropped == {"/ticks": 40}
    assert recording.missing.num_gaps["/ticks"] == 40
    assert any('{"/ticks": 40}' in event["message"] for event in recording.events)


def test_images_have_few_places_and_leave_the_ticks_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = SlowDisk(monkeypatch)
    log = RunLog(tmp_path / "run.mcap", base_metadata(), LogSettings(max_pending_images=2))
    frame = np.zeros((8, 8, 3), np.uint8)
    for index in range(5):
        log.image("front", frame, time.monotonic())
        log.tick(tick_record(index, STILL))
    # The writer frees the place of an image once it is compressed, so one or two of them may have gone by.
    assert 1 <= log.num_dropped["/camera/front"] <= 3
    assert "/ticks" not in log.num_dropped
    disk.is_open.set()
    assert log.close().num_written["/ticks"] == 5
    assert read_log(tmp_path / "run.mcap").missing.num_dropped["/camera/front"] >= 1


@pytest.mark.parametrize("broken", [np.zeros((0, 0, 3), np.uint8), np.zeros((2, 70000, 3), np.uint8)])
def test_a_broken_frame_costs_itself(broken: Any, tmp_path: Path) -> None:
    log = RunLog(tmp_path / "run.mcap", base_metadata())
    log.image("front", broken, 1.0)
    log.tick(tick_record(0, STILL))
    summary = log.close()
    assert not summary.failure
    recording = read_log(tmp_path / "run.mcap")
    assert len(recording.ticks) == 1
    assert recording.missing.num_dropped == {"/camera/front": 1}
    assert "could not be encoded" in recording.events[0]["message"]


@pytest.mark.parametrize(("policy", "must_stop"), [("stop", True), ("go_on", False)])
def test_a_full_disk_is_reported_and_the_policy_is_followed(
    policy: str, must_stop: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    log = RunLog(tmp_path / "run.mcap", base_metadata(), LogSettings(when_it_fails=policy), told.append)
    log.tick(tick_record(0, STILL))
    assert not log.must_stop

    def full(file: McapFile, *values: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(McapFile, "write", full)
    wait_until(lambda: log._queue.empty())
    log.tick(tick_record(1, STILL))
    wait_until(lambda: log.failure)
    assert told == [log.failure]
    assert "No space left on device" in log.failure
    assert log.must_stop is must_stop
    log.tick(tick_record(2, STILL))  # goes nowhere, and is counted
    summary = log.close()
    assert summary.failure == log.failure
    assert summary.num_dropped["/ticks"] >= 1
    assert len(told) == 1


def test_a_disk_that_takes_no_more_bytes_leaves_a_readable_file(tmp_path: Path) -> None:
    """A real write that fails: the size of a file is limited, as a quota does."""
    path = tmp_path / "run.mcap"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))  # Python ignores SIGXFSZ: the write raises EFBIG
        log = RunLog(path, base_metadata(), LogSettings(flush_every_s=0.02))
        for record in base_run(0, 20000):
            log.tick(record)
            if log.failure:
                break
            time.sleep(0.0002)
        wait_until(lambda: log.failure)
        log.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert log.must_stop
    assert "File too large" in log.failure
    recording = read_log(path)
    assert len(recording.ticks) > 50
    assert recording.missing.is_cut
    assert not replay(path).num_different


def test_a_disk_that_hangs_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, told = SlowDisk(monkeypatch), []
    settings = LogSettings(max_pending=5, flush_every_s=0.05, max_stall_s=0.2)
    log = RunLog(tmp_path / "run.mcap", base_metadata(), settings, told.append)
    start = time.monotonic()
    while not log.failure and time.monotonic() - start < 5.0:
        log.tick(tick_record(0, STILL))
        time.sleep(0.01)
    assert log.must_stop
    assert 0.2 < time.monotonic() - start < 2.0
    assert len(told) == 1
    start = time.monotonic()
    assert log.close(timeout_s=0.2).failure  # does not hang with it
    assert time.monotonic() - start < 1.0
    disk.is_open.set()
    log._thread.join(5.0)


def test_a_writer_that_dies_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = RunLog(tmp_path / "run.mcap", base_metadata())

    def die(file: McapFile, *values: Any) -> None:
        raise SystemExit

    monkeypatch.setattr(McapFile, "write", die)
    log.tick(tick_record(0, STILL))
    wait_until(lambda: log.must_stop)
    log.close()


def test_what_is_logged_after_the_end_is_counted(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "run.mcap", base_metadata())
    assert not log.close().num_dropped
    log.tick(tick_record(0, STILL))
    assert log.close().num_dropped == {"/ticks": 1}
    assert not log.must_stop


COST = """
    import statistics, sys, time
    from pathlib import Path
    from robot.log.runs import base_metadata, base_run
    from robovlms.robot.log.writer import RunLog

    costs = []
    with RunLog(Path(sys.argv[1]), base_metadata()) as log:
        for record in list(base_run(0, 2000)):
            start = time.thread_time_ns()
            log.tick(record)
            costs.append((time.thread_time_ns() - start) / 1e3)
    assert not log.num_dropped
    print(statistics.median(costs))
"""


def test_a_tick_costs_the_control_thread_little(tmp_path: Path) -> None:
    """Time of the logging thread on the processor, in a process without the type checks of the tests."""
    out = subprocess.run(
        python(COST, tmp_path / "run.mcap"), env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert float(out.stdout) < 50, "microseconds"


def test_log_times_follow_the_monotonic_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mcap.reader import make_reader

    with RunLog(tmp_path / "run.mcap", base_metadata()) as log:
        for index in range(10):
            monkeypatch.setattr(time, "time_ns", lambda index=index: index * 10**18 % 7)  # the wall clock jumps about
            log.tick(tick_record(index, STILL))
    with (tmp_path / "run.mcap").open("rb") as stream:
        times = [message.log_time for _, _, message in make_reader(stream).iter_messages("/ticks")]
    assert times == sorted(times)
    assert times[-1] - times[0] < 10e9
    monkeypatch.undo()
    assert abs(times[0] - time.time_ns()) < 60e9


def test_the_writer_leaves_no_thread_behind(tmp_path: Path) -> None:
    with RunLog(tmp_path / "run.mcap", base_metadata()) as log:
        assert log._thread.is_alive()
    assert not log._thread.is_alive()
