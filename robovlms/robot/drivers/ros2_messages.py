"""What the ROS 2 drivers say, as plain values: no ROS is needed to build or to test it.

::

    command ─ twist_stamped / twist / joint_trajectory ─> {field: value, …} ─ fill ─> a message of rclpy

Frames and units are those of ROS REP-103 (https://www.ros.org/reps/rep-0103.html): x forward, y left, z up, positive
yaw to the left; m, rad, s. Every number is set, so nothing of a message before stays in one that is used again.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from robovlms.errors import SafetyError
from robovlms.robot.safety.command import VelocityCommand

Values = dict[str, Any]


def twist(command: VelocityCommand) -> Values:
    """Fields of a geometry_msgs/msg/Twist: all six numbers, m/s and rad/s.

    >>> twist(VelocityCommand(0.1, 0.0, -0.5))["angular"]
    {'x': 0.0, 'y': 0.0, 'z': -0.5}

    Raises:
        SafetyError: if a number is not finite.
    """
    if not all(map(math.isfinite, command.velocity)):
        raise SafetyError(f"velocity: expected finite numbers, got {command.velocity}")
    x, y, yaw = command.velocity
    return {"linear": {"x": x, "y": y, "z": 0.0}, "angular": {"x": 0.0, "y": 0.0, "z": yaw}}


def twist_stamped(command: VelocityCommand, frame: str, now_ns: int) -> Values:
    """Fields of a geometry_msgs/msg/TwistStamped.

    Args:
        command: m/s, rad/s.
        frame: in which it is meant.
        now_ns: on the clock of ROS, ns.

    Raises:
        SafetyError: if a number is not finite.
    """
    return {"header": {"stamp": time_values(now_ns), "frame_id": frame}, "twist": twist(command)}


def time_values(nanoseconds: int) -> Values:
    """Fields of a builtin_interfaces/msg/Time or Duration.

    >>> time_values(1_500_000_000)
    {'sec': 1, 'nanosec': 500000000}
    """
    seconds, rest = divmod(nanoseconds, 10**9)
    return {"sec": seconds, "nanosec": rest}


def joint_trajectory(joint_names: Sequence[str], points: Sequence[tuple[float, Sequence[float]]]) -> Values:
    """Fields of a trajectory_msgs/msg/JointTrajectory that begins when it arrives (its stamp is zero).

    Args:
        joint_names: in the order of the positions.
        points: (time from the start in s, one position for each joint in rad or m).

    Raises:
        SafetyError: if a name comes twice, a length is wrong, a number is not finite, or a time is not above the one
            before.
    """
    if not joint_names or len(set(joint_names)) != len(joint_names):
        raise SafetyError(f"trajectory: expected different joints, at least one, got {list(joint_names)}")
    if not points:
        raise SafetyError("trajectory: expected at least one point, got none")
    before_ns = -1
    for time_s, positions in points:
        if len(positions) != len(joint_names):
            raise SafetyError(f"trajectory: expected {len(joint_names)} positions, got {len(positions)}")
        if not all(map(math.isfinite, [time_s, *positions])):
            raise SafetyError(f"trajectory: expected finite numbers, got {list(positions)} at {time_s} s")
        if _to_ns(time_s) <= before_ns:
            raise SafetyError(f"trajectory: expected increasing times from 0, got {[time for time, _ in points]} s")
        before_ns = _to_ns(time_s)
    return {
        "header": {"stamp": time_values(0), "frame_id": ""},
        "joint_names": list(joint_names),
        "points": [_point(time_s, positions) for time_s, positions in points],
    }


def check_near(
    what: str, positions: Sequence[float], measured: Sequence[float], names: Sequence[str], by: float
) -> None:
    """Refuse positions that are not near where the joints are.

    Args:
        what: is checked.
        positions: one for each joint, rad or m.
        measured: where they are.
        names: of the joints.
        by: largest distance, rad or m.

    Raises:
        SafetyError: naming the first joint that is further away.
    """
    for name, position, is_at in zip(names, positions, measured, strict=True):
        if not abs(position - is_at) <= by:  # NaN is not
            raise SafetyError(f"{what} of {name}: expected within {by:g} of where it is ({is_at:g}), got {position:g}")


def fill(message: Any, values: Mapping[str, Any], item_types: Mapping[str, Any]) -> Any:
    """Set every field of a message; return it.

    Args:
        message: of any ROS client library whose messages have attributes.
        values: field -> value; a mapping for a message inside it, a list of mappings for a sequence of messages.
        item_types: field -> class of the messages in a sequence.
    """
    for name, value in values.items():
        if isinstance(value, Mapping):
            fill(getattr(message, name), value, item_types)
        elif name in item_types:
            setattr(message, name, [fill(item_types[name](), item, item_types) for item in value])
        else:
            setattr(message, name, value)
    return message


def _point(time_s: float, positions: Sequence[float]) -> Values:
    numbers = [float(position) for position in positions]
    start = time_values(_to_ns(time_s))
    return {"positions": numbers, "velocities": [], "accelerations": [], "effort": [], "time_from_start": start}


def _to_ns(time_s: float) -> int:
    return round(time_s * 1e9)
