"""Let a trained policy drive: its chunks are executed at its own rate, whatever the model's."""

import math

import numpy as np

from robovlms.actions.contract import PolicyContract
from robovlms.errors import ConfigError, SafetyError, UnsafeActionError, unknown_name
from robovlms.resize import resize_frame
from robovlms.robot.chunks import EXECUTORS, ChunkExecutor
from robovlms.robot.policy_output import robot_actions_from_policy
from robovlms.robot.safety.limits import ShieldLimits
from robovlms.robot.tasks.base import Decision, Task, standing
from robovlms.robot.view import View
from robovlms.robot.worker.client import Answer, Question


class Policy(Task):
    """Execute a policy's chunks.

    Args:
        instruction: what the robot is to do.
        execution: key of `robovlms.robot.chunks.EXECUTORS`.
        options: keywords of that class.

    Raises:
        ConfigError: if the way of execution is unknown.
        SafetyError: if there is no instruction.
    """

    needs = "chunk"
    has_end = False

    def __init__(self, instruction: str = "", execution: str = "async_queue", options: dict | None = None) -> None:
        if not instruction.strip():
            raise SafetyError("task policy: expected an instruction, got none; set task.options.instruction")
        if execution not in EXECUTORS:
            raise ConfigError(unknown_name("way to execute chunks", execution, EXECUTORS))
        self._instruction, self._execution, self._options = instruction, execution, options or {}
        self._asked_about = -math.inf  # capture time of the newest view that the policy was asked about, s
        self._why_none = "no action of the policy for now"

    def prepare(self, limits: ShieldLimits, contract_json: str | None) -> None:
        if contract_json is None:
            raise SafetyError("task policy: the model has no contract, so nobody knows what its numbers mean")
        self._contract = contract = PolicyContract.from_json(contract_json)
        if contract.proprio_names:
            raise SafetyError(
                f"the policy wants proprioception {list(contract.proprio_names)}, which this robot does not give; "
                "train it with data.use_proprio=false"
            )
        robot_actions_from_policy(np.zeros((1, contract.action_space.size)), contract)  # refuses what is no base
        kinds = {dimension.name: dimension.kind for dimension in contract.action_space.dimensions}
        if "base" not in kinds.values() or "arm" in kinds.values():
            raise SafetyError(f"a base is driven here, the policy's actions are {kinds}; for arms see docs/robot.md")
        self._executor = self._make_executor(limits)

    def _make_executor(self, limits: ShieldLimits) -> ChunkExecutor:
        space = self._contract.action_space
        try:
            return EXECUTORS[self._execution](
                control_hz=space.control_hz,
                num_dims=space.size,
                gripper_dims=space.gripper_dims,
                max_age_s=limits.max_observation_age_s,
                **self._options,
            )
        except TypeError as error:
            raise ConfigError(f"task policy: {self._execution} does not take {self._options}: {error}") from None

    def question(self, view: View, now: float) -> Question | None:
        if not view.observed_at > self._asked_about or not self._executor.wants_chunk(now):
            return None
        missing = [camera.name for camera in self._contract.cameras if camera.name not in view.images]
        if missing:
            raise SafetyError(unknown_name("camera", missing[0], view.images) + "; name it in cameras[].view")
        images = {
            camera.name: resize_frame(view.images[camera.name], camera.height, camera.width)
            for camera in self._contract.cameras
        }
        self._asked_about = view.observed_at
        return Question(images=images, instruction=self._instruction, observed_at=view.observed_at)

    def take(self, answer: Answer, now: float) -> None:
        try:
            if answer.chunk is None:
                raise UnsafeActionError(answer.error or "an answer without a chunk")
            if len(answer.chunk) > self._contract.fwd_pred_next_n:
                raise UnsafeActionError(
                    f"the policy's chunks have {self._contract.fwd_pred_next_n} actions, got {len(answer.chunk)}"
                )
            self._executor.add(answer.chunk, answer.question.observed_at, now)
            self._why_none = "no action of the policy for now"
        except UnsafeActionError as error:  # nothing of a policy that fails is executed further
            self._executor.reset(now)
            self._why_none = str(error)

    def decide(self, view: View, now: float) -> Decision:
        planned = self._executor.next(now)
        if planned is None:
            return standing(view, self._why_none)
        if not math.isfinite(float(planned.values.sum())):
            return standing(view, "an action that is not finite")
        (action,) = robot_actions_from_policy(planned.values[None], self._contract)
        return Decision(action=action, observed_at=planned.observed_at)
