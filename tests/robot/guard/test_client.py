"""GuardClient and the guard's process: stops under load, order, records, and what is refused."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import msgpack
import pytest
from robot.guard.fake_robot import FAST, LIMITS, SLOW, TICK_S, FakeRobot, Lateness, is_alive, linux_only, wait_for

from robovlms.errors import ConfigError, SafetyError
from robovlms.robot.guard import GuardClient, GuardConfig
from robovlms.robot.guard.channel import MAX_BYTES, VERSION, Channel, ChannelClosedError
from robovlms.robot.safety.limits import ShieldLimits
from robovlms.robot.safety.shield import SafetyShield

pytestmark = linux_only


@pytest.fixture
def robot() -> Iterator[FakeRobot]:
    """A robot that watches."""
    with FakeRobot() as listener:
        yield listener


def _drive(guard: GuardClient, robot: FakeRobot, speed: float = SLOW) -> None:
    def moves() -> bool:
        guard.submit((speed, 0.0, 0.0), 0.9, time.monotonic())
        time.sleep(0.005)
        return robot.speed == speed

    wait_for(moves)


def _zero_after(robot: FakeRobot, start: float) -> float:
    """Seconds until the first zero from `start` on."""
    wait_for(lambda: any(speed == 0.0 for _, speed in robot.since(start)))
    return next(at for at, speed in robot.since(start) if speed == 0.0) - start


def test_it_drives_tells_and_ends_in_zero(robot: FakeRobot):
    with GuardClient(robot.config) as guard:
        policy = {"realtime": os.SCHED_RR}.get(guard.schedule, os.SCHED_OTHER)
        assert os.sched_getscheduler(guard.pid) == policy
        assert os.getsid(guard.pid) == guard.pid, "a session of its own: Ctrl-C goes to the brain alone"
        _drive(guard, robot)
        wait_for(lambda: guard.newest is not None and guard.newest.sent.linear_x == SLOW)
        pid = guard.pid
    records = guard.records()
    assert not is_alive(pid)
    robot.settle()
    assert robot.arrivals[-1][1]["stop"]
    assert [record.index for record in records] == list(range(len(records)))
    with pytest.raises(SafetyError, match="closed"):
        guard.submit((SLOW, 0.0, 0.0), 0.9, time.monotonic())
    guard.close()


def test_the_records_of_the_guard_give_the_same_commands_again(robot: FakeRobot):
    with GuardClient(robot.config) as guard:
        _drive(guard, robot, FAST)
        guard.estop("test")
        guard.reset()
        guard.submit((float("nan"), 0.0, 0.0), None, "yesterday")
        _drive(guard, robot, FAST)
    shield = SafetyShield(ShieldLimits.from_dict(LIMITS))
    records = guard.records()
    for record in records:
        for call in record.calls[:-1]:
            (shield.estop if call == "estop" else shield.reset)()
        if record.calls[-1] == "hold":
            assert shield.hold(record.now) == record.result
        else:
            step = shield.step(record.command, record.confidence, record.observation_age_s, record.now)
            assert step == record.result
    assert {call for record in records for call in record.calls} == {"estop", "reset", "hold", "step"}


def test_estop_during_a_ramp_is_zero_within_two_ticks_and_twice_is_once(robot: FakeRobot, lateness: Lateness):
    with GuardClient(robot.config) as guard:
        for _ in range(5):
            _drive(guard, robot, FAST)
            guard.stop()
            wait_for(lambda: 0.0 < robot.speed < FAST or robot.speed == 0.0)
            at = time.monotonic()
            guard.estop("ramp")
            confirmed_s = time.monotonic() - at
            guard.estop("again")
            took = _zero_after(robot, at)
            late = lateness.between(at, at + took)
            assert took <= 2 * TICK_S + late
            assert confirmed_s <= 2 * TICK_S + late
            wait_for(lambda: guard.newest.estop == "again")
            guard.submit((FAST, 0.0, 0.0), 0.9, time.monotonic())
            time.sleep(3 * TICK_S)
            assert {speed for _, speed in robot.since(at + took)} == {0.0}, "latched"
            guard.reset()


def test_zero_after_a_reset_until_a_fresh_command(robot: FakeRobot):
    with GuardClient(robot.config) as guard:
        _drive(guard, robot)
        guard.estop()
        before_reset = time.monotonic()
        guard.reset()
        at = time.monotonic()
        for _ in range(5):
            guard.submit((SLOW, 0.0, 0.0), 0.9, before_reset)
            time.sleep(TICK_S)
        assert {speed for _, speed in robot.since(at)} == {0.0}
        _drive(guard, robot)


def test_an_older_observation_never_replaces_a_newer_one(robot: FakeRobot):
    with GuardClient(robot.config) as guard:
        _drive(guard, robot)
        end, at = time.monotonic() + 0.3, time.monotonic()
        while time.monotonic() < end:
            now = time.monotonic()
            guard.submit((SLOW, 0.0, 0.0), 0.9, now)
            guard.submit((FAST, 0.0, 0.0), 0.9, now - 0.05)
            time.sleep(0.005)
        assert {speed for _, speed in robot.since(at)} == {SLOW}
        wait_for(lambda: guard.newest.num_refused > 20)


class _DeafBrain:
    """Speaks to a guard and reads nothing that it is told."""

    def __init__(self, config: GuardConfig) -> None:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
        self.urgent, self.stream = (Channel(pair[0]) for pair in pairs)
        numbers = [pair[1].fileno() for pair in pairs]
        command = [sys.executable, "-m", "robovlms.robot.guard", *map(str, numbers)]
        self.process = subprocess.Popen(command, pass_fds=numbers, start_new_session=True)
        for pair in pairs:
            pair[1].close()
        self.urgent.send("hello", VERSION, config.to_dict())

    def __enter__(self) -> "_DeafBrain":
        return self

    def __exit__(self, *_: object) -> None:
        self.urgent.close()
        self.stream.close()
        assert self.process.wait(5.0) == 0, "it ends when the channels close"


def test_a_storm_at_ten_thousand_a_second_does_not_delay_a_stop(robot: FakeRobot, lateness: Lateness):
    numbers, is_over = itertools.count(1), threading.Event()

    def storm() -> None:
        deadline = time.monotonic()
        while not is_over.is_set():
            now = time.monotonic()
            motion = msgpack.packb(["submit", next(numbers), [SLOW, 0.0, 0.0], 0.9, now])
            with suppress(BlockingIOError):  # full: dropped, as the client does
                brain.stream._connection.send(motion)
            deadline = max(deadline + 1e-4, now - 0.01)
            time.sleep(max(0.0, deadline - time.monotonic()))

    stop = ("submit", [0.0, 0.0, 0.0], 0.9)
    with _DeafBrain(robot.config) as brain:
        thread, start = threading.Thread(target=storm), time.monotonic()
        thread.start()
        took = []
        for name, *values in [stop, ("stop",)] * 5 + [("estop", "storm")]:
            wait_for(lambda: robot.speed == SLOW)
            at = time.monotonic()
            brain.urgent.send(name, next(numbers), *values, *([at] if name == "submit" else []))
            took.append(_zero_after(robot, at))
            assert took[-1] <= 2 * TICK_S + lateness.between(at, at + took[-1]), name
        rate = next(numbers) / (time.monotonic() - start)
        is_over.set()
        thread.join()
    print(f"\n{rate:.0f} commands/s; zero after {max(took) * 1e3:.0f} ms at most, {took[-1] * 1e3:.1f} ms by estop")
    assert rate > 5000


def test_records_that_nobody_reads_cost_neither_a_tick_nor_a_stop(robot: FakeRobot, lateness: Lateness):
    config = GuardConfig.from_dict({**robot.config.to_dict(), "rate_hz": 200.0})
    with _DeafBrain(config) as brain:
        wait_for(lambda: len(robot.arrivals) > 500, 20.0)  # the pipe has room for some 280
        brain.stream.send("submit", 1, [SLOW, 0.0, 0.0], 0.9, time.monotonic())
        wait_for(lambda: robot.speed == SLOW)
        at = time.monotonic()
        brain.urgent.send("estop", 2, "full")
        took = _zero_after(robot, at)
        assert took <= 2 / 200.0 + lateness.between(at, at + took)
    robot.settle()
    assert robot.arrivals[-1][1]["stop"]


def test_motion_that_was_sent_before_a_stop_is_not_taken_after_it(robot: FakeRobot):
    with _DeafBrain(robot.config) as brain:
        brain.urgent.send("submit", 10, [0.0, 0.0, 0.0], 0.9, time.monotonic())
        wait_for(lambda: len(robot.arrivals) > 2)
        for number in range(5, 10):  # as if it had waited in the other channel
            brain.stream.send("submit", number, [SLOW, 0.0, 0.0], 0.9, time.monotonic())
            time.sleep(TICK_S)
        assert {speed for _, speed in robot.since(0.0)} == {0.0}
        brain.stream.send("submit", 11, [SLOW, 0.0, 0.0], 0.9, time.monotonic())
        wait_for(lambda: robot.speed == SLOW)


@pytest.mark.parametrize(
    "message",
    [
        ["submit"],
        ["submit", "one", [SLOW, 0.0, 0.0], 0.9, 0.0],
        ["submit", 2],
        ["submit", 2, {"positions": 3}, [], {}],
        ["estop", 2],
        ["unheard of", 2],
        ["hello", VERSION, {}],
        [1, 2, 3],
        [],
        "text",
        {"a": 1},
        b"\xc1",
        msgpack.ExtType(5, b"x"),
        [[[[]]]] * 100,
        bytes(MAX_BYTES + 1),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_message_that_is_none_stops_the_robot_and_not_the_guard(
    robot: FakeRobot, lateness: Lateness, message: object
):
    with _DeafBrain(robot.config) as brain:

        def drives() -> bool:
            brain.stream.send("submit", next(numbers), [SLOW, 0.0, 0.0], 0.9, time.monotonic())
            time.sleep(0.005)
            return robot.speed == SLOW

        numbers = itertools.count(3)
        wait_for(drives)
        at = time.monotonic()
        data = message if isinstance(message, bytes) else msgpack.packb(message)
        brain.stream._connection.send(data)
        took = _zero_after(robot, at)
        assert took <= 2 * TICK_S + lateness.between(at, at + took), "sooner than by the watchdog"
        wait_for(drives)


def test_a_channel_keeps_bounds_and_never_blocks():
    left, right = map(Channel, socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    assert right.receive() is None
    sent = 0
    while left.send("submit", sent):
        sent += 1
    assert [right.receive()[1] for _ in range(sent)] == list(range(sent))
    with pytest.raises(SafetyError, match=f"may have {MAX_BYTES} bytes"):
        left.send("x", "y" * MAX_BYTES)
    with pytest.raises(SafetyError, match="cannot send"):
        left.send("x", object())
    left.send("last")
    left.close()
    assert right.receive() == ["last"]
    with pytest.raises(ChannelClosedError):
        right.receive()
    assert not right.send("too late")
    right.close()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"driver": "udb"}, ConfigError, "unknown driver 'udb'; did you mean 'udp'"),
        ({"body": "leg"}, ConfigError, "unknown body 'leg'"),
        ({"rate_hz": 1.0}, ConfigError, "rate_hz must be in"),
        ({"watchdog_s": 0.03}, ConfigError, "at least two periods"),
        ({"limits": {}}, SafetyError, "'max_velocity' is missing"),
    ],
)
def test_settings_are_checked_before_a_process_is_started(settings: dict, error: type, message: str):
    good = {"driver": "udp", "driver_options": {"host": "127.0.0.1", "port": 9}, "limits": LIMITS}
    with pytest.raises(error, match=message):
        GuardConfig(**{**good, **settings})
    with pytest.raises(ConfigError, match="unknown setting of the guard 'rate'"):
        GuardConfig.from_dict({**good, "rate": 50.0})
    config = GuardConfig(**good)
    assert GuardConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"driver_options": {"host": "127.0.0.1", "prot": 9}}, "unknown option of the driver 'udp' 'prot'"),
        ({"driver_options": {"host": "127.0.0.1", "port": 9, "body": "arm"}}, "is for the body 'arm', not 'base'"),
    ],
)
def test_what_the_driver_refuses_the_brain_hears_as_one_line(settings: dict, message: str):
    good = {"driver": "udp", "limits": LIMITS}
    with pytest.raises(ConfigError, match=message) as caught:
        GuardClient(GuardConfig(**{**good, **settings})).start()
    assert "\n" not in str(caught.value)


def test_a_guard_that_does_not_confirm_a_stop_is_replaced_by_zero_from_here(robot: FakeRobot):
    guard = GuardClient(robot.config).start()
    _drive(guard, robot)
    os.kill(guard.pid, signal.SIGSTOP)
    at = time.monotonic()
    with pytest.raises(SafetyError, match="the guard is gone"):
        guard.estop()
    wait_for(lambda: robot.speed == 0.0)
    assert robot.arrivals[-1][1]["session"] != robot.arrivals[0][1]["session"], "sent from here"
    assert robot.arrivals[-1][0] - at < 1.0
    with pytest.raises(SafetyError, match="the guard is gone"):
        guard.close()


def test_a_parent_that_dies_while_others_hold_its_channels_is_noticed(robot: FakeRobot):
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
    urgent, stream = (Channel(pair[0]) for pair in pairs)
    numbers = [pair[1].fileno() for pair in pairs]
    code = (
        "import subprocess, sys; fds = list(map(int, sys.argv[1:]));"
        "command = [sys.executable, '-m', 'robovlms.robot.guard', *sys.argv[1:]];"
        "print(subprocess.Popen(command, pass_fds=fds, start_new_session=True).pid, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, *map(str, numbers)]
    with subprocess.Popen(command, pass_fds=numbers, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        pid = int(parent.stdout.readline())
        urgent.send("hello", VERSION, robot.config.to_dict())
        wait_for(lambda: robot.arrivals)
        stream.send("submit", 1, [SLOW, 0.0, 0.0], 0.9, time.monotonic())
        wait_for(lambda: robot.speed == SLOW)
        parent.kill()
    wait_for(lambda: not is_alive(pid))
    robot.settle()
    assert robot.arrivals[-1][1]["stop"]
    for pair in pairs:
        pair[0].close()
        pair[1].close()


def test_a_stop_has_room_where_motion_has_none(robot: FakeRobot, monkeypatch: pytest.MonkeyPatch):
    with GuardClient(robot.config) as guard:
        _drive(guard, robot)
        monkeypatch.setattr(guard._stream, "send", lambda *message: False)
        at = time.monotonic()
        assert not guard.submit((SLOW, 0.0, 0.0), 0.9, at)
        assert guard.num_dropped == 1
        assert guard.submit((0.0, 0.0, 0.0), 0.0, at - 60.0), "however old, however unsure"
        wait_for(lambda: robot.speed == 0.0)
        stop = ("step",), (0.0, 0.0, 0.0)  # a record comes a little later than the command to the robot
        wait_for(lambda: stop in [(record.calls, record.command) for record in guard.records()])


def test_closing_what_never_started_does_nothing(robot: FakeRobot):
    GuardClient(robot.config).close()
    assert robot.arrivals == []


def test_an_arm_holds_where_it_is():
    limits = {
        "names": ("a", "b"),
        "position_low": (-1.0, -1.0),
        "position_high": (1.0, 1.0),
        "max_velocity": (1.0, 1.0),
        "max_acceleration": (5.0, 5.0),
    }
    options = {"quiet": True, "body": "arm"}
    config = GuardConfig(driver="dry_run", driver_options=options, body="arm", limits=limits, measured=(0.5, -0.5))
    with GuardClient(config) as guard:
        wait_for(lambda: guard.newest is not None)
        assert guard.newest.sent.positions == (0.5, -0.5)

        def follows() -> bool:
            guard.submit({"positions": [0.52, -0.5], "gripper": "open"}, 0.9, time.monotonic())
            time.sleep(0.01)
            return guard.newest.sent.positions == (0.52, -0.5)

        wait_for(follows)
        assert guard.newest.sent.gripper == "open"
        wait_for(lambda: guard.newest.calls[-1] == "step" and guard.newest.observation_age_s == float("inf"))
        assert guard.newest.sent.positions == (0.52, -0.5)


def test_the_guard_is_small_and_starts_fast():
    code = (
        "import sys, time; start = time.process_time(); import robovlms.robot.guard.process;"
        "memory = [line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0];"
        "print(time.process_time() - start, memory, 'torch' in sys.modules)"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    seconds, kib = min((float(run.stdout.split()[0]), int(run.stdout.split()[1])) for run in runs)
    print(f"\nimport {seconds * 1e3:.0f} ms of processor time, {kib / 1024:.0f} MiB")
    assert seconds < 0.3
    assert kib < 60 * 1024
    assert all(run.stdout.split()[2] == "False" for run in runs)
