"""`robovlms robot run` and `check` as processes: whenever they are ended, the robot hears zero last."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robovlms.robot.log.reader import read_log
from robovlms.robot.log.replay import replay

THINKERS = Path(__file__).parent / "worker"


class Robot:
    """Hears datagrams."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.05)
        self.port: int = self._socket.getsockname()[1]
        self.heard: list[dict] = []
        self._is_over = False
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while not self._is_over:
            try:
                self.heard.append(json.loads(self._socket.recv(2048)))
            except TimeoutError:
                continue

    @property
    def is_moving(self) -> bool:
        return bool(self.heard) and not self.heard[-1]["stop"]

    def close(self) -> None:
        self._is_over = True
        self._thread.join()
        self._socket.close()


@pytest.fixture
def robot() -> Iterator[Robot]:
    one = Robot()
    yield one
    one.close()


@pytest.fixture
def config(tmp_path: Path, robot: Robot) -> Path:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(3):
        Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(pictures / f"{number}.png")
    values = {
        "cameras": [{"name": "folder", "options": {"path": str(pictures), "fps": 30, "loop": True}}],
        "task": {"name": "say", "options": {"text": "go forward 50 m"}},
        "limits": {"max_velocity": [0.5, 0, 1], "max_acceleration": [1, 1, 3], "max_deceleration": [2, 2, 6]},
        "driver": {"name": "udp", "options": {"host": "127.0.0.1", "port": robot.port}},
        "log": {"folder": str(tmp_path / "logs")},
    }
    path = tmp_path / "robot.yaml"
    path.write_text(json.dumps(values))  # JSON is YAML
    return path


@pytest.fixture
def asking(config: Path) -> Path:
    """The same robot, with a task for a model."""
    values = json.loads(config.read_text())
    path = config.with_name("asking.yaml")
    path.write_text(json.dumps({**values, "task": {"name": "ask", "options": {"instruction": "turn left"}}}))
    return path


def start(config: Path, *overrides: str, action: str = "run") -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "robovlms", "robot", action, "--config", str(config)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(THINKERS), *sys.path])}
    return subprocess.Popen(
        [*command, *(["--set", *overrides] if overrides else [])],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def until(run: subprocess.Popen[str], what: Callable[[], bool], within_s: float = 20.0) -> None:
    end = time.monotonic() + within_s
    while not what():
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)


def ended(run: subprocess.Popen[str], within_s: float = 20.0) -> tuple[int, str, list[str]]:
    out, err = run.communicate(timeout=within_s)
    return run.returncode, out, [line for line in err.splitlines() if line]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_by_the_ramp(config: Path, robot: Robot, number: signal.Signals, tmp_path: Path) -> None:
    run = start(config)
    until(run, lambda: robot.is_moving)
    time.sleep(0.5)
    run.send_signal(number)
    code, out, err = ended(run)
    assert (code, err) == (1, [])  # what was said is not done
    assert f"ended by {number.name}" in out
    assert robot.heard[-1]["stop"]
    speeds = [message["linear"][0] for message in robot.heard]
    assert max(before - after for before, after in zip(speeds, speeds[1:], strict=False)) < 0.2
    (log,) = (tmp_path / "logs").glob("*.mcap")
    report = replay(log)
    assert report.is_equal
    ticks = [*read_log(log).ticks.values()]
    indices = [tick.index for tick in ticks]
    assert indices == list(range(len(indices)))
    assert 0 <= len(robot.heard) - len(indices) < 6  # the zeros at the very end have no ticks
    assert not any(ticks[-1].sent.velocity)


def test_a_second_signal_is_an_emergency_stop(config: Path, robot: Robot) -> None:
    run = start(config, "limits.max_deceleration=[0.1,0.1,0.3]")
    until(run, lambda: robot.is_moving and robot.heard[-1]["linear"][0] > 0.25)
    run.send_signal(signal.SIGINT)
    time.sleep(0.2)
    run.send_signal(signal.SIGINT)
    code, _, err = ended(run)
    assert (code, err) == (1, [])
    speeds = [message["linear"][0] for message in robot.heard]
    assert max(before - after for before, after in zip(speeds, speeds[1:], strict=False)) > 0.2
    assert robot.heard[-1]["stop"]


