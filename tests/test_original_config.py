import json
from pathlib import Path
from typing import Any

import pytest

from robovlms.config import load_config
from robovlms.errors import ConfigError
from robovlms.original_config import IGNORED, KNOWN, ONLY, read_original

BASE: dict[str, Any] = {
    "robovlm_name": "RoboKosMos",
    "parent": None,
    "window_size": 8,
    "fwd_pred_next_n": 10,
    "batch_size": 41,
    "learning_rate": 2e-5,
    "seed": 123,
    "image_size": 224,
    "norm_action": True,
    "norm_min": -0.65,
    "norm_max": 0.65,
    "train_setup": {"precision": "bf16", "predict_action": True, "train_vision": True, "train_text_embedding": True},
    "act_head": {
        "type": "LSTMDecoder", "hidden_size": 1024, "action_dim": 7, "down_sample": "none", "latent": 1,
        "action_space": "continuous", "history_type": "post", "window_size": 1, "fwd_pred_next_n": 1,
    },
    "tokenizer": {"tokenizer_type": "kosmos", "pretrained_model_name_or_path": "vlms/kosmos", "max_text_len": 256},
    "vlm": {"pretrained_model_name_or_path": "vlms/kosmos"},
    "trainer": {"gradient_clip_val": 1.0, "max_epochs": 5, "max_steps": -1},
    "train_dataset": {"type": "DiskCalvinDataset", "rgb_pad": 10},
}  # fmt: skip


POOLED = {"act_head__action_space": "down_sample", "act_head__down_sample": "pooling"}


def write(path: Path, **changes: Any) -> Path:
    """The base with changes; "section.key" goes into a section."""
    values = json.loads(json.dumps(BASE))
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            values.setdefault(section, {})[name] = value
        else:
            values[key] = value
    path.write_text(json.dumps(values))
    return path


def test_a_recipe_becomes_a_run(tmp_path: Path) -> None:
    original = read_original(write(tmp_path / "a.json"))
    model, train = original.run.model, original.run.train
    assert (model.vlm.name, model.vlm.pretrained, model.history, model.head) == (
        "kosmos", "vlms/kosmos", "policy_head", "lstm",
    )  # fmt: skip
    assert (model.window_size, model.fwd_pred_next_n, model.head_num_layers, model.latent) == (8, 10, 4, 1)
    assert model.original_layout
    assert model.tokenizer.prompt_template == "<grounding>An image of a robot {instruction}"
    assert (train.learning_rate, train.seed, train.gradient_clip_norm, train.precision) == (2e-5, 123, 1.0, "bf16")
    assert train.min_lr_scale == 1.0  # the original's default schedule is constant
    assert (original.norm_min, original.norm_max, original.action_dim) == (-0.65, 0.65, 7)
    assert "train.max_steps" in original.ignored["trainer.max_epochs"]
    assert load_config(tmp_path / "a.json") == original.run
    assert load_config(tmp_path / "a.json", ["train.max_steps=7"]).train.max_steps == 7


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"act_head__history_type": "pre"}, {"history": "interleaved", "repeat_text": True}),
        ({"act_head__history_type": "video", "act_head__type": "FCDecoder"}, {"history": "video", "head": "fc"}),
        ({"window_size": 1, "act_head__type": "FCDecoder"}, {"history": "one_step", "window_size": 1}),
        ({"act_head__type": "GPTDecoder"}, {"head": "gpt", "head_num_layers": 8}),
        ({"act_head__type": "GPTDecoder", "act_head__num_layers": 2}, {"head_num_layers": 2}),
        (POOLED, {"token_source": "all"}),
        (POOLED | {"act_head__token_source": "text"}, {"token_source": "text"}),
        ({"act_head__fill_zero": True}, {"hide_action_tokens": True}),
        ({"act_head__type": "DiscreteDecoder", "window_size": 1}, {"head": "discrete", "history": "one_step"}),
        ({"act_head__type": "DiscreteDecoder"}, {"history": "interleaved", "repeat_text": True}),
        ({"train_setup__freeze_backbone": True}, {"train_decoder_layers": 0, "freeze_vision": False}),
        ({"train_setup__train_decoder_layers": 2}, {"train_decoder_layers": 2}),
        ({"train_setup__train_vision": False}, {"freeze_vision": True}),
        ({"train_setup__train_text_embedding": False}, {"freeze_text_embedding": True}),
        ({"train_setup__freeze_resampler": True}, {"freeze_resampler": True}),
        ({"train_setup__gradient_checkpointing": True}, {"gradient_checkpointing": True}),
        ({"arm_gripper_loss_ratio": 0.5}, {"gripper_loss_weight": 0.5}),
    ],
)  # fmt: skip
def test_what_a_value_means(tmp_path: Path, changes: dict[str, Any], expected: dict[str, Any]) -> None:
    model = read_original(write(tmp_path / "a.json", **changes)).run.model
    assert {key: getattr(model, key) for key in expected} == expected


