"""Sizes of a policy's parts: where `robovlms info` and training show them. Its other tests are in `test_cli`."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robovlms.config import RunConfig, dump_config
from robovlms.errors import CheckpointError
from robovlms.info import show_info
from robovlms.model.tuning import count_parameters
from robovlms.parameter_table import PARAMETERS, PartSize, dump_sizes, load_sizes
from robovlms.run_folder import checkpoints_of
from robovlms.train.run import train_from_config

Run = Callable[..., RunConfig]
COUNTS = st.integers(0, 10**12)


def shown(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    show_info(path)
    return capsys.readouterr().out


def rows(sizes: list[PartSize]) -> list[str]:
    """What a table says of each part."""
    return [rf"│ {size.part} +│ +{size.trained:,} │ +{size.frozen:,} │" for size in sizes]


@given(st.lists(st.builds(PartSize, part=st.text(), trained=COUNTS, frozen=COUNTS)))
def test_sizes_come_back_from_their_file(sizes: list[PartSize]) -> None:
    assert load_sizes(dump_sizes(sizes)) == sizes


@pytest.mark.parametrize("vlm", ["tiny", "llava"])
def test_a_configuration_shows_the_sizes_that_training_finds(
    small_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], vlm: str
) -> None:
    other = {} if vlm == "tiny" else {"model.vlm.name": vlm, "model.vlm.overrides": {}}
    config = small_run(**other, **{"model.lora.rank": 2, "model.base_bits": 8, "train.max_steps": 2})
    file = tmp_path / "config.yaml"
    file.write_text(dump_config(config))
    before = shown(file, capsys)
    assert f"Parameters, with the actions of {config.data.path}" in before
    trained = train_from_config(config)
    start_up = capsys.readouterr().err
    sizes = count_parameters(trained)
    run, checkpoint = config.train.out, checkpoints_of(config.train.out)[-1]
    assert load_sizes((run / PARAMETERS).read_text()) == load_sizes((checkpoint / PARAMETERS).read_text()) == sizes
    for row in rows(sizes):
        for text in (before, start_up, shown(checkpoint, capsys), shown(run, capsys)):
            assert re.search(row, text), row


def test_without_a_dataset_the_assumption_is_stated(
    small_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(dump_config(small_run(**{"data.path": None})))
    out = shown(file, capsys)
    assert "Parameters, assuming actions and proprioception of 7 numbers" in out
    assert re.search(r"│ proprioception +│ +256 │ +0 │", out)  # 7 × 32 weights and 32 biases


def test_a_pretrained_vlm_is_not_counted(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("model: {vlm: {name: paligemma, pretrained: google/paligemma-3b-pt-224}}")
    code = f"""
import sys
from robovlms.__main__ import main
assert main(['info', {str(file)!r}]) == 0
assert "torch" not in sys.modules
"""
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert "Parameters are not counted here: that needs the configuration of the weights 'google/paligemma-3b" in out


def test_without_torch_the_configuration_is_shown_all_the_same(
    small_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(dump_config(small_run()))
    monkeypatch.setitem(sys.modules, "torch", None)
    out = shown(file, capsys)
    assert "train.max_steps" in out
    assert "Parameters are not counted: this needs 'torch'" in out
    assert "pip install 'robovlms[train]'" in out


def test_sizes_of_a_checkpoint_are_read_without_torch(small_run: Run) -> None:
    config = small_run(**{"train.max_steps": 2, "model.freeze_vision": True})
    train_from_config(config, show_progress=False)
    for path in (config.train.out, checkpoints_of(config.train.out)[-1]):
        code = f"""
import sys
from robovlms.__main__ import main
assert main(['info', {str(path)!r}]) == 0
assert "torch" not in sys.modules
"""
        out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
        assert re.search(r"│ vision tower +│ +0 │ +[\d,]+ │", out)


def test_a_run_without_a_checkpoint_shows_its_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "checkpoints").mkdir()
    sizes = [PartSize(part="head", trained=1234, frozen=0)]
    (tmp_path / PARAMETERS).write_text(dump_sizes(sizes))
    out = shown(tmp_path, capsys)
    assert "checkpoints none yet" in out
    assert re.search(rows(sizes)[0], out)


@pytest.mark.parametrize("text", ["{", "[1]", '[{"part": "head"}]', '[{"part": "head", "trained": "x", "frozen": 0}]'])
def test_damaged_sizes_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / PARAMETERS).write_text(text)
    with pytest.raises(CheckpointError, match=rf"{PARAMETERS} is damaged"):
        shown(tmp_path, capsys)


def test_the_file_is_a_plain_list() -> None:
    text = dump_sizes([PartSize(part="head", trained=3, frozen=4)])
    assert json.loads(text) == [{"part": "head", "trained": 3, "frozen": 4}]
