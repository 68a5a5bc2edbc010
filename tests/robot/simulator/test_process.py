"""The simulated robot as a process, and a whole run on it: sentence, picture, goal, log, replay, film."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from robovlms.errors import ConfigError, SafetyError, SimulatorError
from robovlms.robot.cameras.simulator import SimulatorCamera
from robovlms.robot.config import RobotConfig, load_robot_config
from robovlms.robot.drivers.udp import UdpDriver
from robovlms.robot.launch import run_robot
from robovlms.robot.log.replay import replay
from robovlms.robot.safety.command import VelocityCommand
from robovlms.robot.simulator.launch import SimulatedRobot

pytestmark = pytest.mark.skipif(
    find_spec("miniworld") is None, reason="MiniWorld is not installed; pip install 'robovlms[sim]'"
)
CONFIGS = Path(__file__).parents[3] / "configs" / "robot"


@pytest.fixture
def robot() -> Iterator[SimulatedRobot]:
    with SimulatedRobot("empty", width=64, height=48) as one:
        yield one


def test_it_drives_and_stops_by_itself_when_nobody_speaks(robot: SimulatedRobot) -> None:
    camera, driver = SimulatorCamera(robot.picture_port), UdpDriver("127.0.0.1", robot.command_port)
    start = time.monotonic()
    while time.monotonic() - start < 1.0:
        driver.send(VelocityCommand(0.4, 0.0, 0.0))
        time.sleep(0.02)
    while camera.read().captured_at < start + 1.8:  # the watchdog of the firmware is 0.5 s
        continue
    at_rest = camera.last["pose"]
    assert camera.last["velocity"] == [0.0, 0.0, 0.0]
    assert at_rest[0] - 1.0 == pytest.approx(0.4 * 1.5, abs=0.1)
    camera.read()
    assert camera.last["pose"] == at_rest
    driver.close()
    camera.close()


def test_a_simulator_that_dies_is_a_camera_that_breaks(robot: SimulatedRobot) -> None:
    camera = SimulatorCamera(robot.picture_port)
    camera.read()
    robot.close()
    with pytest.raises(SafetyError, match="camera 'simulator'"):
        _ = [camera.read() for _ in range(3)]
    camera.close()


def test_it_does_not_outlive_who_started_it() -> None:
    code = (
        "from robovlms.robot.simulator.launch import SimulatedRobot\n"
        "import os, time\nrobot = SimulatedRobot('empty', width=64, height=48)\n"
        "print(robot._process.pid, flush=True)\ntime.sleep(60)"
    )
    starter = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    starter.stdout.close()
    end = time.monotonic() + 10
    while _is_alive(pid):
        assert time.monotonic() < end, "the simulator lives on"
        time.sleep(0.05)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (dict(scene="thing"), SimulatorError, "did you mean 'things'"),
        (dict(fps=0.0), ConfigError, "fps must be positive"),
    ],
)
def test_wrong_simulators(options, error, message) -> None:
    with pytest.raises(error, match=message):
        SimulatedRobot(**options)


def config_of(name: str, tmp_path: Path, *overrides: str) -> RobotConfig:
    small = ("simulator.width=160", "simulator.height=120", f"log.folder={tmp_path}")
    return load_robot_config(CONFIGS / name, (*small, *overrides))


def test_a_sentence_drives_the_simulated_robot(tmp_path: Path) -> None:
    lines: list[str] = []
    film = tmp_path / "run.gif"
    config = config_of("simulated.yaml", tmp_path, "task.options.text=왼쪽으로 90도 돌고 앞으로 50센티미터 가")
    summary = run_robot(config, film, lines.append)
    assert summary.is_done, summary
    assert [line.split(":")[0] for line in lines if line.startswith(("move", "turn"))] == ["turn", "move"]
    assert any(line.startswith("worst-case stop ahead: 0.485 m") for line in lines)
    with Image.open(film) as picture:
        assert picture.n_frames > 10
    (log,) = tmp_path.glob("*.mcap")
    report = replay(log)
    assert report.is_equal
    assert report.num_ticks >= summary.ticks > 50


def test_what_the_camera_sees_drives_the_simulated_robot(tmp_path: Path) -> None:
    config = config_of("simulated_goal.yaml", tmp_path, "simulator.scene=one_box", "task.options.target=red box")
    summary = run_robot(config, None, lambda line: None)
    assert summary.is_done, summary
    assert "red box is near" in summary.outcome
    assert summary.answers > 10
