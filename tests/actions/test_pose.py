from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robovlms.actions.pose import (
    ROTATIONS,
    axis_angle_to_matrix,
    compose_delta,
    euler_to_matrix,
    matrix_to_axis_angle,
    matrix_to_euler,
    matrix_to_quaternion_xyzw,
    matrix_to_rpy,
    quaternion_xyzw_to_matrix,
    rotation_6d_to_matrix,
    rpy_to_matrix,
    tcp_to_world_frame,
    world_to_tcp_frame,
    wrap_angle,
)
from robovlms.errors import ConfigError

GOLDENS = Path(__file__).parents[3] / "shared" / "reference" / "goldens"
needs_goldens = pytest.mark.skipif(
    not GOLDENS.is_dir(), reason="the original's reference numbers are not beside the project"
)
CONVENTIONS = ["XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX", "XYX", "XZX", "YXY", "YZY", "ZXZ", "ZYZ"]
CONVENTIONS += [convention.lower() for convention in CONVENTIONS]
QUARTER = np.pi / 2
ANGLES = st.floats(-np.pi, np.pi) | st.sampled_from([0.0, QUARTER, -QUARTER, np.pi, 1e-9, QUARTER - 1e-9, 1e-300])
TRIPLES = arrays(np.float64, (2, 3), elements=ANGLES)
VECTORS = arrays(np.float64, (3,), elements=st.floats(-1, 1))
# About x, y and z by a quarter turn, written out.
QUARTERS = [
    [[1, 0, 0], [0, 0, -1], [0, 1, 0]],
    [[0, 0, 1], [0, 1, 0], [-1, 0, 0]],
    [[0, -1, 0], [1, 0, 0], [0, 0, 1]],
]


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDENS / "c_pose.npz") as stored:
        return dict(stored)


