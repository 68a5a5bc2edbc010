"""The pages about robots: their commands run, their tables are complete, both languages say the same."""

import dataclasses
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from robovlms.__main__ import main
from robovlms.robot.config import CameraPart, ModelPart, OutputConfig, RobotConfig
from robovlms.robot.parser import VLAActionParser
from robovlms.robot.safety.command import Reason
from robovlms.robot.safety.limits import ShieldLimits
from robovlms.robot.safety.stopping import stopping_distance

PAGES = ("docs/robot.md", "vla_test/README.md", "vla_test/README.ko.md", "tests/robot/data/README.md")
BENCH = PAGES[1:3]
KEYS = {  # what the table of limits calls them -> where their defaults are
    "limits": ShieldLimits,
    "output": OutputConfig,
    "cameras[]": CameraPart,
    "model": ModelPart,
}


@pytest.fixture(params=PAGES)
def page(request: pytest.FixtureRequest, repository: Path) -> Path:
    return repository / request.param


def text_of(repository: Path, name: str) -> str:
    return (repository / name).read_text(encoding="utf-8")


def commands(text: str) -> list[list[str]]:
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines() if line.strip()]


def bench_config(repository: Path, name: str) -> str:
    return re.findall(r"<!-- example: bench.yaml -->\n```yaml\n(.*?)```", text_of(repository, name), re.DOTALL)[0]


def cells(text: str, heading: str) -> list[list[str]]:
    """The rows of the first table below a heading."""
    rows = text.split(heading, 1)[1].split("\n|", 1)[1].split("\n\n", 1)[0].splitlines()
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def test_links_lead_somewhere_and_nothing_is_promised_that_nobody_can_keep(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        assert link.startswith("https://") or (page.parent / link).exists(), link
    assert not re.search(r"certified|compliant|인증", text)
    for path in re.findall(r"`((?:robovlms|vla_test|configs|tests)/[\w./]+)`", text):
        assert (page.parents[len(page.relative_to(page.parents[1]).parts) - 1] / path).exists() or any(
            (parent / path).exists() for parent in page.parents
        ), path


def test_every_reason_is_explained(repository: Path) -> None:
    explained = [row[0].strip("`") for row in cells(text_of(repository, "docs/robot.md"), "## Why a command")]
    assert sorted(explained) == sorted(reason.value for reason in Reason)


def test_the_table_of_limits_has_their_keys_and_defaults(repository: Path) -> None:
    rows = cells(text_of(repository, "docs/robot.md"), "## Limits")
    seen = set()
    for _, key, default in rows:
        section, _, name = key.strip("`").rpartition(".")
        defaults = {entry.name: entry.default for entry in dataclasses.fields(KEYS.get(section, RobotConfig))}
        if section == "log":
            continue
        value = defaults[name]
        seen.add((section, name))
        if value is dataclasses.MISSING:
            assert "required" in default
        else:
            shown = f"{value:g}" if isinstance(value, float) else {None: "none"}.get(value, str(value).lower())
            assert default.removesuffix(" s") == shown, key
    assert {name for section, name in seen if section == "limits"} == {f.name for f in dataclasses.fields(ShieldLimits)}


def test_the_example_of_a_stopping_distance_is_right() -> None:
    limits = ShieldLimits((0.5, 0.0, 1.0), (0.5, 0.5, 1.5), (1.0, 1.0, 3.0))
    distance = stopping_distance(limits, loop_period_s=0.02, watchdog_s=0.2, inference_s=0.5, observation_s=0.0)
    assert (distance.reaction[0], distance.braking[0]) == pytest.approx((0.36, 0.125))
    assert distance.forward_m == pytest.approx(0.485)


@pytest.fixture(scope="module")
def parser() -> VLAActionParser:
    return VLAActionParser()


def test_texts_of_the_commands_are_understood(repository: Path, parser: VLAActionParser) -> None:
    lines = [words for name in PAGES[:3] for words in commands(text_of(repository, name))]
    texts = [words[3:] for words in lines if words[:3] == ["robovlms", "robot", "parse"] and "--boxes" not in words]
    options = [word.partition("task.options.text=")[2] for words in lines for word in words]
    assert len(texts) == 3
    for text in [*(text for several in texts for text in several), *filter(None, options)]:
        assert all(action.confidence >= 0.3 for action in parser.parse_sequence(text)), text


def test_a_command_that_only_parses_runs(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (words,) = [words for words in commands(text_of(repository, "docs/robot.md")) if "--boxes" in words]
    assert main(words[1:]) == 0
    assert "turn" in capsys.readouterr().out


@pytest.mark.parametrize("name", BENCH)
def test_texts_of_the_bench_mean_what_their_rows_expect(repository: Path, name: str, parser: VLAActionParser) -> None:
    texts = re.findall(r'^\| `"(.*?)"` \|', text_of(repository, name), re.MULTILINE)
    found = [parser.parse_text_output(text) for text in texts]
    signs = [(one.action_type.value, np.sign(one.linear_x), np.sign(one.angular_z)) for one in found]
    assert signs == [("move", 1, 0), ("move", -1, 0), ("turn", 0, 1), ("turn", 0, -1), ("stop", 0, 0)]


def test_the_bench_configuration_runs_and_its_log_replays(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    name = BENCH[0]  # the other one differs only in its sentence, see below
    rng = np.random.default_rng(0)
    for index in range(40):
        Image.fromarray(rng.integers(0, 255, (24, 32, 3), np.uint8)).save(tmp_path / f"{index:03d}.png")
    values = yaml.safe_load(bench_config(repository, name))
    values["cameras"] = [{"name": "folder", "options": {"path": str(tmp_path), "fps": 20.0}}]
    (tmp_path / "bench.yaml").write_text(yaml.safe_dump(values, allow_unicode=True), encoding="utf-8")
    lines = [words for words in commands(text_of(repository, name)) if "bench.yaml" in words]
    assert [words[2] for words in lines] == ["check", "run", "run"]
    assert main(lines[0][1:]) == 0
    assert "FAULT" not in capfd.readouterr().out
    assert main([*lines[1][1:], "--set", "task.options.seconds=0.5"]) == 0
    assert "forward +0.100 m/s" in capfd.readouterr().out
    (log,) = (tmp_path / "runs/bench").glob("*.mcap")
    assert main(["robot", "replay", str(log)]) == 0


def test_a_text_that_nobody_understands_is_refused_before_anything_moves(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = BENCH[1]
    (tmp_path / "bench.yaml").write_text(bench_config(repository, name), encoding="utf-8")
    (text,) = re.findall(r'`task.options.text="(.*?)"`', text_of(repository, name))
    assert main(["robot", "run", "--config", str(tmp_path / "bench.yaml"), "--set", f"task.options.text={text}"]) == 2
    captured = capsys.readouterr()
    assert "not understood" in captured.err and captured.err.count("\n") <= 2 and "m/s" not in captured.out  # noqa: PT018


def test_both_languages_have_the_same_sections_rows_and_code(repository: Path) -> None:
    english, korean = (text_of(repository, name) for name in BENCH)

    def shape(text: str) -> list[str]:
        return re.findall(r"^(?:#+ |\||- |```\w*)", text, re.MULTILINE)

    assert shape(english) == shape(korean)
    assert [words[:3] for words in commands(english)] == [words[:3] for words in commands(korean)]
    first, second = (yaml.safe_load(bench_config(repository, name)) for name in BENCH)
    for values in (first, second):
        values["task"]["options"].pop("text")
    assert first == second
