"""What the board of the simulated base does with messages: good, old, damaged, hostile."""

import binascii
import json
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robovlms.robot.drivers.wire import WireWriter
from robovlms.robot.safety.command import JointCommand, VelocityCommand
from robovlms.robot.simulator.firmware import Firmware
from robovlms.robot.simulator.process import TICK_S, Robot

AHEAD = (0.25, 0.0, 0.5)


def signed(fields: Any) -> bytes:
    """A message with any fields and a right checksum."""
    start = json.dumps(fields).encode()[:-1]
    return start + f',"crc":"{binascii.crc32(start):08x}"}}'.encode()


def message(sequence: int, session: str = "00000001", **fields: Any) -> bytes:
    """A message of a base, with fields changed."""
    whole = {"v": 1, "session": session, "seq": sequence, "t": 0.0, "stop": False, "linear": [0.25, 0.0]}
    return signed({**whole, "angular": 0.5, **fields})


def moving() -> Firmware:
    """It was told at 10 s to move."""
    firmware = Firmware()
    firmware.hear(message(5), 10.0)
    assert firmware.velocity(10.0) == AHEAD
    return firmware


def test_it_stands_until_it_is_told_to_move():
    assert Firmware().velocity(0.0) == Firmware().velocity(1e9) == (0.0, 0.0, 0.0)


def test_it_moves_as_the_driver_says():
    firmware = Firmware()
    firmware.hear(WireWriter().encode(VelocityCommand(0.25, 0.0, 0.5), 1.0), 10.0)
    assert firmware.velocity(10.0) == AHEAD


def test_silence_stops_it_after_half_a_second():
    firmware = moving()
    assert firmware.velocity(10.5) == AHEAD
    assert firmware.velocity(math.nextafter(10.5, 11)) == (0.0, 0.0, 0.0)
    firmware.hear(message(6), 12.0)
    assert firmware.velocity(12.5) == AHEAD


def test_stop_counts_whoever_says_it_and_however_old_it_is():
    for stop in (message(6, stop=True), message(1, stop=True), message(0, "another", stop=True)):
        firmware = moving()
        firmware.hear(stop, 10.1)
        assert firmware.velocity(10.1) == (0.0, 0.0, 0.0)


def test_an_old_motion_does_not_undo_a_stop():
    firmware = moving()
    firmware.hear(message(6, stop=True), 10.1)
    firmware.hear(message(1, stop=True), 10.1)  # must not make 2 to 6 new again
    firmware.hear(message(4), 10.1)
    firmware.hear(message(6), 10.1)
    assert firmware.velocity(10.1) == (0.0, 0.0, 0.0)
    assert firmware.num_refused == 2


def test_a_sender_that_was_started_again_is_heard():
    firmware = moving()
    firmware.hear(message(0, "00000002", linear=[0.1, 0.0]), 10.1)
    assert firmware.velocity(10.1) == (0.1, 0.0, 0.5)


def test_a_damaged_message_neither_moves_nor_keeps_moving():
    firmware = moving()
    good = message(6, linear=[0.3, 0.0])
    for end in range(len(good)):
        firmware.hear(good[:end], 10.4)
    firmware.hear(good.replace(b"0.3", b"0.9"), 10.4)
    assert firmware.velocity(10.4) == AHEAD
    assert firmware.velocity(10.6) == (0.0, 0.0, 0.0), "a damaged message must not feed the watchdog"
    assert firmware.num_refused == len(good) + 1


@pytest.mark.parametrize(
    "fields",
    [
        {"linear": [math.nan, 0.0]},
        {"linear": [0.0, math.inf]},
        {"angular": -math.inf},
        {"angular": None},
        {"angular": True},
        {"linear": 0.1},
        {"linear": [0.1]},
        {"linear": ["0.1", 0.0]},
        {"linear": [10**400, 0.0]},
        {"stop": 0},
        {"stop": None},
        {"stop": "false"},
    ],
)
def test_a_message_that_asks_for_no_velocity_stops_it(fields):
    firmware = moving()
    firmware.hear(message(6, **fields), 10.1)
    assert all(abs(value) <= limit for value, limit in zip(firmware.velocity(10.1), (1.0, 1.0, 2.0), strict=True))
    if fields != {"linear": [10**400, 0.0]}:  # finite: as fast as it can
        assert firmware.velocity(10.1) == (0.0, 0.0, 0.0)


