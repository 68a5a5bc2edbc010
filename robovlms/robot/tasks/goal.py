"""A goal for a VLM that sees: describe, find, go to, follow, in one or two questions per picture.

::

    find_object, navigate_to, follow
      "is there a red box?" ── yes ──▶ "where?" ── boxes ──▶ drive while the picture is young ──┐
             ▲                            ▲                                                      │ again, next picture
             └──── not seen any more ─────┴──────────────────────────────────────────────────────┘
    describe_scene, identify_main_object ── one question, no motion, done
    save_image ── no question, no motion, done
"""

import math

from robovlms.errors import ConfigError, DataError
from robovlms.robot.action import ActionType
from robovlms.robot.goals import GoalResult, execute_action
from robovlms.robot.prompts import TWO_STAGE_GOALS, Goal, Stage, get_vlm_prompt, goal_of, target_name
from robovlms.robot.tasks.base import Decision, Task, standing
from robovlms.robot.view import View
from robovlms.robot.worker.client import Answer, Question


class GoalTask(Task):
    """Pursue one goal.

    Args:
        goal: name of a `Goal`.
        target: the thing, for find_object, navigate_to and follow.
        prompt: a question of your own in place of the goal's; not for goals of two stages.
        language: of the questions.
        save_dir: folder of save_image.
        arrivals: how many pictures in a row must show the thing in front and near before a navigation is done.

    Raises:
        ConfigError: if the goal is unknown or lacks its thing, or an option does not go with it.
    """

    def __init__(
        self,
        goal: str = "",
        target: str | None = None,
        prompt: str | None = None,
        language: str = "en",
        save_dir: str = "runs/robot/pictures",
        arrivals: int = 2,
    ) -> None:
        self.goal = goal_of(goal)
        if self.goal is Goal.UNKNOWN:
            raise ConfigError("task goal: the goal unknown means to stand still; name another one")
        if prompt is not None and self.goal in TWO_STAGE_GOALS:
            raise ConfigError(f"task goal: {goal} asks two questions of its own; leave out the prompt")
        if arrivals < 1:
            raise ConfigError(f"task goal: arrivals must be at least 1, got {arrivals}")
        self._target = target_name(target) if self.goal in TWO_STAGE_GOALS else None
        self._prompt, self._language, self._save_dir, self._arrivals = prompt, language, save_dir, arrivals
        self.needs = None if self.goal is Goal.SAVE_IMAGE else "text"
        self.has_end = self.goal is not Goal.FOLLOW
        self._stage: Stage = "presence"
        self._text()  # refuses what cannot be asked, now and not on the way
        self._result: GoalResult | None = None
        self._observed_at = 0.0
        self._num_arrivals, self._arrived_at = 0, -math.inf

    def question(self, view: View, now: float) -> Question:
        return Question(prompt=self._text(), images={"image": view.image}, observed_at=view.observed_at)

    def take(self, answer: Answer, now: float) -> None:
        if answer.text is None:
            self._result, self._num_arrivals = None, 0
            return
        result = execute_action(
            self.goal,
            answer.text,
            answer.question.images["image"],
            self._target,
            original_prompt=answer.question.prompt,
            stage=self._stage,
        )
        if result.needs_next_stage:
            self._stage = "locate"  # what is known so far drives nothing
            return
        self._result, self._observed_at = result, answer.question.observed_at
        if self._stage == "locate" and result.detection is None:
            self._stage = "presence"
        self._finish(result)

    def decide(self, view: View, now: float) -> Decision:
        if self.goal is Goal.SAVE_IMAGE and not self.is_done:
            self._result = execute_action(self.goal, "", view.image, save_dir=self._save_dir)
            self._finish(self._result)
            if not self.is_done:
                raise DataError(self._result.message)
        if self._result is None:
            return standing(view, "no answer yet")
        if self._result.detection is None:
            return standing(view, self._result.message)
        return Decision(action=self._result.action, observed_at=self._observed_at)

    def _finish(self, result: GoalResult) -> None:
        if self.goal not in TWO_STAGE_GOALS:
            self.is_done, self.outcome = result.is_success, result.message
            return
        is_there = result.detection is not None and result.action.action_type is ActionType.STOP
        is_new = self._observed_at > self._arrived_at  # a fast model is asked about one picture several times
        self._num_arrivals = self._num_arrivals + is_new if is_there else 0
        self._arrived_at = self._observed_at
        if self.goal is not Goal.FOLLOW and self._num_arrivals >= self._arrivals:
            self.is_done, self.outcome = True, f"{self._target}: {result.message}"

    def _text(self) -> str:
        return get_vlm_prompt(self.goal, self._prompt, self._target, stage=self._stage, language=self._language)
