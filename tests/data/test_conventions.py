"""Robots whose conventions are known: they are found again, and a wrong declaration is refused."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from data.robots import PROPRIO, Robot, declared, make_robot, make_space, record
from data.sources.rlds_fixture import bridge_episode, write_rlds
from hypothesis import given, settings
from hypothesis import strategies as st

from robovlms.actions.space import ActionDimension
from robovlms.data.conventions import check_conventions, infer_conventions, refuse_contradictions
from robovlms.data.sources.base import Episode, Steps
from robovlms.data.sources.lerobot import LeRobotSource
from robovlms.data.sources.rlds import RldsSource
from robovlms.data.state_columns import state_columns
from robovlms.errors import DataError

SEEDS = st.integers(0, 10_000)


@pytest.mark.parametrize("lag", range(6))
@pytest.mark.parametrize("kind", ["world", "tcp", "absolute"])
def test_what_actions_mean_is_found(kind: str, lag: int) -> None:
    robot = make_robot(3, kind=kind, lag=lag)
    found = infer_conventions(robot)
    assert found.is_delta.value is (kind != "absolute")
    assert found.lag_steps.value == lag
    if kind != "absolute":
        assert found.frame.value == kind
        assert found.scale.value == pytest.approx(0.02, rel=0.05)
    assert check_conventions(robot.action_space, found) == []


@settings(max_examples=8, deadline=None)
@given(
    seed=SEEDS,
    kind=st.sampled_from(["world", "tcp", "absolute"]),
    lag=st.integers(0, 5),
    opens=st.sampled_from([1, -1]),
)
def test_whatever_the_robot_does(seed: int, kind: str, lag: int, opens: int) -> None:
    robot = make_robot(seed, kind=kind, lag=lag, opens=float(opens), num_episodes=4)
    found = infer_conventions(robot)
    assert found.is_delta.value is (kind != "absolute")
    assert found.lag_steps.value == lag
    assert found.gripper_opens.value in (None, "positive" if opens > 0 else "negative")
    assert check_conventions(robot.action_space, found) == []


@pytest.mark.parametrize("scale", [1.0, 0.05, 0.02, 0.001])
def test_scale(scale: float) -> None:
    found = infer_conventions(make_robot(1, scale=scale))
    assert found.scale.value == pytest.approx(scale, rel=0.05)
    assert found.scale.confidence > 0.9


@pytest.mark.parametrize("opens", [1.0, -1.0])
@pytest.mark.parametrize("lag", [0, 3, 5])
def test_gripper(opens: float, lag: int) -> None:
    found = infer_conventions(make_robot(1, opens=opens, lag=lag))
    assert found.gripper_opens.value == ("positive" if opens > 0 else "negative")
    assert found.gripper_opens.confidence > 0.8
    assert found.gripper_lag_steps.value == lag + 1  # half of 0.08 m at 0.02 m a step


@pytest.mark.parametrize("hz", [5.0, 10.0, 30.0])
def test_rate(tmp_path: Path, make: SimpleNamespace, hz: float) -> None:
    space = make_space(control_hz=hz)
    with make.writer(tmp_path / "a", action_space=space, cameras=(), proprio_names=PROPRIO, fps=hz) as writer:
        for i in range(3):
            actions, states = (values.astype(np.float32) for values in record(i))
            steps = Steps(images={}, proprio=states, actions=actions)
            writer.add_episode(Episode(task="a", instruction="a", steps=steps))
    source = LeRobotSource(tmp_path / "a")
    found = infer_conventions(source)
    assert found.control_hz.value == pytest.approx(hz, rel=1e-3)
    wrong = dataclasses.replace(space, control_hz=2 * hz)
    (contradiction,) = [one for one in check_conventions(wrong, found) if one.field == "control_hz"]
    assert (contradiction.declared, contradiction.seen) == (f"{2 * hz:g}", f"{hz:g}")


WRONG = [
    (
        {"kind": "world"},
        {"is_delta": False},
        "is_delta",
        r"is_delta is declared False, but the data shows True .*R² of",
    ),
    ({"kind": "absolute"}, {"is_delta": True}, "is_delta", "is_delta is declared True, but the data shows False"),
    ({"kind": "world"}, {"frame": "tcp"}, "frame", "frame is declared tcp, but the data shows world"),
    ({"kind": "tcp"}, {"frame": "world"}, "frame", "frame is declared world, but the data shows tcp"),
    ({"opens": -1.0}, {"gripper_opens": "positive"}, "gripper_opens", "declared positive, but the data shows negative"),
]


@pytest.mark.parametrize(("how", "wrong", "field", "message"), WRONG)
def test_a_wrong_declaration_is_refused(how: dict[str, Any], wrong: dict[str, Any], field: str, message: str) -> None:
    robot = make_robot(2, **how)
    refuse_contradictions(robot)
    with pytest.raises(DataError, match=message) as error:
        refuse_contradictions(declared(robot, **wrong))
    assert "\n" not in str(error.value)
    assert f"change action_space.{field}, or the data" in str(error.value)


def test_a_wrong_unit_is_refused() -> None:
    robot = make_robot(2, scale=0.02)
    wrong = Robot(make_space("m"), robot._episodes)
    with pytest.raises(DataError, match=r"declared to be 1 m, but moves 0\.02.* m .*R² 0\.9.*change .*unit"):
        refuse_contradictions(wrong)
    refuse_contradictions(Robot(make_space("0.05 m"), robot._episodes))  # a controller may reach less than half of it


def test_velocities_are_per_second() -> None:
    robot = make_robot(2, scale=0.1)
    assert check_conventions(make_space("m/s"), infer_conventions(robot)) == []
    assert [one.field for one in check_conventions(make_space("mm/s"), infer_conventions(robot))] == ["unit"]


def test_rotations_of_targets() -> None:
    robot = make_robot(2, kind="absolute")
    assert infer_conventions(robot).rotation.value == "euler_xyz"
    (found,) = check_conventions(
        dataclasses.replace(robot.action_space, rotation="axis_angle"), infer_conventions(robot)
    )
    assert found.field == "rotation"


@pytest.mark.parametrize(("kind", "expected"), [("world", "axis-angle, fixed axes"), ("tcp", "axis-angle, tcp axes")])
def test_rotations_of_relative_actions(kind: str, expected: str) -> None:
    assert infer_conventions(make_robot(2, kind=kind, noise=0.0)).rotation.value == expected


def test_a_robot_that_does_not_move_tells_nothing() -> None:
    episodes = [(actions, np.broadcast_to(states[0], states.shape)) for actions, states in make_robot(1)._episodes]
    robot = Robot(make_space(is_delta=False, frame="tcp", gripper_opens="negative"), episodes)
    found = infer_conventions(robot)
    assert {name: one.value for name, one in found.estimates().items()} == dict.fromkeys(found.estimates())
    assert "does not move" in found.is_delta.evidence
    assert "never moves" in found.gripper_opens.evidence
    refuse_contradictions(robot)


def test_states_that_have_nothing_to_do_with_actions_tell_nothing() -> None:
    episodes = [(record(i)[0], record(100 + i)[1]) for i in range(6)]
    found = infer_conventions(Robot(make_space(), episodes))
    assert found.is_delta.value is None
    assert found.is_delta.evidence.startswith("not clear")
    assert found.frame.value is found.scale.value is found.lag_steps.value is None


def test_constant_actions_tell_nothing() -> None:
    episodes = [(np.ones_like(actions), states) for actions, states in make_robot(1)._episodes]
    assert infer_conventions(Robot(make_space(), episodes)).is_delta.value is None


@pytest.mark.parametrize(
    "episodes", [[], [(np.zeros((3, 7)), np.zeros((3, 8)))], [(np.zeros((0, 7)), np.zeros((0, 8)))]]
)
def test_too_few_steps_tell_nothing(episodes: list[tuple[np.ndarray, np.ndarray]]) -> None:
    found = infer_conventions(Robot(make_space(), episodes))
    assert all(one.value is None for one in found.estimates().values())


def test_unknown_names_tell_nothing() -> None:
    names = tuple(f"state_{i}" for i in range(8))
    found = infer_conventions(Robot(make_space(), make_robot(1)._episodes, names))
    assert all(one.value is None for one in found.estimates().values())
    assert "no names" in found.is_delta.evidence


def test_a_gripper_whose_growth_is_not_said_never_refuses() -> None:
    names = tuple("gripper" if name == "gripper_width" else name for name in PROPRIO)
    robot = Robot(make_space("0.02 m", gripper_opens="negative"), make_robot(1, opens=1.0)._episodes, names)
    found = infer_conventions(robot)
    assert (found.gripper_opens.value, found.gripper_opens.confidence) == ("positive", 0.5)
    refuse_contradictions(robot)


def test_a_controller_towards_a_goal_is_relative() -> None:
    """Its actions depend on the position as well as those of a target do, with the other sign."""
    rng, episodes = np.random.default_rng(0), []
    for _ in range(8):
        goal, place, states, actions = rng.normal(0, 0.3, 3), rng.normal(0, 0.3, 3), [], []
        for _ in range(40):
            action = np.clip(10 * (goal - place), -1, 1) + rng.normal(0, 0.1, 3)
            states.append([*place, np.pi, 0, 0, 0.08, 0])
            actions.append([*action, 0, 0, 0, 1])
            place = place + 0.01 * action
        episodes.append((np.array(actions), np.array(states)))
    found = infer_conventions(Robot(make_space("cm"), episodes))
    assert (found.is_delta.value, found.frame.value) == (True, "world")
    refuse_contradictions(Robot(make_space("cm"), episodes))


def test_meta_world_style_data_is_not_refused() -> None:
    """Centimetres that the arm reaches late and in part, a gripper effort of kind "arm", no orientation."""
    space = dataclasses.replace(
        make_space(control_hz=80.0),
        dimensions=(
            *(ActionDimension(name=name, unit="cm", low=-1, high=1) for name in "xyz"),
            ActionDimension(name="gripper_effort", unit="1", low=-1, high=1),
        ),
        rotation="none",
        gripper_opens="none",
    )
    rng, episodes = np.random.default_rng(0), []
    for _ in range(6):
        goal, mocap = rng.normal(0, 0.2, 3), rng.normal(0, 0.2, 3)
        place, speed, states, actions = mocap, np.zeros(3), [], []
        for step in range(80):
            action = np.clip(10 * (goal - place), -1, 1) + rng.normal(0, 0.1, 3)
            states.append([*place, 1.0 - step / 80])
            actions.append([*np.clip(action, -1, 1), step / 80])
            mocap = mocap + 0.01 * np.clip(action, -1, 1)
            speed = 0.6 * speed + 0.2 * (mocap - place)
            place = place + speed
        episodes.append((np.array(actions), np.array(states)))
    robot = Robot(space, episodes, ("x", "y", "z", "gripper_opening"))
    found = infer_conventions(robot)
    assert found.gripper_opens.value is None
    assert found.is_delta.value in (True, None)
    refuse_contradictions(robot)


def test_the_sample_is_bounded_and_depends_on_the_seed() -> None:
    long, short = [record(0, length=400)] * 60, [record(i, length=20) for i in range(100)]
    found = infer_conventions(Robot(make_space(), long))
    assert found.num_steps == 20_000
    robot = Robot(make_space(), short)
    found = infer_conventions(robot)
    assert (found.num_episodes, found.num_steps) == (64, 1280)
    assert infer_conventions(robot) == found
    assert infer_conventions(robot, seed=1).is_delta.evidence != found.is_delta.evidence


def test_a_stream_is_not_asked_for_its_lengths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    episodes = [bridge_episode(i, 30) for i in range(5)]
    for i, episode in enumerate(episodes):
        actions, states = record(i, length=30)
        episode["steps/action"] = (actions * [*[0.02] * 3, 1, 1, 1, 1]).astype(np.float32)
        episode["steps/observation/state"] = states[:, :7].astype(np.float32)
    source = RldsSource(write_rlds(tmp_path, [episodes[:2], [], episodes[2:]]))
    monkeypatch.setattr(RldsSource, "lengths", property(lambda self: pytest.fail("lengths")))
    found = infer_conventions(source)
    assert (found.num_episodes, found.num_steps) == (5, 145)  # the first step of each is left out
    assert (found.is_delta.value, found.frame.value, found.gripper_opens.value) == (True, "world", "positive")
    assert found.scale.value == pytest.approx(1.0, rel=0.1)


COLUMNS = [
    (("x", "y", "z", "gripper_opening"), (0, 1, 2), None, (3,), 1),
    (("eef_x", "eef_y", "eef_z", *(f"eef_quat_{axis}" for axis in "xyzw"), "finger_1", "finger_2"),
     (0, 1, 2), (3, 4, 5, 6), (7, 8), 1),
    (("robot0_eef_pos_0", "robot0_eef_pos_1", "robot0_eef_pos_2"), (0, 1, 2), None, None, 0),
    (("joint_0", "z", "y", "x", "eef_rot_x", "eef_rot_y", "eef_rot_z"), (3, 2, 1), (4, 5, 6), None, 0),
    (("left_x", "left_y", "left_z", "object_x", "x", "y"), None, None, None, 0),
    (("x", "y", "z", "tcp_x", "tcp_y", "tcp_z"), None, None, None, 0),
    (("joint_0", "joint_1", "joint_2", "state_0", "state_1", "state_2", "gripper_action"), None, None, None, 0),
    (("gripper_closed",), None, None, (0,), -1),
    (("gripper", "gripper_action"), None, None, (0,), 0),
    (("x", "y", "z", "qx", "qy", "qz", "qw", "gripper_closed"), (0, 1, 2), (3, 4, 5, 6), (7,), -1),
    (("quat_0", "quat_1", "quat_2", "quat_3"), None, None, None, 0),
]  # fmt: skip


@pytest.mark.parametrize(("names", "position", "orientation", "opening", "sign"), COLUMNS)
def test_names(names: tuple[str, ...], position: Any, orientation: Any, opening: Any, sign: int) -> None:
    found = state_columns(names)
    assert (found.position, found.orientation, found.opening, found.opening_sign) == (
        position,
        orientation,
        opening,
        sign,
    )
