"""The ROS 2 drivers against a ROS that is not there."""

import sys
import time
from typing import Any

import pytest
from robot.drivers.fake_ros2 import FakeRos, JointState, Policy

from robovlms.errors import ConfigError, MissingDependencyError, SafetyError
from robovlms.robot.drivers import open_driver
from robovlms.robot.drivers.ros2_trajectory import Ros2TrajectoryDriver
from robovlms.robot.drivers.ros2_twist import Ros2TwistDriver
from robovlms.robot.safety.command import JointCommand, VelocityCommand

GO = VelocityCommand(0.25, -0.1, 0.5)
HERE = (0.1, -0.2)


@pytest.fixture
def ros(monkeypatch: pytest.MonkeyPatch) -> FakeRos:
    ros = FakeRos()
    ros.install(monkeypatch)
    yield ros
    ros.ended.set()


def velocities(ros: FakeRos) -> list[tuple[float, ...]]:
    twists = [getattr(message, "twist", message) for _, message in ros.published]
    return [(t.linear.x, t.linear.y, t.linear.z, t.angular.x, t.angular.y, t.angular.z) for t in twists]


def say_where(ros: FakeRos, positions: tuple[float, ...] = HERE, names: tuple[str, ...] = ("a", "b")) -> None:
    state = JointState()
    state.name, state.position = list(names), list(positions)
    ros.say("/joint_states", state)


def arm(**options: Any) -> Ros2TrajectoryDriver:
    return Ros2TrajectoryDriver(joints=["a", "b"], period_s=0.02, topic="/arm", **options)


@pytest.mark.parametrize("name", ["ros2_twist", "ros2_trajectory"])
def test_without_ros_one_line_says_how_to_get_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rclpy", None)
    options = {"joints": ["a"], "period_s": 0.02} if name == "ros2_trajectory" else {}
    with pytest.raises(MissingDependencyError, match="source /opt/ros/") as error:
        open_driver(name, options)
    assert "\n" not in str(error.value)


def test_importing_the_drivers_needs_no_ros() -> None:
    assert "rclpy" not in sys.modules


def test_a_velocity_is_published_with_stamp_and_frame(ros: FakeRos) -> None:
    driver = open_driver("ros2_twist", {})
    driver.send(GO)
    ((topic, message),) = ros.published
    assert topic == "/cmd_vel_vla"
    assert type(message).__name__ == "TwistStamped"
    assert message.header.frame_id == "base_link"
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1_700_000_000, 5)
    assert velocities(ros) == [(0.25, -0.1, 0.0, 0.0, 0.0, 0.5)]
    driver.close()


def test_a_plain_twist_is_an_option(ros: FakeRos) -> None:
    driver = Ros2TwistDriver(topic="/other", stamped=False)
    driver.send(GO)
    assert ros.published[0][0] == "/other"
    assert type(ros.published[0][1]).__name__ == "Twist"
    assert velocities(ros) == [(0.25, -0.1, 0.0, 0.0, 0.0, 0.5)]
    driver.close()


def test_commands_are_reliable_newest_only_and_not_kept(ros: FakeRos) -> None:
    driver = Ros2TwistDriver()
    quality = ros.qualities["/cmd_vel_vla"]
    assert (quality.history, quality.depth) == (Policy.KEEP_LAST, 1)
    assert (quality.reliability, quality.durability) == (Policy.RELIABLE, Policy.VOLATILE)
    driver.close()


def test_a_lock_is_heard_from_publishers_of_both_kinds(ros: FakeRos) -> None:
    driver = Ros2TwistDriver()
    heard = [quality.durability for kind, topic, _, quality in ros.subscriptions if topic == "/emergency_stop"]
    assert heard == [Policy.VOLATILE, Policy.TRANSIENT_LOCAL]
    driver.close()


def test_ctrl_c_does_not_take_the_way_for_the_last_zero(ros: FakeRos) -> None:
    driver = Ros2TwistDriver()
    assert ros.init_options["signal_handler_options"] == "no handlers"
    assert ros.init_options["context"] is not None  # its own
    driver.close()
    assert ros.published == []  # a driver that was only looked at says nothing


