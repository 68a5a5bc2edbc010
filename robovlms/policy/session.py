"""The run-time state of a policy: of one robot, or of several that share the model.

::

    observation ── encoded frame ──▶ stream (what the policy remembers) ── head ──▶ chunk of n actions
                                                                                        │ the first k are queued
    action ◀────────────────────────────────────────────────────────────────────────────┘

A policy that looks at one frame is asked only when its queue is empty. A policy with memory sees every frame, because
that is what it was trained on, and is asked for actions only when its queue is empty. A new instruction begins a new
history.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32

from robovlms.actions.contract import PolicyContract
from robovlms.errors import PolicyError
from robovlms.model.base import BaseRoboVLM
from robovlms.model.checkpoint import load_policy
from robovlms.model.device import resolve_device
from robovlms.model.inference import ObservationEncoder
from robovlms.types import Observation

_SHARED = ("window_size", "fwd_pred_next_n")  # of a contract and a model's configuration


class SessionBatch:
    """Streams the observations of several robots through one model; no robot's past touches another's.

    Args:
        model: the policy; put into evaluation mode.
        contract: what it was trained on.
        num_robots: how many.
        execute_steps: k, actions executed of each chunk before the policy decides again, at most n.

    Raises:
        PolicyError: if `execute_steps` is not between 1 and n, or the contract is not the model's.
    """

    def __init__(
        self, model: BaseRoboVLM, contract: PolicyContract, *, num_robots: int, execute_steps: int = 1
    ) -> None:
        if not 1 <= execute_steps <= contract.fwd_pred_next_n:
            raise PolicyError(
                f"execute_steps must lie between 1 and the chunk's {contract.fwd_pred_next_n} actions, "
                f"got {execute_steps}"
            )
        pairs = {name: (getattr(contract, name), getattr(model.config, name)) for name in _SHARED}
        for name, (agreed, own) in pairs.items():
            if agreed != own:
                raise PolicyError(f"the contract says {name} {agreed}, the model was built with {own}")
        self.contract, self.num_robots, self.execute_steps = contract, num_robots, execute_steps
        self._encoder = ObservationEncoder(model.eval(), contract)
        self._stream = model.stream(num_robots)
        self._queues: list[deque[np.ndarray]] = [deque() for _ in range(num_robots)]
        self._instructions: list[str | None] = [None] * num_robots

    def reset(self, robots: Sequence[int] | None = None) -> None:
        """Forget the past of some robots, or of all; call at the beginning of every episode."""
        robots = range(self.num_robots) if robots is None else robots
        self._check(robots)
        self._stream.reset(robots)
        for robot in robots:
            self._queues[robot].clear()
            self._instructions[robot] = None

    def needs_observation(self, robot: int) -> bool:
        """Whether the next `act` of a robot looks; False lets a simulator skip rendering."""
        self._check([robot])
        return not self._queues[robot] or self.contract.window_size > 1

    def _check(self, robots: Iterable[int]) -> None:
        for robot in robots:
            if not 0 <= robot < self.num_robots:
                raise PolicyError(f"there is no robot {robot}; their numbers are 0 to {self.num_robots - 1}")

    def act(self, observations: Mapping[int, Observation | None]) -> dict[int, Float32[np.ndarray, "a"]]:
        """Return the next action of some robots in physical units.

        Args:
            observations: robot -> what it sees now; may be None only while the robot needs none.

        Raises:
            PolicyError: if an observation is needed and missing, does not fit the contract, or leads to numbers that
                are not finite. A refused observation changes nothing; after anything else the robots that looked have
                forgotten their past.
        """
        looking = [
            robot for robot, seen in observations.items() if self.needs_observation(robot) or self._is_new(robot, seen)
        ]
        seen = [observations[robot] for robot in looking]
        if any(one is None for one in seen):
            raise PolicyError("the policy needs an observation now; check `needs_observation` before leaving it out")
        for robot, chunk in self._look(looking, seen).items() if looking else ():
            self._queues[robot].extend(chunk[: self.execute_steps])
        return {robot: self._queues[robot].popleft() for robot in observations}

    def chunks(self, observations: Mapping[int, Observation]) -> dict[int, Float32[np.ndarray, "n a"]]:
        """Return the next n actions of some robots in physical units; what `act` has queued for them is dropped.

        For who executes chunks on a clock of its own.

        Raises:
            PolicyError: as in `act`.
        """
        self._check(observations)
        for robot in observations:
            self._queues[robot].clear()
        return self._look([*observations], [*observations.values()])

    def _is_new(self, robot: int, seen: Observation | None) -> bool:
        """Whether a robot is told something else than what its queued actions are for."""
        return seen is not None and self._instructions[robot] not in (None, seen.instruction)

    @torch.inference_mode()
    def _look(self, robots: Sequence[int], observations: Sequence[Observation]) -> dict[int, np.ndarray]:
        """Take a frame of each robot; return the chunks of those that have nothing queued."""
        frames = self._encoder.frames(observations)
        self.reset([robot for robot, one in zip(robots, observations, strict=True) if self._is_new(robot, one)])
        try:
            features, step_mask = self._stream.step(frames, robots)
            asked = [i for i, robot in enumerate(robots) if not self._queues[robot]]
            chunks = self._encoder.actions(features[asked], step_mask[asked]) if asked else []
        except BaseException:
            self.reset(robots)  # whatever it was, what they remember may be half of a step
            raise
        for robot, one in zip(robots, observations, strict=True):
            self._instructions[robot] = one.instruction
        return {robots[i]: chunk for i, chunk in zip(asked, chunks, strict=True)}


class PolicySession:
    """Streams the observations of one robot into actions. Arguments as in `SessionBatch`."""

    def __init__(self, model: BaseRoboVLM, contract: PolicyContract, *, execute_steps: int = 1) -> None:
        self._robots = SessionBatch(model, contract, num_robots=1, execute_steps=execute_steps)
        self.contract, self.execute_steps = contract, execute_steps

    def reset(self) -> None:
        """Forget everything; call at the beginning of every episode."""
        self._robots.reset()

    @property
    def needs_observation(self) -> bool:
        """Whether the next `act` looks; False lets a simulator skip rendering."""
        return self._robots.needs_observation(0)

    def act(self, observation: Observation | None = None) -> Float32[np.ndarray, "a"]:
        """Return the next action in physical units.

        Args:
            observation: what the robot sees now; may be None only while `needs_observation` is False.

        Raises:
            PolicyError: if an observation is needed and missing, or does not fit the contract.
        """
        return self._robots.act({0: observation})[0]

    def chunk(self, observation: Observation) -> Float32[np.ndarray, "n a"]:
        """Return the next n actions in physical units; what `act` has queued is dropped.

        Raises:
            PolicyError: as in `act`.
        """
        return self._robots.chunks({0: observation})[0]


def load_session(checkpoint: str | Path, *, execute_steps: int | None = None, device: str = "cpu") -> PolicySession:
    """Open a session on a checkpoint folder, or on the newest checkpoint of a run folder.

    Args:
        checkpoint: the folder.
        execute_steps: as in `PolicySession`; None takes `evaluate.execute_steps` of the run's configuration.
        device: where to compute; "auto" takes CUDA if there is one.

    Raises:
        CheckpointError: if the folder is incomplete or damaged.
        ConfigError: if the device is not there.
    """
    model, contract, config = load_policy(checkpoint)
    model.to(resolve_device(device, "device"))
    steps = config.evaluate.execute_steps if execute_steps is None else execute_steps
    return PolicySession(model, contract, execute_steps=steps)
