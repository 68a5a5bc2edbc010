"""What a simulator offers to collection and evaluation. One simulator = one file and one line in `ENVIRONMENTS`."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from robovlms.actions.contract import CameraSpec
from robovlms.actions.space import ActionSpace
from robovlms.types import Observation


@dataclass(frozen=True, kw_only=True)
class StepOutcome:
    """What one action led to.

    Attributes:
        is_success: the task is solved in this state.
        is_over: the episode cannot go on (time limit of the simulator).
    """

    is_success: bool
    is_over: bool


class Environment(ABC):
    """One task of one simulator, seeded per episode.

    The same seed gives the same episode, bit for bit, whatever ran before it. `observe` renders, which is the slow
    part, so it is called only when somebody looks.

    Attributes:
        name: name of the simulator, as in `ENVIRONMENTS`.
        task: task name.
        instruction: what the robot is asked to do.
        action_space: what `step` takes.
        cameras: what `observe` sees.
        proprio_names: what `observe` feels, one name per number.
        robot_type: name of the robot, recorded in datasets.
        perturbed_dims: action dimensions that collection may add noise to.
    """

    name: str
    task: str
    instruction: str
    action_space: ActionSpace
    cameras: tuple[CameraSpec, ...]
    proprio_names: tuple[str, ...]
    robot_type: str
    perturbed_dims: tuple[int, ...]

    @staticmethod
    @abstractmethod
    def full_task_name(task: str) -> str:
        """Complete a task name; needs no simulator.

        Raises:
            ConfigError: names the nearest task.
        """

    @staticmethod
    @abstractmethod
    def instruction_of(task: str) -> str:
        """Instruction of a task by its full name; needs no simulator."""

    @staticmethod
    @abstractmethod
    def options_for(cameras: tuple[CameraSpec, ...]) -> dict[str, Any]:
        """Options with which this simulator shows what a policy was trained on; needs no simulator.

        Raises:
            ContractMismatchError: if it has no such camera.
        """

    @abstractmethod
    def reset(self, seed: int) -> None:
        """Begin the episode of `seed`."""

    @abstractmethod
    def observe(self) -> Observation:
        """Render all cameras and read the proprioception of the current state."""

    @abstractmethod
    def step(self, action: np.ndarray) -> StepOutcome:
        """Execute one action, float32 [a] within the bounds of the action space.

        Raises:
            SimulatorError: if the action is not finite or has the wrong size.
        """

    @abstractmethod
    def expert_action(self) -> np.ndarray:
        """What the scripted expert does in the current state, float32 [a], clipped to the action space.

        Raises:
            SimulatorError: if this simulator has no expert for the task.
        """

    @abstractmethod
    def close(self) -> None:
        """Free the simulator and its rendering context."""
