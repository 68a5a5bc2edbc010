"""Rotations, poses, and actions seen from the world or from the tool centre point (tcp). NumPy only.

A rotation matrix R turns coordinates of the rotated frame into those of the fixed one: ``p_world = R @ p_tcp``. Euler
angles come with a convention, three axes in a string. Upper case turns about the axes as they have been turned so far
(intrinsic), lower case about axes that stay (fixed, extrinsic), and the matrices stand the other way round::

    "XYZ"   R = Rx(a) @ Ry(b) @ Rz(c)       what the original RoboVLMs takes for the frame of an action
    "xyz"   R = Rz(c) @ Ry(b) @ Rx(a)       roll, pitch, yaw: robot drivers, Bullet, the OXE datasets; SciPy's "xyz"

Gimbal lock: where the middle angle makes the first and the third axis parallel (cos b = 0, or sin b = 0 for "XYX" and
its like), only their sum or difference is defined. The first angle of the upper-case order is then 0 and the third
takes all of it. Near that pose the angles may jump, but the matrix that they make is right to rounding everywhere,
since the third angle is measured after the first has been undone.

Numbers are float64 inside; a result has the float type of its argument. Any leading axes.

>>> rpy_to_matrix(np.array([0.0, 0.0, np.pi / 2])).round().tolist()
[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from robovlms.errors import ConfigError, unknown_name

_WORLD_STEP = 0.01  # rad per unit of a CALVIN rotation, as the original takes it; its data have 0.05
_AXES = "XYZ"
_FRAMES = ("world", "base", "tcp")


def wrap_angle(angle: Float[np.ndarray, "*lead"]) -> Float[np.ndarray, "*lead"]:
    """The same angle in [-pi, pi), rad."""
    return np.asarray((angle + np.pi) % (2 * np.pi) - np.pi)


def euler_to_matrix(angles: Float[np.ndarray, "*lead 3"], convention: str) -> Float[np.ndarray, "*lead 3 3"]:
    """Rotation matrix of three Euler angles.

    Args:
        angles: [..., 3], rad, in the order of the axes.
        convention: three axes, neighbours different, for example "XYZ", "ZYX", "XYX" or "xyz"; see the module.

    Raises:
        ConfigError: if the convention is none.
    """
    axes, is_fixed = _parse(convention)
    wide = angles.astype(np.float64)
    first, second, third = (_about(axis, wide[..., n]) for n, axis in enumerate(axes))
    matrix = third @ second @ first if is_fixed else first @ second @ third
    return matrix.astype(angles.dtype)


def matrix_to_euler(matrix: Float[np.ndarray, "*lead 3 3"], convention: str) -> Float[np.ndarray, "*lead 3"]:
    """Euler angles of a rotation matrix; inverse of `euler_to_matrix` but for the choice of angles.

    Args:
        matrix: [..., 3, 3], a rotation.
        convention: as there.

    Returns:
        [..., 3], rad: first and third in [-pi, pi]; the middle one in [-pi/2, pi/2], or [0, pi] where the first axis
        comes twice.

    Raises:
        ConfigError: if the convention is none.
    """
    axes, is_fixed = _parse(convention)
    i, j, k2 = reversed(axes) if is_fixed else axes
    k = 3 - i - j
    sign = 1.0 if (j - i) % 3 == 1 else -1.0  # of the permutation (i, j, k)
    wide = matrix.astype(np.float64)
    if k2 == k:
        sine, cosine = -sign * wide[..., j, k], wide[..., k, k]  # both times cos b
    else:
        sine, cosine = wide[..., j, i], -sign * wide[..., k, i]  # both times sin b
    is_locked = np.hypot(sine, cosine) < 1e-14
    a = np.where(is_locked, 0.0, np.arctan2(sine, cosine))
    cos_a, sin_a = np.cos(a)[..., None], sign * np.sin(a)[..., None]
    row_j = cos_a * wide[..., j, :] + sin_a * wide[..., k, :]  # of R_i(-a) @ R, in which only b and c are left
    row_k = cos_a * wide[..., k, :] - sin_a * wide[..., j, :]
    if k2 == k:
        b = np.arctan2(sign * wide[..., i, k], np.abs(row_k[..., k]))  # negative by rounding alone
        c = np.arctan2(sign * row_j[..., i], row_j[..., j])
    else:
        b = np.arctan2(np.abs(row_k[..., i]), wide[..., i, i])
        c = np.arctan2(-sign * row_j[..., k], row_j[..., j])
    angles = (c, b, a) if is_fixed else (a, b, c)
    return np.stack(angles, axis=-1).astype(matrix.dtype)


def rpy_to_matrix(angles: Float[np.ndarray, "*lead 3"]) -> Float[np.ndarray, "*lead 3 3"]:
    """Roll, pitch, yaw about fixed axes, rad: Rz(yaw) @ Ry(pitch) @ Rx(roll)."""
    return euler_to_matrix(angles, "xyz")


def matrix_to_rpy(matrix: Float[np.ndarray, "*lead 3 3"]) -> Float[np.ndarray, "*lead 3"]:
    """Inverse of `rpy_to_matrix`; in gimbal lock the yaw is 0."""
    return matrix_to_euler(matrix, "xyz")


def quaternion_xyzw_to_matrix(quaternion: Float[np.ndarray, "*lead 4"]) -> Float[np.ndarray, "*lead 3 3"]:
    """Rotation matrix of a quaternion (x, y, z, w) of any length but 0; q and -q give the same."""
    wide = quaternion.astype(np.float64)
    x, y, z, w = np.moveaxis(wide / np.linalg.norm(wide, axis=-1, keepdims=True), -1, 0)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2).astype(quaternion.dtype)


def matrix_to_quaternion_xyzw(matrix: Float[np.ndarray, "*lead 3 3"]) -> Float[np.ndarray, "*lead 4"]:
    """Unit quaternion (x, y, z, w) with w >= 0 of a rotation matrix.

    The matrix gives all products 4·q·qᵀ; the row with the largest square loses no digits.

    Source: Shepperd, "Quaternion from rotation matrix", 1978.
    """
    r = np.moveaxis(matrix.astype(np.float64), (-2, -1), (0, 1))
    xy, xz, yz = r[1, 0] + r[0, 1], r[2, 0] + r[0, 2], r[2, 1] + r[1, 2]
    xw, yw, zw = r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]
    xx, yy, zz = (1 + 2 * r[n, n] - (r[0, 0] + r[1, 1] + r[2, 2]) for n in range(3))
    ww = 1 + r[0, 0] + r[1, 1] + r[2, 2]
    products = ((xx, xy, xz, xw), (xy, yy, yz, yw), (xz, yz, zz, zw), (xw, yw, zw, ww))
    rows = np.stack([np.stack(row, axis=-1) for row in products], axis=-2)
    largest = np.stack((xx, yy, zz, ww), axis=-1).argmax(axis=-1)
    row = np.take_along_axis(rows, largest[..., None, None], axis=-2)[..., 0, :]
    unit = row / np.linalg.norm(row, axis=-1, keepdims=True)
    return np.where(unit[..., 3:] < 0, -unit, unit).astype(matrix.dtype)


def axis_angle_to_matrix(vector: Float[np.ndarray, "*lead 3"]) -> Float[np.ndarray, "*lead 3 3"]:
    """Rotation matrix of a rotation vector: its direction is the axis, its length the angle in rad."""
    wide = vector.astype(np.float64)
    angle = np.linalg.norm(wide, axis=-1, keepdims=True)
    # np.sinc(x) = sin(pi x) / (pi x), which is 1 at 0
    quaternion = np.concatenate([wide * (0.5 * np.sinc(angle / (2 * np.pi))), np.cos(angle / 2)], axis=-1)
    return quaternion_xyzw_to_matrix(quaternion).astype(vector.dtype)


def matrix_to_axis_angle(matrix: Float[np.ndarray, "*lead 3 3"]) -> Float[np.ndarray, "*lead 3"]:
    """Rotation vector of a rotation matrix, no longer than pi; at pi either sign of the axis is right."""
    quaternion = matrix_to_quaternion_xyzw(matrix.astype(np.float64))
    axis, w = quaternion[..., :3], quaternion[..., 3:]
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, w)
    scale = np.divide(angle, sine, out=np.full_like(sine, 2.0), where=sine > 1e-150)  # angle / sine -> 2
    return (axis * scale).astype(matrix.dtype)


def rotation_6d_to_matrix(columns: Float[np.ndarray, "*lead 6"]) -> Float[np.ndarray, "*lead 3 3"]:
    """Rotation matrix whose first two columns are nearest to six numbers, the first column before the second.

    They need not be of length 1 or at a right angle (Gram-Schmidt), but must not be parallel.

    Source: Zhou et al., "On the continuity of rotation representations in neural networks", 2019, section B.
    """
    wide = columns.astype(np.float64)
    first = wide[..., :3] / np.linalg.norm(wide[..., :3], axis=-1, keepdims=True)
    second = wide[..., 3:] - (first * wide[..., 3:]).sum(-1, keepdims=True) * first
    second = second / np.linalg.norm(second, axis=-1, keepdims=True)
    return np.stack([first, second, np.cross(first, second)], axis=-1).astype(columns.dtype)


def matrix_to_rotation_6d(matrix: Float[np.ndarray, "*lead 3 3"]) -> Float[np.ndarray, "*lead 6"]:
    """The first two columns of a rotation matrix, one after the other."""
    return np.concatenate([matrix[..., 0], matrix[..., 1]], axis=-1)


# Key of `ActionSpace.rotation` -> (numbers to matrix, matrix to numbers).
ROTATIONS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "euler_xyz": (rpy_to_matrix, matrix_to_rpy),
    "axis_angle": (axis_angle_to_matrix, matrix_to_axis_angle),
    "quaternion_xyzw": (quaternion_xyzw_to_matrix, matrix_to_quaternion_xyzw),
    "rotation_6d": (rotation_6d_to_matrix, matrix_to_rotation_6d),
}


def world_to_tcp_frame(
    action: Float[np.ndarray, "*lead a"], robot_obs: Float[np.ndarray, "*lead p"]
) -> Float[np.ndarray, "*lead a"]:
    """Turn CALVIN's relative action in the world frame into one relative to the tcp, as the original RoboVLMs does.

    With R = R("XYZ", r) of the pose, p' = R⁻¹ p. The rotation is a change w of the Euler angles in the world frame; it
    leads to R_new = R("XYZ", r + 0.01 w), and w' = 100 · euler(R_new⁻¹ R). Two habits of the original stay, since its
    policies were trained with them: w' is the rotation from the new pose back to the old one, and a unit of rotation
    counts as 0.01 rad where the data mean 0.05 rad. The inverse function uses the same, so the two cancel.

    Args:
        action: [..., a >= 6], x, y, z and a change of three Euler angles, in units of CALVIN's `rel_actions`; what
            follows, the gripper, is kept.
        robot_obs: [..., p >= 6], of the same step; numbers 3 to 5 are the tcp's Euler angles in the world, rad.

    Returns:
        [..., a], the same units; rotations in [-100 pi, 100 pi).
    """
    old, angles, wide = _frames(action, robot_obs)
    new = euler_to_matrix(angles + _WORLD_STEP * wide[..., 3:6], "XYZ")
    turn = matrix_to_euler(np.swapaxes(new, -1, -2) @ old, "XYZ")
    wide[..., :3] = (np.swapaxes(old, -1, -2) @ wide[..., :3, None])[..., 0]
    wide[..., 3:6] = wrap_angle(turn) / _WORLD_STEP
    return wide.astype(action.dtype)


def tcp_to_world_frame(
    action: Float[np.ndarray, "*lead a"], robot_obs: Float[np.ndarray, "*lead p"]
) -> Float[np.ndarray, "*lead a"]:
    """Inverse of `world_to_tcp_frame`: p = R p', R_new = R · R("XYZ", 0.01 w')⁻¹, w = 100 · wrap(euler(R_new) - r).

    Args:
        action: [..., a >= 6], relative to the tcp.
        robot_obs: [..., p >= 6], of the same step.

    Returns:
        [..., a], as `rel_actions`.
    """
    old, angles, wide = _frames(action, robot_obs)
    back = euler_to_matrix(_WORLD_STEP * wide[..., 3:6], "XYZ")
    new = matrix_to_euler(old @ np.swapaxes(back, -1, -2), "XYZ")
    wide[..., :3] = (old @ wide[..., :3, None])[..., 0]
    wide[..., 3:6] = wrap_angle(new - angles) / _WORLD_STEP
    return wide.astype(action.dtype)


def compose_delta(
    deltas: Float[np.ndarray, "*lead k d"],
    *,
    frame: str,
    rotation: str = "euler_xyz",
) -> Float[np.ndarray, "*lead d"]:
    """Return the one pose delta that does what k deltas do one after the other.

    In a frame that stays ("world", "base") translations add up and rotations pile up from the left, R_k … R_2 R_1,
    each about the tcp itself. Relative to the tcp every delta starts where the last one ended: as 4×4 poses,
    T_1 T_2 … T_k.

    Args:
        deltas: [..., k, 3 + r], x, y, z in m and a rotation of r numbers, in rad where they are angles; k >= 1.
        frame: of translations and rotations, one of those of `ActionSpace`.
        rotation: what the r numbers are, a key of `ROTATIONS`; "euler_xyz" is roll, pitch, yaw, see the module.

    Returns:
        [..., 3 + r].

    Raises:
        ConfigError: if the frame or the rotation is unknown.

    >>> turn_then_go = np.array([[0.0, 0, 0, 0, 0, np.pi / 2], [1.0, 0, 0, 0, 0, 0]])
    >>> compose_delta(turn_then_go, frame="world")[:3].tolist(), compose_delta(turn_then_go, frame="tcp")[:3].round()
    ([1.0, 0.0, 0.0], array([0., 1., 0.]))
    """
    if frame not in _FRAMES:
        raise ConfigError(unknown_name("frame", frame, _FRAMES))
    if rotation not in ROTATIONS:
        raise ConfigError(unknown_name("rotation", rotation, ROTATIONS))
    to_matrix, from_matrix = ROTATIONS[rotation]
    wide = deltas.astype(np.float64)
    position, turns = wide[..., 0, :3], to_matrix(wide[..., 3:])
    turned = turns[..., 0, :, :]
    for n in range(1, deltas.shape[-2]):
        step = wide[..., n, :3, None]
        position = position + (turned @ step if frame == "tcp" else step)[..., 0]
        turned = turned @ turns[..., n, :, :] if frame == "tcp" else turns[..., n, :, :] @ turned
    return np.concatenate([position, from_matrix(turned)], axis=-1).astype(deltas.dtype)


def _parse(convention: str) -> tuple[list[int], bool]:
    """Indices of the three axes, and whether they stay fixed."""
    upper = convention.upper()
    is_fixed = convention.islower()
    is_known = len(upper) == 3 and set(upper) <= set(_AXES) and upper[0] != upper[1] != upper[2]
    if not is_known or not (is_fixed or convention == upper):
        raise ConfigError(
            f"Euler convention {convention!r}: expected three axes, neighbours different, all upper case (axes that "
            'turn along) or all lower case (fixed axes), for example "XYZ" or "xyz"'
        )
    return [_AXES.index(axis) for axis in upper], is_fixed


def _about(axis: int, angle: np.ndarray) -> np.ndarray:
    """Rotation matrix [..., 3, 3] about one axis, 0 = x."""
    following, last = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.zeros((*angle.shape, 3, 3))
    matrix[..., axis, axis] = 1
    matrix[..., following, following] = matrix[..., last, last] = np.cos(angle)
    matrix[..., last, following] = np.sin(angle)
    matrix[..., following, last] = -matrix[..., last, following]
    return matrix


def _frames(action: np.ndarray, robot_obs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotation of the tcp [..., 3, 3], its Euler angles [..., 3], and the action as a float64 copy."""
    angles = robot_obs[..., 3:6].astype(np.float64)
    return euler_to_matrix(angles, "XYZ"), angles, action.astype(np.float64)
