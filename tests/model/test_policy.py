"""One contract over every registered VLM × history × head."""

import dataclasses
from typing import Any

import pytest
import torch

from robovlms.config import VLMConfig
from robovlms.errors import ConfigError
from robovlms.model.base import BaseRoboVLM
from robovlms.model.vlm import POLICIES, build_vlm, policy_class

from .conftest import HISTORY_AND_HEAD, Inputs, tiny_policy

each_policy = pytest.mark.parametrize(
    ("history", "head", "inputs"), HISTORY_AND_HEAD, indirect=["inputs"], ids=lambda value: str(value)
)


def predict(policy: BaseRoboVLM, inputs: Inputs) -> torch.Tensor:
    arguments = {f.name: getattr(inputs, f.name) for f in dataclasses.fields(inputs)}
    with torch.inference_mode():
        return policy(**arguments, mode="inference").action_predictions


def loss(policy: BaseRoboVLM, inputs: Inputs) -> dict[str, torch.Tensor]:
    return policy(**{f.name: getattr(inputs, f.name) for f in dataclasses.fields(inputs)}, mode="train").loss


def sample(inputs: Inputs, index: int) -> Inputs:
    """One sample of the batch, its text and its leading padding cut off."""
    length, first = int(inputs.attention_mask[index].sum()), int((~inputs.image_mask[index].any(1)).sum())
    cut: dict[str, Any] = {f.name: getattr(inputs, f.name)[index : index + 1] for f in dataclasses.fields(inputs)}
    for name in ("lang_x", "attention_mask"):
        cut[name] = cut[name][:, :length]
    for name in ("vision_x", "image_mask", "proprio", "proprio_mask", "actions", "action_mask"):
        cut[name] = cut[name][:, first:]
    return Inputs(**cut)


def build(vlm: str, history: str, head: str, inputs: Inputs, **model: Any) -> BaseRoboVLM:
    return tiny_policy(vlm, history=history, head=head, window_size=inputs.vision_x.shape[1], **model)


@each_policy
def test_a_sample_alone_equals_the_sample_in_a_batch(vlm: str, history: str, head: str, inputs: Inputs) -> None:
    policy = build(vlm, history, head, inputs, latent=2)
    together = predict(policy, inputs)
    for index in range(3):
        alone = predict(policy, sample(inputs, index))
        torch.testing.assert_close(together[index : index + 1, -alone.shape[1] :], alone, atol=1e-5, rtol=0)


@each_policy
def test_padded_values_do_not_matter(vlm: str, history: str, head: str, inputs: Inputs) -> None:
    policy = build(vlm, history, head, inputs)
    before = predict(policy, inputs)
    inputs.lang_x[~inputs.attention_mask] = 77
    inputs.vision_x[~inputs.image_mask] = 99
    inputs.proprio[~inputs.proprio_mask] = 5.0
    after = predict(policy, inputs)
    real = inputs.image_mask.any(2)
    torch.testing.assert_close(after[real], before[real], atol=1e-6, rtol=0)


@each_policy
def test_every_input_matters(vlm: str, history: str, head: str, inputs: Inputs) -> None:
    policy = build(vlm, history, head, inputs)
    before = predict(policy, inputs)
    for name, change in (("lang_x", 1), ("vision_x", 60), ("proprio", 1.0)):
        changed = dataclasses.replace(inputs, **{name: getattr(inputs, name) + change})
        assert (predict(policy, changed) - before).abs().max() > 1e-6, name


@each_policy
def test_shapes_and_ranges(vlm: str, history: str, head: str, inputs: Inputs) -> None:
    policy = build(vlm, history, head, inputs)
    predictions = predict(policy, inputs)
    assert predictions.shape == (3, inputs.vision_x.shape[1], 2, 4)
    assert predictions[..., :3].abs().max() <= 1
    assert ((predictions[..., 3] >= 0) & (predictions[..., 3] <= 1)).all()


