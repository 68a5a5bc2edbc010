"""What is trained is what gets a gradient, for every VLM and every way of freezing."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from robovlms.config import ModelConfig, ResamplerConfig, RunConfig, VLMConfig
from robovlms.errors import ConfigError
from robovlms.model.backbone.native import NativeBackbone
from robovlms.model.base import BaseRoboVLM
from robovlms.model.tuning import count_parameters, set_trainable
from robovlms.model.vlm import POLICIES, build_policy
from robovlms.run_folder import checkpoints_of
from robovlms.testing.policies import Inputs, action_space, loss, make_inputs, predict, tiny_policy
from robovlms.train.run import train_from_config

from .native_families import EVERY_FAMILY

GOLDENS = Path(__file__).parents[3] / "shared" / "reference" / "goldens" / "g_trainable_params.json"
RESAMPLER = ResamplerConfig(num_latents=3, depth=1, num_heads=2, head_dim=8)
FROZEN: list[dict[str, Any]] = [
    {},
    {"freeze_vision": True},
    {"freeze_text_embedding": True},
    {"freeze_vision": True, "freeze_text_embedding": True},
    {"freeze_backbone": True},
    {"train_decoder_layers": 0},
    {"train_decoder_layers": 1},
    {"train_decoder_layers": 1, "freeze_vision": True, "freeze_text_embedding": True},
    {"resampler": RESAMPLER},
    {"resampler": RESAMPLER, "freeze_resampler": True},
    {"resampler": RESAMPLER, "freeze_backbone": True},
    {"resampler": RESAMPLER, "freeze_backbone": True, "freeze_resampler": True},
    {"head": "discrete", "original_layout": True, "history": "interleaved", "repeat_text": True},
]


def build(vlm: str, **values: Any) -> BaseRoboVLM:
    """A tiny policy; a VLM with a resampler of its own gets no second one."""
    if POLICIES[vlm].backbone_class.is_cross_attention:
        values.pop("resampler", None)
    return tiny_policy(vlm, **values)


def trained_names(policy: BaseRoboVLM) -> set[str]:
    return {name for name, parameter in policy.named_parameters() if parameter.requires_grad}


def with_gradient(policy: BaseRoboVLM, inputs: Inputs) -> set[str]:
    policy.zero_grad()
    loss(policy.train(), inputs).backward()
    found = {name: parameter.grad for name, parameter in policy.named_parameters() if parameter.grad is not None}
    assert all(torch.isfinite(gradient).all() for gradient in found.values())
    return set(found)


def inside(policy: BaseRoboVLM, *modules: nn.Module | None) -> set[str]:
    ids = {id(parameter) for module in modules if module is not None for parameter in module.parameters()}
    return {name for name, parameter in policy.named_parameters() if id(parameter) in ids}


@pytest.mark.parametrize("frozen", FROZEN, ids=lambda values: "-".join(values) or "nothing")
def test_exactly_what_is_trainable_gets_a_gradient(vlm: str, inputs: Inputs, frozen: dict[str, Any]) -> None:
    policy = build(vlm, **frozen)
    assert with_gradient(policy, inputs) == trained_names(policy)


def test_each_value_freezes_its_part_and_nothing_else(vlm: str) -> None:
    everything = trained_names(build(vlm, resampler=RESAMPLER))
    parts: dict[str, Callable[[BaseRoboVLM], set[str]]] = {
        "freeze_vision": lambda policy: inside(policy, policy.vision_tower),
        "freeze_text_embedding": lambda policy: inside(policy, policy.word_embedding),
        "freeze_resampler": lambda policy: inside(policy, policy.vision_resampler, policy.backbone.resampler),
        "freeze_backbone": lambda policy: inside(policy, policy.backbone) - inside(policy, policy.backbone.resampler),
    }
    for value, part in parts.items():
        policy = build(vlm, resampler=RESAMPLER, **{value: True})
        assert trained_names(policy) == everything - part(policy), value
        assert everything & part(policy), value


def test_the_last_layers_alone(vlm: str) -> None:
    policy = tiny_policy(vlm, train_decoder_layers=1, freeze_vision=True, freeze_text_embedding=True)
    backbone = policy.backbone
    own = inside(policy, backbone.decoder_layers[-1], backbone.resampler, backbone.cross_attention)
    assert trained_names(policy) & inside(policy, backbone) == own


def test_more_layers_than_there_are_is_refused() -> None:
    with pytest.raises(ConfigError, match="train_decoder_layers is 3, but the decoder has only 2"):
        tiny_policy(train_decoder_layers=3)


def test_calling_it_again_follows_the_configuration() -> None:
    policy = tiny_policy(freeze_backbone=True)
    policy.config = dataclasses.replace(policy.config, freeze_backbone=False, freeze_vision=True)
    set_trainable(policy)
    assert trained_names(policy) == trained_names(tiny_policy(freeze_vision=True))


# What the configuration of the original calls the same.
SET_UPS = {
    "default": {},
    "freeze_backbone": {"train_decoder_layers": 0},
    "freeze_backbone_novis_noemb": {"freeze_backbone": True},
    "last1": {"train_decoder_layers": 1},
    "novis": {"freeze_vision": True},
    "noemb": {"freeze_text_embedding": True},
}


@pytest.mark.skipif(not GOLDENS.is_file(), reason="the original's reference lists are not beside the project")
@pytest.mark.parametrize("set_up", SET_UPS)
def test_the_original_trains_the_same(set_up: str) -> None:
    golden = json.loads(GOLDENS.read_text())[set_up]
    policy = tiny_policy(
        "kosmos", proprio_dim=0, history="policy_head", head="lstm", window_size=4, head_num_layers=4, **SET_UPS[set_up]
    )
    names = {name: name.replace("backbone.model.", "backbone.", 1) for name, _ in policy.named_parameters()}
    trained = {names[name] for name in trained_names(policy)}
    assert trained == set(golden["trained" if "trained" in golden else "trainable"])
    assert set(names.values()) - trained == set(golden["frozen"])


# ------------------------------------------------------------------------------------------------------ unused weights

_LAYERS = {"vision_config": {"num_hidden_layers": 4}}
UNUSED = {
    **EVERY_FAMILY,
    "kosmos": ("kosmos", {}),
    "pooling head": ("paligemma", {"vision_config": {"vision_use_head": True}}),
    "several layers behind": ("llava", _LAYERS),
    "gemma3 pooling head": (
        "auto",
        EVERY_FAMILY["gemma3"][1]
        | {"vision_config": EVERY_FAMILY["gemma3"][1]["vision_config"] | {"vision_use_head": True}},
    ),
}


@pytest.mark.parametrize("family", UNUSED)
def test_a_backbone_lists_exactly_the_weights_that_nothing_depends_on(family: str) -> None:
    name, overrides = UNUSED[family]
    policy = build_policy(ModelConfig(vlm=VLMConfig(name=name, overrides=overrides)), action_space(), 2)
    backbone, ids = policy.backbone, {id(p) for p in policy.backbone.unused_parameters()}
    unused = {name for name, parameter in policy.named_parameters() if id(parameter) in ids}
    policy.requires_grad_(True)
    inputs = make_inputs(1)
    inputs.actions, inputs.action_mask = torch.rand(3, 1, 8, 4), inputs.action_mask[..., :1].expand(-1, -1, 8)
    reached = with_gradient(policy, inputs) | inside(policy, backbone.output_embedding)
    assert {name for name, _ in policy.named_parameters()} - reached == unused


@pytest.mark.parametrize(("layer", "num_unused"), [(-1, 0), (-2, 1), (-4, 3), (0, 4), (2, 2), ([-2, 1], 1)])
def test_unused_layers_follow_the_layer_that_is_read(layer: Any, num_unused: int) -> None:
    backbone = tiny_policy("llava").backbone
    config = type(backbone.model.config).from_dict(backbone.model.config.to_dict())
    config.vision_config.num_hidden_layers, config.vision_feature_layer = 4, layer
    images = {name: getattr(backbone, name) for name in ("image_size", "image_mean", "image_std", "resample")}
    deep = NativeBackbone(type(backbone.model)(config), backbone.tokenizer, images)
    unused = {id(p) for p in deep.unused_parameters()}
    layers = deep.vision_tower.encoder.layers
    assert [all(id(p) in unused for p in one.parameters()) for one in layers] == [i >= 4 - num_unused for i in range(4)]


# ------------------------------------------------------------------------------------------------------ recomputation


def calls_of(layers: nn.ModuleList) -> list[int]:
    """A list of zeros, of which number i grows by one for each forward pass through layer i."""
    calls = [0] * len(layers)
    for i, layer in enumerate(layers):
        first = next(module for module in layer.modules() if isinstance(module, nn.Linear))
        first.register_forward_hook(lambda *_, i=i: calls.__setitem__(i, calls[i] + 1))
    return calls


@pytest.mark.parametrize("frozen", [{}, {"freeze_text_embedding": True, "freeze_vision": True}], ids=["all", "frozen"])
def test_recomputing_activations_changes_nothing_but_the_work(vlm: str, frozen: dict[str, Any]) -> None:
    inputs, results = make_inputs(2), []
    for is_on in (False, True):
        policy = tiny_policy(vlm, history="policy_head", window_size=2, gradient_checkpointing=is_on, **frozen)
        torch.manual_seed(0)
        value = loss(policy.train(), inputs)
        calls = calls_of(policy.backbone.decoder_layers)
        value.backward()
        assert calls == [int(is_on)] * len(calls)  # in the backward pass
        results.append((value, {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}))
    (plain, gradients), (recomputed, again) = results
    torch.testing.assert_close(recomputed, plain, atol=1e-6, rtol=0)
    assert gradients.keys() == again.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(again[name], gradient, atol=1e-6, rtol=1e-6)


def test_nothing_is_recomputed_in_evaluation_mode(vlm: str, inputs: Inputs) -> None:
    policy = tiny_policy(vlm, gradient_checkpointing=True).eval()
    value = loss(policy, inputs)
    calls = calls_of(policy.backbone.decoder_layers)
    value.backward()
    assert not any(calls)
    plain = tiny_policy(vlm)
    torch.testing.assert_close(predict(policy, inputs), predict(plain, inputs), atol=0, rtol=0)


def test_a_run_may_begin_to_recompute_when_it_is_resumed(small_run: Callable[..., RunConfig], tmp_path: Path) -> None:
    whole = small_run(**{"train.out": str(tmp_path / "whole")})
    trained = train_from_config(whole, show_progress=False)
    shutil.copytree(whole.train.out, tmp_path / "broken")
    shutil.rmtree(checkpoints_of(tmp_path / "broken")[-1])
    values = {"train.out": str(tmp_path / "broken"), "model.gradient_checkpointing": True}
    resumed = train_from_config(small_run(**values), resume=True, show_progress=False)
    assert resumed.config.gradient_checkpointing
    expected = trained.state_dict()
    for name, tensor in resumed.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], atol=1e-6, rtol=0)


# --------------------------------------------------------------------------------------------------------------- sizes


def test_every_parameter_is_counted_once(vlm: str) -> None:
    policy = build(vlm, resampler=RESAMPLER, freeze_vision=True)
    sizes = {size.part: size for size in count_parameters(policy)}
    for is_trained, column in ((True, "trained"), (False, "frozen")):
        expected = sum(p.numel() for p in policy.parameters() if p.requires_grad == is_trained)
        assert sum(getattr(size, column) for size in sizes.values()) == expected
    tower = sum(p.numel() for p in policy.vision_tower.parameters())
    assert (sizes["vision tower"].trained, sizes["vision tower"].frozen) == (0, tower)
    assert sizes["action queries"].trained == policy.action_token.numel()
    assert sizes["proprioception"].trained == sum(p.numel() for p in policy.proprio_projection.parameters())
    assert sizes["head"].trained == sum(p.numel() for p in policy.act_head.parameters())
    if policy.vision_resampler is not None:
        assert sizes["resampler"].trained >= sum(p.numel() for p in policy.vision_resampler.parameters())


def test_sizes_need_no_memory_for_weights(vlm: str) -> None:
    with torch.device("meta"):
        policy = tiny_policy(vlm)
    assert policy.action_token.is_meta
    assert count_parameters(policy) == count_parameters(tiny_policy(vlm))
