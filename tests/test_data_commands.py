"""`robovlms data …` on every format, as a user types it."""

import json
from pathlib import Path

import numpy as np
import pytest
from data.sources.calvin_fixture import write_calvin
from data.sources.rlds_fixture import bridge_episode, write_rlds

import robovlms.__main__ as cli
from robovlms.data.sources.lerobot import LeRobotSource


def make_calvin(folder: Path) -> Path:
    return write_calvin(folder / "training", [(0, 12), (20, 30)], ["push", "lift"]).parent


def make_rlds(folder: Path) -> Path:
    write_rlds(folder, [[bridge_episode(number, 6) for number in range(3)]])
    return folder / "bridge_orig"


def make_hdf5(folder: Path) -> Path:
    import h5py

    for number in range(2):
        with h5py.File(folder / f"go_left_{number}.h5", "w") as file:
            rng = np.random.default_rng(number)
            file["images"] = rng.integers(0, 256, (9, 16, 16, 3), np.uint8)
            file["actions"] = rng.uniform(-0.4, 0.4, (9, 3)).astype(np.float32)
            file.attrs["language_instruction"] = "go to the left door"
            file.attrs["control_hz"] = 10.0
    return folder


def make_folder(folder: Path) -> Path:
    from PIL import Image

    (folder / "dataset.yaml").write_text(
        "action_space:\n  dimensions: [{name: x, unit: m, low: -1, high: 1}]\n  frame: world\n  is_delta: true\n"
        "  control_hz: 10\ncameras: {front: front}\ninstruction: push\n"
    )
    for episode in range(2):
        frames = folder / "episodes" / str(episode) / "front"
        frames.mkdir(parents=True)
        rng = np.random.default_rng(episode)
        for step in range(6):
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(frames / f"{step:03d}.png")
        rows = "\n".join(f"{rng.uniform(-0.5, 0.5):.3f}" for _ in range(6))
        (frames.parent / "steps.csv").write_text(f"x\n{rows}\n")
    return folder


MAKERS = {"calvin": make_calvin, "rlds": make_rlds, "hdf5": make_hdf5, "folder": make_folder}


@pytest.fixture(params=MAKERS)
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return MAKERS[request.param](folder)


def test_every_command_on_every_format(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "inspect", str(dataset)]) == 0
    shown = capsys.readouterr().out
    assert "episodes" in shown.lower()
    assert cli.main(["data", "stats", str(dataset)]) == 0
    assert "Actions" in capsys.readouterr().out
    report = tmp_path / "report.json"
    try:
        code = cli.main(["data", "validate", str(dataset), "--json", str(report)])
    except SystemExit as done:
        code = done.code
    assert json.loads(report.read_text())["faults"] == [], code
    capsys.readouterr()
    assert cli.main(["data", "view", str(dataset), "--out", str(tmp_path / "pages"), "--episodes", "1"]) == 0
    assert f"open {tmp_path / 'pages' / 'index.html'}" in capsys.readouterr().out
    out = tmp_path / "converted"
    assert cli.main(["data", "convert", str(dataset), "--out", str(out), "--storage", "raw"]) == 0
    assert f"next: robovlms data validate {out}" in capsys.readouterr().out
    assert len(LeRobotSource(out)) >= 2


def test_a_fault_is_exit_code_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = make_rlds(tmp_path)
    (file,) = dataset.glob("*/*.tfrecord-*")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(SystemExit) as done:
        cli.main(["data", "validate", str(dataset)])
    assert done.value.code == 1
    assert "tfrecord" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "nowhere"], "no dataset in nowhere: it does not exist"),
        (["inspect", ".", "--format", "lerobt"], "did you mean 'lerobot'"),
        (["stats", ".", "--options", "split"], "--options split: expected KEY=VALUE"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_an_unknown_option_of_a_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "inspect", str(make_rlds(tmp_path)), "--options", "spilt=train"]) == 2
    assert "unknown option 'spilt'; did you mean 'split'" in capsys.readouterr().err
