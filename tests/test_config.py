import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robovlms.config import EvaluateConfig, RunConfig, dump_config, field_docs, flatten, load_config
from robovlms.errors import ConfigError

ALL_CONFIGS = sorted((Path(__file__).parents[1] / "configs").rglob("*.yaml"))
CONFIGS = [file for file in ALL_CONFIGS if file.parent.name != "robot"]  # those have a configuration of their own


@pytest.fixture
def write(tmp_path: Path):
    """Write a configuration file; return its path."""

    def write_text(text: str) -> Path:
        file = tmp_path / "run.yaml"
        file.write_text(text)
        return file

    return write_text


def test_nothing_given_is_the_default():
    assert load_config() == RunConfig()


def test_empty_file_is_the_default(write):
    assert load_config(write("# only a comment\n")) == RunConfig()


def test_file_and_overrides(write):
    file = write("train: {learning_rate: 1e-3, max_steps: 200, warmup_steps: 5}\ndata: {cameras: [b, a], path: x/y}\n")
    config = load_config(file, ["train.max_steps=300", "data.cameras=[c]", "train.gradient_clip_norm=null"])
    assert config.train.learning_rate == 0.001
    assert config.train.max_steps == 300
    assert config.train.warmup_steps == 5
    assert config.train.gradient_clip_norm is None
    assert config.data.cameras == ("c",)
    assert config.data.path == Path("x/y")


@pytest.mark.parametrize(
    ("text", "number"),
    [("1e-3", 1e-3), ("1E5", 1e5), ("1.5e3", 1500.0), (".5e-1", 0.05), ("2", 2.0), ("-3e+2", -300.0)],
)
def test_numbers_with_exponents(write, text, number):
    file = write(f"model: {{vlm: {{overrides: {{x: {text}}}}}}}")
    assert load_config(file).model.vlm.overrides == {"x": number}
    assert load_config(None, [f"model.vlm.overrides.x={text}"]).model.vlm.overrides == {"x": number}


def test_overrides_reach_into_free_form_values(write):
    file = write("model: {vlm: {overrides: {a: {b: 1, c: 2}}}}")
    config = load_config(file, ["model.vlm.overrides.a.b=[3, x]", "model.vlm.overrides.d=1e-5"])
    assert config.model.vlm.overrides == {"a": {"b": [3, "x"], "c": 2}, "d": 1e-5}


def test_texts_that_look_like_something_else():
    config = load_config(
        None, ["train.device=7", "train.out=2024", "model.vlm.pretrained=a/b", "model.vlm.name=null x"]
    )
    assert config.train.device == "7"
    assert config.train.out == Path("2024")
    assert config.model.vlm.name == "null x"


def test_overrides_as_mapping():
    config = load_config(None, {"evaluate.tasks": ["a", "b"], "train": {"seed": 3}})
    assert config.evaluate.tasks == ("a", "b")
    assert config.train.seed == 3


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("train: {max_stps: 3}", ["unknown key 'train.max_stps'", "did you mean 'train.max_steps'"]),
        ("modle: {}", ["unknown key 'modle'", "did you mean 'model'"]),
        ("model: {vlm: {nam: tiny}}", ["unknown key 'model.vlm.nam'", "did you mean 'model.vlm.name'"]),
        ("train: {max_steps: many}", ["train.max_steps", "expected a whole number", "got 'many'"]),
        ("train: {max_steps: 1.5}", ["train.max_steps", "expected a whole number", "got 1.5"]),
        ("train: {max_steps: true}", ["train.max_steps", "expected a whole number", "got True"]),
        ("train: {max_steps: null}", ["train.max_steps", "expected a whole number", "got None"]),
        ("train: {backbone_learning_rate: x}", ["backbone_learning_rate", "expected a number or null", "got 'x'"]),
        ("model: {history: one_stp}", ["model.history", "expected one of 'one_step', 'policy_head'", "got 'one_stp'"]),
        ("data: {action_scheme: mean_std}", ["data.action_scheme", "expected one of 'min_max', 'quantile'"]),
        ("train: {backbone_learning_rate: 0}", ["train.backbone_learning_rate must be positive"]),
        ("model: {freeze_vision: 1}", ["model.freeze_vision", "expected true or false", "got 1"]),
        ("model: {vlm: {overrides: 3}}", ["model.vlm.overrides", "expected keys with values", "got 3"]),
        ("model: {vlm: {name: 3}}", ["model.vlm.name", "expected a text", "got 3"]),
        ("data: {path: 3}", ["data.path", "expected a path or null", "got 3"]),
        ("data: {cameras: [a, 3]}", ["data.cameras", "expected a list of texts or null", "got ['a', 3]"]),
        ("train: 3", ["train", "expected keys with values", "got 3"]),
        ("- 1", ["the file", "expected keys with values", "got [1]"]),
        ("model: {window_size: 4}", ["model.history is 'one_step'", "model.window_size is 4"]),
        ("data: {batch_size: 0}", ["data.batch_size must be at least 1, got 0"]),
    ],
)
def test_a_wrong_file_is_named_with_key_and_value(write, text, parts):
    file = write(text)
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("train:\n  seed: [1\n", 3, "expected ',' or ']'"),
        ("train:\n  seed: 1\n  seed: 2\n", 3, "the key 'seed' appears twice"),
        ("a: b: c", 1, "mapping values are not allowed here"),
        ("a: !!python/object:os.system 1", 1, "could not determine a constructor"),
    ],
)
def test_a_syntax_error_is_named_with_its_line(write, text, line, part):
    file = write(text)
    with pytest.raises(ConfigError, match="not valid YAML") as caught:
        load_config(file)
    assert str(caught.value).startswith(f"{file}:{line}: ")
    assert part in str(caught.value)


