"""What follows from a model's answer for a goal: a result for people, and an action that stands still unless a box says
otherwise.

::

    describe_scene, identify_main_object ─ the answer ─────────────────────────────────> answer, stop
    save_image ─────────── the frame ──────────────────────────────────────────────────> file, stop
    find_object, navigate_to, follow
      ├ "yes" / "no"  ─ parse_yes_no_answer ─> yes: ask where it is; no or unclear ────> stop
      └ "<loc…>"      ─ parse_detections ────> find_object: turn to face it
                                               navigate_to: go there, stop before it
                                               follow: the same, and never done
    unknown ───────────────────────────────────────────────────────────────────────────> stop
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robovlms.errors import ConfigError, DataError
from robovlms.robot.action import ActionType, RobotAction
from robovlms.robot.boxes import Detection, choose_detection, has_location_tokens, parse_boxes, parse_detections
from robovlms.robot.language.echo import answers_after_prompt
from robovlms.robot.pictures import checked_frame, save_picture
from robovlms.robot.prompts import TWO_STAGE_GOALS, Goal, Stage, get_vlm_prompt, goal_of, target_name
from robovlms.robot.yes_no import parse_yes_no_answer

__all__ = ["Goal", "GoalResult", "execute_action", "get_vlm_prompt", "parse_yes_no_answer"]

MAX_CHARACTERS = 16_384  # of an answer that is kept


@dataclass(frozen=True, kw_only=True)
class GoalResult:
    """What came of an answer.

    Attributes:
        goal: what was asked for.
        is_success: whether the answer did what it was asked for; a "no" is an answer, but no success.
        message: what happened, for people.
        action: what the robot does now; stop unless a box says otherwise.
        answer: what the model said, without the prompt.
        detection: the thing, if it was located.
        saved_path: the picture, if one was saved.
        needs_next_stage: the thing is there, and the model is to be asked where: `get_vlm_prompt(…, stage="locate")`.
    """

    goal: Goal
    is_success: bool
    message: str
    action: RobotAction
    answer: str = ""
    detection: Detection | None = None
    saved_path: Path | None = None
    needs_next_stage: bool = False


def execute_action(
    goal: Goal | str,
    vlm_output: str | None,
    frame: np.ndarray | None = None,
    target_object: str | None = None,
    *,
    original_prompt: str = "",
    stage: Stage | None = None,
    image_width: int | None = None,
    image_height: int | None = None,
    save_dir: Path | str | None = None,
    file_name: str | None = None,
) -> GoalResult:
    """Return what follows from what a model said. An unknown goal or an unclear answer stands still.

    Args:
        goal: what was asked for; a name that is no goal counts as unknown.
        vlm_output: what the model generated; None if it failed, which stands still as an unclear answer does.
        frame: the picture that it saw, uint8 [h, w, 3].
        target_object: the thing; needed by find_object, navigate_to and follow.
        original_prompt: what the model was asked, which it may have echoed.
        stage: which question was asked; None = seen from the answer: location tokens or words.
        image_width, image_height: of the picture in pixels, where there is no frame.
        save_dir: folder for save_image.
        file_name: of the picture, a plain name ending with ".png"; None takes the next free "picture_0001.png".
    """
    vlm_output = vlm_output if isinstance(vlm_output, str) else ""
    try:
        goal = goal_of(goal)
        height, width = (image_height, image_width) if frame is None else checked_frame(frame).shape[:2]
        answer = " ".join(answers_after_prompt(vlm_output[:MAX_CHARACTERS], original_prompt[:MAX_CHARACTERS]))
        if goal in TWO_STAGE_GOALS:
            thing = target_name(target_object)
            if stage == "locate" or (stage is None and has_location_tokens(answer)):
                return _locate(goal, answer, thing, width, height)
            return _presence(goal, vlm_output, original_prompt, thing, answer)
        if goal is Goal.SAVE_IMAGE:
            return _save(frame, save_dir, file_name, answer)
    except (ConfigError, DataError) as error:
        return _standing(goal if isinstance(goal, Goal) else Goal.UNKNOWN, False, str(error))
    if goal is Goal.UNKNOWN:
        return _standing(goal, False, "the goal is unknown", answer=answer)
    return _standing(goal, bool(answer), answer or "the model said nothing", answer=answer)


def _presence(goal: Goal, output: str, prompt: str, thing: str, answer: str) -> GoalResult:
    is_there = parse_yes_no_answer(output, prompt, thing)
    if is_there is None:
        return _standing(goal, False, f"neither yes nor no to: is there {thing}?", answer=answer)
    message = f"{thing} is there; where?" if is_there else f"there is no {thing}"
    return _standing(goal, is_there, message, answer=answer, needs_next_stage=is_there)


def _locate(goal: Goal, answer: str, thing: str, width: int | None, height: int | None) -> GoalResult:
    if width is None or height is None:
        raise ConfigError("to locate a thing, give the frame, or image_width and image_height")
    action = parse_boxes(answer, width, height, thing)
    detection = choose_detection(parse_detections(answer), thing)
    if detection is None or action.confidence == 0:
        return _standing(goal, False, action.description, answer=answer)
    if goal is Goal.FIND_OBJECT and action.linear_x:
        action = RobotAction(
            ActionType.STOP,
            target_object=action.target_object,
            confidence=action.confidence,
            description=f"{thing} is in front",
        )
    return GoalResult(
        goal=goal, is_success=True, message=action.description, action=action, answer=answer, detection=detection
    )


def _save(frame: np.ndarray | None, save_dir: Path | str | None, file_name: str | None, answer: str) -> GoalResult:
    if frame is None or save_dir is None:
        raise ConfigError("to save an image, give the frame and save_dir")
    path = save_picture(frame, Path(save_dir), file_name)
    return _standing(Goal.SAVE_IMAGE, True, f"saved {path}", answer=answer, saved_path=path)


def _standing(goal: Goal, is_success: bool, message: str, **more: object) -> GoalResult:
    action = RobotAction(ActionType.STOP, confidence=1.0, description=message[:120])
    return dataclasses.replace(GoalResult(goal=goal, is_success=is_success, message=message, action=action), **more)
