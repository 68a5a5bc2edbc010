"""Modules that stand in for ROS 2: they remember what was published, with which quality, and when it was ended."""

import sys
import threading
import types
from collections.abc import Callable
from enum import Enum
from types import SimpleNamespace
from typing import Any


class Policy(Enum):
    KEEP_LAST = 1
    RELIABLE = 2
    VOLATILE = 3
    TRANSIENT_LOCAL = 4


class Message:
    """Any message: fields that are there from the start, as rclpy's are."""

    def __init__(self) -> None:
        for name, make in type(self).fields.items():
            setattr(self, name, make())


def message(title: str, /, **fields: Callable[[], Any]) -> type:
    return type(title, (Message,), {"fields": fields})


Time = message("Time", sec=int, nanosec=int)
Header = message("Header", stamp=Time, frame_id=str)
Vector3 = message("Vector3", x=float, y=float, z=float)
Twist = message("Twist", linear=Vector3, angular=Vector3)
TwistStamped = message("TwistStamped", header=Header, twist=Twist)
Bool = message("Bool", data=bool)
JointState = message("JointState", name=list, position=list)
Point = message("JointTrajectoryPoint", positions=list, velocities=list, accelerations=list, effort=list)
Point.fields["time_from_start"] = Time
JointTrajectory = message("JointTrajectory", header=Header, joint_names=list, points=list)


class FakeRos:
    """What happened in ROS, in order."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.published: list[tuple[str, Any]] = []  # topic, message
        self.qualities: dict[str, Any] = {}
        self.subscriptions: list[tuple[type, str, Callable, Any]] = []
        self.now_ns = 1_700_000_000_000_000_005
        self.is_broken = False
        self.init_options: dict[str, Any] = {}
        self.ended = threading.Event()

    def say(self, topic: str, message: Any) -> None:
        """Somebody publishes: everybody who listens hears it."""
        for _, name, hear, _ in self.subscriptions:
            if name == topic:
                hear(message)

    def estop(self, is_set: bool) -> None:
        lock = Bool()
        lock.data = is_set
        self.say("/emergency_stop", lock)

    def install(self, monkeypatch: Any) -> None:
        """Put the modules where `import` finds them."""
        for name, values in self._modules().items():
            module = types.ModuleType(name)
            vars(module).update(values)
            monkeypatch.setitem(sys.modules, name, module)

    def _publisher(self, kind: type, topic: str, quality: Any) -> Any:
        self.qualities[topic] = quality

        def publish(message: Any) -> None:
            if self.is_broken:
                raise RuntimeError("context is not valid")
            assert type(message) is kind
            self.events.append("publish")
            self.published.append((topic, message))

        return SimpleNamespace(publish=publish)

    def _node(self, name: str, context: Any) -> Any:
        del name, context
        clock = SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=self.now_ns))
        return SimpleNamespace(
            create_publisher=self._publisher,
            create_subscription=lambda *values: self.subscriptions.append(values),
            get_clock=lambda: clock,
            destroy_node=lambda: self.events.append("destroy_node"),
        )

    def _executor(self, context: Any) -> Any:
        del context

        def shutdown(timeout_sec: float) -> None:
            self.events.append("shutdown executor")
            self.ended.set()

        return SimpleNamespace(add_node=lambda node: None, spin=self.ended.wait, shutdown=shutdown)

    def _init(self, **options: Any) -> None:
        self.init_options = options

    def _context(self) -> Any:
        return SimpleNamespace(try_shutdown=lambda: self.events.append("shutdown context"))

    def _modules(self) -> dict[str, dict[str, Any]]:
        return {
            "rclpy": {"init": self._init},
            "rclpy.context": {"Context": self._context},
            "rclpy.executors": {"SingleThreadedExecutor": self._executor},
            "rclpy.node": {"Node": self._node},
            "rclpy.signals": {"SignalHandlerOptions": SimpleNamespace(NO="no handlers")},
            "rclpy.qos": {
                "QoSProfile": SimpleNamespace,
                "HistoryPolicy": Policy,
                "ReliabilityPolicy": Policy,
                "DurabilityPolicy": Policy,
            },
            "std_msgs": {},
            "std_msgs.msg": {"Bool": Bool},
            "geometry_msgs": {},
            "geometry_msgs.msg": {"Twist": Twist, "TwistStamped": TwistStamped},
            "sensor_msgs": {},
            "sensor_msgs.msg": {"JointState": JointState},
            "trajectory_msgs": {},
            "trajectory_msgs.msg": {"JointTrajectory": JointTrajectory, "JointTrajectoryPoint": Point},
        }
