"""What docs/data.md says runs: its Python block, its commands, its configurations and its keys."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from robovlms.config import RunConfig, flatten, load_config
from robovlms.data.sources.registry import SOURCES
from robovlms.data_commands import ACTIONS


def test_the_python_block_runs(repository: Path, small_dataset: Path, tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (repository / "docs/data.md").read_text(), re.DOTALL)
    shutil.copytree(small_dataset, tmp_path / "runs" / "data")
    done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "5 38 ('x', 'y', 'gripper')" in done.stdout
    assert "reach the square {'static': (9, 32, 32, 3)}" in done.stdout


def test_commands_formats_and_keys_exist(repository: Path) -> None:
    text = (repository / "docs/data.md").read_text()
    commands = [shlex.split(line, comments=True) for line in re.findall(r"^robovlms data .*", text, re.MULTILINE)]
    assert {words[2] for words in commands} == set(ACTIONS)
    assert set(re.findall(r"^\| `(\w+)`", text, re.MULTILINE)) | {"lerobot_v21"} == set(SOURCES)
    keys = set(flatten(RunConfig())) | {"data.mixture", "data.augment", "data.vision_language"}
    assert {key.removesuffix(":") for key in re.findall(r"`(data\.[\w.]+)", text)} <= keys
    for file in re.findall(r"`(configs/[\w/]+\.yaml)`", text):
        load_config(repository / file)
