"""Velocities to a ROS 2 base.

::

    this driver ─ /cmd_vel_vla ─> twist_mux ─ /cmd_vel ─> base controller
    joystick ──── /cmd_vel_joy ──────┘ higher priority

Never publish straight to /cmd_vel: twist_mux (https://github.com/ros-teleop/twist_mux) lets a person with a joystick
win, and stops the base when this program falls silent. An entry for it::

    topics:
      vla: {topic: /cmd_vel_vla, timeout: 0.5, priority: 10}
    locks:
      estop: {topic: /emergency_stop, timeout: 0.0, priority: 255}
"""

from collections.abc import Callable

from robovlms.errors import SafetyError
from robovlms.robot.drivers.base import Driver
from robovlms.robot.drivers.ros2_messages import fill, twist, twist_stamped
from robovlms.robot.drivers.ros2_node import Ros2Node, quality
from robovlms.robot.safety.command import Command, VelocityCommand


class Ros2TwistDriver(Driver):
    """Publishes geometry_msgs/TwistStamped, or Twist: reliable, depth 1, volatile.

    Args:
        topic: where to.
        frame: in which the velocity is meant.
        stamped: False for a plain Twist, which older controllers take.
        estop_topic: std_msgs/Bool; while it is true, only zero is published.
        node_name: of the ROS node.
        on_estop: called with a text when the emergency stop is announced, for the runtime to latch.

    Raises:
        MissingDependencyError: if there is no ROS 2 for this Python.
    """

    body = "base"

    def __init__(
        self,
        topic: str = "/cmd_vel_vla",
        frame: str = "base_link",
        stamped: bool = True,
        estop_topic: str = "/emergency_stop",
        node_name: str = "robovlms_base",
        on_estop: Callable[[str], None] | None = None,
    ) -> None:
        self._ros = Ros2Node(node_name, estop_topic, on_estop)
        from geometry_msgs.msg import Twist, TwistStamped

        self._frame, self._is_stamped, self._has_sent = frame, stamped, False
        self._message_type = TwistStamped if stamped else Twist
        self._publisher = self._ros.node.create_publisher(self._message_type, topic, quality())

    @property
    def on_estop(self) -> Callable[[str], None] | None:
        """Called with a text, from the node's thread, when the emergency stop is announced."""
        return self._ros.on_estop

    @on_estop.setter
    def on_estop(self, call: Callable[[str], None] | None) -> None:
        self._ros.on_estop = call

    def send(self, command: Command) -> None:
        """Publish one velocity; zero while the emergency stop is set.

        Raises:
            SafetyError: if it is no velocity of finite numbers, if it is motion that the emergency stop forbids, or
                if ROS does not take it.
        """
        if not isinstance(command, VelocityCommand):
            raise SafetyError(f"a base takes velocities, got {type(command).__name__}")
        is_refused = self._ros.is_locked and any(command.velocity)
        self._publish(VelocityCommand() if is_refused else command)
        self._ros.check()
        if is_refused:
            self._ros.check_lock()

    def close(self) -> None:
        """Publish zero if anything was published, then end the node."""
        try:
            if self._has_sent:
                self._publish(VelocityCommand())
        finally:
            self._ros.close()

    def _publish(self, command: VelocityCommand) -> None:
        self._has_sent = True
        values = twist_stamped(command, self._frame, self._ros.now_ns()) if self._is_stamped else twist(command)
        try:
            self._publisher.publish(fill(self._message_type(), values, {}))
        except Exception as error:  # rclpy raises several kinds, among them RuntimeError and its own
            raise SafetyError(f"ROS 2 did not take the velocity: {type(error).__name__}: {error}") from error
