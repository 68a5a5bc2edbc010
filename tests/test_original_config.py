import json
from pathlib import Path
from typing import Any

import pytest

from robovlms.config import load_config
from robovlms.errors import ConfigError
from robovlms.original_config import read_original
from robovlms.original_keys import IGNORED, KNOWN, ONLY, TRANSLATED

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


DISCRETE = {"act_head__type": "DiscreteDecoder", "act_head__action_space": "discrete"}
# The original's documentation of its configuration, without the entries of lists that are opaque here.
ALL_KEYS = """
robovlm_name parent task_name exp_name model model_url model_path model_config seq_len image_size image_mean image_std
window_size fwd_pred_next_n arm_gripper_loss_ratio cap_loss_ratio fwd_loss_ratio kl_div_ratio clip_norm_ratio
use_clip_norm vl_cotrain_ratio seed batch_size num_workers data_scale optimizer learning_rate min_lr_scale weight_decay
warmup_epochs warmup_steps warmup_ratio scheduler gradient_clip_val use_hand_rgb use_time_causal_attn use_mim_obs_loss
use_pixel_loss use_obs_queries vision_masked_ratio use_tube_mask use_vision_resampler vision_resampler output_root
log_root cache_root model_load_path model_load_source resume norm_action norm_min norm_max regular_action x_mean x_std
use_mu_law mu_val tcp_rel train_weights discrete_action_history vision_encoder llava llava_config qwen config
train_setup.precision train_setup.predict_action train_setup.predict_forward train_setup.predict_forward_hand
train_setup.predict_caption train_setup.train_vision train_setup.freeze_backbone train_setup.train_decoder_layers
train_setup.train_full_decoder train_setup.train_resampler train_setup.load_vl_param train_setup.train_text_embedding
train_setup.freeze_resampler train_setup.reinit train_setup.lora_enable train_setup.lora_r train_setup.lora_alpha
train_setup.lora_dropout train_setup.lora_bias train_setup.bits train_setup.freeze_mm_mlp_adapter
train_setup.tune_mm_mlp_adapter train_setup.mm_use_im_start_end train_setup.mm_use_im_patch_token
train_setup.gradient_checkpointing train_setup.mm_projector_lr
act_head.type act_head.hidden_size act_head.action_dim act_head.down_sample act_head.latent act_head.action_space
act_head.token_source act_head.history_type act_head.with_history act_head.fill_zero act_head.num_layers
act_head.policy_rnn_dropout_p act_head.n_bin act_head.min_action act_head.max_action act_head.window_size
act_head.fwd_pred_next_n act_encoder fwd_head
tokenizer.type tokenizer.pretrained_model_name_or_path tokenizer.tokenizer_type tokenizer.max_text_len
tokenizer.additional_special_tokens tokenizer.use_local_files
vlm.type vlm.name vlm.pretrained_model_name_or_path vlm.residual
trainer.accelerator trainer.strategy trainer.precision trainer.logger trainer.gradient_clip_val
trainer.use_distributed_sampler trainer.log_every_n_steps trainer.max_epochs trainer.val_check_interval
trainer.check_val_every_n_epoch trainer.max_steps trainer.accumulate_grad_batches train_dataset val_dataset
"""
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
        (DISCRETE | {"window_size": 1}, {"head": "discrete", "history": "one_step"}),
        (DISCRETE, {"history": "interleaved", "repeat_text": True}),
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


def test_mu_law(tmp_path: Path) -> None:
    assert read_original(write(tmp_path / "a.json")).run.data.action_mu is None
    assert read_original(write(tmp_path / "b.json", use_mu_law=True)).run.data.action_mu == 255
    assert read_original(write(tmp_path / "c.json", use_mu_law=True, mu_val=100)).run.data.action_mu == 100


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
        path = write(tmp_path / "a.json", **DISCRETE, **changes)
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
    assert (key in original.used) == (key in TRANSLATED)


def test_a_key_is_in_one_table_only() -> None:
    assert len(KNOWN) == len(TRANSLATED) + len(IGNORED) + len(ONLY)


def test_no_key_is_lost_from_the_tables() -> None:
    assert set(ALL_KEYS.split()) <= KNOWN


@pytest.mark.parametrize("key", sorted(TRANSLATED))
def test_any_value_gives_a_configuration_or_one_line(tmp_path: Path, key: str) -> None:
    for value in ("x", [1], -5):
        file = write(tmp_path / "a.json", **{key.replace(".", "__"): value})
        message = f"{file}: "
        try:
            read_original(file)
        except ConfigError as error:
            message = str(error)
        assert message.startswith(f"{file}: ")
        assert "\n" not in message


def test_null_is_a_key_that_is_not_there(tmp_path: Path) -> None:
    expected = read_original(write(tmp_path / "a.json")).run
    null = {key.replace(".", "__"): None for key in TRANSLATED if key.partition(".")[0] not in BASE}
    given = {"train_setup": None, "trainer": None, "vlm": None}
    assert read_original(write(tmp_path / "a.json", **null)).run == expected
    assert read_original(write(tmp_path / "a.json", **given)).run.model.vlm.pretrained is None


