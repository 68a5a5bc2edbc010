import io
import json
import runpy
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest

from robovlms.errors import ConfigError
from robovlms.robot.parse_command import add_parse_flags, run_parse

DEMO = Path(__file__).parents[2] / "vla_test" / "parse_demo.py"
BOX = "<loc0410><loc0179><loc0614><loc0333> cup"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("COLUMNS", "200")

    def run_with(*arguments: str, stdin: str = "") -> str:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        parser = ArgumentParser()
        add_parse_flags(parser)
        if not {"--boxes", "--language"} & set(arguments):
            arguments = ("--language", "english", *arguments)  # reading the words of every language takes a while
        run_parse(parser.parse_args(arguments))
        return capsys.readouterr().out

    return run_with


def test_json_has_a_line_per_text(run: Any) -> None:
    first, second = map(json.loads, run("--json", "turn left 30 degrees", "an umbrella").splitlines())
    assert first["text"] == "turn left 30 degrees"
    assert [action["action_type"] for action in first["actions"]] == ["turn"]
    assert (first["actions"][0]["angle_deg"], first["actions"] == first["safe"]) == (30.0, True)
    assert [second[key][0]["action_type"] for key in ("actions", "safe")] == ["unknown", "stop"]


def test_lines_of_stdin(run: Any) -> None:
    lines = [json.loads(line) for line in run("--json", "-", stdin="stop\n\n  \ngo forward\r\n").splitlines()]
    assert [(line["text"], line["actions"][0]["action_type"]) for line in lines] == [
        ("stop", "stop"),
        ("go forward", "move"),
    ]


def test_the_validator_slows_down(run: Any) -> None:
    line = json.loads(run("--json", '{"action_type": "move", "linear_x": 2.0}'))
    assert (line["actions"][0]["linear_x"], line["safe"][0]["linear_x"]) == (2.0, 0.5)


def test_the_prompt_is_no_answer(run: Any) -> None:
    for text, expected in (("Turn or stop? turn left", "turn"), ("Turn or stop?", "unknown")):
        line = json.loads(run("--json", text, "--prompt", "Turn or stop?"))
        assert line["actions"][0]["action_type"] == expected


def test_a_table(run: Any) -> None:
    shown = run("turn left 30 degrees", "[bold]stop[/bold]\x1b[2J", "go forward, then turn right")
    assert "0.00, 0.00, 0.50" in shown
    assert "30°" in shown
    assert "\x1b" not in shown
    assert "x, y (m/s)" in shown
    assert "0.00, 0.00, -0.50" in shown


def test_boxes(run: Any) -> None:
    size = ("--width", "640", "--height", "480")
    line = json.loads(run("--json", "--boxes", *size, "--query", "cup", BOX))
    assert (line["actions"][0]["action_type"], line["actions"][0]["target_object"]) == ("turn", "cup")
    assert json.loads(run("--json", "--boxes", *size, "--query", "plate", BOX))["safe"][0]["action_type"] == "stop"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--boxes", BOX], "--boxes needs --width, a positive number of pixels, got None"),
        (
            ["--boxes", "--width", "640", "--height", "0", BOX],
            "--boxes needs --height, a positive number of pixels, got 0",
        ),
        (["--width", "640", "stop"], "--width belongs to --boxes"),
        (["--query", "cup", "stop"], "--query belongs to --boxes"),
        (
            ["--boxes", "--width", "1", "--height", "1", "--prompt", "a", BOX],
            "--boxes takes no --language and no --prompt",
        ),
        (["--language", "englsh", "stop"], "unknown language 'englsh'; did you mean 'english'"),
    ],
)
def test_flags_that_contradict_each_other(run: Any, arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(*arguments)


def test_bytes_that_are_no_utf_8_are_shown(run: Any) -> None:
    assert json.loads(run("--json", "stop \udcff"))["text"] == "stop ?"


def test_the_demo_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    runpy.run_path(str(DEMO), run_name="__main__")
    shown = capsys.readouterr().out
    for part in ("move 0.50, 0.00, 0.00", "a refusal", "NaN is no number", "location tokens are malformed"):
        assert part in shown
