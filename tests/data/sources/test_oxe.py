from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robovlms.actions.union import union_space
from robovlms.data.sources.oxe import (
    OXE,
    OXE_MIXES,
    ActionPiece,
    OxeStandard,
    binarise,
    change_until_next,
    oxe_standard,
    relative_to_absolute,
)
from robovlms.errors import ConfigError


def test_there_are_more_than_twenty_datasets() -> None:
    assert len(OXE) >= 25
    families = ("bridge", "fractal", "droid", "language_table", "austin", "stanford")
    assert all(any(name.startswith(family) for name in OXE) for family in families)


@pytest.mark.parametrize("name", OXE)
def test_every_entry_makes_an_action_space(name: str) -> None:
    standard = OXE[name]
    assert standard.space.size == len(standard.dimensions)
    assert standard.space.is_delta == (name.split("_")[0] not in ("toto", "ucsd", "iamlab"))
    assert "static" in standard.cameras
    has_gripper = [piece.gripper is not None for piece in standard.action]
    assert has_gripper == [False] * (len(has_gripper) - ("gripper" in standard.dimensions)) + [True] * (
        "gripper" in standard.dimensions
    )


@pytest.mark.parametrize("name", OXE_MIXES)
def test_every_mix_is_of_known_datasets_that_fit_together(name: str) -> None:
    mix = OXE_MIXES[name]
    assert min(mix.values()) > 0
    union = union_space({one: OXE[one].space for one in mix}, "bridge_orig")
    assert union == OXE["bridge_orig"].space


def numbers(**keys: np.ndarray) -> object:
    """What an episode holds, by the last part of the key."""
    return lambda key: keys[key.rpartition("/")[2]]


def test_actions_of_bridge() -> None:
    stored = np.array([[1, 2, 3, 4, 5, 6, 1.0], [0, 0, 0, 0, 0, 0, 0.5], [1, 1, 1, 1, 1, 1, 0.0]], np.float32)
    made = OXE["bridge_orig"].actions(numbers(action=stored))
    np.testing.assert_array_equal(made[:, :6], stored[:, :6])
    assert made[:, 6].tolist() == [1, 0, 0]


def test_actions_of_rt1() -> None:
    keys = {
        "world_vector": np.full((3, 3), 0.1),
        "rotation_delta": np.full((3, 3), 0.2),
        "gripper_closedness_action": np.array([[0.0], [1.0], [0.0]]),
    }
    made = OXE["fractal20220817_data"].actions(numbers(**keys))
    np.testing.assert_allclose(made[0], [0.1, 0.1, 0.1, 0.2, 0.2, 0.2, 1], rtol=1e-6)
    assert made[:, 6].tolist() == [1, 0, 0]


def test_actions_of_austin_and_droid_and_language_table() -> None:
    austin = np.array([[0, 0, 0, 0, 0, 0, -1.0], [0, 0, 0, 0, 0, 0, 1.0]])
    buds = OXE["austin_buds_dataset_converted_externally_to_rlds"]
    assert buds.actions(numbers(action=austin))[:, 6].tolist() == [1, 0]
    droid = {"cartesian_velocity": np.zeros((2, 6)), "gripper_position": np.array([[0.0], [0.75]])}
    assert OXE["droid"].actions(numbers(**droid))[:, 6].tolist() == [1, 0.25]
    table = OXE["language_table"]
    assert table.actions(numbers(action=np.array([[0.1, -0.2]]))).shape == (1, 2)
    assert table.space.names == ("x", "y")
    assert table.space.rotation == "none"


def test_quaternions_become_roll_pitch_yaw() -> None:
    half = np.sqrt(0.5)
    stored = np.array([[1, 2, 3, 0, 0, half, half, -1.0]])
    made = OXE["furniture_bench_dataset_converted_externally_to_rlds"].actions(numbers(action=stored))
    np.testing.assert_allclose(made, [[1, 2, 3, 0, 0, np.pi / 2, 1]], atol=1e-6)


