"""Parts of original checkpoints that need more than another name: adapters, discrete policies, Gemma, Flamingo."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robovlms.errors import CheckpointError, ConfigError
from robovlms.model.head import DiscreteDecoder, GPTDecoder
from robovlms.model.original_tensors import read_tensors
from robovlms.policy.session import load_session
from robovlms.policy.verify import verify_checkpoint

from .backbone.test_flamingo_released import LAYERS, checkpoint_of, reference, write_release
from .original_checkpoint import Made, run


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


# ------------------------------------------------------------------------------------------------------------ adapters


def adapt(made: Made) -> dict[str, Tensor]:
    """Put adapters into the VLM, as the original does; return their weights by the name of the layer."""
    from peft import LoraConfig, inject_adapter_in_model

    made.config["train_setup"] |= {"lora_enable": True, "lora_r": 3, "lora_alpha": 12}
    net = inject_adapter_in_model(LoraConfig(r=3, lora_alpha=12, target_modules=["q_proj", "fc1"]), made.backbone)
    for name, parameter in net.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    made.drop("backbone")
    made.add("backbone", net)
    made.add("model.base_model.model", net)  # the original keeps it twice
    adapted = {name: module for name, module in net.named_modules() if hasattr(module, "base_layer")}
    return {
        f"{name}.weight": module.base_layer.weight
        + 4 * module.lora_B["default"].weight @ module.lora_A["default"].weight
        for name, module in adapted.items()
    }


def test_adapters_become_part_of_the_weights(made: Made) -> None:
    plain = {key: value.clone() for key, value in made.backbone.state_dict().items()}
    adapted = adapt(made)
    assert len(adapted) == 9  # two in each layer of both towers, one between them
    assert any(".base_layer." in key for key in made.state)
    model = made.convert()
    assert model.config.lora.rank == 0
    assert list(made.done.dropped) == ["copies of backbone.*"]
    for key, value in model.backbone.model.state_dict().items():
        torch.testing.assert_close(value, adapted.get(key, plain[key]), atol=1e-6, rtol=0)
    assert verify_checkpoint(made.folder / "out").max_difference == 0


def test_adapters_that_the_configuration_does_not_know_are_refused(made: Made) -> None:
    adapt(made)
    made.config["train_setup"]["lora_r"] = 4
    with pytest.raises(CheckpointError, match=r"of rank 3 needs .* lora_r 3 in the configuration, which has 4"):
        made.convert()
    made.config["train_setup"]["lora_enable"] = False
    with pytest.raises(CheckpointError, match=r"of rank 3 needs .* lora_r 3 in the configuration, which has 0"):
        made.convert()


def test_half_an_adapter_is_refused(made: Made) -> None:
    adapt(made)
    made.drop("model.")
    made.state = {key: value for key, value in made.state.items() if "layers.1.self_attn.q_proj.lora_B" not in key}
    with pytest.raises(CheckpointError, match=r"layers\.1\.self_attn\.q_proj\.lora_A.* needs lora_B"):
        made.convert()


# ------------------------------------------------------------------------------------------------------------ discrete


def make_discrete(made: Made, window: int = 1) -> None:
    made.drop("act_head")
    made.drop("action_token")
    made.config |= {"window_size": window, "train_dataset": {"type": "DiskCalvinDataset"}}
    made.config["act_head"] |= {"type": "DiscreteDecoder", "action_space": "discrete", "n_bin": 16}


def test_a_discrete_policy_has_no_weights_of_its_own(made: Made) -> None:
    make_discrete(made)
    model = made.convert()
    assert isinstance(model.act_head, DiscreteDecoder)
    assert set(made.done.loaded) == {"backbone"}
    assert verify_checkpoint(made.folder / "out").max_difference == 0


def test_the_first_action_token_follows_the_end_mark_of_the_prompt(made: Made) -> None:
    make_discrete(made)
    model, net = made.convert(), made.backbone.eval()
    ids = torch.from_numpy(model.prompt_encoder.encode("push the block"))[None]
    images = torch.randn(1, 1, 3, 28, 28, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        logits = model(images, ids, mode="inference").action_logits
        words = net.text_model.model.embed_tokens(ids)
        sequence = torch.cat([words[:, :1], model.encode_images(images)[:, 0], words[:, 1:]], dim=1)
        expected = net.text_model(inputs_embeds=sequence, attention_mask=torch.ones(sequence.shape[:2])).logits[0, -1]
    tokenizer = model.action_tokenizer
    own = slice(tokenizer.action_token_begin_idx + 1, tokenizer.action_token_end_idx)
    torch.testing.assert_close(logits[0, 0, 0, own], expected[own], atol=1e-5, rtol=0)


def test_a_discrete_prompt_has_one_mark_at_each_end(made: Made) -> None:
    make_discrete(made)
    assert made.convert().prompt_encoder.encode("push the block")[[0, -2, -1]].tolist() == [0, 3, 2]
    contract = load_session(made.folder / "out").contract
    assert contract.prompt_template == "Input: What 4 step actions should the robot take to {instruction}?\nOutput: \n"
    tokenizer = made.folder / "vlm" / "tokenizer.json"
    values = json.loads(tokenizer.read_text())
    values["post_processor"] = None  # a tokenizer that adds nothing: the text has the end mark
    tokenizer.write_text(json.dumps(values))
    assert made.convert().prompt_encoder.encode("push the block")[-2:].tolist() == [3, 2]


def test_several_frames_of_a_discrete_policy_are_one_sequence(made: Made) -> None:
    make_discrete(made, window=2)
    model = made.convert()
    assert (model.config.history, model.config.repeat_text) == ("interleaved", True)
    assert run(model).shape == (2, 2, 3, 7)


# ------------------------------------------------------------------------------------------------- what is left out


def test_constants_and_parts_of_other_losses_are_left_out(made: Made) -> None:
    made.config["act_head"] |= {"type": "GPTDecoder", "num_layers": 2}
    made.drop("act_head")
    made.add("act_head", GPTDecoder(32, 8, 7, fwd_pred_next_n=3, window_size=2, num_layers=2))
    for i in range(2):
        made.state[f"model.act_head.gpt.h.{i}.attn.bias"] = torch.ones(1, 1, 8, 8, dtype=torch.uint8)
        made.state[f"model.act_head.gpt.h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
    made.state["model.backbone.vision_model.model.embeddings.position_ids"] = torch.arange(5)[None]
    made.state["model.clip_norm_head.weight"] = torch.zeros(2)
    made.convert()
    assert made.done.dropped == {"constants": 5, "of a loss that is off": 1}


def test_the_copy_of_a_part_of_the_vlm_is_known(made: Made) -> None:
    """Where the original's `model` is the decoder alone."""
    text = "model.backbone.text_model."
    copies = {key.replace(text, "model.model."): value for key, value in made.state.items() if key.startswith(text)}
    made.state |= copies
    made.convert()
    assert made.done.dropped == {"copies of backbone.*": len(copies)}
    made.state["model.model.model.layer_norm.bias"] = torch.ones(32)
    with pytest.raises(CheckpointError, match=r"'model\.model\.layer_norm\.bias' should be a copy of backbone"):
        made.convert()
    made.state = {key.removeprefix("model."): value for key, value in (made.state | copies).items()}
    made.convert()  # a file without the prefix, whose copies still begin with model.
    assert made.done.dropped == {"copies of backbone.*": len(copies)}


