"""The newest command wins, except that a stop is never overwritten."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from robovlms.robot.action import ActionType, RobotAction
from robovlms.robot.output.plain import from_plain, is_motion, to_plain
from robovlms.robot.output.slot import NewestSlot, Submission, observation_stamp
from robovlms.robot.safety.command import JointCommand, VelocityCommand

GO, FAST, STOP = (0.1, 0.0, 0.0), (0.2, 0.0, 0.0), (0.0, 0.0, 0.0)


def _submission(command: object, observed_at: float, received_at: float = 100.0) -> Submission:
    return Submission(command, 1.0, observed_at, received_at)


def test_the_newest_replaces_the_one_before():
    slot = NewestSlot("base")
    assert slot.take() is None
    assert slot.put(_submission(GO, 1.0))
    assert slot.put(_submission(FAST, 2.0))
    assert [slot.take().command, slot.take().command] == [FAST, FAST]


def test_an_older_observation_never_replaces_a_newer_one():
    slot = NewestSlot("base")
    slot.put(_submission(FAST, 2.0))
    assert not slot.put(_submission(GO, 1.9))
    assert slot.take().command == FAST
    assert slot.num_refused == 1


def test_a_stop_goes_out_before_the_motion_that_came_after_it():
    slot = NewestSlot("base")
    slot.put(_submission(STOP, 1.0))
    slot.put(_submission(GO, 2.0))
    assert [slot.take().command, slot.take().command] == [STOP, GO]


def test_a_stop_is_taken_however_old_what_it_follows_from():
    slot = NewestSlot("base")
    slot.put(_submission(GO, 5.0))
    assert slot.put(_submission(STOP, 1.0))
    assert [slot.take().command, slot.take().command] == [STOP, STOP]


def test_one_stamp_from_the_future_does_not_shut_out_the_rest():
    slot = NewestSlot("base")
    slot.put(_submission(GO, 1e9))
    assert slot.put(_submission(FAST, 99.9))
    assert slot.take().command == FAST


def test_after_clear_only_what_is_observed_later_counts():
    slot = NewestSlot("base")
    slot.put(_submission(GO, 5.0))
    slot.clear(10.0)
    assert slot.take() is None
    assert not slot.put(_submission(GO, 9.9))
    assert slot.put(_submission(GO, 10.1))


@given(st.lists(st.tuples(st.sampled_from([GO, FAST, STOP, None]), st.floats(0, 90)), min_size=1))
def test_no_stop_is_lost_and_observations_never_go_back(submissions):
    slot = NewestSlot("base")
    taken = [slot.put(_submission(*each)) for each in submissions]
    stops = [command for command, _ in submissions if command in (STOP, None)]
    assert (slot.take().command in (STOP, None)) == bool(stops)
    moved = [stamp for (command, stamp), was in zip(submissions, taken, strict=True) if was and command in (GO, FAST)]
    assert moved == sorted(moved)


def test_what_is_motion():
    moves = [GO, [0, 0, -1], VelocityCommand(0.1), RobotAction(ActionType.MOVE, 0.1), (np.float32(0.1), 0.0, 0.0)]
    stops = [STOP, None, "forward", (math.nan, 0.0, 0.0), (True, 0.0, 0.0), ("1", 0, 0), (), VelocityCommand()]
    stops += [RobotAction(ActionType.STOP, 0.5), JointCommand((0.1,)), (10**400, 0, 0), {"x": 1}, object()]
    assert [is_motion(command, "base") for command in moves] == [True] * len(moves)
    assert [is_motion(command, "base") for command in stops] == [False] * len(stops)
    assert is_motion(JointCommand((0.0,)), "arm")
    assert is_motion([0.0, 0.1], "arm")
    for stop in ("home", (), None, (math.nan, 0.0), RobotAction(ActionType.STOP), VelocityCommand(0.1)):
        assert not is_motion(stop, "arm")


def test_plain_values_come_back():
    assert from_plain(to_plain(GO, "base")) == GO
    assert from_plain(to_plain(VelocityCommand(0.1, 0.2, 0.3), "base")) == (0.1, 0.2, 0.3)
    assert math.isnan(from_plain(to_plain((math.nan, 0, 0), "base"))[0])
    arm = JointCommand((0.1, 0.2), "open")
    assert from_plain(to_plain(arm, "arm")) == arm
    for broken in (
        [0.1, 0.2],
        {"positions": [0.1]},
        {"positions": [0.1], "gripper": "up"},
        "x",
        [None],
        {"a": 1},
        3,
        [0.1] * 65,
    ):
        assert from_plain(broken) is None


def test_a_stamp_is_a_number_or_nan():
    assert observation_stamp(2) == 2.0
    assert all(math.isnan(observation_stamp(value)) for value in (None, "2", True, 10**400))