def test_zero_is_the_last_thing_before_the_end(ros: FakeRos) -> None:
    driver = Ros2TwistDriver()
    driver.send(GO)
    driver.close()
    assert velocities(ros)[-1] == (0.0,) * 6
    assert ros.events == ["publish", "publish", "shutdown executor", "destroy_node", "shutdown context"]


def test_the_node_is_ended_even_if_zero_cannot_be_published(ros: FakeRos) -> None:
    driver = Ros2TwistDriver()
    driver.send(GO)
    ros.is_broken = True
    with pytest.raises(SafetyError, match="context is not valid"):
        driver.close()
    assert ros.events[-1] == "shutdown context"


def test_the_emergency_stop_reaches_the_runtime_and_holds_by_itself(ros: FakeRos) -> None:
    told: list[str] = []
    driver = Ros2TwistDriver(on_estop=told.append)
    driver.send(GO)
    ros.estop(True)
    assert len(told) == 2  # one for each subscription; pressing twice is pressing
    assert "/emergency_stop" in told[0]
    with pytest.raises(SafetyError, match="emergency stop"):
        driver.send(GO)
    driver.send(VelocityCommand())  # at rest is never refused
    assert velocities(ros)[1:] == [(0.0,) * 6] * 2
    ros.estop(False)
    assert len(told) == 2
    driver.send(GO)
    assert velocities(ros)[-1][0] == 0.25
    driver.close()


def test_who_is_told_may_be_named_later(ros: FakeRos) -> None:
    driver, told = Ros2TwistDriver(), []
    driver.on_estop = told.append
    ros.estop(True)
    assert told
    driver.close()


@pytest.mark.parametrize("make", [Ros2TwistDriver, arm])
def test_without_ears_nothing_is_driven(make: Any, ros: FakeRos) -> None:
    driver = make()
    say_where(ros)
    ros.ended.set()  # the thread that listens ends
    driver._ros._thread.join(5.0)
    with pytest.raises(SafetyError, match="nothing listens"):
        driver.send(GO if make is Ros2TwistDriver else JointCommand(HERE))
    driver.close()


def test_what_ros_does_not_take_is_a_safety_error(ros: FakeRos) -> None:
    driver = Ros2TwistDriver()
    ros.is_broken = True
    with pytest.raises(SafetyError, match="RuntimeError"):
        driver.send(GO)
    ros.is_broken = False
    driver.close()


@pytest.mark.parametrize("velocity", [(float("nan"), 0.0, 0.0), (0.0, 0.0, float("inf"))])
def test_what_is_not_finite_is_not_published(velocity: tuple[float, ...], ros: FakeRos) -> None:
    driver = Ros2TwistDriver()
    with pytest.raises(SafetyError, match="finite"):
        driver.send(VelocityCommand(*velocity))
    assert ros.published == []
    driver.close()


def test_each_driver_takes_its_own_commands(ros: FakeRos) -> None:
    base, manipulator = Ros2TwistDriver(), arm()
    with pytest.raises(SafetyError, match="velocities"):
        base.send(JointCommand((0.0,)))
    with pytest.raises(SafetyError, match="positions"):
        manipulator.send(GO)
    assert (base.body, manipulator.body) == ("base", "arm")
    base.close()
    manipulator.close()


# ---------------------------------------------------------------------------------------------------------------- arm


def points(message: Any) -> list[tuple[list[float], tuple[int, int]]]:
    return [(p.positions, (p.time_from_start.sec, p.time_from_start.nanosec)) for p in message.points]


def test_a_trajectory_goes_from_where_the_arm_is_to_the_next_tick(ros: FakeRos) -> None:
    driver = arm()
    say_where(ros)
    driver.send(JointCommand((0.11, -0.2)))
    driver.send(JointCommand((0.12, -0.2)))
    (topic, first), (_, second) = ros.published
    assert topic == "/arm"
    assert first.joint_names == ["a", "b"]
    assert (first.header.stamp.sec, first.header.stamp.nanosec) == (0, 0)  # begin now
    assert points(first) == [([0.1, -0.2], (0, 0)), ([0.11, -0.2], (0, 20_000_000))]
    assert points(second) == [([0.11, -0.2], (0, 0)), ([0.12, -0.2], (0, 20_000_000))]
    assert ros.qualities["/arm"].durability is Policy.VOLATILE
    driver.close()


