"""The suite run on a backbone from outside, as its documentation shows it."""

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run_suite(folder: Path, backbone: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """pytest in a folder outside the project."""
    known = {point.name for point in importlib.metadata.entry_points(group="pytest11")}
    plugin = [] if "robovlms" in known else ["-p", "robovlms.testing.plugin"]
    command = [sys.executable, "-m", "pytest", *plugin, "--pyargs", "robovlms.testing", "--backbone", backbone, "-q"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}
    return subprocess.run(
        [*command, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
def test_the_documented_backbone_passes(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "add_a_backbone.md").read_text()
    file, code = re.search(r"<!-- example: (\S+) -->\n```python\n(.*?)```", text, re.S).groups()
    assert len(code.splitlines()) <= 60
    (tmp_path / file).write_text(code)
    done = run_suite(tmp_path, "gemma3:Gemma3Backbone", "-k", "interleaved or video or simple")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert re.search(r"\d\d+ passed", done.stdout)


@pytest.mark.slow
def test_a_backbone_that_ignores_the_mask_fails(tmp_path: Path) -> None:
    (tmp_path / "careless.py").write_text(
        "import torch\n"
        "from robovlms.model.backbone.tiny import TinyBackbone\n\n\n"
        "class Careless(TinyBackbone):\n"
        "    def decode(self, embeds, allowed, *rest):\n"
        "        return super().decode(embeds, torch.ones_like(allowed), *rest)\n"
    )
    done = run_suite(tmp_path, "careless:Careless", "-k", "padded_values and one_step-fc")
    assert done.returncode == 1
    assert "test_padded_values_do_not_matter" in done.stdout


def test_what_is_no_backbone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "nothing.py").write_text("class Nothing:\n    pass\n")
    done = run_suite(tmp_path, "nothing:Nothing", "-k", "encode_images")
    assert done.returncode == 1
    assert "expected a subclass of Backbone or BaseRoboVLM" in done.stdout
