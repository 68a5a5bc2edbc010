"""A goal in two questions: nothing moves before the thing was located, nor after it was lost."""

from pathlib import Path

import numpy as np
import pytest

from robovlms.errors import ConfigError, DataError
from robovlms.robot.tasks.goal import GoalTask
from robovlms.robot.view import View
from robovlms.robot.worker import Answer, Question

IMAGE = np.zeros((480, 640, 3), np.uint8)
AHEAD, LEFT, NEAR = (
    "<loc0410><loc0435><loc0614><loc0589> red box",
    "<loc0410><loc0179><loc0614><loc0333> red box",
    "<loc0051><loc0051><loc0973><loc0973> red box",
)


class Talk:
    """Asks a task, answers for the model, and says what the base would do."""

    def __init__(self, task: GoalTask) -> None:
        self.task, self.now = task, 0.0

    def answer(self, text: str | None) -> tuple[str, tuple[float, float, float]]:
        self.now += 0.1
        view = View(images={"front": IMAGE}, observed_at=self.now)
        question = self.task.question(view, self.now)
        assert isinstance(question, Question)
        self.task.take(Answer(question=question, text=text, error=None if text else "hangs"), self.now + 0.05)
        decision = self.task.decide(view, self.now + 0.05)
        if any(decision.action.velocity):
            assert decision.observed_at == question.observed_at
        return question.prompt, decision.action.velocity


def test_navigation() -> None:
    talk = Talk(GoalTask("navigate_to", "red box"))
    assert talk.answer("yes") == ("Is there a red box in the image? Answer yes or no.", (0, 0, 0))
    prompt, (x, y, yaw) = talk.answer(AHEAD)
    assert (prompt, y, yaw) == ("detect red box", 0, 0)
    assert x > 0
    _, (x, _, yaw) = talk.answer(LEFT)
    assert (x, yaw > 0) == (0, True)
    talk.answer(NEAR)
    assert not talk.task.is_done
    assert talk.answer(NEAR)[1] == (0, 0, 0)
    assert talk.task.is_done


def test_no_stands_and_asks_again() -> None:
    talk = Talk(GoalTask("find_object", "red box"))
    for _ in range(2):
        prompt, velocity = talk.answer("no")
        assert prompt.startswith("Is there")
        assert velocity == (0, 0, 0)
    assert not talk.task.is_done


@pytest.mark.parametrize("lost", ["I see nothing", None, "<loc0600><loc0400><loc0300><loc0700> red box", "yes"])
def test_a_thing_that_is_lost_stops_the_base(lost: str | None) -> None:
    talk = Talk(GoalTask("follow", "red box"))
    talk.answer("yes")
    assert talk.answer(AHEAD)[1][0] > 0
    assert talk.answer(lost)[1] == (0, 0, 0)


def test_follow_is_never_done() -> None:
    talk = Talk(GoalTask("follow", "red box"))
    talk.answer("yes")
    for _ in range(4):
        assert talk.answer(NEAR)[1] == (0, 0, 0)
    assert not talk.task.is_done


def test_one_picture_that_is_asked_about_twice_is_one_arrival() -> None:
    task = GoalTask("navigate_to", "red box")
    view = View(images={"front": IMAGE}, observed_at=1.0)
    for text in ("yes", NEAR, NEAR):
        task.take(Answer(question=task.question(view, 1.0), text=text), 1.0)
    assert not task.is_done
    later = View(images={"front": IMAGE}, observed_at=1.1)
    task.take(Answer(question=task.question(later, 1.1), text=NEAR), 1.1)
    assert task.is_done


def test_a_failure_between_two_pictures_begins_the_row_again() -> None:
    talk = Talk(GoalTask("navigate_to", "red box"))
    for text in ("yes", NEAR, None, NEAR):
        talk.answer(text)
    assert not talk.task.is_done
    talk.answer(NEAR)
    assert talk.task.is_done


def test_a_picture_that_cannot_be_saved_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    task = GoalTask("save_image", save_dir=str(tmp_path / "file"))
    with pytest.raises(DataError):
        task.decide(View(images={"front": IMAGE}, observed_at=0.0), 0.0)


def test_describe() -> None:
    talk = Talk(GoalTask("describe_scene"))
    assert talk.answer("go forward fast")[1] == (0, 0, 0)
    assert (talk.task.is_done, talk.task.outcome) == (True, "go forward fast")


def test_a_picture_is_saved_without_a_model(tmp_path: Path) -> None:
    task = GoalTask("save_image", save_dir=str(tmp_path))
    assert task.needs is None
    task.decide(View(images={"front": IMAGE}, observed_at=0.0), 0.0)
    assert task.is_done
    assert len(list(tmp_path.glob("*.png"))) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(goal="navigate_to"), "target_object"),
        (dict(goal="navigat_to", target="x"), "did you mean 'navigate_to'"),
        (dict(goal="unknown"), "stand still"),
        (dict(goal="follow", target="x", prompt="where?"), "leave out the prompt"),
        (dict(goal="navigate_to", target="x", arrivals=0), "at least 1"),
        (dict(goal="follow", target="x", language="fr"), "unknown language"),
    ],
)
def test_wrong_goals(options, message) -> None:
    with pytest.raises(ConfigError, match=message):
        GoalTask(**options)