def test_joints_of_an_arm_stop_it():
    firmware = Firmware()
    writer = WireWriter()
    firmware.hear(writer.encode(VelocityCommand(*AHEAD), 1.0), 10.0)
    firmware.hear(writer.encode(JointCommand((0.1, 0.2)), 1.0), 10.1)
    assert firmware.velocity(10.1) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("body", [b"", b"\xff" * 40, signed({"v": 1}), signed({"v": 2, "stop": False}), b"[" * 1000])
def test_what_is_no_message_is_dropped(body):
    firmware = moving()
    firmware.hear(body, 10.1)
    assert firmware.num_refused == 1
    assert firmware.velocity(10.1) == AHEAD


def test_nesting_with_a_right_checksum_is_dropped():
    start = b'{"v":' + b"[" * 1500
    firmware = moving()
    firmware.hear(start + f',"crc":"{binascii.crc32(start):08x}"}}'.encode(), 10.1)
    assert firmware.num_refused == 1


def test_motors_have_limits():
    firmware = Firmware()
    firmware.hear(message(0, linear=[9.0, -9], angular=-9.0), 0.0)
    assert firmware.velocity(0.0) == (1.0, -1.0, -2.0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(["v", "session", "seq", "stop", "linear", "angular", "t"])


@settings(suppress_health_check=[HealthCheck.too_slow])  # other work on the machine is no fault
@given(st.dictionaries(FIELDS, JSON, max_size=3), st.floats(0, 100))
def test_any_fields_with_a_right_checksum_leave_it_finite_and_within_its_limits(fields, now):
    firmware = moving()
    firmware.hear(message(6, **fields), now)
    x, y, yaw = firmware.velocity(now)
    assert abs(x) <= 1.0
    assert abs(y) <= 1.0
    assert abs(yaw) <= 2.0


# ------------------------------------------------------------------------------------------------------ ticks of 20 ms


class Track:
    """A room that only adds up what it is told."""

    def __init__(self) -> None:
        self.x, self.longest_m, self.steps = 0.0, 0.0, 0

    def move(self, velocity: tuple[float, float, float], seconds: float) -> bool:
        self.steps += 1
        self.x += velocity[0] * seconds
        self.longest_m = max(self.longest_m, abs(velocity[0] * seconds))
        return True


def live(until: float, ticks_at: list[float]) -> Track:
    """A base that was told at 0 s to drive with 1 m/s, and whose loop turns at the given times."""
    robot, track = Robot.__new__(Robot), Track()
    robot._room, robot._firmware = track, Firmware()
    robot._firmware.hear(message(0, linear=[1.0, 0.0], angular=0.0), 0.0)
    since = 0.0
    for now in [*ticks_at, until]:
        since = robot._live(since, now)
    assert since <= until < since + TICK_S + 1e-9
    return track


@pytest.mark.parametrize("ticks_at", [[i * TICK_S for i in range(1, 100)], [0.31], [0.1, 0.105, 0.47]])
def test_how_often_the_loop_turns_does_not_matter(ticks_at):
    track = live(2.0, ticks_at)
    assert track.x == pytest.approx(0.5, abs=TICK_S + 1e-9)  # the watchdog's half second
    assert track.longest_m == pytest.approx(0.02)


def test_a_machine_that_sleeps_for_an_hour_does_not_jump_through_walls():
    track = live(3600.0, [0.1])
    assert track.x == pytest.approx(0.5, abs=TICK_S + 1e-9)
    assert track.longest_m == pytest.approx(0.02)
    assert track.steps <= 5 + 26
