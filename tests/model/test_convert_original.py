"""Checkpoints of the original: its own numbers where they lie beside the project, and layouts made here."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from robovlms import BaseRoboVLM
from robovlms.__main__ import main
from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.config import load_config
from robovlms.errors import CheckpointError, ConfigError
from robovlms.model.convert_original import convert_original
from robovlms.model.head import FCDecoder, LSTMDecoder
from robovlms.model.original_tensors import read_state
from robovlms.model.resampler import PerceiverResampler
from robovlms.model.vlm import build_policy
from robovlms.policy.session import load_session
from robovlms.policy.verify import verify_checkpoint
from robovlms.types import Observation

from .original_checkpoint import Made, run

GOLDENS = Path(__file__).parents[3] / "shared" / "reference" / "goldens"
needs_goldens = pytest.mark.skipif(
    not GOLDENS.is_dir(), reason="the original's reference numbers are not beside the project"
)


@pytest.fixture
def golden(tmp_path: Path) -> dict[str, Path]:
    """Arguments of a conversion of the original's tiny Kosmos-2."""
    vlm = tmp_path / "vlm"
    shutil.copytree(GOLDENS / "tiny_tokenizer", vlm)
    vlm.chmod(0o755)
    shutil.copy(GOLDENS / "g_tiny_kosmos2.config.json", vlm / "config.json")
    return {
        "checkpoint": GOLDENS / "g_kosmos_lstm_post.safetensors",
        "config": GOLDENS / "g_kosmos_lstm_post.config.json",
        "vlm": vlm,
        "out": tmp_path / "out",
    }


def close(ours: Tensor, arm: np.ndarray, grip: np.ndarray) -> None:
    torch.testing.assert_close(ours[..., :6], torch.from_numpy(arm), atol=5e-6, rtol=0)
    torch.testing.assert_close(ours[..., 6:], torch.from_numpy(grip).sigmoid(), atol=5e-6, rtol=0)


@needs_goldens
def test_actions_equal_the_originals(golden: dict[str, Path]) -> None:
    convert_original(**golden)
    inputs, outputs = np.load(GOLDENS / "g_kosmos_inputs.npz"), np.load(GOLDENS / "g_kosmos_outputs.npz")
    model = BaseRoboVLM.from_pretrained(golden["out"])
    with torch.inference_mode():
        actions = model(
            vision_x=torch.from_numpy(inputs["vision"][:, :4]).float(),
            lang_x=torch.from_numpy(inputs["input_ids"]),
            attention_mask=torch.from_numpy(inputs["attention_mask"]),
            vision_gripper=None,
            mode="inference",
        ).action_predictions
    close(actions[0], outputs["lstm_post_arm"][0], outputs["lstm_post_grip"][0])
    # The original's own answer to the padded row is another one: there, padding takes positions.
    close(actions[1:], outputs["lstm_post_text1_unpadded_arm"], outputs["lstm_post_text1_unpadded_grip"])


@needs_goldens
def test_the_sequence_is_the_originals(golden: dict[str, Path]) -> None:
    convert_original(**golden)
    inputs, outputs = np.load(GOLDENS / "g_kosmos_inputs.npz"), np.load(GOLDENS / "g_kosmos_outputs.npz")
    model = BaseRoboVLM.from_pretrained(golden["out"])
    ids, mask = (torch.from_numpy(inputs[name]) for name in ("input_ids", "attention_mask"))
    images = torch.from_numpy(inputs["vision"][:, :4]).float().unsqueeze(2)
    seen = torch.ones(2, 4, 1, dtype=torch.bool)
    with torch.inference_mode():
        frames = model.encode(images, seen, ids, mask.bool(), torch.zeros(2, 4, 0), seen[:, :, 0])
        stretch = model.history.builder.frames(frames, model.history.first_queries(frames), with_prompt=True)
    torch.testing.assert_close(frames.tokens[:, :, 0], torch.from_numpy(outputs["img_feats"]), atol=5e-6, rtol=0)
    expected = torch.from_numpy(outputs["lstm_post_inputs_embeds"]).unflatten(0, (2, 4))[0]  # the unpadded row
    ours = stretch.embeds[0][stretch.real[0]].unflatten(0, (4, -1))
    torch.testing.assert_close(ours, expected, atol=5e-6, rtol=0)


