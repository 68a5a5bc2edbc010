"""One action vector for several robots: dimensions of one name are shared, the others stand beside them."""

import dataclasses
from collections.abc import Mapping

from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.errors import ConfigError


def renamed(space: ActionSpace, names: Mapping[str, str]) -> ActionSpace:
    """The space with other names for some of its dimensions.

    Raises:
        ConfigError: if there is no such dimension, or two get one name.
    """
    unknown = sorted(set(names) - set(space.names))
    if unknown:
        raise ConfigError(f"rename: there is no action dimension {unknown[0]!r}; there are {list(space.names)}")
    dimensions = tuple(dataclasses.replace(one, name=names.get(one.name, one.name)) for one in space.dimensions)
    return dataclasses.replace(space, dimensions=dimensions)


def union_space(spaces: Mapping[str, ActionSpace], robot: str) -> ActionSpace:
    """What a policy for all `spaces` predicts: the robot's dimensions first, then those that only others have.

    Every dataset is normalised by its own statistics, so ranges and scales ("m" and "0.02 m") may differ; meanings may
    not.

    Args:
        spaces: name of the dataset -> its action space, already renamed.
        robot: name of the dataset whose robot the policy is for.

    Raises:
        ConfigError: if dimensions of one name differ in unit or kind, or datasets that share a dimension differ in
            frame, rotation, or delta against absolute; names both and the way out.
    """
    own = spaces[robot]
    dimensions: dict[str, tuple[str, ActionDimension]] = {one.name: (robot, one) for one in own.dimensions}
    for name, space in spaces.items():
        for dimension in space.dimensions:
            first_name, first = dimensions.setdefault(dimension.name, (name, dimension))
            _check(first_name, spaces[first_name], first, name, space, dimension)
    with_gripper = next((space for space in (own, *spaces.values()) if space.gripper_dims), own)
    return dataclasses.replace(
        own, dimensions=tuple(one for _, one in dimensions.values()), gripper_opens=with_gripper.gripper_opens
    )


def _unit(dimension: ActionDimension) -> str:
    """What is measured, without the scale: "0.05 rad" is in rad."""
    return dimension.unit.rpartition(" ")[2]


def _check(
    one_name: str,
    one_space: ActionSpace,
    one: ActionDimension,
    other_name: str,
    other_space: ActionSpace,
    other: ActionDimension,
) -> None:
    pairs = {"unit": (_unit(one), _unit(other)), "kind": (one.kind, other.kind)}
    if one.kind != "gripper":
        fields = ("frame", "is_delta", "rotation")
        pairs |= {field: (getattr(one_space, field), getattr(other_space, field)) for field in fields}
    if "none" in pairs.get("rotation", ()):  # one of the robots does not turn: they share translations only
        del pairs["rotation"]
    for what, (first, second) in pairs.items():
        if first != second:
            raise ConfigError(
                f"action dimension {one.name!r} means two things: its {what} is {first!r} in {one_name} and {second!r} "
                f"in {other_name}; give one of them another name with data.mixture[…].rename"
            )
