"""A policy's numbers <-> actions, by what the action space declares, and by nothing else.

::

    chunk [n, a] ── dimension by dimension: name, unit, kind ──> RobotAction, one per step
        base   linear_x linear_y angular_z [m/s, rad/s], or x y yaw [m, rad per step] × control_hz
        arm    x y z and a rotation, × the scale in the unit ("0.02 m", "cm") ──> RobotAction.arm, SI
        gripper   nearer to the end that opens it or to the other; exactly between: as it is

A unit that is no length and no angle ("relative", "scaled m") is refused: nobody can say how far that moves. Limits are
not applied here; the validator and the shield do that. A policy states no confidence, so it is 1 for every step.
"""

import math
import re
from typing import Any

import numpy as np

from robovlms.actions.contract import PolicyContract
from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.errors import SafetyError, UnsafeActionError, unknown_name
from robovlms.robot.action import ActionType, Gripper, RobotAction
from robovlms.robot.arm_motion import ArmMotion

_BASE_VELOCITIES = {"linear_x": "m", "linear_y": "m", "angular_z": "rad"}
_BASE_STEPS = {"x": "linear_x", "y": "linear_y", "yaw": "angular_z"}
_ROTATION_NAMES = {
    "none": (),
    "euler_xyz": ("roll", "pitch", "yaw"),
    "axis_angle": ("rx", "ry", "rz"),
    "quaternion_xyzw": ("qx", "qy", "qz", "qw"),
    "rotation_6d": ("r1", "r2", "r3", "r4", "r5", "r6"),
}
_TRANSLATION = ("x", "y", "z")
_EFFORT = "gripper_effort"
_UNIT = re.compile(r"(?:([0-9.]+(?:e[+-]?[0-9]+)?) )?([a-z]+|1)(/s)?")
_SCALES = {"m": ("m", 1.0), "cm": ("m", 0.01), "mm": ("m", 0.001), "rad": ("rad", 1.0), "deg": ("rad", math.pi / 180)}
_SCALES["1"] = ("1", 1.0)
_NUM_STEPS_MAX = 10_000  # longer than any chunk; an array that is no chunk must not become a list


def robot_actions_from_policy(chunk: Any, meaning: PolicyContract | ActionSpace) -> list[RobotAction]:
    """Return what a chunk of a policy tells the robot to do, one action per step.

    Args:
        chunk: [n, a] (or [a]: one step) in the units of the action space, as `ActionCodec.decode` gives them.
        meaning: the policy's contract or its action space.

    Raises:
        UnsafeActionError: if the chunk has another shape or a number that is not finite.
        SafetyError: if the action space has a dimension that means nothing to a robot here.
    """
    space = meaning.action_space if isinstance(meaning, PolicyContract) else meaning
    reader = _Reader(space)
    return [reader.action(row, index) for index, row in enumerate(_checked(chunk, space))]


def policy_action(action: RobotAction, meaning: PolicyContract | ActionSpace) -> np.ndarray:
    """Return the numbers of one step: inverse of `robot_actions_from_policy`, float32 [a].

    Raises:
        UnsafeActionError: if the action is not finite, or says something else than the space can: another frame or
            rotation, no arm, a velocity for a base that the space does not have.
        SafetyError: as of `robot_actions_from_policy`.
    """
    space = meaning.action_space if isinstance(meaning, PolicyContract) else meaning
    return _Reader(space).numbers(action)


