import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from robovlms.actions.contract import CameraSpec, PolicyContract
from robovlms.actions.normalize import FeatureStatistics
from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.errors import CheckpointError, ContractMismatchError

SPACE = ActionSpace(
    dimensions=(
        ActionDimension(name="x", unit="m", low=-1.0, high=1.0),
        ActionDimension(name="gripper", unit="1", low=-1.0, high=1.0, kind="gripper"),
    ),
    frame="world",
    is_delta=True,
    gripper_opens="negative",
    control_hz=80.0,
)
STATIC = CameraSpec(name="static", height=96, width=96, source="sim/static/fast")
WRIST = CameraSpec(name="wrist", height=96, width=96, source="sim/wrist/fast")


def statistics(size: int) -> FeatureStatistics:
    numbers = {name: (value,) * size for name, value in (("min", -0.5), ("max", 0.7), ("q01", -0.4), ("q99", 0.6))}
    return FeatureStatistics(**numbers, mean=(0.1,) * size, std=(0.3,) * size, count=10)


CONTRACT = PolicyContract(
    action_space=SPACE,
    action_scheme="min_max",
    action_statistics=statistics(2),
    proprio_names=("a", "b", "c"),
    proprio_scheme="mean_std",
    proprio_statistics=statistics(3),
    cameras=(STATIC,),
    prompt_template="do {instruction}",
    tokenizer_fingerprint="f" * 64,
    window_size=4,
    fwd_pred_next_n=8,
)
BLIND = dataclasses.replace(CONTRACT, proprio_names=(), proprio_statistics=None)
ROBOT = {"action_space": SPACE, "cameras": (WRIST, STATIC), "proprio_names": ("a", "b", "c"), "where": "the robot"}


@pytest.mark.parametrize("contract", [CONTRACT, BLIND], ids=["proprio", "no proprio"])
def test_round_trip(contract: PolicyContract) -> None:
    again = PolicyContract.from_json(contract.to_json())
    assert again == contract
    assert again.fingerprint == contract.fingerprint


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(PolicyContract)])
def test_every_field_changes_the_fingerprint(field: str) -> None:
    values = json.loads(CONTRACT.to_json())
    other = json.loads(BLIND.to_json())
    changes: dict[str, Any] = {
        "action_space": values["action_space"] | {"control_hz": 20.0},
        "action_scheme": "quantile",
        "action_statistics": values["action_statistics"] | {"count": 11},
        "proprio_names": ["a", "c", "b"],
        "proprio_scheme": "min_max",
        "proprio_statistics": other["proprio_statistics"],
        "cameras": [*values["cameras"], dataclasses.asdict(WRIST)],
        "prompt_template": "please {instruction}",
        "tokenizer_fingerprint": "0" * 64,
        "window_size": 5,
        "fwd_pred_next_n": 9,
        "action_mu": 255.0,
        "image_size": [224, 224],
        "predicted_space": values["action_space"],
    }
    changed = PolicyContract.from_json(json.dumps(values | {field: changes[field]}))
    assert changed.fingerprint != CONTRACT.fingerprint


@pytest.mark.parametrize("text", ["", "[]", "{}", CONTRACT.to_json()[:100], CONTRACT.to_json().replace("unit", "unti")])
def test_what_is_no_contract(text: str) -> None:
    with pytest.raises(CheckpointError, match="not a policy contract"):
        PolicyContract.from_json(text)


def test_transforms_follow_the_statistics() -> None:
    np.testing.assert_allclose(CONTRACT.action_codec.encode(np.float32([[0.7, -1.0]])), [[1, 1]], atol=1e-6)
    np.testing.assert_allclose(
        CONTRACT.proprio_normalizer.normalize(np.float32([0.1, 0.4, -0.2])), [0, 1, -1], atol=1e-6
    )
    assert BLIND.proprio_normalizer is None


def test_fitting_robot_is_accepted() -> None:
    CONTRACT.check_robot(**ROBOT)
    BLIND.check_robot(**(ROBOT | {"proprio_names": ()}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"action_space": dataclasses.replace(SPACE, control_hz=20.0)},
            r"does not fit the robot: action_space.control_hz: checkpoint 80.0, here 20.0$",
        ),
        (
            {"action_space": dataclasses.replace(SPACE, frame="tcp", is_delta=False)},
            r"action_space.frame: checkpoint 'world', here 'tcp'; action_space.is_delta: checkpoint True, here False$",
        ),
        (
            {
                "action_space": dataclasses.replace(
                    SPACE, dimensions=(dataclasses.replace(SPACE.dimensions[0], unit="mm"), SPACE.dimensions[1])
                )
            },
            r"action_space.dimensions\[0\].unit: checkpoint 'm', here 'mm'$",
        ),
        ({"cameras": (WRIST,)}, r"camera 'static': checkpoint needs it, the robot has \['wrist'\]$"),
        (
            {"cameras": (dataclasses.replace(STATIC, source="sim/static/reference"),)},
            r"camera 'static'.source: checkpoint 'sim/static/fast', here 'sim/static/reference'$",
        ),
        ({"cameras": (dataclasses.replace(STATIC, height=48),)}, r"camera 'static'.height: checkpoint 96, here 48$"),
        ({"proprio_names": ("a", "c", "b")}, r"proprio_names\[1\]: checkpoint 'b', here 'c'; proprio_names\[2\]"),
        ({"proprio_names": ("a",)}, r"proprio_names: checkpoint \('a', 'b', 'c'\), here \('a',\)$"),
    ],
)
def test_every_difference_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractMismatchError, match=message):
        CONTRACT.check_robot(**(ROBOT | changes))


def test_policy_without_proprio_ignores_it() -> None:
    BLIND.check_robot(**(ROBOT | {"proprio_names": ("z",)}))


def test_what_is_predicted_begins_with_the_robots_numbers() -> None:
    reversed_space = dataclasses.replace(SPACE, dimensions=SPACE.dimensions[::-1])
    with pytest.raises(CheckpointError, match="the first predicted dimensions must be the robot's"):
        dataclasses.replace(CONTRACT, predicted_space=reversed_space)
    again = json.loads(CONTRACT.to_json())
    for new in ("image_size", "predicted_space", "action_mu"):
        del again[new]  # as written before there were these
    assert PolicyContract.from_json(json.dumps(again)) == CONTRACT
