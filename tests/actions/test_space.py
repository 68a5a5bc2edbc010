import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.errors import ConfigError

ARM = ActionDimension(name="x", unit="m", low=-0.5, high=1.0)
GRIPPER = ActionDimension(name="gripper", unit="1", low=-1.0, high=1.0, kind="gripper")


def space(*dimensions: ActionDimension, **changes: Any) -> ActionSpace:
    opens = "positive" if GRIPPER in dimensions else "none"
    arguments = {"frame": "tcp", "is_delta": True, "gripper_opens": opens, "control_hz": 20.0}
    return ActionSpace(dimensions=dimensions, **(arguments | changes))


def test_what_it_says_of_itself() -> None:
    both = space(GRIPPER, ARM)
    assert (both.size, both.names, both.gripper_dims) == (2, ("gripper", "x"), (0,))
    np.testing.assert_array_equal(both.low, np.float32([-1, -0.5]))
    np.testing.assert_array_equal(both.high, np.float32([1, 1]))
    assert both.low.dtype == np.float32


def test_round_trip_through_json() -> None:
    both = space(ARM, GRIPPER, rotation="axis_angle")
    assert ActionSpace.from_dict(json.loads(json.dumps(dataclasses.asdict(both)))) == both


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (1.0, -1.0), (float("nan"), 1.0), (0.0, float("inf"))], ids=str)
def test_bounds(low: float, high: float) -> None:
    with pytest.raises(ConfigError, match="action dimension 'x': expected finite low < high"):
        ActionDimension(name="x", unit="m", low=low, high=high)


@pytest.mark.parametrize(
    ("dimensions", "changes", "message"),
    [
        ((), {}, "at least one dimension"),
        ((ARM, ARM), {}, "unique names"),
        ((ARM,), {"gripper_opens": "positive"}, "gripper_opens is 'positive' but the gripper dimensions are"),
        ((ARM, GRIPPER), {"gripper_opens": "none"}, "gripper_opens is 'none' but"),
        ((ARM,), {"control_hz": 0.0}, "control_hz must be positive"),
    ],
)
def test_contradictions(dimensions: tuple[ActionDimension, ...], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        space(*dimensions, **changes)