def test_changes_of_a_pose() -> None:
    state = np.array([[0.0, 3.0], [0.5, -3.0], [0.25, -3.1]], np.float32)
    pieces = ActionPiece(key="s", columns=(0, 1), change="length"), ActionPiece(key="s", columns=(1, 2), change="angle")
    standard = OxeStandard(cameras={"a": "b"}, action=pieces, instruction="c", control_hz=1, dimensions=("x", "yaw"))
    expected = [[0.5, 2 * np.pi - 6], [-0.25, -0.1], [0, 0]]
    np.testing.assert_allclose(standard.actions(numbers(s=state)), expected, atol=1e-6)


@given(st.lists(st.floats(-3.1, 3.1), min_size=1, max_size=20))
def test_changes_add_up_to_the_pose(angles: list[float]) -> None:
    values = np.array(angles)[:, None]
    change = change_until_next(values, "angle")
    assert np.all(np.abs(change) <= np.pi + 1e-9)
    reached = values[0] + change.cumsum(axis=0)[:-1]
    np.testing.assert_allclose(np.exp(1j * reached), np.exp(1j * values[1:]), atol=1e-9)
    np.testing.assert_allclose(change_until_next(values, "length")[:-1], np.diff(values, axis=0))


@pytest.mark.parametrize(
    ("alias", "name"), [("bridge_dataset", "bridge_orig"), ("r2d2_faceblur", "droid"), ("fmb", "fmb_dataset")]
)
def test_names_in_files(alias: str, name: str) -> None:
    assert OXE[alias] == OXE[name]


def test_the_width_of_the_gripper_in_taco_play() -> None:
    """Column 6 of 15, after the pose and before the joints."""
    (names,) = OXE["taco_play"].proprio.values()
    assert (len(names), names.index("gripper")) == (15, 6)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([0, 0, 0], [1, 1, 1]),
        ([0, -1, 0], [0, 1, 1]),
        ([0.05, 0.2, -0.05, -0.2], [1, 0, 0, 1]),
    ],
)
def test_relative_grippers(told: list[float], expected: list[float]) -> None:
    assert relative_to_absolute(np.array(told)).tolist() == expected


@pytest.mark.parametrize(
    ("opening", "expected"),
    [([1.0, 0.5], [1, 0]), ([0.5, 0.7], [1, 1]), ([0.5, 1.0, 0.5, 0.0], [1, 1, 0, 0]), ([0.2], [0])],
)
def test_binary_grippers(opening: list[float], expected: list[float]) -> None:
    assert binarise(np.array(opening)).tolist() == expected


def test_a_standard_of_your_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "cameras: {static: cam}\naction: [{key: act, columns: [0, 2]}]\ndimensions: [x, y]\n"
        "instruction: text\ncontrol_hz: 7\n"
    )
    standard = oxe_standard(str(file))
    assert standard.space.names == ("x", "y")
    assert standard.space.control_hz == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cameras: {}\naction: []\ninstruction: a\ncontrol_hz: 1\n", "cameras: expected at least one"),
        ("camera: {a: b}\n", "unknown key 'camera'; did you mean 'cameras'"),
        (
            "action: [{key: a, gripper: inverted}]\n",
            r"action\[0\].gripper: expected one of .*'invert'.* got 'inverted'",
        ),
        (
            "cameras: {a: b}\naction: []\ninstruction: a\ncontrol_hz: 1\ndimensions: [u]\n",
            r"dimensions: .* got \['u'\]",
        ),
        (
            "cameras: {a: b}\naction: []\ninstruction: a\ncontrol_hz: 1\nblue_first_png: [c]\n",
            r"blue_first_png: expected some of \['a'\], got \['c'\]",
        ),
        (
            "cameras: {a: b}\naction: []\ninstruction: a\ncontrol_hz: 1\nskip_last: -1\n",
            "skip_first, skip_last: expected 0 or more",
        ),
        ("control_hz: 1\n", "missing"),
    ],
)
def test_wrong_standards(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        oxe_standard(str(file))


def test_an_unknown_dataset() -> None:
    with pytest.raises(ConfigError, match=r"'brige_orig'; did you mean 'bridge_orig'.*standard=FILE.yaml"):
        oxe_standard("brige_orig")