def test_the_vlm_is_named_by_model_where_the_class_is_not_given(tmp_path: Path) -> None:
    file = write(tmp_path / "a.json", robovlm_name=None, model="paligemma", tokenizer__tokenizer_type="paligemma")
    assert load_config(file).model.vlm.name == "paligemma"
    with pytest.raises(ConfigError, match="model: unknown value 'kosmoss'; did you mean 'kosmos'"):
        read_original(write(tmp_path / "a.json", robovlm_name=None, model="kosmoss"))
    with pytest.raises(ConfigError, match="robovlm_name: unknown value 'None'"):
        read_original(write(tmp_path / "a.json", robovlm_name=None))


def test_adapters_are_where_the_original_puts_them(tmp_path: Path) -> None:
    towers = lambda **changes: (  # noqa: E731
        read_original(write(tmp_path / "a.json", train_setup__lora_enable=True, **changes)).run.model.lora.towers
    )
    assert towers() == ("text", "vision")  # Kosmos' vision_model is not among the names that are left out
    assert towers(train_setup__train_vision=False) == ("text",)
    assert towers(robovlm_name="RoboPaligemma") == ("text",)


def test_flamingo_has_switches_of_its_own(tmp_path: Path) -> None:
    model = lambda **setup: (  # noqa: E731
        read_original(
            write(
                tmp_path / "a.json", robovlm_name="RoboFlamingo", **{f"train_setup__{k}": v for k, v in setup.items()}
            )
        ).run.model
    )
    assert (model().train_decoder_layers, model().freeze_resampler) == (0, False)
    assert model(train_full_decoder=True).train_decoder_layers is None
    assert model(train_resampler=False).freeze_resampler


def test_a_warm_up_longer_than_the_default_run_makes_the_run_longer(tmp_path: Path) -> None:
    train = read_original(write(tmp_path / "a.json", warmup_steps=5000)).run.train
    assert (train.warmup_steps, train.max_steps) == (5000, 5000)
    train = read_original(write(tmp_path / "a.json", trainer__max_steps=70)).run.train
    assert (train.warmup_steps, train.max_steps) == (0, 70)


def test_what_a_discrete_policy_has_no_use_for_is_left_out(tmp_path: Path) -> None:
    model = read_original(
        write(tmp_path / "a.json", **DISCRETE, act_head__latent=4, act_head__fill_zero=True, train_dataset=[])
    ).run.model
    assert (model.latent, model.hide_action_tokens, model.token_source) == (1, False, "action")
    model = read_original(write(tmp_path / "a.json", **POOLED, act_head__fill_zero=True)).run.model
    assert not model.hide_action_tokens


@pytest.mark.parametrize("key", sorted(ONLY))
def test_what_would_change_the_numbers_is_refused(tmp_path: Path, key: str) -> None:
    other = False if ONLY[key] == (True,) else 0.5 if "action" in key else {"type": "x"}
    with pytest.raises(ConfigError, match=f"{key.replace('.', '[.]')} is .*has a counterpart here"):
        read_original(write(tmp_path / "a.json", **{key.replace(".", "__"): other}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"act_head": None}, "act_head.type: unknown value 'None'"),
        ({"act_head": 3}, "act_head: expected keys with values, got 3"),
        ({"parent": 3}, "parent: expected a path, got 3"),
        ({"act_head__action_space": "discrete"}, "'discrete'; with LSTMDecoder it must be continuous or down_sample"),
        ({"act_head__type": "DiscreteDecoder"}, "'continuous'; with DiscreteDecoder it must be discrete"),
        ({"act_head__down_sample": "pooling"}, "'pooling' does not go with action_space 'continuous'"),
        ({"train_setup__x": {"__override__": True}}, "`__override__` is read by a part of the original only"),
        ({"norm_min": 1}, "data.action_range must rise"),
        ({"window_size": "x"}, "a.json: model.window_size: expected a whole number, got 'x'"),
        ({"windw_size": 3}, "unknown key 'windw_size'; did you mean 'window_size'"),
        ({"act_head__hiden_size": 3}, "did you mean 'act_head.hidden_size'"),
        ({"robovlm_name": "RoboKosmos2"}, "did you mean 'RoboKosMos'"),
        ({"act_head__type": "DiffusionDecoder"}, "act_head.type: unknown value 'DiffusionDecoder'"),
        ({"act_head__history_type": "prev"}, "did you mean 'pre'"),
        ({"act_head__action_space": "down_sample"}, "down_sample 'none' does not go with action_space 'down_sample'"),
        ({"batch_size": [4, 8]}, "one of several datasets"),
        ({"scheduler": "cosin"}, "did you mean 'cosine'"),
        (DISCRETE | {"tokenizer__tokenizer_type": "llava"}, "not for 'llava'"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read_original(write(tmp_path / "a.json", **changes))
    assert "\n" not in str(caught.value)
    assert "a.json" in str(caught.value)
