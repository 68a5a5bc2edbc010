import dataclasses

import pytest

from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.actions.union import renamed, union_space
from robovlms.errors import ConfigError


def space(names: str, *, gripper: bool = False, unit: str = "m", high: float = 1.0, **changes: object) -> ActionSpace:
    arm = [ActionDimension(name=name, unit=unit, low=-high, high=high) for name in names]
    grippers = [ActionDimension(name="gripper", unit="1", low=0.0, high=1.0, kind="gripper")] if gripper else []
    settings = {"frame": "world", "is_delta": True, "control_hz": 10.0} | changes
    settings |= {"gripper_opens": settings.get("gripper_opens", "positive" if gripper else "none")}
    return ActionSpace(dimensions=(*arm, *grippers), **settings)


def test_the_robots_numbers_come_first() -> None:
    union = union_space({"b": space("zx", gripper=True), "a": space("xy")}, "a")
    assert union.names == ("x", "y", "z", "gripper")
    assert union.gripper_opens == "positive"
    assert union.control_hz == 10.0


def test_alike_robots_share_everything() -> None:
    own = space("xy", gripper=True)
    other = space("xy", gripper=True, high=0.02, control_hz=3.0, gripper_opens="negative")
    assert union_space({"a": own, "b": other}, "a") == own


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (space("xy", unit="rad"), r"'x' means two things: its unit is 'm' in a and 'rad' in b.*rename"),
        (space("xy", is_delta=False), "is_delta is True in a and False in b"),
        (space("yz", frame="tcp"), "'y' means two things: its frame is 'world' in a and 'tcp' in b"),
        (space("x", rotation="axis_angle"), "rotation is 'euler_xyz' in a and 'axis_angle' in b"),
    ],
)
def test_one_name_means_one_thing(other: ActionSpace, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        union_space({"a": space("xy", rotation="euler_xyz"), "b": other}, "a")


def test_scales_may_differ_and_a_robot_that_does_not_turn_shares_translations() -> None:
    own = space("xy", rotation="euler_xyz")
    assert union_space({"a": own, "b": space("x", unit="0.02 m"), "c": space("y", unit="scaled m")}, "a") == own


def test_what_is_not_shared_may_differ() -> None:
    other = space("uv", is_delta=False, frame="base")
    assert union_space({"a": space("xy", gripper=True), "b": other}, "a").names == ("x", "y", "gripper", "u", "v")
    grippers = dataclasses.replace(space("u", gripper=True), frame="tcp")
    assert union_space({"a": space("xy", gripper=True), "b": grippers}, "a").names == ("x", "y", "gripper", "u")


def test_renamed() -> None:
    assert renamed(space("xy"), {"x": "base_x"}).names == ("base_x", "y")
    with pytest.raises(ConfigError, match=r"no action dimension 'z'; there are \['x', 'y'\]"):
        renamed(space("xy"), {"z": "w"})
    with pytest.raises(ConfigError, match="unique names"):
        renamed(space("xy"), {"x": "y"})
