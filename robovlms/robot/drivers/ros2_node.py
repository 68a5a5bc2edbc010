"""The ROS 2 node of a driver: what it publishes, and the emergency stop that it listens to.

::

    /emergency_stop (std_msgs/Bool) ─ true ──> locked: at rest, and `on_estop` of the runtime, which latches
                                    ─ false ─> not locked; the runtime's latch stays until its own reset

The lock is meant to be published once and kept (transient local), so that a driver that starts later has it, too. A
subscription of that kind hears no publisher of the plain kind, so there is one of each; both need a reliable publisher,
which is ROS 2's default. Without `on_estop` the lock holds by itself: motion is refused as long as it is set.
"""

import threading
from collections.abc import Callable
from typing import Any

from robovlms.errors import MissingDependencyError, SafetyError

INSTALL_HINT = (
    "the ROS 2 drivers need 'rclpy', which comes with ROS 2 and not from pip; "
    "run: source /opt/ros/$ROS_DISTRO/setup.bash, and use the Python of that ROS"
)


class Ros2Node:
    """A node in a context of its own, so that neither Ctrl-C nor other ROS code of the process ends it before its time.

    Args:
        name: of the node.
        estop_topic: where the emergency stop is announced.
        on_estop: called with a text from the node's thread when it is; None if the lock is all there is.

    Raises:
        MissingDependencyError: if there is no ROS 2 for this Python.
    """

    def __init__(self, name: str, estop_topic: str, on_estop: Callable[[str], None] | None = None) -> None:
        try:
            import rclpy
            from rclpy.context import Context
            from rclpy.executors import SingleThreadedExecutor
            from rclpy.node import Node
            from rclpy.signals import SignalHandlerOptions
            from std_msgs.msg import Bool
        except ImportError:
            raise MissingDependencyError(INSTALL_HINT) from None
        self.on_estop = on_estop
        self.is_locked = False
        self._estop_topic = estop_topic
        self._context = Context()
        # rclpy's own handler would end the context at Ctrl-C, and with it the way for the last zero.
        rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self.node = Node(name, context=self._context)
        for is_kept in (False, True):
            self.node.create_subscription(Bool, estop_topic, self._hear_estop, quality(is_kept=is_kept))
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, name="ros2-node", daemon=True)
        self._thread.start()

    def now_ns(self) -> int:
        """The clock of ROS, ns."""
        return self.node.get_clock().now().nanoseconds

    def check(self) -> None:
        """Refuse to go on without ears.

        Raises:
            SafetyError: if the thread that listens for the emergency stop has ended.
        """
        if not self._thread.is_alive():
            raise SafetyError(f"ROS 2: nothing listens to {self._estop_topic} any more: the node's thread has ended")

    def check_lock(self) -> None:
        """Refuse motion while the lock is set.

        Raises:
            SafetyError: if it is.
        """
        if self.is_locked:
            raise SafetyError(f"ROS 2: emergency stop on {self._estop_topic}")

    def close(self) -> None:
        """End the thread, the node and its context; what was published before is on its way."""
        self._executor.shutdown(timeout_sec=1.0)
        self._thread.join(1.0)
        self.node.destroy_node()
        self._context.try_shutdown()

    def _hear_estop(self, message: Any) -> None:
        self.is_locked = bool(message.data)
        if self.is_locked and self.on_estop is not None:
            self.on_estop(f"emergency stop on {self._estop_topic}")


def quality(*, is_kept: bool = False) -> Any:
    """QoS of commands and locks: reliable, only the newest; kept for those who come later, or not."""
    from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if is_kept else DurabilityPolicy.VOLATILE,
    )