@needs_goldens
def test_the_command_and_what_follows_it(
    golden: dict[str, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    flags = [f"--{name}={path}" for name, path in golden.items()]
    assert main(["convert", "original", *flags]) == 0
    printed = capsys.readouterr().out
    for what, here in (
        ("act_head", "1,388,821 numbers loaded"),
        ("act_head.history_type", "model.history"),
        ("seq_len", "ignored: only counts what is logged"),
    ):
        assert re.search(rf"{re.escape(what)} +│ {re.escape(here)} ", printed)
    assert verify_checkpoint(golden["out"]).max_difference == 0
    assert main(["info", str(golden["out"])]) == 0
    session = load_session(golden["out"])
    image = np.zeros((200, 200, 3), np.uint8)
    action = session.act(Observation(images={"static": image}, proprio=None, instruction="push it", timestamp_s=0.0))
    assert (np.abs(action[:6]) <= 0.65).all()
    assert action[6] in (-1.0, 1.0)
    assert main(["convert", "original", *flags]) == 2
    assert "exists already" in capsys.readouterr().err


@needs_goldens
@pytest.mark.parametrize(
    "set_up", ["default", "freeze_backbone", "freeze_backbone_novis_noemb", "last1", "novis", "noemb"]
)
def test_its_configuration_trains_what_the_original_trains(set_up: str, tmp_path: Path) -> None:
    lists = json.loads((GOLDENS / "g_trainable_params.json").read_text())[set_up]
    values = json.loads((GOLDENS / "g_kosmos_lstm_post.config.json").read_text())
    values["train_setup"] |= lists["overrides"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    run = load_config(
        tmp_path / "config.json", {"model.vlm.pretrained": None, "model.tokenizer.pretrained": None}
    ).model
    arm = [ActionDimension(name=f"{i}", unit="1", low=-1.0, high=1.0) for i in range(6)]
    gripper = ActionDimension(name="gripper", unit="1", low=-1.0, high=1.0, kind="gripper")
    space = ActionSpace(
        dimensions=(*arm, gripper), frame="tcp", is_delta=True, gripper_opens="positive", control_hz=30.0
    )
    policy = build_policy(run, space, 0)
    trained = {name: p.requires_grad for name, p in policy.named_parameters()}
    trained = {name.replace("backbone.model.", "backbone.", 1): value for name, value in trained.items()}
    assert {name for name, value in trained.items() if value} == set(lists["trainable"])
    assert {name for name, value in trained.items() if not value} == set(lists["frozen"])


# ------------------------------------------------------------------------------------------------ layouts made here


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


@pytest.mark.parametrize(("suffix", "wrap"), [(".pt", None), (".ckpt", "state_dict"), (".pt", "model_state_dict")])
def test_every_kind_of_file_gives_the_same(made: Made, suffix: str, wrap: str | None) -> None:
    expected = run(made.convert())
    made.state = {f"module.{key}": value for key, value in made.state.items()}
    torch.testing.assert_close(run(made.convert(suffix, wrap)), expected, atol=0, rtol=0)
    made.state = {key.removeprefix("module.model."): value for key, value in made.state.items()}  # old files
    torch.testing.assert_close(run(made.convert()), expected, atol=0, rtol=0)


def test_the_numbers_are_those_of_the_parts_put_together_by_hand(made: Made) -> None:
    """`[bos · image · text · ACT · eos]` of each frame through transformers, then the head."""
    model, net = made.convert(), made.backbone.eval()
    images = torch.randn(2, 2, 1, 3, 28, 28, generator=torch.Generator().manual_seed(1))
    head = LSTMDecoder.from_original(
        made.state, in_features=32, hidden_size=8, action_dim=7, fwd_pred_next_n=3, window_size=2, num_layers=1
    ).eval()
    with torch.inference_mode():
        from transformers import Kosmos2Model

        pictures = Kosmos2Model.get_image_features(net, pixel_values=images.flatten(0, 2)).pooler_output
        words = net.text_model.model.embed_tokens(torch.tensor([[0, 4, 5, 6, 2]] * 4))
        action = made.state["model.action_token"].expand(4, 1, -1)
        sequence = torch.cat([words[:, :1], pictures, words[:, 1:4], action, words[:, 4:]], dim=1)
        hidden = net.text_model.model(inputs_embeds=sequence, attention_mask=torch.ones(4, sequence.shape[1]))
        arm, grip = head(hidden.last_hidden_state[:, -2].view(2, 2, 1, 32))
    expected = torch.cat([arm, grip.sigmoid()], dim=-1)
    torch.testing.assert_close(run(model), expected, atol=5e-6, rtol=0)


@pytest.mark.parametrize(
    ("head", "values"),
    [
        ({"type": "FCDecoder", "latent": 2}, {"history": "policy_head", "latent": 2}),
        ({"history_type": "pre"}, {"history": "interleaved"}),
        ({"type": "FCDecoder", "history_type": "video"}, {"history": "video"}),
        ({"type": "FCDecoder", "action_space": "down_sample", "down_sample": "pooling"}, {"token_source": "all"}),
    ],
)
def test_other_recipes_convert_and_stream(made: Made, head: dict[str, Any], values: dict[str, Any]) -> None:
    made.config["act_head"] |= head
    latent = made.config["act_head"]["latent"]
    if head.get("type") == "FCDecoder":
        made.state = {key: value for key, value in made.state.items() if ".act_head." not in key}
        made.add("act_head", FCDecoder(32, 8, 7, fwd_pred_next_n=3, latent=latent))
    model = made.convert()
    assert {key: getattr(model.config, key) for key in values} == values
    if latent == 2:
        assert torch.equal(model.action_token[0], model.action_token[1])
    assert run(model).isfinite().all()
    assert verify_checkpoint(made.folder / "out").max_difference == 0


def test_a_hand_camera_stands_before_the_static_one(made: Made) -> None:
    made.config["use_hand_rgb"] = True
    model = made.convert()
    assert [camera.name for camera in load_session(made.folder / "out").contract.cameras] == ["wrist", "static"]
    images = torch.randn(2, 2, 2, 3, 28, 28, generator=torch.Generator().manual_seed(1))
    ids = torch.tensor([[0, 4, 5, 6, 2]] * 2)
    with torch.inference_mode():
        keyword = model(images[:, :, 1], ids, vision_gripper=images[:, :, 0], mode="inference").action_predictions
    torch.testing.assert_close(keyword, run(model, num_cameras=2), atol=0, rtol=0)


def test_the_resampler_is_loaded(made: Made) -> None:
    made.config |= {"use_vision_resampler": True}
    resampler = PerceiverResampler(32)
    made.add("vision_resampler", resampler)
    model = made.convert()
    for key, value in resampler.state_dict().items():
        assert torch.equal(model.vision_resampler.state_dict()[key], value)
    made.config["use_vision_resampler"] = False
    with pytest.raises(CheckpointError, match="use_vision_resampler is off"):
        made.convert()


def test_another_vlm_in_an_old_layout_of_its_names(made: Made) -> None:
    made.state = {key: value for key, value in made.state.items() if "backbone" not in key}
    made.config |= {"robovlm_name": "RoboLLaVA", "tokenizer": {"tokenizer_type": "llava"}}
    made.add_backbone("llava")
    renamed = {}
    for key, value in made.state.items():
        for new, old in (
            ("backbone.model.language_model.", "backbone.language_model.model."),
            ("backbone.lm_head.", "backbone.language_model.lm_head."),
            ("backbone.model.vision_tower.", "backbone.vision_tower.vision_model."),
            ("backbone.model.", "backbone."),
        ):
            if key.startswith(f"model.{new}"):
                key = key.replace(new, old, 1)
                break
        renamed[key] = value
    made.state = renamed
    model = made.convert()
    for key, value in made.backbone.state_dict().items():
        assert torch.equal(model.backbone.model.state_dict()[key], value), key


def test_copies_are_compared_and_dropped(made: Made) -> None:
    made.state |= {key.replace("act_head", "lm_head"): value for key, value in made.state.items() if "act_head" in key}
    made.state |= {
        key.replace("model.backbone.", "model.model.", 1): value
        for key, value in made.state.items()
        if key.startswith("model.backbone.")
    }
    made.convert()
    assert set(made.done.dropped) == {"copies of act_head.*", "copies of backbone.*"}
    made.state["model.lm_head.rnn.bias_ih_l0"] = made.state["model.lm_head.rnn.bias_ih_l0"] + 1
    with pytest.raises(CheckpointError, match=r"lm_head\.rnn\.bias_ih_l0' should be a copy of act_head"):
        made.convert()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.what.is_this": torch.zeros(2)}, "nothing is known of the tensor 'what.is_this'"),
        ({"model.backbone.what": torch.zeros(2)}, "no use for: 'what'"),
        ({"model.act_head.what": torch.zeros(2)}, "act_head|what"),
        ({"model.action_token": torch.zeros(7)}, r"action_token: expected \[32\], found \[7\]"),
        ({"model.act_head.rnn.bias_ih_l0": torch.zeros(7)}, r"rnn\.bias_ih_l0: .*\(32,\).*\(7,\)"),
        ({"model.backbone.text_model.model.layer_norm.bias": torch.zeros(7)}, r"layer_norm\.bias.*\[7\].*\[32\]"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(made: Made, change: dict[str, Tensor], message: str) -> None:
    made.state |= change
    with pytest.raises(CheckpointError, match=message) as caught:
        made.convert()
    assert "\n" not in str(caught.value)
    assert not (made.folder / "out").exists()


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("model.act_head.rnn.bias_ih_l0", r"rnn\.bias_ih_l0"),
        ("model.action_token", "found nothing"),
        ("model.backbone.text_model.model.layer_norm.bias", r"lacks weights of .*layer_norm\.bias"),
    ],
)
def test_a_missing_tensor_is_named(made: Made, missing: str, message: str) -> None:
    del made.state[missing]
    with pytest.raises(CheckpointError, match=message):
        made.convert()


def test_a_pickle_that_is_more_than_data_is_refused(tmp_path: Path) -> None:
    import pathlib

    torch.save({"state_dict": {"a": torch.zeros(1)}, "where": pathlib.PurePosixPath("x")}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="cannot be read as data alone"):
        read_state(tmp_path / "a.pt")
    torch.save({"state_dict": {"a": 1}}, tmp_path / "b.pt")
    with pytest.raises(CheckpointError, match="holds no state_dict"):
        read_state(tmp_path / "b.pt")
    with pytest.raises(CheckpointError, match="cannot read"):
        read_state(tmp_path / "c.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "d.safetensors")
    assert list(load_file(tmp_path / "d.safetensors")) == ["a"]


def test_a_vlm_folder_that_is_not_there_is_refused(made: Made) -> None:
    shutil.rmtree(made.folder / "vlm")
    with pytest.raises(ConfigError, match="it must hold the VLM's config.json and tokenizer"):
        made.convert()
