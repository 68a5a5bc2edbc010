"""Adapters: where they are, that they learn and nothing else of the VLM does, that they are kept and can be merged."""

import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from robovlms.config import LoRAConfig, RunConfig
from robovlms.errors import ConfigError
from robovlms.info import show_info
from robovlms.model.base import BaseRoboVLM
from robovlms.model.checkpoint import load_policy
from robovlms.model.lora import adapter_parameters, merge_lora
from robovlms.model.tuning import count_parameters, set_trainable
from robovlms.policy.verify import verify_checkpoint
from robovlms.run_folder import checkpoints_of, find_checkpoint
from robovlms.testing.policies import Inputs, loss, make_inputs, predict, tiny_policy
from robovlms.train.optimizer import build_optimizer
from robovlms.train.run import train_from_config

needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes, for 4 bits, is not installed"
)
Run = Callable[..., RunConfig]
LORA = LoRAConfig(rank=2, alpha=4.0)
BOTH = LoRAConfig(rank=2, alpha=4.0, towers=("text", "vision"))


def with_adapters(vlm: str, **values: Any) -> BaseRoboVLM:
    """A policy whose adapters do something; the tiny VLM's vision tower has only convolutions."""
    return tiny_policy(vlm, lora=LORA if vlm == "tiny" else BOTH, **values)


def adapted_names(policy: BaseRoboVLM) -> set[str]:
    """The layers that have an adapter."""
    return {name.removesuffix(".lora_A.default.weight") for name in policy.state_dict() if ".lora_A." in name}


def test_names_in_a_checkpoint() -> None:
    names = [
        name for name in tiny_policy(lora=LORA).state_dict() if name.startswith("backbone.decoder.layers.0.query.")
    ]
    assert sorted(names) == [
        f"backbone.decoder.layers.0.query.{end}"
        for end in ("base_layer.bias", "base_layer.weight", "lora_A.default.weight", "lora_B.default.weight")
    ]


def test_every_linear_layer_of_the_towers_has_one_and_no_other(vlm: str) -> None:
    plain, policy = tiny_policy(vlm), with_adapters(vlm)
    backbone, unused = plain.backbone, {id(p) for p in plain.backbone.unused_parameters()}
    in_attention = {
        id(layer) for m in backbone.modules() if isinstance(m, nn.MultiheadAttention) for layer in m.modules()
    }
    towers = {id(m) for tower in (backbone.text_tower, backbone.vision_tower) for m in tower.modules()}
    linear = {
        name
        for name, module in plain.named_modules()
        if isinstance(module, nn.Linear) and id(module) in towers - in_attention and id(module.weight) not in unused
    }
    assert linear
    assert adapted_names(policy) == linear
    assert not any(name.startswith("act_head") for name in linear)


def test_adapters_head_queries_and_proprioception_are_trained(vlm: str, inputs: Inputs) -> None:
    policy = with_adapters(vlm)
    adapters = {id(p) for p in adapter_parameters(policy)}
    own = {id(p) for p in (policy.backbone.resampler or nn.Identity()).parameters()}
    loss(policy.train(), inputs).backward()
    for name, parameter in policy.named_parameters():
        expected = not name.startswith("backbone.") or id(parameter) in adapters | own
        assert parameter.requires_grad == expected, name
        assert (parameter.grad is not None) == expected, name
    optimizer = build_optimizer(policy, RunConfig().train)
    learned = sum(len(group["params"]) for group in optimizer.param_groups)
    assert learned == sum(p.requires_grad for p in policy.parameters())


def test_at_first_nothing_changes(inputs: Inputs) -> None:
    policy = tiny_policy()
    before = predict(policy, inputs)
    policy.config = dataclasses.replace(policy.config, lora=LORA)
    set_trainable(policy)
    torch.testing.assert_close(predict(policy, inputs), before, atol=0, rtol=0)
    names = adapted_names(policy)
    set_trainable(policy)  # once more: not once more an adapter
    assert adapted_names(policy) == names


