"""A trained policy drives: its chunks by their meaning, at its own rate, and never older than allowed."""

import numpy as np
import pytest

from robovlms.actions.contract import CameraSpec, PolicyContract
from robovlms.actions.normalize import FeatureStatistics
from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.errors import ConfigError, SafetyError
from robovlms.robot.action import ActionType
from robovlms.robot.safety import ShieldLimits
from robovlms.robot.tasks.policy import Policy
from robovlms.robot.view import View
from robovlms.robot.worker import Answer, Question

LIMITS = ShieldLimits((0.5, 0.5, 1.0), (0.5, 0.5, 1.5), (1.0, 1.0, 3.0), max_observation_age_s=0.5)
BASE = ActionSpace(
    dimensions=(
        ActionDimension(name="linear_x", unit="m/s", low=-1.0, high=1.0, kind="base"),
        ActionDimension(name="angular_z", unit="rad/s", low=-1.0, high=1.0, kind="base"),
    ),
    frame="base",
    is_delta=True,
    control_hz=10.0,
)
ARM = ActionSpace(
    dimensions=(ActionDimension(name="x", unit="m", low=-1.0, high=1.0),), frame="tcp", is_delta=True, control_hz=10.0
)


def contract(space: ActionSpace = BASE, proprio: tuple[str, ...] = ()) -> str:
    low, zero, high = ((value,) * space.size for value in (-1.0, 0.0, 1.0))
    statistics = FeatureStatistics(count=1, mean=zero, std=high, min=low, max=high, q01=low, q99=high)
    return PolicyContract(
        action_space=space,
        action_scheme="min_max",
        action_statistics=statistics,
        proprio_names=proprio,
        proprio_scheme="none",
        proprio_statistics=None,
        cameras=(CameraSpec(name="front", height=4, width=6, source="robot"),),
        prompt_template="{instruction}",
        tokenizer_fingerprint="",
        window_size=1,
        fwd_pred_next_n=4,
    ).to_json()


def view(observed_at: float, name: str = "front") -> View:
    return View(images={name: np.zeros((8, 12, 3), np.uint8)}, observed_at=observed_at)


def test_chunks_drive_until_they_are_too_old() -> None:
    task = Policy("go to the door", execution="receding_horizon", options={"execute_steps": 3})
    task.prepare(LIMITS, contract())
    question = task.question(view(1.0), 1.0)
    assert isinstance(question, Question)
    assert question.images["front"].shape == (4, 6, 3)  # as the policy was trained
    assert question.instruction == "go to the door"
    task.take(Answer(question=question, chunk=np.array([[0.1, 0.0], [0.2, 0.0], [0.3, 0.5], [0.4, 0.0]])), 1.2)
    decisions = [task.decide(view(now), now) for now in (1.2, 1.3, 1.4, 1.5)]
    assert [one.action.velocity for one in decisions] == [(0.1, 0, 0), (0.2, 0, 0), (0.3, 0, 0.5), (0, 0, 0)]
    assert [one.observed_at for one in decisions[:3]] == [1.0] * 3
    assert decisions[-1].action.action_type is ActionType.STOP


def test_nothing_is_asked_while_the_chunk_lasts() -> None:
    task = Policy("go", execution="receding_horizon")
    task.prepare(LIMITS, contract())
    question = task.question(view(1.0), 1.0)
    assert question is not None
    task.take(Answer(question=question, chunk=np.zeros((4, 2))), 1.0)
    assert task.question(view(1.1), 1.1) is None


@pytest.mark.parametrize("chunk", [np.full((4, 2), np.nan), np.zeros((4, 3)), None])
def test_a_bad_chunk_stands(chunk) -> None:
    task = Policy("go")
    task.prepare(LIMITS, contract())
    question = task.question(view(1.0), 1.0)
    assert question is not None
    task.take(Answer(question=question, chunk=np.ones((4, 2))), 1.0)
    assert task.decide(view(1.0), 1.0).action.linear_x == 1.0
    bad = task.question(view(1.4), 1.4)
    assert bad is not None
    task.take(Answer(question=bad, chunk=chunk), 1.4)
    assert task.decide(view(1.45), 1.6).action.velocity == (0, 0, 0)


@pytest.mark.parametrize(
    ("chunk", "why"), [(None, "the process ended"), (np.ones((5, 2)), "have 4 actions, got 5"), (np.ones(3), "numbers")]
)
def test_nothing_of_a_policy_that_fails_is_executed_further(chunk, why: str) -> None:
    task = Policy("go")
    task.prepare(LIMITS, contract())
    first = task.question(view(1.0), 1.0)
    assert first is not None
    task.take(Answer(question=first, chunk=np.ones((4, 2))), 1.0)
    second = task.question(view(1.2), 1.2)
    assert task.decide(view(1.2), 1.2).action.linear_x == 1.0
    assert second is not None
    task.take(Answer(question=second, chunk=chunk, error="the process ended" if chunk is None else None), 1.25)
    decision = task.decide(view(1.25), 1.25)
    assert decision.action.velocity == (0, 0, 0)
    assert why in decision.action.description


def test_a_picture_is_asked_about_once() -> None:
    task = Policy("go", "temporal_ensemble")
    task.prepare(LIMITS, contract())
    assert task.question(view(1.0), 1.0) is not None
    assert task.question(view(1.0), 1.05) is None
    assert task.question(view(1.1), 1.1) is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no contract"),
        (contract(ARM), "drive|driven|arm"),
        (contract(proprio=("odometry",)), r"proprioception \['odometry'\]"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused_before_it_moves(text, message) -> None:
    with pytest.raises(SafetyError, match=message):
        Policy("go").prepare(LIMITS, text)


def test_a_camera_that_is_not_there() -> None:
    task = Policy("go")
    task.prepare(LIMITS, contract())
    with pytest.raises(SafetyError, match="unknown camera 'front'; did you mean 'fron'"):
        task.question(view(1.0, "fron"), 1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(instruction="go", execution="async"), "did you mean 'async_queue'"),
        (dict(instruction=""), "an instruction"),
    ],
)
def test_wrong_options(options, message) -> None:
    with pytest.raises((ConfigError, SafetyError), match=message):
        Policy(**options)


def test_wrong_options_of_the_execution() -> None:
    with pytest.raises(ConfigError, match="receding_horizon does not take"):
        Policy("go", "receding_horizon", {"refill_below": 0.5}).prepare(LIMITS, contract())