@each_policy
@pytest.mark.parametrize("frozen", [{}, {"freeze_backbone": True}, {"freeze_vision": True}])
def test_gradient_reaches_exactly_what_is_trainable(
    vlm: str, history: str, head: str, inputs: Inputs, frozen: dict[str, bool]
) -> None:
    policy = build(vlm, history, head, inputs, **frozen)
    loss(policy, inputs)["total_loss"].backward()
    for name, parameter in policy.named_parameters():
        is_backbone = name.startswith("backbone.")
        is_frozen = is_backbone and (
            "freeze_backbone" in frozen or ("freeze_vision" in frozen and "vision" in name.split("layers")[0])
        )
        if name.startswith("backbone.model.multi_modal_projector") and "freeze_vision" in frozen:
            is_frozen = False
        assert parameter.requires_grad == (not is_frozen), name
        assert (parameter.grad is not None) == (not is_frozen), name


@each_policy
def test_bf16_is_close_to_fp32(vlm: str, history: str, head: str, inputs: Inputs) -> None:
    policy = build(vlm, history, head, inputs)
    exact = predict(policy, inputs)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = predict(policy, inputs)
    assert 0 < (rounded - exact).abs().max() < 0.05


@each_policy
def test_actions_outside_the_mask_do_not_count(vlm: str, history: str, head: str, inputs: Inputs) -> None:
    policy = build(vlm, history, head, inputs)
    inputs.action_mask = inputs.action_mask.clone()
    inputs.action_mask[0, -1, 1] = False
    before = loss(policy, inputs)["total_loss"]
    inputs.actions[~inputs.action_mask] = float("nan")
    assert torch.equal(loss(policy, inputs)["total_loss"], before)


def test_encode_images_takes_every_documented_form(vlm: str) -> None:
    policy = tiny_policy(vlm)
    frames = torch.randint(0, 256, (2, 3, 3, 40, 40), dtype=torch.uint8)
    with torch.inference_mode():
        window = policy.encode_images(frames)
        assert window.shape[:2] == (2, 3)
        assert window.shape[3] == policy.hidden_size
        torch.testing.assert_close(policy.encode_images(list(frames)), window)
        torch.testing.assert_close(policy.encode_images(frames[:, 0]), window[:, :1], atol=1e-5, rtol=0)


def test_training_without_actions_is_refused(inputs: Inputs) -> None:
    with pytest.raises(ConfigError, match="needs `actions`"):
        tiny_policy()(inputs.vision_x, inputs.lang_x, proprio=inputs.proprio)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_heads": 0}, "num_heads must be at least 1"),
        ({"num_layers": 0}, "num_layers must be at least 1"),
        ({"stem_widths": [0, 8]}, "stem_widths must be at least 1"),
        ({"hidden_size": 30}, "must be a multiple of"),
        ({"image_size": 40}, "multiple of 16"),
    ],
)
def test_impossible_shapes_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_vlm(VLMConfig(overrides=values))


def test_head_and_history_must_fit() -> None:
    with pytest.raises(ConfigError, match="model.head is 'lstm', which needs past frames"):
        tiny_policy(history="one_step", head="lstm")
    with pytest.raises(ConfigError, match="unknown head 'lstn'; did you mean 'lstm'"):
        tiny_policy(head="lstn")


def test_the_seed_decides_random_weights_and_nothing_else() -> None:
    before = torch.get_rng_state()
    first, same, other = (build_vlm(VLMConfig(), seed=seed).word_embedding.weight for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_unknown_vlm_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'paligemma'"):
        policy_class("paligema")


def test_unknown_tiny_override_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'model.vlm.overrides.hidden_size'"):
        build_vlm(VLMConfig(overrides={"hiden_size": 8}))


def test_the_built_in_vlm_has_one_to_five_million_parameters() -> None:
    count = sum(parameter.numel() for parameter in build_vlm(VLMConfig()).parameters())
    assert 1e6 <= count <= 5e6
    assert "tiny" in POLICIES
