"""Starting the simulated robot, and what is said when it ends before it should."""

import os
import signal
from importlib.util import find_spec

import pytest

from robovlms.errors import ConfigError, SafetyError, SimulatorError
from robovlms.robot.cameras.simulator import SimulatorCamera
from robovlms.robot.simulator.launch import SimulatedRobot

needs_miniworld = pytest.mark.skipif(
    find_spec("miniworld") is None, reason="MiniWorld is not installed; pip install 'robovlms[sim]'"
)


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf"), 1e9])
def test_pictures_per_second_that_make_no_sense(fps):
    with pytest.raises(ConfigError, match="fps must be positive"):
        SimulatedRobot(fps=fps)


@needs_miniworld
@pytest.mark.parametrize(
    ("options", "message"),
    [(dict(seed=-1), "seed must not be negative, got -1"), (dict(width=0), "8 to 2048 px, got 0 x 240")],
)
def test_what_cannot_be_drawn_is_one_line(options, message):
    with pytest.raises(SimulatorError, match=message):
        SimulatedRobot(**options)


def test_without_miniworld_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "pyglet.py").write_text("raise ModuleNotFoundError(name='pyglet')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    with pytest.raises(SimulatorError, match=r"pip install 'robovlms\[sim\]'"):
        SimulatedRobot()


def test_without_a_library_of_the_system_its_package_is_named(tmp_path, monkeypatch):
    (tmp_path / "pyglet.py").write_text("options = {}")
    (tmp_path / "miniworld.py").write_text("raise ImportError('Library \"GLU\" not found.')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    with pytest.raises(SimulatorError, match=r'Library "GLU" not found\.\); on Debian .* libglu1-mesa'):
        SimulatedRobot()


def test_the_last_line_of_a_simulator_that_cannot_start(tmp_path, monkeypatch):
    (tmp_path / "pyglet.py").write_text("raise RuntimeError('the display is on fire')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    with pytest.raises(SimulatorError, match=r"RuntimeError: the display is on fire \(exit code 1\)"):
        SimulatedRobot()


def kill_during_the_run() -> None:
    with SimulatedRobot("empty", width=64, height=48) as robot, SimulatorCamera(robot.picture_port) as camera:
        camera.read()
        os.kill(robot._process.pid, signal.SIGKILL)
        _ = [camera.read() for _ in range(3)]


@needs_miniworld
def test_one_that_is_killed_during_the_run_is_told_after_it():
    with pytest.raises(SimulatorError, match=r"ended during the run: .*\(exit code -9\)") as raised:
        kill_during_the_run()
    assert isinstance(raised.value.__cause__, SafetyError)


@needs_miniworld
def test_closing_twice_is_closing_once():
    with SimulatedRobot("empty", width=64, height=48) as robot:
        robot.close()
    robot.close()