def test_an_adapter_by_hand() -> None:
    layer = tiny_policy(lora=LORA).backbone.decoder_layers[0].query
    x = torch.randn(5, 32)
    low_rank = x @ layer.lora_A["default"].weight.T @ layer.lora_B["default"].weight.T
    expected = x @ layer.base_layer.weight.T + layer.base_layer.bias + 4.0 / 2 * low_rank
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize(("history", "t"), [("one_step", 1), ("policy_head", 3)])
def test_merged_adapters_give_the_same_actions(vlm: str, history: str, t: int) -> None:
    inputs, values = make_inputs(t), {"history": history, "window_size": t}
    policy, names = with_adapters(vlm, **values), set(tiny_policy(vlm, **values).state_dict())
    adapted = predict(policy, inputs)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = predict(policy, inputs)
    assert merge_lora(policy) is policy
    assert not adapter_parameters(policy)
    assert set(policy.state_dict()) == names
    assert policy.config.lora == LoRAConfig()
    torch.testing.assert_close(predict(policy, inputs), adapted, atol=1e-5, rtol=0)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(predict(policy, inputs), rounded, atol=0.03, rtol=0)


def test_frozen_embeddings_and_recomputed_activations_still_give_gradients(vlm: str, inputs: Inputs) -> None:
    gradients = []
    for is_on in (False, True):
        policy = with_adapters(vlm, gradient_checkpointing=is_on)
        torch.manual_seed(0)
        loss(policy.train(), inputs).backward()
        gradients.append({name: p.grad for name, p in policy.named_parameters() if p.requires_grad})
    plain, recomputed = gradients
    assert plain.keys() == recomputed.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(recomputed[name], gradient, atol=1e-6, rtol=1e-6)
        assert gradient.abs().max() > 0, name


def test_a_tower_without_linear_layers_is_refused() -> None:
    with pytest.raises(ConfigError, match="the vision tower of this VLM has no linear layer"):
        tiny_policy("tiny", lora=BOTH)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lora": LORA, "train_decoder_layers": 1}, "lora.rank is 2, which freezes the VLM, but"),
        ({"lora": BOTH, "freeze_vision": True}, r"freeze_vision is true but model.lora.towers is \['text', 'vision'\]"),
        ({"base_bits": 8}, "base_bits is 8, which only frozen weights can have"),
        ({"base_bits": 4, "train_decoder_layers": 0}, "base_bits is 4, which only frozen weights can have"),
    ],
)
def test_contradictions_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_policy(**values)


# ------------------------------------------------------------------------------------------------------------ training


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of bitsandbytes
@pytest.mark.parametrize(
    ("vlm", "bits"), [("tiny", 16), ("tiny", 8), pytest.param("tiny", 4, marks=needs_bitsandbytes), ("llava", 8)]
)
def test_a_run_learns_resumes_and_comes_back(
    small_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], vlm: str, bits: int
) -> None:
    values = {
        "model.vlm.name": vlm, "model.lora.rank": 2, "model.base_bits": bits, "model.lora.dropout": 0.1,
        "train.learning_rate": 1e-2,
    } | ({} if vlm == "tiny" else {"model.vlm.overrides": {}})  # fmt: skip
    whole = small_run(**values, **{"train.out": str(tmp_path / "whole")})
    trained = train_from_config(whole, show_progress=False)
    broken = small_run(**values, **{"train.out": str(tmp_path / "broken")})
    train_from_config(broken, show_progress=False)
    first, last = checkpoints_of(broken.train.out)
    for file in sorted(last.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    last.rmdir()
    train_from_config(broken, resume=True, show_progress=False)

    loaded, contract, _ = load_policy(broken.train.out)
    earlier = load_policy(first)[0]
    expected, adapters = trained.state_dict(), adapter_parameters(loaded)
    assert adapters
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    before = dict(earlier.named_parameters())
    for name, parameter in loaded.named_parameters():
        moved = not torch.equal(parameter, before[name])
        assert moved == parameter.requires_grad, name
    assert verify_checkpoint(broken.train.out).max_difference == 0.0

    capsys.readouterr()
    show_info(find_checkpoint(whole.train.out))
    row = next(line for line in capsys.readouterr().out.splitlines() if "adapters" in line)
    (size,) = (size for size in count_parameters(trained) if size.part == "adapters")
    assert f"{sum(p.numel() for p in adapters):,}" in row
    assert size.frozen == 0
    assert contract.fwd_pred_next_n == 3