class _Reader:
    """An action space, understood: which column is what, and its factor to SI units."""

    def __init__(self, space: ActionSpace) -> None:
        self.space = space
        self.base: dict[str, tuple[int, float]] = {}
        self.arm: dict[str, tuple[int, float]] = {}
        self.gripper: int | None = None
        for column, dimension in enumerate(space.dimensions):
            self._take(column, dimension)
        self._check_whole()

    def action(self, row: np.ndarray, index: int) -> RobotAction:
        velocity = {name: float(row[column]) * factor for name, (column, factor) in self.base.items()}
        opening = None if self.gripper is None else _opening(float(row[self.gripper]), self.space, self.gripper)
        kind = _kind(velocity, bool(self.arm))
        return RobotAction(
            kind,
            **velocity,
            confidence=1.0,
            description=f"step {index} of a policy's chunk",
            gripper=_GRIPPERS[opening],
            sequence_index=index,
            arm=self._motion(row, opening) if self.arm else None,
        )

    def numbers(self, action: RobotAction) -> np.ndarray:
        row = np.zeros(self.space.size, np.float64)
        spoken = {name: value for name, value in zip(_BASE_VELOCITIES, action.velocity, strict=True) if value != 0}
        silent = [name for name in spoken if name not in self.base]
        if silent:
            raise UnsafeActionError(f"action has {silent[0]} {spoken[silent[0]]}, which the action space has not")
        for name, (column, factor) in self.base.items():
            row[column] = getattr(action, name) / factor
        for name, value in self._arm_values(action).items():
            column, factor = self.arm[name]
            row[column] = value / factor
        if self.gripper is not None:
            row[self.gripper] = _end(
                {name: key for key, name in _GRIPPERS.items()}[action.gripper], self.space, self.gripper
            )
        if not np.isfinite(row).all():
            raise UnsafeActionError(f"action: expected finite numbers, got {row.tolist()} for {list(self.space.names)}")
        return row.astype(np.float32)

    def _take(self, column: int, dimension: ActionDimension) -> None:
        """Find out what one dimension is."""
        if dimension.kind == "gripper":
            if self.gripper is not None:
                raise SafetyError(f"action space: one gripper is understood, got a second: {dimension.name!r}")
            self.gripper = column
        elif dimension.kind == "base":
            self._take_base(column, dimension)
        else:
            self._take_arm(column, dimension)

    def _take_base(self, column: int, dimension: ActionDimension) -> None:
        known = {**{name: name for name in _BASE_VELOCITIES}, **_BASE_STEPS}
        if dimension.name not in known:
            raise SafetyError(unknown_name("dimension of a base", dimension.name, known))
        name = known[dimension.name]
        quantity, factor, is_rate = _parse_unit(dimension)
        is_step = dimension.name in _BASE_STEPS and not is_rate
        is_known = quantity == _BASE_VELOCITIES[name] and (is_rate or is_step)
        if not is_known or name in self.base or (is_step and not self.space.is_delta):
            raise SafetyError(
                f"action dimension {dimension.name!r} of a base: expected a velocity in m/s or rad/s, or a relative "
                f"step in m or rad, once; got unit {dimension.unit!r}, is_delta {self.space.is_delta}"
            )
        self.base[name] = (column, factor * (self.space.control_hz if is_step else 1.0))

    def _take_arm(self, column: int, dimension: ActionDimension) -> None:
        turns = _ROTATION_NAMES[self.space.rotation]
        known = (*_TRANSLATION, *turns, _EFFORT)
        if dimension.name not in known:
            raise SafetyError(unknown_name("dimension of an arm", dimension.name, known))
        quantity, factor, is_rate = _parse_unit(dimension)
        has_angle = self.space.rotation in ("euler_xyz", "axis_angle")
        expected = "m" if dimension.name in _TRANSLATION else "rad" if dimension.name in turns and has_angle else "1"
        if quantity != expected or is_rate:
            raise SafetyError(
                f"action dimension {dimension.name!r} of an arm: expected a unit of {expected!r}, for example "
                f"{'0.02 ' if expected != '1' else ''}{expected!s}; got {dimension.unit!r}"
            )
        self.arm[dimension.name] = (column, factor)

    def _check_whole(self) -> None:
        """Half a position or half a rotation is none."""
        turns = _ROTATION_NAMES[self.space.rotation]
        if self.arm:
            missing = [name for name in (*_TRANSLATION, *turns) if name not in self.arm]
            if missing:
                raise SafetyError(f"action space of an arm: {missing[0]!r} is missing beside {list(self.arm)}")
        if self.base and self.space.frame != "base" and not self.arm:
            raise SafetyError(
                f"action space of a base: velocities are of its own frame 'base', not {self.space.frame!r}"
            )
        if self.gripper is not None:
            dimension = self.space.dimensions[self.gripper]
            if self.space.gripper_opens not in ("positive", "negative"):
                raise SafetyError(f"action dimension {dimension.name!r}: gripper_opens must say which end opens it")

    def _motion(self, row: np.ndarray, opening: float | None) -> ArmMotion:
        values = {name: float(row[column]) * factor for name, (column, factor) in self.arm.items()}
        return ArmMotion(
            translation=(values["x"], values["y"], values["z"]),
            rotation=tuple(values[name] for name in _ROTATION_NAMES[self.space.rotation]),
            rotation_kind=self.space.rotation,
            gripper_opening=opening,
            gripper_effort=values.get(_EFFORT),
            frame=self.space.frame,
            is_delta=self.space.is_delta,
        )

    def _arm_values(self, action: RobotAction) -> dict[str, float]:
        """Name of a dimension -> number in SI units."""
        motion = action.arm
        if not self.arm:
            if motion is not None:
                raise UnsafeActionError("action has a motion of an arm, which the action space has not")
            return {}
        if motion is None:
            raise UnsafeActionError(f"action has no motion of an arm; the action space expects {list(self.arm)}")
        said = (motion.frame, motion.is_delta, motion.rotation_kind)
        wanted = (self.space.frame, self.space.is_delta, self.space.rotation)
        if said != wanted:
            raise UnsafeActionError(f"action: frame, is_delta and rotation are {said}; the action space has {wanted}")
        names = (*_TRANSLATION, *_ROTATION_NAMES[self.space.rotation])
        values = dict(zip(names, (*motion.translation, *motion.rotation), strict=True))
        if (motion.gripper_effort is None) == (_EFFORT in self.arm):
            raise UnsafeActionError(
                f"action has gripper_effort {motion.gripper_effort}; the space has {list(self.arm)}"
            )
        return values if motion.gripper_effort is None else {**values, _EFFORT: motion.gripper_effort}