def pose(delta: np.ndarray, rotation: str = "euler_xyz") -> np.ndarray:
    """4×4 pose of x, y, z and a rotation."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = ROTATIONS[rotation][0](delta[3:]), delta[:3]
    return matrix


# --------------------------------------------------------------------------------------------------------- rotations


@pytest.mark.parametrize("axis", range(3))
def test_a_quarter_turn_by_hand(axis: int) -> None:
    angles = np.zeros(3)
    angles[axis] = QUARTER
    for matrix in (euler_to_matrix(angles, "XYZ"), rpy_to_matrix(angles), axis_angle_to_matrix(angles)):
        np.testing.assert_allclose(matrix, QUARTERS[axis], atol=1e-15)
    quaternion = matrix_to_quaternion_xyzw(np.array(QUARTERS[axis], np.float64))
    np.testing.assert_allclose(quaternion, [*np.eye(3)[axis] * np.sqrt(0.5), np.sqrt(0.5)], atol=1e-15)


def test_the_order_of_the_axes() -> None:
    rx, ry, rz = (np.array(QUARTERS[axis], np.float64) for axis in range(3))
    quarters = np.full(3, QUARTER)
    np.testing.assert_allclose(euler_to_matrix(quarters, "XYZ"), rx @ ry @ rz, atol=1e-15)
    np.testing.assert_allclose(euler_to_matrix(quarters, "xyz"), rz @ ry @ rx, atol=1e-15)
    np.testing.assert_allclose(euler_to_matrix(np.array([QUARTER, QUARTER, 0]), "zyx"), ry @ rz, atol=1e-15)
    np.testing.assert_allclose(euler_to_matrix(np.array([QUARTER, QUARTER, 0]), "ZXZ"), rz @ rx, atol=1e-15)
    np.testing.assert_allclose(rpy_to_matrix(np.array([0.0, QUARTER, QUARTER])), rz @ ry, atol=1e-15)


@pytest.mark.parametrize("convention", ["XY", "XYZX", "XXY", "XyZ", "ABC", "", "xyy"])
def test_what_is_no_convention_is_refused(convention: str) -> None:
    with pytest.raises(ConfigError, match="Euler convention"):
        euler_to_matrix(np.zeros(3), convention)


@pytest.mark.parametrize("convention", CONVENTIONS)
@settings(max_examples=40)
@given(angles=TRIPLES)
def test_angles_of_a_matrix_make_that_matrix(convention: str, angles: np.ndarray) -> None:
    matrix = euler_to_matrix(angles, convention)
    np.testing.assert_allclose(np.linalg.det(matrix), 1, atol=1e-12)
    found = matrix_to_euler(matrix, convention)
    np.testing.assert_allclose(euler_to_matrix(found, convention), matrix, rtol=0, atol=1e-13)
    low, high = (-QUARTER, QUARTER) if len(set(convention)) == 3 else (0, np.pi)
    assert (found[:, 1] >= low).all()
    assert (found[:, 1] <= high).all()


@given(first=st.floats(-3, 3), middle=st.floats(-1.5, 1.5), last=st.floats(-3, 3))
def test_away_from_the_lock_the_angles_themselves_come_back(first: float, middle: float, last: float) -> None:
    angles = np.array([first, middle, last])
    for convention in (*CONVENTIONS[:6], *CONVENTIONS[12:18]):
        np.testing.assert_allclose(matrix_to_euler(euler_to_matrix(angles, convention), convention), angles, atol=1e-12)


@pytest.mark.parametrize("pitch", [QUARTER, -QUARTER])
def test_in_gimbal_lock_the_first_angle_is_0_and_the_matrix_is_right(pitch: float) -> None:
    sign = np.sign(pitch)
    angles = np.array([0.3, pitch, 0.5])
    matrix = euler_to_matrix(angles, "XYZ")
    np.testing.assert_allclose(matrix_to_euler(matrix, "XYZ"), [0, pitch, 0.5 + sign * 0.3], atol=1e-14)
    fixed = rpy_to_matrix(angles)
    np.testing.assert_allclose(matrix_to_rpy(fixed), [0.3 - sign * 0.5, pitch, 0], atol=1e-14)
    twice = euler_to_matrix(np.array([0.3, 0.0, 0.5]), "XYX")
    np.testing.assert_allclose(matrix_to_euler(twice, "XYX"), [0, 0, 0.8], atol=1e-14)


@pytest.mark.parametrize("pitch", [QUARTER, -QUARTER, QUARTER - 1e-4, 1.5])
def test_float32_matrices_keep_their_digits_near_the_lock(pitch: float) -> None:
    matrix = euler_to_matrix(np.array([0.3, pitch, -2.0], np.float32), "XYZ")
    again = euler_to_matrix(matrix_to_euler(matrix, "XYZ"), "XYZ")
    assert again.dtype == np.float32
    np.testing.assert_allclose(again, matrix, rtol=0, atol=5e-7)


@given(vector=arrays(np.float64, (3,), elements=st.floats(-1.8, 1.8)))
def test_axis_and_angle_come_back(vector: np.ndarray) -> None:  # no longer than pi
    np.testing.assert_allclose(matrix_to_axis_angle(axis_angle_to_matrix(vector)), vector, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("angle", [0.0, 1e-100, 1e-12, 1e-6, np.pi - 1e-9, np.pi])
def test_small_and_half_turns_lose_no_digits(angle: float) -> None:
    vector = angle * np.array([0.6, 0.0, -0.8])
    found = matrix_to_axis_angle(axis_angle_to_matrix(vector))
    np.testing.assert_allclose(np.linalg.norm(found), angle, rtol=1e-9)
    np.testing.assert_allclose(found * np.sign(found[0] or 1), vector, rtol=1e-8)


@given(angles=TRIPLES)
@pytest.mark.parametrize("rotation", ROTATIONS)
def test_every_representation_keeps_the_matrix(rotation: str, angles: np.ndarray) -> None:
    to_matrix, from_matrix = ROTATIONS[rotation]
    matrix = rpy_to_matrix(angles)
    np.testing.assert_allclose(to_matrix(from_matrix(matrix)), matrix, atol=1e-14)


def test_quaternions_need_no_length_or_sign() -> None:
    quaternion = np.array([0.1, -0.2, 0.3, 0.9])
    matrix = quaternion_xyzw_to_matrix(quaternion)
    np.testing.assert_allclose(quaternion_xyzw_to_matrix(-7 * quaternion), matrix, atol=1e-15)
    np.testing.assert_allclose(
        matrix_to_quaternion_xyzw(matrix), quaternion / np.linalg.norm(quaternion), rtol=0, atol=1e-15
    )


def test_six_numbers_are_made_a_rotation() -> None:
    matrix = rotation_6d_to_matrix(np.array([2.0, 0, 0, 5.0, 3.0, 0]))
    np.testing.assert_array_equal(matrix, np.eye(3))
    turned = rotation_6d_to_matrix(np.array([0.0, 2, 0, -3, 1, 0]))
    np.testing.assert_allclose(turned, QUARTERS[2], atol=1e-15)


@pytest.mark.parametrize("lead", [(), (4,), (0,), (2, 1, 3)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_leading_shape_and_the_type_stays(lead: tuple[int, ...], dtype: type) -> None:
    angles = np.linspace(0, 1, int(np.prod(lead)) * 3).reshape(*lead, 3).astype(dtype)
    for to_matrix, from_matrix in ROTATIONS.values():
        numbers = from_matrix(rpy_to_matrix(angles))
        assert (numbers.shape[:-1], numbers.dtype) == (lead, dtype)
        assert (to_matrix(numbers).shape, to_matrix(numbers).dtype) == ((*lead, 3, 3), dtype)


# ------------------------------------------------------------------------------------------------- against the original


@needs_goldens
@pytest.mark.parametrize("convention", ["XYZ", "ZYX", "XYX"])
def test_euler_angles_equal_the_original(convention: str, golden: dict[str, np.ndarray]) -> None:
    matrix = golden[f"mat_{convention}"]
    np.testing.assert_allclose(euler_to_matrix(golden["euler"], convention), matrix, rtol=0, atol=1e-12)
    difference = wrap_angle(matrix_to_euler(matrix, convention) - golden[f"back_{convention}"])
    np.testing.assert_allclose(difference, 0, atol=1e-12)


@needs_goldens
def test_fixed_axes_equal_the_original(golden: dict[str, np.ndarray]) -> None:
    np.testing.assert_allclose(rpy_to_matrix(golden["euler"]), golden["common_rotm"], rtol=0, atol=1e-12)
    difference = wrap_angle(matrix_to_rpy(golden["common_rotm"]) - golden["common_euler"])
    np.testing.assert_allclose(difference, 0, atol=1e-12)


@needs_goldens
@pytest.mark.parametrize("axes", [3, 4])
@pytest.mark.parametrize(("name", "function"), [("w2t", world_to_tcp_frame), ("t2w", tcp_to_world_frame)])
def test_frames_equal_the_original(axes: int, name: str, function: Any, golden: dict[str, np.ndarray]) -> None:
    """The original computes in float32 and multiplies the angles by 100, so their error is one of 1e-6 times 100."""
    action = golden[f"act{axes}"]
    found = function(action, golden[f"obs{axes}"])
    expected = golden[f"{name}{axes}"].reshape(action.shape)  # the original loses the axes of four
    assert (found.shape, found.dtype) == (action.shape, np.float32)
    np.testing.assert_allclose(found[..., :3], expected[..., :3], rtol=0, atol=1e-6)
    turned = wrap_angle((found[..., 3:6] - expected[..., 3:6]) / 100)
    np.testing.assert_allclose(turned, 0, atol=1e-6)
    np.testing.assert_array_equal(found[..., 6], action[..., 6])


@needs_goldens
def test_there_and_back_equals_the_original(golden: dict[str, np.ndarray]) -> None:
    back = tcp_to_world_frame(golden["w2t3"], golden["obs3"])
    np.testing.assert_allclose(back, golden["roundtrip3"], rtol=0, atol=5e-5)
    ours = tcp_to_world_frame(world_to_tcp_frame(golden["act3"], golden["obs3"]), golden["obs3"])
    np.testing.assert_allclose(ours, golden["act3"], rtol=0, atol=2e-6)  # and nearer to the action than the original


# ------------------------------------------------------------------------------------------------------------- frames


def test_a_tcp_action_by_hand() -> None:
    """The tcp is turned a quarter about z: the world's x is its -y. A change of yaw is the inverse about its own z."""
    robot_obs = np.array([0, 0, 0, 0, 0, QUARTER])
    action = np.array([1.0, 0, 0, 0, 0, 0.5, -1])
    np.testing.assert_allclose(world_to_tcp_frame(action, robot_obs), [0, -1, 0, 0, 0, -0.5, -1], atol=1e-13)


