"""The wall clock may jump: nothing on the way to the robot looks at it."""

import ast
import inspect
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from robot.guard.fake_robot import LIMITS, SLOW, Brain, FakeRobot, linux_only, wait_for

import robovlms.robot
from robovlms.robot.drivers.udp import UdpDriver
from robovlms.robot.output import ShieldedOutput
from robovlms.robot.safety.limits import ShieldLimits
from robovlms.robot.safety.shield import SafetyShield

PACKAGE = Path(inspect.getfile(robovlms.robot)).parent
ON_THE_WAY = [*(PACKAGE / name for name in ("output", "guard", "safety", "drivers"))]
WALL_CLOCK = {"time", "time_ns", "localtime", "gmtime", "ctime", "strftime", "now", "utcnow", "today", "fromtimestamp"}
COMPILER = shutil.which("cc")


def _wall_clock_reads(path: Path) -> list[str]:
    """Calls such as ``time.time()`` and ``datetime.now()`` in a file."""
    tree = ast.parse(path.read_text())
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in WALL_CLOCK
        and isinstance(node.value, ast.Name)
        and node.value.id in ("time", "datetime", "date")
    ]
    found += [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "time"]
    return [f"{path.name}:{node.lineno}" for node in found]


def test_no_code_on_the_way_reads_the_wall_clock(tmp_path: Path):
    files = [path for folder in ON_THE_WAY for path in sorted(folder.rglob("*.py"))]
    assert len(files) > 15
    assert [found for path in files for found in _wall_clock_reads(path)] == []
    (tmp_path / "bad.py").write_text("import time\nfrom time import time as t\ntime.time()\n")
    assert _wall_clock_reads(tmp_path / "bad.py") == ["bad.py:3", "bad.py:2"]


def test_a_wall_clock_that_raises_is_not_noticed(monkeypatch: pytest.MonkeyPatch):
    def fails() -> float:
        raise AssertionError("the wall clock was read")

    with FakeRobot() as robot:
        time.sleep(0.1)  # the fake robot itself reads it once
        monkeypatch.setattr(time, "time", fails)
        monkeypatch.setattr(time, "time_ns", fails)
        shield = SafetyShield(ShieldLimits.from_dict(LIMITS))
        with ShieldedOutput(shield, UdpDriver("127.0.0.1", robot.port), 50.0, 0.2) as output:
            deadline = time.monotonic() + 5.0
            while robot.speed != SLOW and time.monotonic() < deadline:
                output.submit((SLOW, 0.0, 0.0), 0.9, time.monotonic())
                time.sleep(0.01)
        assert output.error is None
        assert any(speed == SLOW for _, speed in robot.since(0.0))


@linux_only
@pytest.mark.skipif(COMPILER is None, reason="needs a C compiler, for a wall clock that jumps")
def test_an_hour_forth_and_back_does_not_show_on_the_wire(tmp_path: Path):
    library, offset = tmp_path / "wall_clock.so", tmp_path / "offset"
    source = Path(__file__).with_name("wall_clock.c")
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    offset.write_text("0")
    environment = {"LD_PRELOAD": str(library), "WALL_CLOCK_OFFSET_FILE": str(offset)}
    with FakeRobot() as robot, Brain(robot, "clock", environment) as brain:

        def seconds_off() -> float:
            print("tell", file=brain.process.stdin, flush=True)
            return float(brain.process.stdout.readline()) - time.time()

        wait_for(lambda: robot.speed == SLOW)
        start = time.monotonic()
        for jump in (3600, -3600, 0):
            offset.write_text(str(jump))
            assert abs(seconds_off() - jump) < 60.0, "the brain, and so its guard, sees the jump"
            time.sleep(0.4)
        seen = robot.since(start)
    assert {speed for _, speed in seen} == {SLOW}
    assert len(seen) > 0.8 * 50 * (seen[-1][0] - start)
