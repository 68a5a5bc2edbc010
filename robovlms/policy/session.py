"""PolicySession: the run-time state of one policy on one robot.

::

    observation ── features of the frame ──▶ history (the last t frames) ── head ──▶ chunk of n actions
                                                                                        │ the first k are queued
    action ◀────────────────────────────────────────────────────────────────────────────┘

A policy that looks at one frame is asked only when its queue is empty. A policy with memory sees every frame, because
that is what it was trained on, and is asked for actions only when its queue is empty.
"""

from collections import deque
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from torch import Tensor

from robovlms.actions.contract import PolicyContract
from robovlms.errors import PolicyError
from robovlms.model.base import BaseRoboVLM
from robovlms.model.checkpoint import load_policy
from robovlms.model.device import resolve_device
from robovlms.model.inference import ObservationEncoder
from robovlms.types import Observation


class PolicySession:
    """Streams observations into actions.

    Args:
        model: the policy; put into evaluation mode.
        contract: what it was trained on.
        execute_steps: k, actions executed of each chunk before the policy decides again, at most n.

    Raises:
        PolicyError: if `execute_steps` is not between 1 and n.
    """

    def __init__(self, model: BaseRoboVLM, contract: PolicyContract, *, execute_steps: int = 1) -> None:
        if not 1 <= execute_steps <= contract.fwd_pred_next_n:
            raise PolicyError(
                f"execute_steps must lie between 1 and the chunk's {contract.fwd_pred_next_n} actions, "
                f"got {execute_steps}"
            )
        self.contract, self.execute_steps = contract, execute_steps
        self._encoder = ObservationEncoder(model.eval(), contract)
        self._history: deque[Tensor] = deque(maxlen=contract.window_size)
        self._queue: deque[np.ndarray] = deque()

    def reset(self) -> None:
        """Forget everything; call at the beginning of every episode."""
        self._history.clear()
        self._queue.clear()

    @property
    def needs_observation(self) -> bool:
        """Whether the next `act` looks; False lets a simulator skip rendering."""
        return not self._queue or self.contract.window_size > 1

    def act(self, observation: Observation | None = None) -> Float32[np.ndarray, "a"]:
        """Return the next action in physical units.

        Args:
            observation: what the robot sees now; may be None only while `needs_observation` is False.

        Raises:
            PolicyError: if an observation is needed and missing, or does not fit the contract.
        """
        if self.needs_observation:
            if observation is None:
                raise PolicyError(
                    "the policy needs an observation now; check `needs_observation` before leaving it out"
                )
            self._history.append(self._encoder.features(observation))
        if not self._queue:
            self._queue.extend(self._encoder.actions(self._history)[: self.execute_steps])
        return self._queue.popleft()


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
