"""A robot's configuration: what is wrong with it is said in one line, before anything moves."""

from pathlib import Path

import pytest

from robovlms.errors import ConfigError
from robovlms.robot.cameras import CAMERAS
from robovlms.robot.config import dump_robot_config, load_robot_config
from robovlms.robot.drivers import DRIVERS
from robovlms.robot.tasks import TASKS

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "robot").glob("*.yaml"))
GOOD = """
limits: {max_velocity: [0.5, 0, 1], max_acceleration: [0.5, 0.5, 1.5], max_deceleration: [1, 1, 3]}
cameras: [{view: front, name: folder, options: {path: x}}]
task: {name: say, options: {text: go forward}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "robot.yaml"
    path.write_text(GOOD)
    return path


def test_round_trip(file: Path, tmp_path: Path) -> None:
    config = load_robot_config(file, ("output.rate_hz=30", "task.options.text=stop"))
    assert (config.output.rate_hz, config.task.options["text"]) == (30, "stop")
    assert config.shield_limits.max_velocity == (0.5, 0.0, 1.0)
    again = tmp_path / "again.yaml"
    again.write_text(dump_robot_config(config))
    assert load_robot_config(again) == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("limits.max_velocity=[0.5, .nan, 1]", "max_velocity, linear_y: expected a finite number"),
        ("limits.max_speed=1", "unknown limit of the shield 'max_speed'"),
        ("decide_hz=5", "decide_hz is 5, so a decision comes every 0.2 s"),
        ("cameras=[]", "name at least one"),
        ("cameras=[{view: a}, {view: a}]", "a view of its own"),
        ("log.when_it_fails=maybe", "expected one of 'stop', 'go_on'"),
        ("model.timeout_s=0", "model.timeout_s must be positive"),
        ("drivr.name=udp", "unknown key 'drivr'; did you mean 'driver'"),
        ("decide_hz=.inf", "decide_hz must lie in (0, 200]"),
        ("decide_hz=.nan", "decide_hz must lie in (0, 200]"),
        ("model.load_timeout_s=.inf", "model.load_timeout_s must be positive and finite"),
        ("output.rate_hz=1000", "output: rate_hz must be in [10, 200]"),
        ("driver.name=serial simulator.is_used=true", "must not drive a real robot"),
        ("duration_s=-1", "duration_s must be positive"),
        ("limits.max_step_s=0.01", "limits.max_step_s is 0.01 s, but a command goes out every 0.02 s only"),
    ],
)
def test_what_is_wrong_is_named(file: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_robot_config(file, tuple(override.split(" ")) if "=[" not in override else (override,))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_robot_of_the_project_loads_and_is_short(path: Path) -> None:
    config = load_robot_config(path)
    text = path.read_text()
    assert text.startswith("# ")
    assert len(text.splitlines()) <= 30
    assert config.driver.name in DRIVERS
    assert config.task.name in TASKS
    assert {camera.name for camera in config.cameras} <= set(CAMERAS)


def test_a_robot_without_limits_is_none(tmp_path: Path) -> None:
    (tmp_path / "robot.yaml").write_text("decide_hz: 20\n")
    with pytest.raises(ConfigError, match="limits: max_velocity, max_acceleration and max_deceleration"):
        load_robot_config(tmp_path / "robot.yaml")
