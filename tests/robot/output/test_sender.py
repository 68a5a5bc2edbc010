"""The thread that calls the driver: what is sent after a failure, a block, and at the end."""

import threading
import time
from collections.abc import Iterator

import pytest
from robot.output.stand_ins import Robot, wait_for

from robovlms.robot.output.sender import Sender
from robovlms.robot.safety.command import VelocityCommand

GO, ZERO = VelocityCommand(0.1), VelocityCommand()


@pytest.fixture
def robot() -> Iterator[Robot]:
    """A robot that never blocks for longer than the test."""
    driver = Robot()
    yield driver
    driver.may_go_on.set()


@pytest.fixture
def sender(robot: Robot) -> Iterator[Sender]:
    """A sender that allows 50 ms."""
    thread = Sender(robot, 0.05)
    thread.start()
    yield thread
    robot.raises = False
    robot.may_go_on.set()
    thread.close(None, 1.0, 0.01)


def test_after_a_failure_motion_becomes_zero_until_one_got_through(robot: Robot, sender: Sender):
    robot.raises = True
    sender.put(GO)
    wait_for(lambda: sender.num_errors == 1)
    robot.raises = False
    sender.put(GO)
    wait_for(lambda: robot.sent)
    sender.put(GO)
    wait_for(lambda: len(robot.sent) == 2)
    assert robot.speeds == [0.0, 0.1]
    assert str(sender.last_error) == "no link"


def test_a_block_is_seen_while_it_lasts_and_counted_after_it(robot: Robot, sender: Sender):
    robot.may_go_on.clear()
    sender.put(GO)
    wait_for(lambda: sender.is_blocked(time.monotonic()))
    for _ in range(5):
        sender.put(GO)
    robot.may_go_on.set()
    wait_for(lambda: len(robot.sent) == 2)
    assert robot.speeds == [0.1, 0.0], "one place only, and zero first"
    assert sender.num_blocked == 1
    assert not sender.is_blocked(time.monotonic())


def test_the_last_is_last(robot: Robot, sender: Sender):
    sender.put(GO)
    assert sender.close(ZERO, 1.0, 0.01)
    sender.put(GO)
    time.sleep(0.02)
    assert robot.sent[-1] == ZERO


def test_nothing_else_is_sent_while_the_last_is_tried(robot: Robot, sender: Sender):
    robot.raises = True
    assert not sender.close(ZERO, 0.05, 0.01)
    sender.put(GO)
    robot.raises = False
    time.sleep(0.02)
    assert GO not in robot.sent


def test_a_driver_that_blocks_for_ever_is_given_up(robot: Robot, sender: Sender):
    robot.may_go_on.clear()
    sender.put(GO)
    wait_for(lambda: sender.is_blocked(time.monotonic()))
    before = time.monotonic()
    assert not sender.close(ZERO, 0.05, 0.01)
    assert time.monotonic() - before < 2.0


def test_the_last_waits_for_a_driver_that_is_slow_but_works(robot: Robot, sender: Sender):
    robot.raises = True
    sender.put(GO)
    wait_for(lambda: sender.is_failing)
    robot.raises = False
    assert sender.close(ZERO, 1.0, 0.01)
    assert robot.sent == [ZERO]


def test_a_loop_that_still_runs_cannot_replace_the_last(robot: Robot):
    sender = Sender(robot, 5.0)
    sender.start()
    robot.may_go_on.clear()
    sender.put(ZERO)
    wait_for(lambda: sender.is_blocked(time.monotonic() + 10.0))
    closing = threading.Thread(target=sender.close, args=(ZERO, 1.0, 0.5))
    closing.start()
    wait_for(lambda: sender._is_closing)
    time.sleep(0.01)
    sender.put(GO)
    robot.may_go_on.set()
    closing.join()
    assert robot.speeds == [0.0, 0.0]
