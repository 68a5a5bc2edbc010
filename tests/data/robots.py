"""Synthetic robots: their actions mean exactly what is asked for, their states are what the actions lead to."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from robovlms.actions.pose import axis_angle_to_matrix, matrix_to_rpy, rpy_to_matrix
from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.data.sources.base import EpisodeSource, Steps

PROPRIO = ("tcp_x", "tcp_y", "tcp_z", "roll", "pitch", "yaw", "gripper_width", "joint_0")


def make_space(unit: str = "m", **changes: Any) -> ActionSpace:
    """Seven numbers: x, y, z, roll, pitch, yaw, gripper."""
    arm = [ActionDimension(name=name, unit=unit, low=-5, high=5) for name in "xyz"]
    arm += [ActionDimension(name=name, unit="rad", low=-4, high=4) for name in ("roll", "pitch", "yaw")]
    gripper = ActionDimension(name="gripper", unit="1", low=-1.0, high=1.0, kind="gripper")
    told = {"frame": "world", "is_delta": True, "rotation": "euler_xyz", "gripper_opens": "positive", "control_hz": 10}
    return ActionSpace(dimensions=(*arm, gripper), **{**told, **changes})


def record(
    seed: int,
    *,
    kind: str = "world",
    scale: float = 0.02,
    lag: int = 0,
    noise: float = 0.1,
    opens: float = 1.0,
    length: int = 80,
) -> tuple[np.ndarray, np.ndarray]:
    """Actions [T, 7] and states [T, 8] of one episode.

    Args:
        seed: of everything.
        kind: "world", "tcp" or "absolute".
        scale: m per unit of an action; 1 for absolute ones.
        lag: steps by which the robot answers late.
        noise: standard deviation of what it does beside what it is told, as a share of a step.
        opens: sign of the command that opens the gripper.
        length: T.
    """
    rng = np.random.default_rng(seed)
    wish = np.clip(np.cumsum(rng.normal(0, 0.3, (length, 6)), axis=0) * 0.5 + rng.normal(0, 0.5, (length, 6)), -1, 1)
    open_wish = np.repeat(rng.integers(0, 2, length // 16 + 1), 16)[:length] * 2 - 1
    place, turn = rng.normal(0, 0.2, 3), rpy_to_matrix(np.array([np.pi - 0.4, 0.3, 0.8]) + rng.normal(0, 0.3, 3))
    width, states, targets = 0.08, [], []
    for step in range(length):
        states.append([*place, *matrix_to_rpy(turn), width, 0.1])
        past = max(0, step - lag)
        motion = wish[past, :3] if step >= lag else np.zeros(3)
        frame = np.eye(3) if kind != "tcp" else _turn(states[past])
        move = 0.02 if kind == "absolute" else scale
        place = place + move * (frame @ motion) + rng.normal(0, noise * move, 3)
        turned = axis_angle_to_matrix(0.05 * wish[past, 3:])
        turn = turn @ turned if kind == "tcp" else turned @ turn
        width += np.clip((0.08 if open_wish[past] > 0 else 0.0) - width, -0.02, 0.02)
        targets.append([*place, *matrix_to_rpy(turn)])
    actions = np.array(targets) if kind == "absolute" else wish * [1, 1, 1, 0.05, 0.05, 0.05]
    if kind == "absolute":
        actions = np.roll(actions, -lag, axis=0)[: length - lag]
    states, open_wish = np.array(states)[: len(actions)], open_wish[: len(actions)]
    return np.concatenate([actions, opens * open_wish[:, None]], axis=1), states


def _turn(state: list[float]) -> np.ndarray:
    return rpy_to_matrix(np.array(state[3:6]))


class Robot(EpisodeSource):
    """Such episodes in memory, or any others."""

    def __init__(
        self, space: ActionSpace, episodes: list[tuple[np.ndarray, np.ndarray]], names: tuple[str, ...] = PROPRIO
    ) -> None:
        self.path, self.action_space, self.cameras = Path("robot"), space, ()
        self.proprio_names, self.provenance, self._episodes = names, {}, episodes

    @classmethod
    def is_at(cls, path: Path) -> bool:
        return False

    def __len__(self) -> int:
        return len(self._episodes)

    @property
    def lengths(self) -> np.ndarray:
        return np.array([len(actions) for actions, _ in self._episodes], np.int64)

    @property
    def fingerprint(self) -> str:
        return "robot"

    def task(self, episode: int) -> str:
        return "move"

    def instruction(self, episode: int) -> str:
        return "move it"

    def file(self, episode: int) -> Path:
        return self.path

    def read(self, episode: int, frames: np.ndarray, steps: np.ndarray, cameras: tuple[str, ...]) -> Steps:
        actions, states = self._episodes[episode]
        proprio = states[frames].astype(np.float32) if self.proprio_names else None
        return Steps(images={}, proprio=proprio, actions=actions[steps].astype(np.float32))


def make_robot(seed: int = 0, num_episodes: int = 6, space: ActionSpace | None = None, **how: Any) -> Robot:
    """A dataset of `record`s; the space is declared as the robot really is, unless it is given."""
    kind = how.get("kind", "world")
    right = make_space(
        f"{how.get('scale', 0.02):g} m" if kind != "absolute" else "m",
        frame="tcp" if kind == "tcp" else "world",
        is_delta=kind != "absolute",
        gripper_opens="positive" if how.get("opens", 1.0) > 0 else "negative",
    )
    return Robot(space or right, [record(1000 * seed + i, **how) for i in range(num_episodes)])


def declared(robot: Robot, **changes: Any) -> Robot:
    """The same robot under another declaration."""
    return Robot(dataclasses.replace(robot.action_space, **changes), robot._episodes, robot.proprio_names)
