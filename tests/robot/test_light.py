"""The robot's side is light: what importing it costs, and what installing it brings."""

import json
import re
import subprocess
import sys
from importlib.metadata import distribution, distributions
from pathlib import Path

import pytest

# VmHWM and not ru_maxrss: the latter is that of the process it was forked from until it has grown beyond it.
IMPORT = """
import json, sys, time
start = time.perf_counter()
import robovlms.robot
seconds = time.perf_counter() - start
{more}
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps([seconds, int(status["VmHWM"].split()[0]) / 1024, sorted(sys.modules)]))
"""
HEAVY = {"torch", "transformers", "cv2", "av", "pyarrow", "mujoco", "miniworld", "pyglet", "rclpy", "serial", "mcap"}
MOST_S, MOST_MB = 0.3, 150.0
on_linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads its memory from /proc")
SKIPPED = ("pip", "setuptools", "wheel")


def cost(more: str = "") -> tuple[float, float, set[str]]:
    """Seconds, resident MB and modules of a process that imports the robot's side."""
    code = IMPORT.format(more=more)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, megabytes, modules = json.loads(done.stdout)
    return seconds, megabytes, {name.partition(".")[0] for name in modules}


@on_linux
def test_importing_it_is_quick_small_and_without_torch() -> None:
    runs = [cost() for _ in range(5)]
    assert min(seconds for seconds, _, _ in runs) < MOST_S
    assert max(megabytes for _, megabytes, _ in runs) < MOST_MB
    assert not runs[0][2] & HEAVY


@on_linux
def test_using_all_of_it_is_without_torch() -> None:
    more = "for name in robovlms.robot.__all__: getattr(robovlms.robot, name)"
    _, megabytes, modules = cost(more)
    assert not modules & HEAVY
    assert megabytes < MOST_MB


def test_what_the_base_installation_brings_is_small() -> None:
    """Sizes of the packages that `pip install robovlms` installs, with all that they need."""
    pytest.importorskip("packaging")
    if not any(found.name == "robovlms" for found in distributions()):
        pytest.skip("robovlms runs from its folder and is not installed")
    names, sizes = ["robovlms"], {}
    while names:
        name = names.pop()
        if name in sizes or name in SKIPPED:
            continue
        package = distribution(name)
        sizes[name] = sum(file.size or 0 for file in package.files or [] if "__pycache__" not in str(file))
        needed = [text for text in package.requires or [] if "extra ==" not in text]
        names += [re.split(r"[\s;\[<>=!~(]", text)[0].lower() for text in needed if _is_for_here(text)]
    assert {"numpy", "msgpack", "mcap", "pillow"} <= set(sizes)
    assert not set(sizes) & HEAVY - {"mcap"}
    assert sum(sizes.values()) / 2**20 < MOST_MB, sizes


def _is_for_here(requirement: str) -> bool:
    """Whether a requirement's marker holds for this Python."""
    from packaging.requirements import Requirement

    marker = Requirement(requirement).marker
    return marker is None or marker.evaluate()


def test_every_public_name_is_there() -> None:
    import robovlms.robot

    for name in robovlms.robot.__all__:
        value = getattr(robovlms.robot, name)
        assert value.__module__ == f"robovlms.robot.{robovlms.robot._MODULES[name]}"
    assert sorted(robovlms.robot.__all__) == sorted(robovlms.robot._MODULES)
    assert Path(robovlms.robot.__file__).name == "__init__.py"