def test_halves_are_loaded_as_what_they_stand_for(made: Made) -> None:
    made.state = {key: value.half() for key, value in made.state.items()}
    model = made.convert()
    key = "text_model.model.layer_norm.weight"
    assert model.backbone.model.state_dict()[key].dtype == torch.float32
    assert torch.equal(model.act_head.rnn.weight_ih_l0, made.state["model.act_head.rnn.weight_ih_l0"].float())


def test_tensors_that_share_memory_are_loaded(made: Made) -> None:
    tied = made.state["model.backbone.text_model.model.embed_tokens.weight"]
    made.state["model.backbone.text_model.lm_head.weight"] = tied
    assert torch.equal(made.convert(".pt").word_embedding.weight, tied)


@pytest.mark.parametrize("vlm", ["kosmos", "paligemma"])
def test_a_tensor_that_is_there_twice_must_be_the_same(made: Made, vlm: str) -> None:
    if vlm == "paligemma":
        make_paligemma(made)
    (head,) = [key for key in made.state if key.endswith("lm_head.weight")]
    made.state[head] = made.state[head] + 1
    with pytest.raises(CheckpointError, match="are one tensor in this VLM, but two that differ"):
        made.convert()
    del made.state[head]
    made.convert()


def test_a_folder_of_shards_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="zero_to_fp32.py"):
        read_tensors(tmp_path)


