"""The shield of an arm, in small numbers by hand."""

import math

import pytest

from robovlms.errors import SafetyError
from robovlms.robot.action import ActionType, RobotAction
from robovlms.robot.safety import JointCommand, JointLimits, JointShield, Reason

ARM = {
    "names": ["shoulder", "lift"],
    "position_low": [-1, 0],
    "position_high": [1, 0.4],
    "max_velocity": [1, 0.1],
    "max_acceleration": [2, 0.5],
}


@pytest.fixture
def shield():
    shield = JointShield(JointLimits.from_dict(ARM), (0.0, 0.2))
    shield.step((0.0, 0.2), 1.0, 0.0, 0.0)
    return shield


def test_speed_rises_by_acceleration_and_stays_below_its_limit(shield):
    places = [shield.step((1.0, 0.2), 1.0, 0.0, tick / 10).positions[0] for tick in range(1, 8)]
    steps = [after - before for before, after in zip([0.0, *places], places, strict=False)]
    assert steps == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1, 0.1, 0.1])


def test_hold_brakes_to_rest(shield):
    for tick in range(1, 4):
        shield.step((1.0, 0.2), 1.0, 0.0, tick / 10)
    places = [shield.hold(tick / 10).positions[0] for tick in range(4, 8)]
    assert places == pytest.approx([0.16, 0.18, 0.18, 0.18])


def test_a_target_out_of_range_is_told_and_approached_to_the_end_of_the_range(shield):
    for tick in range(1, 40):
        sent = shield.step((5.0, 0.2), 1.0, 0.0, tick / 10)
    assert sent == JointCommand((1.0, 0.2), None, (Reason.POSITION,))


def test_emergency_stop_freezes_what_was_sent_last(shield):
    for tick in range(1, 4):
        before = shield.step({"positions": (1.0, 0.2), "gripper": "close"}, 1.0, 0.0, tick / 10)
    shield.estop("pinched")
    assert shield.step((0.0, 0.2), 1.0, 0.0, 0.4) == JointCommand(before.positions, "close", (Reason.ESTOP,))
    assert shield.is_stopped
    assert shield.estop_reason == "pinched"
    shield.reset()
    assert shield.step((0.12, 0.2), 1.0, 0.0, 0.4).reasons == (Reason.WAITING,)
    assert shield.step((0.5, 0.2), 1.0, 0.0, 0.5).reasons == (Reason.START, Reason.WAITING)
    assert shield.step((0.13, 0.2), 1.0, 0.0, 0.6).positions[0] > before.positions[0]


def test_an_arm_that_was_moved_by_hand_starts_where_it_is(shield):
    shield.estop()
    shield.step((0.0, 0.2), 1.0, 0.0, 0.1)
    shield.reset()
    sent = shield.step((0.0, 0.2), 1.0, 0.0, 0.2, measured=(0.5, 0.2))
    assert sent == JointCommand((0.5, 0.2), None, (Reason.START, Reason.WAITING))
    assert shield.step((0.51, 0.2), 1.0, 0.0, 0.3, measured=(0.5, 0.2)).positions[0] > 0.5


def test_measured_joints_that_sag_are_not_followed(shield):
    arm = JointShield(JointLimits.from_dict(ARM))
    for tick in range(5):
        sent = arm.step(None, 1.0, 0.0, tick / 10, measured=(0.0, 0.2 - 0.01 * tick))
    assert sent.positions == (0.0, 0.2)


def test_a_joint_found_just_out_of_its_range_moves_into_it():
    arm = JointShield(JointLimits.from_dict(ARM), (1.03, 0.2))
    for tick in range(40):
        sent = arm.step((1.0, 0.2), 1.0, 0.0, tick / 10)
        assert sent.positions[0] <= 1.03
    assert sent.positions == (1.0, 0.2)
    assert JointShield(JointLimits.from_dict(ARM), (1.06, 0.2)).last.positions == ()


def test_nothing_is_sent_as_long_as_nobody_knows_where_the_joints_are():
    arm = JointShield(JointLimits.from_dict(ARM))
    assert arm.step((0.0, 0.2), 1.0, 0.0, 0.0) == JointCommand((), None, (Reason.START,))
    assert arm.hold(0.1) == JointCommand((), None, (Reason.HOLD,))
    arm.estop()
    assert arm.step((0.0, 0.2), 1.0, 0.0, 0.2) == JointCommand((), None, (Reason.ESTOP,))


def test_gripper_changes_with_good_commands_only(shield):
    states = [
        shield.step({"positions": (0.0, 0.2), "gripper": gripper}, confidence, 0.0, 0.1 * tick + 0.1).gripper
        for tick, (gripper, confidence) in enumerate(
            [(None, 1.0), ("close", 0.1), ("close", 1.0), (None, 1.0), ("open", math.nan), ("half", 1.0), ("open", 1.0)]
        )
    ]
    assert states == [None, None, "close", "close", "close", "close", "open"]


def test_a_stop_is_never_refused(shield):
    assert shield.step(RobotAction(ActionType.STOP), math.nan, math.inf, 0.1).reasons == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": []}, "names"),
        ({"names": ["a", "a"]}, "names"),
        ({"position_low": [0]}, r"position_low: expected 2 numbers \(shoulder, lift\)"),
        ({"position_low": [1, 0]}, "position_low, shoulder: must be below"),
        ({"position_high": [math.inf, 1]}, "position_high, shoulder"),
        ({"max_velocity": [0, 1]}, "max_velocity, shoulder"),
        ({"max_acceleration": [1, math.nan]}, "max_acceleration, lift"),
        ({"start_tolerance": 0}, "start_tolerance"),
        ({"gripper_repeats": 0}, "gripper_repeats"),
        ({"gripper_repeats": True}, "gripper_repeats"),
        ({"min_confidence": 2}, "min_confidence"),
        ({"max_speed": 2}, "unknown limit of the joints"),
    ],
)
def test_wrong_limits_are_refused_by_name(changes, message):
    with pytest.raises(SafetyError, match=message):
        JointLimits.from_dict({**ARM, **changes})


def test_limits_survive_a_file():
    limits = JointLimits.from_dict(ARM)
    assert limits.num_joints == 2
    assert JointLimits.from_dict(limits.to_dict()) == limits