def test_resampler_and_lora_are_those_that_the_original_builds(tmp_path: Path) -> None:
    original = read_original(
        write(
            tmp_path / "a.json", use_vision_resampler=True, vision_resampler={"depth": 8}, train_setup__lora_enable=True
        )
    )
    resampler, lora = original.run.model.resampler, original.run.model.lora
    assert (resampler.num_latents, resampler.depth, resampler.num_heads, resampler.head_dim) == (64, 6, 8, 64)
    assert "6 layers" in original.ignored["vision_resampler"]
    assert (lora.rank, lora.alpha) == (64, 16.0)


def test_a_discrete_prompt_asks_for_as_many_steps_as_the_original_asked(tmp_path: Path) -> None:
    def template(**changes: Any) -> str:
        path = write(tmp_path / "a.json", act_head__type="DiscreteDecoder", **changes)
        return read_original(path).run.model.tokenizer.prompt_template

    assert template().startswith("Input: What 11 step actions should the robot take to {instruction}?")
    assert "What 10 step actions" in template(train_dataset={"type": "OpenVLADataset"})
    assert "What action should" in template(train_dataset={"type": "OpenVLADataset"}, fwd_pred_next_n=1)


def test_a_child_overrides_its_parents_key_by_key(tmp_path: Path) -> None:
    write(tmp_path / "grandparent.json")
    (tmp_path / "parent.json").write_text(json.dumps({"parent": "grandparent.json", "act_head": {"latent": 2}}))
    (tmp_path / "child.json").write_text(json.dumps({"parent": "parent.json", "window_size": 4}))
    model = load_config(tmp_path / "child.json").model
    assert (model.window_size, model.latent, model.head_hidden_size) == (4, 2, 1024)


def test_parents_in_a_circle_or_missing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"parent": "b.json"}))
    (tmp_path / "b.json").write_text(json.dumps({"parent": "a.json"}))
    with pytest.raises(ConfigError, match="`parent` leads back"):
        load_config(tmp_path / "a.json")
    (tmp_path / "a.json").write_text(json.dumps({"parent": "nowhere.json"}))
    with pytest.raises(ConfigError, match="parent 'nowhere.json' is neither beside it"):
        load_config(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ConfigError, match="is no JSON"):
        load_config(tmp_path / "a.json")
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path / "nothing.json")


@pytest.mark.parametrize("key", sorted(KNOWN - {"parent", "robovlm_name"}))
def test_every_key_is_taken_or_reported(tmp_path: Path, key: str) -> None:
    section, _, name = key.partition(".")
    if not name and key in BASE:
        return  # in every other test
    value = ONLY[key][0] if key in ONLY else (BASE.get(section) or {}).get(name) if name else None
    sensible = {"batch_size": 1, "seed": 0, "act_head.token_source": "all", "scheduler": "constant", "num_workers": 0}
    given = sensible.get(key, value)
    if given is None and key not in IGNORED and key not in ONLY:
        given = {"act_head.num_layers": 4, "act_head.n_bin": 256, "act_head.fill_zero": False}.get(key, 0)
    original = read_original(write(tmp_path / "a.json", **{key.replace(".", "__"): given}))
    assert (key in original.ignored) == (key in IGNORED)


@pytest.mark.parametrize("key", sorted(ONLY))
def test_what_would_change_the_numbers_is_refused(tmp_path: Path, key: str) -> None:
    other = False if ONLY[key] == (True,) else 0.5 if "action" in key else {"type": "x"}
    with pytest.raises(ConfigError, match=f"{key.replace('.', '[.]')} is .*has a counterpart here"):
        read_original(write(tmp_path / "a.json", **{key.replace(".", "__"): other}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"windw_size": 3}, "unknown key 'windw_size'; did you mean 'window_size'"),
        ({"act_head__hiden_size": 3}, "did you mean 'act_head.hidden_size'"),
        ({"robovlm_name": "RoboKosmos2"}, "did you mean 'RoboKosMos'"),
        ({"act_head__type": "DiffusionDecoder"}, "act_head.type: unknown value 'DiffusionDecoder'"),
        ({"act_head__history_type": "prev"}, "did you mean 'pre'"),
        ({"act_head__action_space": "down_sample"}, "down_sample 'none' does not go with action_space 'down_sample'"),
        ({"batch_size": [4, 8]}, "one of several datasets"),
        ({"scheduler": "cosin"}, "did you mean 'cosine'"),
        ({"act_head__type": "DiscreteDecoder", "tokenizer__tokenizer_type": "llava"}, "not for 'llava'"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_original(write(tmp_path / "a.json", **changes))
    assert "\n" not in str(caught.value)
    assert "a.json" in str(caught.value)
