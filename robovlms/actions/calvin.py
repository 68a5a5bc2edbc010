"""The action spaces of CALVIN.

Source: Mees et al., "CALVIN: A Benchmark for Language-Conditioned Policy Learning", 2022, section III-B, and
https://github.com/mees/calvin, dataset/README.md.
"""

import math

from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.errors import ConfigError, unknown_name

_POSE = ("x", "y", "z", "roll", "pitch", "yaw")
_GRIPPER = ActionDimension(name="gripper", unit="1", low=-1.0, high=1.0, kind="gripper")
_CONTROL_HZ = 30.0
# Where the arm stands in all four scenes, m, and how far its tcp gets from there: a Panda's 0.855 m and the hand.
_ROBOT_BASE = (-0.34, -0.46, 0.24)
_REACH = 1.0


def calvin_action_space(action: str = "rel_actions", tcp_frame: bool = False) -> ActionSpace:
    """Return what the seven numbers of an action are.

    Args:
        action: "rel_actions", relative in CALVIN's scaled units, or "actions", the pose to reach.
        tcp_frame: relative to the tcp instead of the world, see `robovlms.actions.pose`.

    Raises:
        ConfigError: if the action is unknown, or a pose to reach should be relative to the tcp.
    """
    if action not in ("rel_actions", "actions"):
        raise ConfigError(unknown_name("action", action, ["rel_actions", "actions"]))
    if action == "actions" and tcp_frame:
        raise ConfigError("action is 'actions', a pose in the world, and tcp_frame is true; it needs 'rel_actions'")
    arm = [
        ActionDimension(name=name, unit=unit, low=low, high=high)
        for name, (unit, low, high) in zip(_POSE, _limits(action, tcp_frame), strict=True)
    ]
    return ActionSpace(
        dimensions=(*arm, _GRIPPER),
        frame="tcp" if tcp_frame else "world",
        is_delta=action == "rel_actions",
        rotation="euler_xyz",
        gripper_opens="positive",
        control_hz=_CONTROL_HZ,
    )


def _limits(action: str, tcp_frame: bool) -> list[tuple[str, float, float]]:
    """Unit, smallest and largest value of each number of the pose."""
    if action == "actions":
        position = [("m", base - _REACH, base + _REACH) for base in _ROBOT_BASE]
        return [*position, *[("rad", -math.pi, math.pi)] * 3]
    if not tcp_frame:
        return [("0.02 m", -1.0, 1.0)] * 3 + [("0.05 rad", -1.0, 1.0)] * 3
    # Seen from the tcp, a corner of the box ±1 may lie on an axis. Where the tcp's Euler angles (a, b, c) change at
    # rates of ±1, it turns about its own x, and likewise y, with at most |cos b cos c| + |sin c|; z: |sin b| + 1.
    turns = [("0.05 rad", -limit, limit) for limit in (math.sqrt(2), math.sqrt(2), 2.0)]
    return [("0.02 m", -math.sqrt(3), math.sqrt(3))] * 3 + turns