def test_a_missing_file_names_the_nearest(write):
    file = write("")
    with pytest.raises(ConfigError, match="unknown config file") as caught:
        load_config(file.with_name("rum.yaml"))
    assert f"did you mean {str(file)!r}" in str(caught.value)


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("train.max_steps", "expected key=value"),
        ("train.max_stps=3", "unknown key 'train.max_stps'; did you mean 'train.max_steps'"),
        ("train.max_steps=x", "override train.max_steps: expected a whole number, got 'x'"),
        ("train=3", "override train: expected keys with values, got '3'"),
        ("model.window_size=4", "run.yaml with overrides: model.history is 'one_step' but model.window_size is 4"),
        ("train.max_steps.x=3", "override train.max_steps: expected a whole number, got {'x': '3'}"),
    ],
)
def test_a_wrong_override(write, override, part):
    with pytest.raises(ConfigError) as caught:
        load_config(write(""), [override])
    assert part in str(caught.value)


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_every_config_file_loads_and_is_short(file):
    config = load_config(file)
    assert load_config_text(dump_config(config), file) == config
    text = file.read_text()
    assert text.startswith("# ")
    assert len(text.splitlines()) <= 30
    defaults = flatten(RunConfig())
    assert any(value != defaults[key] for key, value in flatten(config).items())


def test_there_are_config_files():
    assert {file.stem for file in CONFIGS} >= {"debug", "tiny_one_step", "tiny_policy_head", "paligemma_one_step"}


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_every_config_file_builds(file):
    """Weights from a hub are left out: the same architecture is built tiny and random."""
    from robovlms.actions.space import ActionDimension, ActionSpace
    from robovlms.model.vlm import build_policy

    config = load_config(file, ["model.vlm.pretrained=null"])
    dimensions = tuple(ActionDimension(name=name, unit="m", low=-1.0, high=1.0) for name in "xyz")
    space = ActionSpace(dimensions=dimensions, frame="world", is_delta=True, control_hz=10.0)
    policy = build_policy(config.model, space, proprio_dim=4)
    assert sum(parameter.numel() for parameter in policy.parameters() if parameter.requires_grad) > 0


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\x85\u2028\u2029"), min_size=1)
texts |= st.sampled_from(
    ["null", "1e3", "1_0", "yes", "~", "- a", "a: b", "#x", "2024-01-01", "0x1f", "1:30", "!x", "<<"]
)
free_form = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
VALUES = {
    "model.vlm.name": texts,
    "model.vlm.pretrained": st.none() | texts,
    "model.vlm.overrides": st.dictionaries(texts, free_form, max_size=3),
    "model.huber_delta": st.floats(min_value=1e-30, max_value=1e30),
    "model.freeze_vision": st.booleans(),
    "data.path": st.none() | texts.map(Path),
    "data.cameras": st.none() | st.lists(texts, max_size=3).map(tuple),
    "data.action_scheme": st.sampled_from(["min_max", "quantile"]),
    "train.out": texts.map(Path),
    "train.seed": st.integers(min_value=0),
    "train.device": texts,
    "train.gradient_clip_norm": st.none() | st.floats(min_value=1e-9, max_value=1e9),
    "evaluate.tasks": st.lists(texts, max_size=3).map(tuple),
}


def load_config_text(text: str, beside: Path) -> RunConfig:
    """Load a configuration from text, written beside `beside` if that is temporary."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / beside.name
        file.write_text(text, encoding="utf-8")
        return load_config(file)


@given(st.fixed_dictionaries({}, optional=VALUES))
def test_dump_and_load_round_trip(values):
    config = load_config(None, values)
    assert {key: flatten(config)[key] for key in values} == values
    assert load_config_text(dump_config(config), Path("round_trip.yaml")) == config


def test_every_field_is_documented():
    sections = [RunConfig]
    while sections:
        section = sections.pop()
        names = {field.name for field in dataclasses.fields(section)}
        assert field_docs(section).keys() == names
        sections += [type(value) for name in names if dataclasses.is_dataclass(value := getattr(section(), name))]


def test_field_docs_join_lines():
    assert field_docs(EvaluateConfig)["seed"] == "of the first episode of each task; episode i has seed + i."
    precision = field_docs(type(RunConfig().train))["precision"]
    assert precision.endswith('"auto" takes bf16 where the hardware has it.')


def test_a_mistyped_choice_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="model.history: expected one of .*; did you mean 'interleaved'"):
        load_config(None, ["model.history=interleavd"])