# -------------------------------------------------------------------------------------------------- images and numbers


@pytest.mark.parametrize("image_size", [28, None])
def test_image_settings_need_not_be_in_the_folder(made: Made, image_size: int | None) -> None:
    made.config["image_size"] = image_size
    backbone = made.convert().backbone
    assert backbone.image_size == (28, 28)
    assert backbone.image_mean == pytest.approx((0.48145466, 0.4578275, 0.40821073))
    assert backbone.image_std == pytest.approx((0.26862954, 0.26130258, 0.27577711))


def test_an_image_size_that_the_vision_tower_does_not_take_is_refused(made: Made) -> None:
    made.config["image_size"] = 42
    with pytest.raises(ConfigError, match=r"does not take images of 42 × 42 pixels \(image_size is 42"):
        made.convert()
    assert not (made.folder / "out").exists()
    assert not list(made.folder.glob(".writing*"))


@pytest.mark.parametrize(("low", "high"), [(-0.65, 0.65), (-2.0, 3.0), (0.0, 0.5)])
def test_actions_are_the_originals_range(made: Made, low: float, high: float) -> None:
    made.config |= {"norm_min": low, "norm_max": high}
    made.convert()
    contract = load_session(made.folder / "out").contract
    predicted = np.random.default_rng(0).uniform(-1, 1, (5, 7)).astype(np.float32)
    predicted[:, -1] = [0.0, 0.4999, 0.5, 0.5001, 1.0]
    actions = contract.action_codec.decode(predicted)
    np.testing.assert_allclose(actions[:, :6], 0.5 * (predicted[:, :6] + 1) * (high - low) + low, atol=1e-6)
    assert actions[:, 6].tolist() == [-1, -1, -1, 1, 1]


def test_the_contract_says_where_the_numbers_are_from(made: Made) -> None:
    made.config |= {"use_hand_rgb": True, "tcp_rel": True, "train_dataset": {"type": "DiskCalvinDataset"}}
    made.convert()
    contract = load_session(made.folder / "out").contract
    assert [(camera.source, camera.height) for camera in contract.cameras] == [
        ("calvin/wrist", 84),
        ("calvin/static", 200),
    ]
    assert (contract.action_space.frame, contract.action_space.is_delta) == ("tcp", True)
    made.config |= {"use_hand_rgb": False, "tcp_rel": False, "train_dataset": {"type": "OpenVLADataset"}}
    made.convert()
    contract = load_session(made.folder / "out").contract
    assert [camera.source for camera in contract.cameras] == ["original/static"]
    assert contract.action_space.frame == "world"


# --------------------------------------------------------------------------------------------------------- other VLMs


def make_paligemma(made: Made) -> None:
    """Under the names that transformers had in 2024."""
    made.config |= {"robovlm_name": "RoboPaligemma", "tokenizer": {"tokenizer_type": "paligemma"}}
    made.drop("backbone")
    made.add_backbone("paligemma")
    old = {
        "model.backbone.model.language_model.": "model.backbone.language_model.model.",
        "model.backbone.lm_head.": "model.backbone.language_model.lm_head.",
        "model.backbone.model.vision_tower.": "model.backbone.vision_tower.vision_model.",
        "model.backbone.model.": "model.backbone.",
    }

    def renamed(key: str) -> str:
        new = next((prefix for prefix in old if key.startswith(prefix)), "")
        return old.get(new, "") + key.removeprefix(new)

    made.state = {renamed(key): value for key, value in made.state.items()}