@given(
    action=arrays(np.float64, (2, 3, 4, 7), elements=st.floats(-1, 1)),
    obs=arrays(np.float64, (2, 3, 4, 15), elements=st.floats(-3, 3)),
)
def test_tcp_actions_come_back(action: np.ndarray, obs: np.ndarray) -> None:
    obs[..., 4] *= 0.5  # away from gimbal lock, where a change of Euler angles is not one of the pose
    there = world_to_tcp_frame(action, obs)
    assert there.shape == action.shape
    np.testing.assert_allclose(tcp_to_world_frame(there, obs), action, rtol=0, atol=1e-9)
    np.testing.assert_allclose(
        np.linalg.norm(there[..., :3], axis=-1), np.linalg.norm(action[..., :3], axis=-1), atol=1e-12
    )


@given(action=arrays(np.float64, (7,), elements=st.floats(-1, 1)), angles=TRIPLES)
def test_a_tcp_action_leads_to_the_pose_of_the_world_action(action: np.ndarray, angles: np.ndarray) -> None:
    robot_obs = np.concatenate([np.zeros(3), angles[0]])
    found = world_to_tcp_frame(action, robot_obs)
    old, new = euler_to_matrix(angles[0], "XYZ"), euler_to_matrix(angles[0] + 0.01 * action[3:6], "XYZ")
    np.testing.assert_allclose(old @ found[:3], action[:3], atol=1e-14)
    np.testing.assert_allclose(new @ euler_to_matrix(0.01 * found[3:6], "XYZ"), old, atol=1e-14)