_GRIPPERS: dict[float | None, Gripper | None] = {1.0: "open", 0.0: "close", None: None}


def _checked(chunk: Any, space: ActionSpace) -> np.ndarray:
    try:
        numbers = np.asarray(chunk)
        if numbers.dtype.kind not in "fiu":
            raise TypeError(f"numbers are of type {numbers.dtype}")
        numbers = np.atleast_2d(numbers.astype(np.float64))
    except (TypeError, ValueError) as error:
        raise UnsafeActionError(f"chunk: expected numbers [n, {space.size}]: {error}") from None
    if numbers.ndim != 2 or numbers.shape[1] != space.size or not 0 < len(numbers) <= _NUM_STEPS_MAX:
        raise UnsafeActionError(
            f"chunk: expected [n, {space.size}] for {list(space.names)}, got {list(np.shape(chunk))}"
        )
    wrong = np.argwhere(~np.isfinite(numbers))
    if len(wrong):
        step, column = wrong[0].tolist()
        raise UnsafeActionError(f"chunk: {space.names[column]!r} of step {step} is {numbers[step, column]}")
    return numbers


def _parse_unit(dimension: ActionDimension) -> tuple[str, float, bool]:
    """What is measured ("m", "rad" or "1"), the factor to it, and whether it is per second."""
    match = _UNIT.fullmatch(dimension.unit)
    if match is None or match[2] not in _SCALES:
        raise SafetyError(
            f"action dimension {dimension.name!r}: its unit {dimension.unit!r} says no length and no angle; expected "
            'for example "m", "0.02 m", "rad" or "m/s"'
        )
    quantity, scale = _SCALES[match[2]]
    try:
        factor = float(match[1] or 1.0) * scale
    except ValueError:
        factor = 0.0
    if not (math.isfinite(factor) and factor > 0):
        raise SafetyError(f"action dimension {dimension.name!r}: its unit {dimension.unit!r} has no positive factor")
    return quantity, factor, match[3] is not None


def _opening(number: float, space: ActionSpace, column: int) -> float | None:
    """1 if the gripper shall open, 0 if it shall close, None if the number is exactly between."""
    dimension = space.dimensions[column]
    middle = (dimension.low + dimension.high) / 2
    if number == middle:
        return None
    return float((number > middle) == (space.gripper_opens == "positive"))


def _end(opening: float | None, space: ActionSpace, column: int) -> float:
    """Inverse of `_opening`."""
    dimension = space.dimensions[column]
    if opening is None:
        return (dimension.low + dimension.high) / 2
    return dimension.high if (opening == 1.0) == (space.gripper_opens == "positive") else dimension.low


def _kind(velocity: dict[str, float], has_arm: bool) -> ActionType:
    if velocity.get("linear_x") or velocity.get("linear_y") or has_arm:
        return ActionType.MOVE
    return ActionType.TURN if velocity.get("angular_z") else ActionType.STOP