def test_gemma_scaled_the_action_token_as_well(made: Made) -> None:
    make_paligemma(made)
    model = made.convert()
    assert "model.backbone.language_model.model.layers.0.self_attn.q_proj.weight" in made.state
    for key, value in made.backbone.state_dict().items():
        assert torch.equal(model.backbone.model.state_dict()[key], value), key
    expected = made.state["model.action_token"] * 32**0.5
    torch.testing.assert_close(model.action_token[0], expected, atol=1e-6, rtol=0)
    assert model.prompt_encoder.encode("push the block").tolist() == [2, 4, 5, 6]
    assert run(model).isfinite().all()


def test_a_resampler_before_gemma_is_refused(made: Made) -> None:
    from robovlms.model.resampler import PerceiverResampler

    make_paligemma(made)
    made.config["use_vision_resampler"] = True
    made.add("vision_resampler", PerceiverResampler(32))
    with pytest.raises(ConfigError, match="that of a VLM that scales its inputs"):
        made.convert()


def open_clip_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The image half of a CLIP of transformers as OpenCLIP names it."""
    names = {
        "embeddings.patch_embedding.weight": "conv1.weight",
        "embeddings.class_embedding": "class_embedding",
        "embeddings.position_embedding.weight": "positional_embedding",
    }
    result: dict[str, Tensor] = {}
    for key, tensor in state.items():
        key = names.get(key, key).replace("pre_layrnorm", "ln_pre")
        key = key.replace("encoder.layers", "transformer.resblocks").replace("self_attn.out_proj", "attn.out_proj")
        key = re.sub(r"layer_norm(\d)", r"ln_\1", key).replace("mlp.fc1", "mlp.c_fc").replace("mlp.fc2", "mlp.c_proj")
        result[key] = tensor
    for key in [key for key in result if "self_attn.q_proj" in key]:
        parts = [result.pop(key.replace("q_proj", f"{part}_proj")) for part in "qkv"]
        result[key.replace("self_attn.q_proj.", "attn.in_proj_")] = torch.cat(parts)
    return result


def make_flamingo(made: Made) -> Any:
    backbone = reference("llama", qk_ln=False)
    made.folder.joinpath("vlm", "config.json").unlink()
    head = write_release(backbone, "llama", made.folder / "vlm", len(backbone.word_embedding.weight), False)
    made.config |= {"robovlm_name": "RoboFlamingo", "tokenizer": {"tokenizer_type": "flamingo"}}
    made.drop("backbone")
    wrapped = r"model.layers.\1.decoder_layer."
    own = {
        re.sub(r"^model\.layers\.(\d+)\.", wrapped, f"model.{k}"): v for k, v in backbone.decoder.state_dict().items()
    }
    own |= {"lm_head.weight": head}
    trained = checkpoint_of(backbone, "llama")
    own |= {k.removeprefix("lang_encoder."): v for k, v in trained.items() if LAYERS["llama"] in k and "gated" in k}
    made.state |= {f"model.{part}.{key}": value for part in ("backbone", "model") for key, value in own.items()}
    made.state |= {f"model.{key}": value for key, value in trained.items() if key.startswith("perceiver.")}
    vision = open_clip_names(backbone.vision.state_dict())
    made.state |= {f"model.vision_encoder.visual.{key}": value for key, value in vision.items()}
    made.state["model.vision_encoder.logit_scale"] = torch.tensor(1.0)
    return backbone


def test_a_flamingo_lies_in_three_parts(made: Made) -> None:
    backbone = make_flamingo(made)
    model = made.convert()
    ours = model.backbone.state_dict()
    for key, value in backbone.state_dict().items():
        if key != "lm_head.weight":  # not of the reference
            assert torch.equal(ours[key], value), key
    assert torch.equal(ours["lm_head.weight"], made.state["model.backbone.lm_head.weight"])
    assert run(model).isfinite().all()
    made.state["model.frame_embs"] = torch.zeros(1)
    with pytest.raises(CheckpointError, match="nothing is known of the tensor 'frame_embs'"):
        made.convert()
