"""Words of a VLM, picture by picture."""

import numpy as np
import pytest

from robovlms.errors import SafetyError
from robovlms.robot.action import ActionType
from robovlms.robot.parser import VLAActionParser
from robovlms.robot.tasks.ask import Ask
from robovlms.robot.view import View
from robovlms.robot.worker import Answer

VIEW = View(images={"front": np.zeros((4, 4, 3), np.uint8)}, observed_at=1.0)
PARSER = VLAActionParser()  # slow to make


def told(text: str | None) -> tuple[ActionType, tuple[float, float, float], float]:
    task = Ask("leave the room; never stop, turn left or right", parser=PARSER)
    question = task.question(VIEW, 1.0)
    task.take(Answer(question=question, text=text and text.replace("PROMPT", question.prompt)), 1.5)
    later = View(images=VIEW.images, observed_at=1.4)
    decision = task.decide(later, 1.5)
    return decision.action.action_type, decision.action.velocity, decision.observed_at


def test_an_answer_is_as_old_as_its_picture() -> None:
    kind, velocity, observed_at = told("turn left")
    assert (kind, observed_at) == (ActionType.TURN, 1.0)
    assert velocity[2] > 0


@pytest.mark.parametrize("text", [None, "", "as you like", "PROMPT", "PROMPT I do not know", "pick up the cup"])
def test_what_is_no_motion_stands(text: str | None) -> None:
    assert told(text)[1] == (0, 0, 0)


def test_an_echoed_prompt_is_not_obeyed() -> None:
    kind, velocity, _ = told("PROMPT turn right")
    assert kind is ActionType.TURN
    assert velocity[2] < 0


def test_what_was_said_before_is_forgotten_when_the_model_fails() -> None:
    task = Ask("go", parser=PARSER)
    question = task.question(VIEW, 1.0)
    task.take(Answer(question=question, text="go forward"), 1.1)
    assert task.decide(VIEW, 1.1).action.linear_x > 0
    task.take(Answer(question=question, error="no answer within 1 s"), 1.2)
    assert task.decide(VIEW, 1.2).action.velocity == (0, 0, 0)


@pytest.mark.parametrize("options", [dict(instruction=" "), dict(instruction="go", prompt="what now?")])
def test_wrong_options(options) -> None:
    with pytest.raises(SafetyError, match="task ask"):
        Ask(**options)
