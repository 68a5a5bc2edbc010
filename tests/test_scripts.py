import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = [*sorted((ROOT / "scripts").glob("*.sh")), ROOT / ".ci" / "run"]


def run(script: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run(["bash", str(script)], cwd="/", env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of what setup.sh needs, in a folder with a space in its name."""
    folder = tmp_path / "a clone"
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    return folder


def fake_venv(clone: Path, *, can_render: bool) -> None:
    """A .venv whose Python answers at once: pip installs nothing, and MuJoCo draws or does not."""
    bin_folder = clone / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    render = "exit 0" if can_render else "echo no libEGL >&2; exit 1"
    (bin_folder / "python").write_text(
        f'#!/bin/bash\necho "$*" >>"{clone}/calls"\ncase "$1" in -m) ;; *) {render} ;; esac\n'
    )
    (bin_folder / "robovlms").write_text("#!/bin/bash\n")
    for file in bin_folder.iterdir():
        file.chmod(0o755)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_is_valid_and_strict(script):
    subprocess.run(["bash", "-n", str(script)], check=True)
    lines = script.read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert lines[1].startswith("# ")
    assert "set -euo pipefail" in lines
    assert os.access(script, os.X_OK)


def test_setup_installs_once_and_again_when_a_pin_changes(clone):
    fake_venv(clone, can_render=True)
    calls = clone / "calls"
    first = run(clone / "scripts" / "setup.sh")
    assert first.returncode == 0, first.stderr
    assert "installing packages" in first.stderr
    assert "MuJoCo draws with MUJOCO_GL=" in first.stderr
    before = calls.read_text()
    assert "pip install" in before

    start = time.monotonic()
    second = run(clone / "scripts" / "setup.sh")
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert time.monotonic() - start < 1
    assert calls.read_text() == before

    with (clone / "constraints.txt").open("a") as pins:
        pins.write("another==1.0\n")
    assert "installing packages" in run(clone / "scripts" / "setup.sh").stderr
    assert calls.read_text() != before


def test_setup_tells_how_to_install_a_renderer_without_root(clone, tmp_path):
    fake_venv(clone, can_render=False)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, body in {"id": "echo 1000", "sudo": "exit 1", "apt-get": "exit 1"}.items():
        (tools / name).write_text(f"#!/bin/bash\n{body}\n")
        (tools / name).chmod(0o755)
    done = run(clone / "scripts" / "setup.sh", PATH=f"{tools}:{os.environ['PATH']}")
    assert done.returncode != 0
    assert "error: the simulators cannot draw a frame" in done.stderr
    assert "apt-get install -y --no-install-recommends libegl1" in done.stderr


def test_setup_names_the_pythons_it_tried(clone):
    done = run(clone / "scripts" / "setup.sh", PYTHON="python-of-nowhere")
    assert done.returncode != 0
    assert "expected Python 3.10 to 3.13, found none among: python-of-nowhere" in done.stderr


def test_pip_errors_are_shown_without_the_noise(clone):
    fake_venv(clone, can_render=True)
    python = clone / ".venv" / "bin" / "python"
    python.write_text(
        "#!/bin/bash\n[ $3 = --version ] && exit\n"
        "echo \"WARNING: Location 'file:///x' is ignored: it is neither a file nor a directory.\"\n"
        "echo 'ERROR: No matching distribution found for torch==2.13.0'; exit 1\n"
    )
    done = run(clone / "scripts" / "setup.sh")
    assert done.returncode != 0
    assert "No matching distribution found for torch" in done.stderr
    assert "is ignored" not in done.stderr


def test_every_pin_is_exact_and_torchvision_is_none_of_them():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all("==" in line.partition(";")[0] for line in lines)
    assert not any(line.startswith(("torchvision", "nvidia")) for line in lines)
    assert "torch==2.13.0" in lines