def test_a_signal_while_the_model_loads(asking: Path, robot: Robot, tmp_path: Path) -> None:
    (tmp_path / "mark").write_text("")
    run = start(asking, "model.name=thinkers:NotLoadedTwice", f"model.options.mark={tmp_path / 'mark'}")
    time.sleep(2.5)
    run.send_signal(signal.SIGTERM)
    code, _, err = ended(run, 5)
    assert (code, len(err)) == (130, 1)
    assert robot.heard == []


@pytest.mark.parametrize("seconds", [0.3, 0.6, 0.9, 1.2])
def test_a_signal_at_any_time(config: Path, robot: Robot, seconds: float) -> None:
    run = start(config)
    time.sleep(seconds)
    run.send_signal(signal.SIGTERM)
    code, _, err = ended(run)
    assert code in (1, 130, -signal.SIGTERM)  # the last while Python itself still starts
    assert not any("Traceback" in line for line in err)
    assert not robot.heard or robot.heard[-1]["stop"]


def test_a_brain_that_is_killed(config: Path, robot: Robot) -> None:
    run = start(config)
    until(run, lambda: robot.is_moving)
    run.kill()
    ended(run)
    time.sleep(1.5)  # for the guard
    assert robot.heard[-1]["stop"]


def test_the_time_is_over(config: Path, robot: Robot) -> None:
    code, out, err = ended(start(config, "duration_s=0.5"))
    assert (code, err) == (1, [])
    assert "0.5 s are over" in out
    assert robot.heard[-1]["stop"]


def test_a_task_without_an_end_may_run_out_of_time(asking: Path, robot: Robot) -> None:
    code, out, err = ended(start(asking, "model.name=thinkers:Echo", "duration_s=0.5"))
    assert (code, err) == (0, ["a library that prints"] * len(err))
    assert "0.5 s are over" in out


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("cameras=[{name: foldr}]",), "unknown camera 'foldr'; did you mean 'folder'"),
        (("driver.name=upd",), "unknown driver 'upd'; did you mean 'udp'"),
        (
            ("driver.options={host: localhost, prt: 1}",),
            "unknown option of the driver 'udp' 'prt'; did you mean 'port'",
        ),
        (("task.options={txt: go}",), "unknown option of the task 'say' 'txt'; did you mean 'text'"),
        (("log.folder=/proc/nowhere",), "log.folder /proc/nowhere"),
    ],
)
def test_what_is_wrong_is_one_line(config: Path, robot: Robot, overrides: tuple[str, ...], message: str) -> None:
    code, _, err = ended(start(config, *overrides))
    assert code == 2
    assert err[-1].startswith("error: ")
    assert message in err[-1]
    assert not any("Traceback" in line for line in err)
    assert all(one["stop"] for one in robot.heard)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((), "the task needs a model that answers in words; set model.name"),
        (("model.name=thinkers:Ecko",), "has no 'Ecko'"),
        (("model.name=thinkers:Drive",), "answers with actions"),
        (("model.name=thinkers:Echo", "model.options={sufix: 1}"), "does not take the options"),
    ],
)
def test_a_wrong_model_is_one_line(asking: Path, robot: Robot, overrides: tuple[str, ...], message: str) -> None:
    code, _, err = ended(start(asking, *overrides))
    assert (code, len(err)) == (2, 1)
    assert message in err[0]
    assert robot.heard == []


def test_a_camera_that_breaks(config: Path, robot: Robot, tmp_path: Path) -> None:
    run = start(config)
    until(run, lambda: robot.is_moving)
    (tmp_path / "pictures" / "1.png").write_text("no picture")
    code, out, err = ended(run)
    assert (code, len(err)) == (2, 1)
    assert "camera front: camera 'folder': 1.png is no picture" in err[0]
    assert "at rest: camera front" in out
    assert robot.heard[-1]["stop"]


def test_check(config: Path, robot: Robot, tmp_path: Path) -> None:
    code, out, _ = ended(start(config, action="check"))
    assert code == 0, out
    (tmp_path / "pictures" / "0.png").write_text("no picture")
    code, out, _ = ended(start(config, "driver.options.port=0", "model.name=nowhere:X", action="check"))
    faults = [line for line in out.splitlines() if line.startswith("FAULT")]
    assert code == 1
    assert [fault.split(":")[0].split() for fault in faults] == [
        ["FAULT", "model", "nowhere"],
        ["FAULT", "camera", "front"],
        ["FAULT", "driver", "udp"],
    ]
    assert all(one["stop"] for one in robot.heard)
