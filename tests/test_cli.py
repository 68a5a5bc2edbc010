import ast
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from robovlms import __main__ as cli
from robovlms.actions.contract import CameraSpec, PolicyContract
from robovlms.actions.normalize import FeatureStatistics
from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.config import RunConfig, dump_config, flatten, load_config
from robovlms.errors import DataError
from robovlms.extras import EXTRAS

PACKAGES = {"cv2": "opencv-python-headless", "gymnasium": "metaworld", "pyglet": "miniworld", "serial": "pyserial"}
HEAVY = ("torch", "transformers", "safetensors", "mujoco", "metaworld", "pyarrow", "av", "numpy")


@pytest.fixture
def run(capsys):
    """Run one command line in this process; return exit code, standard output and standard error."""

    def run_line(*arguments: str) -> tuple[int, str, str]:
        try:
            code = cli.main(arguments)
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run_line


# ------------------------------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["evaluate", "--help"], ["collect", "--help"]])
def test_help_is_quick_and_imports_nothing_heavy(arguments):
    code = f"""
import sys
from robovlms.__main__ import main
try:
    main({arguments})
finally:
    print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    elapsed_s = time.monotonic() - start
    assert done.returncode == 0
    assert done.stderr.strip() == "[]"
    assert elapsed_s < 2.0, f"took {elapsed_s:.2f} s; 0.2 s on an idle machine"


def test_help_names_every_command(run):
    code, out, _ = run("--help")
    assert code == 0
    for name, command in cli.COMMANDS.items():
        assert re.search(rf"^ +{name} +{command.help[:20]}", out, re.MULTILINE)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_flag_has_help_and_every_example_parses(run, name):
    code, out, _ = run(name, "--help")
    assert code == 0
    assert cli.COMMANDS[name].example in out
    parser = cli._Parser(prog="x")
    cli.COMMANDS[name].add_flags(parser)
    assert all(action.help for action in parser._actions)
    assert cli._parse(cli.COMMANDS[name].example.split()[1:]).command == name


def test_help_of_train_documents_every_key(run):
    _, out, _ = run("train", "--help")
    for key in flatten(RunConfig()):
        assert f"  {key} (" in out


def test_no_command_shows_the_help(run):
    code, out, err = run()
    assert (code, out) == (2, "")
    assert "commands:" in err


# ----------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("trian", ["unknown command 'trian'; did you mean 'train'?"]),
        ("train --confg x", ["unknown option '--confg'; did you mean '--config'?", "robovlms train --help"]),
        ("train --confg=x", ["unknown option '--confg'; did you mean '--config'?"]),
        ("train --config x --res", ["unknown option '--res'; did you mean '--resume'?"]),
        ("train", ["the following arguments are required: --config"]),
        ("info", ["the following arguments are required: path"]),
        ("info a b", ["unrecognized arguments: b"]),
        ("collect --tasks a --out x --episodes 0", ["--episodes", "expected a whole number of at least 1, got '0'"]),
        ("collect --tasks a --out x --storage gif", ["--storage", "invalid choice: 'gif'"]),
        ("train --config configs/debgu.yaml", ["unknown config file", "did you mean 'configs/debug.yaml'?"]),
        ("train --config configs/debug.yaml --set train.sed=1", ["unknown key 'train.sed'", "'train.seed'"]),
        ("info no/such/folder", ["no/such/folder does not exist"]),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(run, monkeypatch, repository, line, parts):
    monkeypatch.chdir(repository)
    code, out, err = run(*line.split())
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for part in parts:
        assert part in err


def raising(error: BaseException):
    def run(flags):
        raise error

    return run


def replace_run(monkeypatch, name: str, run) -> None:
    fields = {key: getattr(cli.COMMANDS[name], key) for key in cli.Command.__dataclass_fields__}
    monkeypatch.setitem(cli.COMMANDS, name, cli.Command(**{**fields, "run": run}))


def test_an_error_of_ours_is_one_line(run, monkeypatch):
    replace_run(monkeypatch, "info", raising(DataError("first\nsecond")))
    assert run("info", "x") == (2, "", "error: first second\n")


@pytest.mark.parametrize("module", EXTRAS)
def test_a_missing_dependency_names_the_extra(run, monkeypatch, module):
    replace_run(monkeypatch, "info", raising(ModuleNotFoundError(name=f"{module}.part")))
    code, _, err = run("info", "x")
    assert code == 2
    assert f"{module!r}" in err
    assert f"pip install 'robovlms[{EXTRAS[module]}]'" in err


def test_extras_are_those_of_the_package(repository):
    text = (repository / "pyproject.toml").read_text()
    for module, extra in EXTRAS.items():
        block = re.search(rf"^{extra} = \[(.*?)^\]", text, re.MULTILINE | re.DOTALL)[1]
        package = PACKAGES.get(module, module)
        assert f'"{package}' in block


def test_what_is_unexpected_keeps_its_traceback(monkeypatch):
    replace_run(monkeypatch, "info", raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        cli.main(["info", "x"])
    replace_run(monkeypatch, "info", raising(ModuleNotFoundError(name="robovlms.nothing")))
    with pytest.raises(ModuleNotFoundError):
        cli.main(["info", "x"])


@pytest.mark.parametrize(
    ("line", "resume"),
    [
        ("train --config a.yaml", "robovlms train --config a.yaml --resume"),
        ("train --config a.yaml --resume", "robovlms train --config a.yaml --resume"),
        ("demo --seed 1", "robovlms demo --seed 1"),
    ],
)
def test_an_interruption_says_how_to_go_on(run, monkeypatch, line, resume):
    replace_run(monkeypatch, line.split()[0], raising(KeyboardInterrupt()))
    assert run(*line.split()) == (130, "", f"\ninterrupted; to go on: {resume}\n")


def test_a_closed_pipe_is_silent(repository):
    line = f"{sys.executable} -m robovlms info {repository}/configs/debug.yaml | head -n 1"
    assert subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stderr == ""


def test_names_by_space_and_comma():
    assert cli._names(["a,b", "c", "d,"]) == ("a", "b", "c", "d")


# ------------------------------------------------------------------------------------------------------------- info


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint folder as training writes it, with a model of two small tensors."""
    from safetensors.numpy import save_file

    folder = tmp_path / "run" / "checkpoints" / "step_000005"
    (folder / "training").mkdir(parents=True)
    weights = {"backbone.vision.w": np.zeros((2, 3), np.float32), "head.w": np.zeros((5,), np.float32)}
    save_file(weights, folder / "model.safetensors")
    statistics = FeatureStatistics(min=(-1.0,), max=(1.0,), mean=(0.0,), std=(0.5,), q01=(-0.9,), q99=(0.9,), count=7)
    contract = PolicyContract(
        action_space=ActionSpace(
            dimensions=(ActionDimension(name="x", unit="m", low=-1, high=1),),
            frame="world",
            is_delta=True,
            control_hz=20,
        ),
        action_scheme="min_max",
        action_statistics=statistics,
        proprio_names=(),
        proprio_scheme="mean_std",
        proprio_statistics=None,
        cameras=(CameraSpec(name="static", height=48, width=64, source="metaworld/corner4/fast"),),
        prompt_template="{instruction}",
        tokenizer_fingerprint="f" * 64,
        window_size=1,
        fwd_pred_next_n=8,
    )
    (folder / "contract.json").write_text(contract.to_json())
    (folder / "config.yaml").write_text(dump_config(load_config(None, {"train.max_steps": 123})))
    (folder / "training" / "state.json").write_text(json.dumps({"step": 5, "without_gradient": []}))
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 4}\n{"step": 5, "loss": 0.25}\n{"step":')
    return folder


def test_info_of_a_checkpoint(run, checkpoint):
    code, out, _ = run("info", str(checkpoint))
    fingerprint = PolicyContract.from_json((checkpoint / "contract.json").read_text()).fingerprint
    assert code == 0
    for row in (
        ["backbone.vision", "6"], ["head", "5"], ["all", "11"], ["step", "5"], ["fingerprint", fingerprint],
        ["static", "48 × 64 px", "metaworld/corner4/fast"], ["x", "m", "arm", "-1", "1"], ["train.max_steps", "123"],
    ):  # fmt: skip
        assert re.search(r" │\s*".join(map(re.escape, row)).replace(r"\ ", " "), re.sub(r" +│", " │", out)), row


def test_info_of_a_run_shows_the_newest(run, checkpoint):
    code, out, _ = run("info", str(checkpoint.parents[1]))
    assert code == 0
    assert "checkpoints step_000005" in out
    assert re.search(r"loss +│ 0.25", out)


def test_info_of_a_checkpoint_imports_no_torch(checkpoint):
    code = f"""
import sys
from robovlms.__main__ import main
assert main(['info', {str(checkpoint)!r}]) == 0
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("content", [b"", b"\x05\0\0\0\0\0\0\0{", b"\xff" * 9, b"\x02\0\0\0\0\0\0\0[]x"])
def test_info_of_a_damaged_checkpoint(run, checkpoint, content):
    (checkpoint / "model.safetensors").write_bytes(content)
    code, _, err = run("info", str(checkpoint))
    assert code == 2
    assert f"{checkpoint / 'model.safetensors'} is damaged" in err


def test_info_of_an_incomplete_checkpoint(run, checkpoint):
    (checkpoint / "contract.json").unlink()
    code, _, err = run("info", str(checkpoint))
    assert code == 2
    assert f"{checkpoint / 'contract.json'} cannot be read" in err


def test_info_of_a_configuration_marks_what_differs(run, repository):
    code, out, _ = run("info", str(repository / "configs" / "debug.yaml"))
    assert code == 0
    assert re.search(r"train.max_steps +│ 10 +│ 1000 ", out)
    assert re.search(r"train.seed +│ 0 +│ +│", out)


def test_info_of_nothing_known(run, tmp_path):
    code, _, err = run("info", str(tmp_path))
    assert code == 2
    assert f"{tmp_path} holds none of these; expected a dataset" in err


def test_info_of_a_dataset(run, small_dataset):
    code, out, _ = run("info", str(small_dataset))
    assert code == 0
    out = re.sub(r" +│", " │", out)
    for row in (r"reach │ reach the square │ +3 │ +28 │ +7 │ +12 │", r"push │ push the square │ +2 │ +10 │ +4 │ +6 │"):
        assert re.search(row, out)
    for row in (r"all │ │ +5 │ +38 │", r"static │ 32 × 32 px │ test/static", r"gripper │ 1 │ gripper │ +-1 │ +1 │"):
        assert re.search(row, out)
    assert "Actions: 10 Hz, frame world, relative, rotation none, gripper opens towards negative" in out
    assert re.search("simulator │ test", out)


# ------------------------------------------------------------------------------------------------ the commands at work


def test_train_resume_info_verify(run, monkeypatch, small_dataset, repository, tmp_path):
    monkeypatch.chdir(repository)
    out_folder = tmp_path / "run"
    train = [
        "train",
        "--config",
        "configs/debug.yaml",
        "--set",
        f"data.path={small_dataset}",
        f"train.out={out_folder}",
    ]
    assert run(*train)[0] == 0
    code, _, err = run(*train)
    assert code == 2
    assert "--resume" in err
    assert run(*train, "--resume")[0] == 0
    code, out, _ = run("info", str(out_folder))
    assert code == 0
    assert "checkpoints step_000005, step_000010" in out
    assert re.search(r"^│ step +│ 10 ", out, re.MULTILINE)
    code, out, _ = run("verify", str(out_folder))
    assert code == 0
    assert "parity samples give the same actions here" in out


def test_flags_of_evaluate_become_overrides(run, monkeypatch, tmp_path):
    seen = {}
    monkeypatch.setattr("robovlms.evaluate.run.evaluate_checkpoint", lambda path, **rest: seen.update(rest, path=path))
    assert run(*f"evaluate --checkpoint {tmp_path} --tasks a,b c --episodes 3 --env metaworld".split())[0] == 0
    expected = {"evaluate.env": "metaworld", "evaluate.tasks": ["a", "b", "c"], "evaluate.episodes": "3"}
    assert seen == {"path": tmp_path, "overrides": expected, "out": None}
    config = load_config(None, seen["overrides"])
    assert (config.evaluate.tasks, config.evaluate.episodes) == (("a", "b", "c"), 3)


def test_flags_of_collect_are_handed_on(run, monkeypatch, tmp_path):
    seen = {}
    monkeypatch.setattr("robovlms.evaluate.collect.collect", lambda **settings: seen.update(settings))
    assert run(*f"collect --tasks a,b --out {tmp_path} --episodes 3 --noise 0.2 --storage video".split())[0] == 0
    assert seen == {
        "env": "metaworld", "tasks": ("a", "b"), "episodes": 3, "out": tmp_path, "image_size": 96, "camera": "corner4",
        "render_quality": "fast", "noise": 0.2, "seed": 0, "workers": 2, "storage": "video",
    }  # fmt: skip


def test_every_command_calls_what_exists():
    """The modules are imported by the commands that need them; here all of them are, and their arguments compared."""
    import importlib
    import inspect

    tree, compared = ast.parse(Path(cli.__file__).read_text()), set()
    for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
        imported = {
            alias.name: getattr(importlib.import_module(node.module), alias.name)
            for node in ast.walk(function)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        for call in ast.walk(function):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in imported:
                keywords = {keyword.arg: None for keyword in call.keywords if keyword.arg}
                inspect.signature(imported[call.func.id]).bind(*call.args, **keywords)
                compared.add(call.func.id)
    work = {"run_demo", "collect", "train_from_config", "evaluate_checkpoint", "show_info", "verify_checkpoint"}
    assert compared >= work
