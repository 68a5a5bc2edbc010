from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from robovlms.actions.contract import CameraSpec
from robovlms.errors import ConfigError, ContractMismatchError, SimulatorError
from robovlms.evaluate.envs import Environment, environment_class, make_environment
from robovlms.evaluate.envs.metaworld_tasks import DIFFICULTY, INSTRUCTIONS


@pytest.fixture(scope="module")
def environment() -> Iterator[Environment]:
    environment = make_environment("metaworld", "handle-press", image_size=32)
    yield environment
    environment.close()


def play(environment: Environment, seed: int, steps: int) -> list[np.ndarray]:
    """Frames and states of the expert's first steps."""
    environment.reset(seed)
    seen = []
    for _ in range(steps):
        observation = environment.observe()
        seen += [observation.images["static"], observation.proprio]
        environment.step(environment.expert_action())
    return seen


def test_the_same_seed_is_the_same_episode_whatever_came_before(environment: Environment) -> None:
    first = play(environment, 3, 5)
    play(environment, 4, 12)
    again = play(environment, 3, 5)
    other = make_environment("metaworld", "handle-press-v3", image_size=32)
    fresh = play(other, 3, 5)
    other.close()
    for a, b, c in zip(first, again, fresh, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)
    assert not np.array_equal(first[0], play(environment, 5, 1)[0])


def test_observation_fits_its_description(environment: Environment) -> None:
    environment.reset(0)
    observation = environment.observe()
    assert observation.images["static"].shape == (32, 32, 3)
    assert observation.images["static"].std() > 10, "the picture is blank"
    assert observation.proprio.shape == (len(environment.proprio_names),)
    assert observation.instruction == "press the handle down"
    assert environment.cameras[0].source == "metaworld/corner4/fast"


def test_the_expert_solves_the_task_within_the_action_bounds(environment: Environment) -> None:
    environment.reset(0)
    for _ in range(100):
        action = environment.expert_action()
        assert np.abs(action).max() <= 1
        if environment.step(action).is_success:
            return
    pytest.fail("not solved in 100 steps")


def test_reference_quality_looks_different_and_says_so() -> None:
    pictures = {}
    for quality in ("fast", "reference"):
        environment = make_environment("metaworld", "handle-press", image_size=32, render_quality=quality)
        environment.reset(0)
        pictures[quality] = environment.observe().images["static"]
        assert environment.cameras[0].source == f"metaworld/corner4/{quality}"
        environment.close()
    assert not np.array_equal(pictures["fast"], pictures["reference"])


@pytest.mark.parametrize("action", [np.zeros(3, np.float32), np.array([0, 0, np.nan, 0], np.float32)])
def test_a_bad_action_is_refused(environment: Environment, action: np.ndarray) -> None:
    environment.reset(0)
    with pytest.raises(SimulatorError, match="expected 4 finite numbers"):
        environment.step(action)


def test_the_time_limit_is_told_and_not_passed(environment: Environment) -> None:
    environment.reset(0)
    still = np.zeros(4, np.float32)
    overs = [environment.step(still).is_over for _ in range(500)]
    assert overs == [False] * 499 + [True]
    with pytest.raises(SimulatorError, match="over after 500 steps"):
        environment.step(still)


def test_reset_comes_first() -> None:
    environment = make_environment("metaworld", "reach", image_size=32)
    with pytest.raises(SimulatorError, match="reset"):
        environment.expert_action()
    environment.close()


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'button-press-v3'"):
        make_environment("metaworld", "buton-press")
    with pytest.raises(ConfigError, match="did you mean 'metaworld'"):
        environment_class("metaword")
    with pytest.raises(ConfigError, match="did you mean 'topview'"):
        make_environment("metaworld", "reach", camera="top_view")
    with pytest.raises(ConfigError, match="unknown render quality 'ultra'"):
        make_environment("metaworld", "reach", render_quality="ultra")


def test_cameras_of_a_checkpoint_become_options() -> None:
    options_for = environment_class("metaworld").options_for
    camera = CameraSpec(name="static", height=64, width=64, source="metaworld/topview/reference")
    assert options_for((camera,)) == {"image_size": 64, "camera": "topview", "render_quality": "reference"}
    with pytest.raises(ContractMismatchError, match="'calvin/static'"):
        options_for((CameraSpec(name="static", height=64, width=64, source="calvin/static"),))
    with pytest.raises(ContractMismatchError, match="one square camera"):
        options_for((camera, camera))


def test_the_table_has_every_task_of_the_package() -> None:
    from metaworld.policies import ENV_POLICY_MAP

    assert set(INSTRUCTIONS) == set(ENV_POLICY_MAP) == set(DIFFICULTY)
    assert len(set(INSTRUCTIONS.values())) == 50
    assert Counter(DIFFICULTY.values()) == {"easy": 28, "medium": 11, "hard": 6, "very_hard": 5}
