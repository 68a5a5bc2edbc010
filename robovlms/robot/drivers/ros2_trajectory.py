"""Joint positions to a ROS 2 arm, for a joint_trajectory_controller.

One command makes one trajectory of two points, which replaces the one before::

    t = 0          where the arm was sent to last (at first: where it is)      both within `tolerance` of where
    t = period_s   where it should be at the next tick                         /joint_states says that it is

Source: https://control.ros.org/rolling/doc/ros2_controllers/joint_trajectory_controller/doc/userdoc.html; a stamp of
zero means "begin now".
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

from robovlms.errors import ConfigError, SafetyError
from robovlms.robot.drivers.base import Driver
from robovlms.robot.drivers.ros2_messages import check_near, fill, joint_trajectory
from robovlms.robot.drivers.ros2_node import Ros2Node, quality
from robovlms.robot.safety.command import Command, JointCommand


class Ros2TrajectoryDriver(Driver):
    """Publishes trajectory_msgs/JointTrajectory: reliable, depth 1, volatile.

    Args:
        joints: names, in the order of the shield's limits.
        period_s: time between two commands, s: 1 / `output.rate_hz`.
        topic: of the arm's controller.
        tolerance: how far a command may be from where a joint is, rad or m.
        max_state_age_s: older /joint_states are none, s.
        state_topic: sensor_msgs/JointState, where the joints are.
        gripper_topic: of the gripper's controller, which gets one trajectory when the gripper is to change; None if
            there is no gripper.
        gripper_joint: its name.
        gripper_open: its position when open, m or rad.
        gripper_closed: its position when closed, m or rad.
        gripper_time_s: how long it takes, s.
        estop_topic: std_msgs/Bool; while it is true, the arm stays where it was sent to last.
        node_name: of the ROS node.
        on_estop: called with a text when the emergency stop is announced, for the runtime to latch.

    Raises:
        ConfigError: if there are no joints, or a time or the tolerance is not positive.
        MissingDependencyError: if there is no ROS 2 for this Python.
    """

    body = "arm"

    def __init__(
        self,
        joints: Sequence[str],
        period_s: float,
        topic: str = "/joint_trajectory_controller/joint_trajectory",
        tolerance: float = 0.1,
        max_state_age_s: float = 0.5,
        state_topic: str = "/joint_states",
        gripper_topic: str | None = None,
        gripper_joint: str = "gripper",
        gripper_open: float = 0.04,
        gripper_closed: float = 0.0,
        gripper_time_s: float = 1.0,
        estop_topic: str = "/emergency_stop",
        node_name: str = "robovlms_arm",
        on_estop: Callable[[str], None] | None = None,
    ) -> None:
        if not joints or len(set(joints)) != len(joints):
            raise ConfigError(f"driver ros2_trajectory: expected different joints, at least one, got {list(joints)}")
        for name, value in (("period_s", period_s), ("tolerance", tolerance), ("gripper_time_s", gripper_time_s)):
            if not 0 < value < float("inf"):
                raise ConfigError(f"driver ros2_trajectory: {name} must be positive, got {value}")
        self._ros = Ros2Node(node_name, estop_topic, on_estop)
        from sensor_msgs.msg import JointState
        from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

        self._joints, self._period_s, self._tolerance = tuple(joints), period_s, tolerance
        self._max_state_age_s = max_state_age_s
        self._gripper_positions = {"open": gripper_open, "close": gripper_closed}
        self._gripper_joint, self._gripper_time_s = gripper_joint, gripper_time_s
        self._message_type, self._item_types = JointTrajectory, {"points": JointTrajectoryPoint}
        self._state: tuple[float, dict[str, float]] | None = None  # monotonic time, joint -> position
        self._last: tuple[float, ...] | None = None
        self._last_gripper: str | None = None
        self._arm = self._ros.node.create_publisher(JointTrajectory, topic, quality())
        self._gripper = gripper_topic and self._ros.node.create_publisher(JointTrajectory, gripper_topic, quality())
        self._ros.node.create_subscription(JointState, state_topic, self._hear_state, quality())

    @property
    def on_estop(self) -> Callable[[str], None] | None:
        """Called with a text, from the node's thread, when the emergency stop is announced."""
        return self._ros.on_estop

    @on_estop.setter
    def on_estop(self, call: Callable[[str], None] | None) -> None:
        self._ros.on_estop = call

    def send(self, command: Command) -> None:
        """Publish where the arm should be at the next tick.

        Raises:
            SafetyError: if these are no positions of these joints, if they are not near where the joints are or
                nothing says where they are, if the emergency stop is set, or if ROS does not take it.
        """
        if not isinstance(command, JointCommand):
            raise SafetyError(f"an arm takes positions of joints, got {type(command).__name__}")
        self._ros.check()
        if self._last != command.positions:
            self._ros.check_lock()
        measured = self._measured()
        start = self._last or measured
        values = joint_trajectory(self._joints, [(0.0, start), (self._period_s, command.positions)])
        check_near("start", start, measured, self._joints, self._tolerance)
        check_near("position", command.positions, measured, self._joints, self._tolerance)
        self._publish(self._arm, values)
        self._last = command.positions
        self._move_gripper(command.gripper)

    def close(self) -> None:
        """End the node; the last trajectory ends at rest where the arm was sent to last."""
        self._ros.close()

    def _move_gripper(self, gripper: str | None) -> None:
        if gripper is None or gripper == self._last_gripper:
            return
        self._ros.check_lock()
        if self._gripper is None or gripper not in self._gripper_positions:
            raise SafetyError(f"gripper: expected open or close and a gripper_topic, got {gripper!r}")
        points = [(self._gripper_time_s, [self._gripper_positions[gripper]])]
        self._publish(self._gripper, joint_trajectory([self._gripper_joint], points))
        self._last_gripper = gripper

    def _measured(self) -> tuple[float, ...]:
        """Where the joints are; positions from before the last command that failed are no start for the next."""
        if self._state is None or time.monotonic() - self._state[0] > self._max_state_age_s:
            self._last = None
            raise SafetyError(f"nothing has said for {self._max_state_age_s:g} s where the joints are")
        positions = self._state[1]
        missing = [name for name in self._joints if name not in positions]
        if missing:
            raise SafetyError(f"joint {missing[0]!r} is not among those of the arm: {', '.join(sorted(positions))}")
        return tuple(positions[name] for name in self._joints)

    def _hear_state(self, message: Any) -> None:
        self._state = time.monotonic(), dict(zip(message.name, map(float, message.position), strict=False))

    def _publish(self, publisher: Any, values: dict[str, Any]) -> None:
        try:
            publisher.publish(fill(self._message_type(), values, self._item_types))
        except Exception as error:  # rclpy raises several kinds, among them RuntimeError and its own
            raise SafetyError(f"ROS 2 did not take the trajectory: {type(error).__name__}: {error}") from error