def test_joints_are_found_by_name_in_any_order(ros: FakeRos) -> None:
    driver = arm()
    say_where(ros, (9.0, -0.2, 0.1), ("gripper", "b", "a"))
    driver.send(JointCommand((0.11, -0.2)))
    assert points(ros.published[0][1])[0][0] == [0.1, -0.2]
    driver.close()


@pytest.mark.parametrize(
    ("positions", "text"),
    [((0.21, -0.2), "position of a"), ((0.1, -0.301), "position of b"), ((0.1,), "2 positions, got 1")],
)
def test_a_position_far_from_the_arm_is_refused(positions: tuple[float, ...], text: str, ros: FakeRos) -> None:
    driver = arm()
    say_where(ros)
    with pytest.raises(SafetyError, match=text):
        driver.send(JointCommand(positions))
    assert ros.published == []
    driver.close()


def test_an_arm_that_does_not_follow_is_driven_no_further(ros: FakeRos) -> None:
    driver = arm()
    say_where(ros)
    driver.send(JointCommand((0.19, -0.2)))
    say_where(ros, (0.05, -0.2))  # it went back: where it was sent to is 0.14 away
    with pytest.raises(SafetyError, match="start of a"):
        driver.send(JointCommand((0.1, -0.2)))
    driver.close()


def test_an_arm_that_says_nothing_is_not_driven(ros: FakeRos, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = arm()
    with pytest.raises(SafetyError, match="where the joints are"):
        driver.send(JointCommand(HERE))
    say_where(ros)
    driver.send(JointCommand(HERE))
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 0.6)
    with pytest.raises(SafetyError, match=r"for 0.5 s"):
        driver.send(JointCommand(HERE))
    monkeypatch.undo()
    say_where(ros, (0.1,), ("a",))
    with pytest.raises(SafetyError, match="'b' is not among"):
        driver.send(JointCommand(HERE))
    driver.close()


def test_the_emergency_stop_keeps_an_arm_where_it_is(ros: FakeRos) -> None:
    told: list[str] = []
    driver = arm(on_estop=told.append)
    say_where(ros)
    driver.send(JointCommand((0.11, -0.2)))
    ros.estop(True)
    assert told
    with pytest.raises(SafetyError, match="emergency stop"):
        driver.send(JointCommand((0.12, -0.2)))
    driver.send(JointCommand((0.11, -0.2)))  # to stay is never refused
    assert len(ros.published) == 2
    driver.close()


def test_the_gripper_moves_once_for_each_change(ros: FakeRos) -> None:
    driver = arm(gripper_topic="/gripper", gripper_joint="finger", gripper_open=0.08)
    say_where(ros)
    for gripper in (None, "open", "open", None, "close"):
        driver.send(JointCommand(HERE, gripper))
    moved = [message for topic, message in ros.published if topic == "/gripper"]
    assert [points(message) for message in moved] == [[([0.08], (1, 0))], [([0.0], (1, 0))]]
    assert moved[0].joint_names == ["finger"]
    driver.close()


def test_an_arm_without_a_gripper_refuses_to_move_one(ros: FakeRos) -> None:
    driver = arm()
    say_where(ros)
    with pytest.raises(SafetyError, match="gripper"):
        driver.send(JointCommand(HERE, "open"))
    driver.close()


@pytest.mark.parametrize(
    "options",
    [{"joints": []}, {"joints": ["a", "a"]}, {"period_s": 0.0}, {"tolerance": float("nan")}, {"gripper_time_s": -1.0}],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], ros: FakeRos) -> None:
    with pytest.raises(ConfigError, match="ros2_trajectory"):
        open_driver("ros2_trajectory", {"joints": ["a"], "period_s": 0.02, **options})