def test_the_arguments_are_not_changed() -> None:
    action, robot_obs = np.ones(7), np.ones(15)
    tcp_to_world_frame(world_to_tcp_frame(action, robot_obs), robot_obs)
    assert (action == 1).all()
    assert (robot_obs == 1).all()


@given(angle=st.floats(-100, 100))
def test_wrapped_angles(angle: float) -> None:
    wrapped = wrap_angle(np.array(angle))
    assert -np.pi <= wrapped <= np.pi
    np.testing.assert_allclose([np.sin(wrapped), np.cos(wrapped)], [np.sin(angle), np.cos(angle)], atol=1e-12)


# ------------------------------------------------------------------------------------------------------------- deltas


def test_two_deltas_by_hand() -> None:
    go, turn = [1.0, 0, 0, 0, 0, 0], [0.0, 0, 0, 0, 0, QUARTER]
    np.testing.assert_allclose(compose_delta(np.array([go, turn, go]), frame="world"), [2, 0, 0, 0, 0, QUARTER])
    found = compose_delta(np.array([go, turn, go]), frame="tcp")
    np.testing.assert_allclose(found, [1, 1, 0, 0, 0, QUARTER], atol=1e-15)


@pytest.mark.parametrize("rotation", ["euler_xyz", "axis_angle"])
@given(deltas=arrays(np.float64, (2, 4, 6), elements=st.floats(-1, 1)), start=TRIPLES)
def test_one_delta_leads_where_all_lead(rotation: str, deltas: np.ndarray, start: np.ndarray) -> None:
    for sequence, tcp, world in zip(
        deltas,
        compose_delta(deltas, frame="tcp", rotation=rotation),
        compose_delta(deltas, frame="world", rotation=rotation),
        strict=True,
    ):
        begin = pose(np.concatenate([start[0], start[1]]))
        by_tcp, by_world = begin, begin.copy()
        for delta in sequence:
            by_tcp = by_tcp @ pose(delta, rotation)
            by_world[:3, 3] += delta[:3]
            by_world[:3, :3] = pose(delta, rotation)[:3, :3] @ by_world[:3, :3]
        np.testing.assert_allclose(begin @ pose(tcp, rotation), by_tcp, atol=1e-12)
        np.testing.assert_allclose(begin[:3, 3] + world[:3], by_world[:3, 3], atol=1e-12)
        np.testing.assert_allclose(pose(world, rotation)[:3, :3] @ begin[:3, :3], by_world[:3, :3], atol=1e-12)


@pytest.mark.parametrize("frame", ["world", "base", "tcp"])
@given(deltas=arrays(np.float64, (4, 6), elements=st.floats(-0.5, 0.5)))
def test_composing_in_groups_is_the_same(frame: Any, deltas: np.ndarray) -> None:
    pairs = compose_delta(deltas.reshape(2, 2, 6), frame=frame, rotation="axis_angle")
    at_once = compose_delta(deltas, frame=frame, rotation="axis_angle")
    np.testing.assert_allclose(
        pose(compose_delta(pairs, frame=frame, rotation="axis_angle"), "axis_angle"),
        pose(at_once, "axis_angle"),
        atol=1e-12,
    )


def test_one_delta_alone_stays() -> None:
    delta = np.array([[0.1, 0.2, 0.3, 0.1, -0.2, 0.3]], np.float32)
    found = compose_delta(delta, frame="tcp")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, delta[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frame": "tcp", "rotation": "axisangle"}, "unknown rotation 'axisangle'; did you mean 'axis_angle'"),
        ({"frame": "tpc"}, "unknown frame 'tpc'; did you mean 'tcp'"),
    ],
)
def test_what_is_unknown_is_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose_delta(np.zeros((2, 6)), **options)
