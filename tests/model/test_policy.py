"""What policies refuse; what all of them must do is in `robovlms.testing`."""

from typing import Any

import pytest
import torch

from robovlms.config import VLMConfig
from robovlms.errors import ConfigError
from robovlms.model.vlm import POLICIES, build_vlm, policy_class
from robovlms.testing.policies import Inputs, loss, make_inputs, predict, tiny_policy


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
    with pytest.raises(ConfigError, match="model.head is 'lstm', which needs the features"):
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


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"head": "discrete", "latent": 4}, "model.latent is 4, but model.head 'discrete' goes with 1 only"),
        ({"head": "l1_chunk", "decoder": "flow_matching"}, "model.decoder is 'flow_matching'"),
        ({"head": "l1_chunk", "hide_action_tokens": True}, "model.hide_action_tokens is True"),
        ({"token_source": "all", "hide_action_tokens": True}, "with token_source 'all' there are none"),
        ({"head": "discrete", "token_source": "all"}, "reads its own action queries"),
        ({"history": "interleaved", "window_size": 2, "original_layout": True}, "set repeat_text: true"),
        ({"history": "interleaved", "window_size": 2, "token_source": "all"}, "needs the text in every frame"),
        ({"freeze_backbone": True, "train_decoder_layers": 1}, "leave one of them out"),
    ],
)
def test_contradictions_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_policy(**values)


@pytest.mark.parametrize("vlm", ["tiny", "kosmos", "flamingo"])
@pytest.mark.parametrize("head", ["fc", "discrete"])
def test_a_vlm_with_weights_in_bfloat16_predicts(vlm: str, head: str) -> None:
    policy, inputs = tiny_policy(vlm, head=head), make_inputs(1)
    exact = predict(policy, inputs)
    policy.backbone.to(torch.bfloat16)
    rounded = predict(policy, inputs)
    assert rounded.dtype == torch.float32
    if head == "fc":
        assert (rounded - exact).abs().max() < 0.1
    policy.act_head.float()
    assert torch.isfinite(loss(policy, inputs))
