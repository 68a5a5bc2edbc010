"""Flamingo with each language model: who sees which image, what a call leaves behind, and whole policies as streams."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModel

from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.config import ModelConfig, TokenizerConfig, VLMConfig
from robovlms.model.backbone.base import Media
from robovlms.model.backbone.flamingo import FlamingoBackbone, RoboFlamingo
from robovlms.model.backbone.gated import GatedCrossAttention

KINDS = ("llama", "gpt_neox", "opt", "mpt")
LENGTH = 6


def perturb(module: nn.Module, scale: float = 0.1) -> None:
    """Move every weight, the gates of a new model above all, from where it does not matter."""
    generator = torch.Generator().manual_seed(3)
    for name, parameter in module.named_parameters():
        parameter.data.add_(scale * torch.randn(parameter.shape, generator=generator))
        if name.endswith("_gate"):
            parameter.data.fill_(0.7)


def flamingo(kind: str, **overrides: Any) -> FlamingoBackbone:
    torch.manual_seed(0)
    vlm = VLMConfig(overrides={"model_type": kind, **overrides})
    backbone = FlamingoBackbone.build(vlm, TokenizerConfig(), torch.float32, None)
    perturb(backbone)
    return backbone.eval()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def inputs(backbone: FlamingoBackbone, seed: int = 1) -> tuple[Tensor, Media]:
    """Two rows of six tokens and two images; the first token sees no image, the last ones see only the second."""
    generator = torch.Generator().manual_seed(seed)
    embeds = torch.randn(2, LENGTH, backbone.hidden_size, generator=generator)
    pixels = torch.randn(4, 3, *backbone.image_size, generator=generator)
    tokens = backbone.encode_images(pixels).unflatten(0, (2, 2)).flatten(1, 2)
    half = tokens.shape[1] // 2
    allowed = torch.ones(2, LENGTH, 2 * half, dtype=torch.bool)
    allowed[:, 0] = False
    allowed[:, 4:, :half] = False
    return embeds, Media(tokens=tokens, allowed=allowed)


def decode(backbone: FlamingoBackbone, embeds: Tensor, media: Media | None) -> Tensor:
    allowed = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril().expand(2, -1, -1)
    positions = torch.arange(LENGTH)
    return backbone.decode(embeds, allowed, positions.expand(2, -1), positions, media=media)


# ----------------------------------------------------------------------------------------------------- the gated block


def gated_by_loops(block: GatedCrossAttention, hidden: Tensor, tokens: Tensor, allowed: Tensor) -> Tensor:
    """One row, one token and one head at a time."""
    state, heads, rows = block.state_dict(), block.attn.num_heads, []
    to_key, to_value = state["attn.to_kv.weight"].chunk(2)
    for token, seen in zip(hidden, allowed, strict=True):
        looked_at, parts = tokens[seen], []
        normed = nn.functional.layer_norm(token, token.shape, state["attn.norm.weight"], state["attn.norm.bias"])
        for head in torch.arange(len(to_key)).chunk(heads):
            scores = looked_at @ to_key[head].T @ (state["attn.to_q.weight"][head] @ normed) / len(head) ** 0.5
            parts.append(scores.softmax(0) @ (looked_at @ to_value[head].T))
        token = token + torch.tanh(state["attn_gate"]) * (state["attn.to_out.weight"] @ torch.cat(parts))
        normed = nn.functional.layer_norm(token, token.shape, state["ff.0.weight"], state["ff.0.bias"])
        inner = state["ff.1.weight"] @ normed
        inner = 0.5 * inner * (1 + torch.erf(inner / 2**0.5))
        rows.append(token + torch.tanh(state["ff_gate"]) * (state["ff.3.weight"] @ inner))
    return torch.stack(rows)


def gated_block() -> GatedCrossAttention:
    torch.manual_seed(0)
    block = GatedCrossAttention(12, 10, num_heads=3, head_dim=4)
    perturb(block)
    return block


def test_gated_block_equals_the_formula_written_out() -> None:
    """A token that sees nothing sums over nothing, so it gets zero from the attention."""
    block, hidden, tokens = gated_block(), torch.randn(2, 5, 12), torch.randn(2, 7, 10)
    allowed = torch.rand(2, 5, 7) > 0.5
    allowed[0, 0] = allowed[1, 3] = False
    with torch.inference_mode():
        actual = block(hidden, Media(tokens=tokens, allowed=allowed))
        expected = torch.stack([gated_by_loops(block, *row) for row in zip(hidden, tokens, allowed, strict=True)])
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)


def test_gated_block_without_images_equals_images_that_nobody_sees() -> None:
    block, hidden, tokens = gated_block(), torch.randn(2, 5, 12, requires_grad=True), torch.randn(2, 7, 10)
    unseen = block(hidden, Media(tokens=tokens, allowed=torch.zeros(2, 5, 7, dtype=torch.bool)))
    torch.testing.assert_close(unseen, block(hidden, None), atol=1e-6, rtol=0)
    unseen.sum().backward()
    assert hidden.grad.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in block.parameters())


def test_closed_gates_change_nothing() -> None:
    block, hidden = GatedCrossAttention(12, 10, num_heads=3, head_dim=4), torch.randn(2, 5, 12)
    media = Media(tokens=torch.randn(2, 7, 10), allowed=torch.ones(2, 5, 7, dtype=torch.bool))
    assert torch.equal(block(hidden, media), hidden)


# --------------------------------------------------------------------------------------------------------- the decoder


def test_sizes(kind: str) -> None:
    backbone = flamingo(kind)
    tokens = backbone.encode_images(torch.randn(3, 3, *backbone.image_size))
    assert tokens.shape == (3, backbone.architecture.own["num_latents"], backbone.architecture.vision["hidden_size"])
    assert backbone.is_cross_attention
    assert backbone.embed_width == backbone.hidden_size
    assert len(backbone.decoder_layers) == 2
    assert backbone.max_positions is not None


def test_the_language_model_keeps_its_names(kind: str) -> None:
    """Its weights can be saved, adapted and frozen as those of any other model of transformers."""
    backbone = flamingo(kind)
    native = AutoModel.from_config(backbone.text_tower.config)
    added = {name for name in backbone.text_tower.state_dict() if "q_ln" in name or "k_ln" in name}
    assert set(backbone.text_tower.state_dict()) - added == set(native.state_dict())
    assert bool(added) == (kind == "mpt")


@torch.inference_mode()
def test_images_matter_to_those_who_may_see_them(kind: str) -> None:
    backbone = flamingo(kind)
    (embeds, media), (_, other) = inputs(backbone), inputs(backbone, seed=2)
    change = (decode(backbone, embeds, media) - decode(backbone, embeds, other)).abs().amax((0, 2))
    assert change[0] == 0  # sees no image, and nothing before it does
    assert (change[1:] > 1e-3).all()
    unseen = Media(tokens=media.tokens, allowed=torch.zeros_like(media.allowed))
    torch.testing.assert_close(decode(backbone, embeds, unseen), decode(backbone, embeds, None), atol=1e-6, rtol=0)


@torch.inference_mode()
def test_no_call_leaves_anything_for_the_next(kind: str) -> None:
    backbone = flamingo(kind)
    (embeds, media), (_, other) = inputs(backbone), inputs(backbone, seed=2)
    before, hooks = decode(backbone, embeds, media), [len(x._forward_pre_hooks) for x in backbone.decoder_layers]
    attributes = {name: set(vars(module)) for name, module in backbone.named_modules()}
    decode(backbone, embeds, other)
    failing = backbone.decoder_layers[1].register_forward_pre_hook(_fail)
    with pytest.raises(RuntimeError, match="on purpose"):
        decode(backbone, embeds, other)
    failing.remove()
    assert torch.equal(decode(backbone, embeds, media), before)
    assert [len(x._forward_pre_hooks) for x in backbone.decoder_layers] == hooks
    assert {name: set(vars(module)) for name, module in backbone.named_modules()} == attributes


def _fail(module: nn.Module, args: Any) -> None:
    raise RuntimeError("on purpose")


@torch.inference_mode()
def test_a_copy_runs_its_own_gated_blocks(kind: str) -> None:
    backbone = flamingo(kind)
    embeds, media = inputs(backbone)
    before, twin = decode(backbone, embeds, media), copy.deepcopy(backbone)
    for name, parameter in twin.named_parameters():
        if name.endswith("_gate"):
            parameter.zero_()
    assert torch.equal(decode(backbone, embeds, media), before)
    torch.testing.assert_close(
        decode(twin, embeds, media), decode(twin, embeds, inputs(backbone, seed=2)[1]), atol=0, rtol=0
    )


# -------------------------------------------------------------------------------------------------------- the policies

HISTORIES = {
    "one_step": dict(history="one_step"),
    "one_step discrete": dict(history="one_step", head="discrete"),
    "policy_head": dict(history="policy_head", window_size=3),
    "policy_head lstm": dict(history="policy_head", head="lstm", window_size=3),
    "interleaved": dict(history="interleaved", window_size=3),
    "interleaved repeat_text": dict(history="interleaved", repeat_text=True, window_size=3, latent=2),
    "interleaved discrete": dict(history="interleaved", head="discrete", window_size=3),
    "video": dict(history="video", window_size=3),
    "video discrete": dict(history="video", head="discrete", window_size=3),
}


def policy(kind: str, **model: Any) -> RoboFlamingo:
    torch.manual_seed(0)
    arm = [ActionDimension(name=name, unit="m", low=-1.0, high=1.0) for name in "xyz"]
    gripper = ActionDimension(name="g", unit="1", low=0.0, high=1.0, kind="gripper")
    space = ActionSpace(
        dimensions=(*arm, gripper), frame="tcp", is_delta=True, gripper_opens="positive", control_hz=20.0
    )
    sizes = dict(fwd_pred_next_n=2, head_hidden_size=16, head_num_layers=2, head_num_heads=4, num_bins=16)
    config = ModelConfig(vlm=VLMConfig(name="flamingo", overrides={"model_type": kind}), **{**sizes, **model})
    built = RoboFlamingo(config, space, 2)
    perturb(built, 0.05)
    return built.eval()


def episode(length: int) -> dict[str, Tensor]:
    """Three robots, two cameras, of which one is missing in one row, and texts of 7, 4 and 2 tokens."""
    generator = torch.Generator().manual_seed(0)
    image_mask = torch.ones(3, length, 2, dtype=torch.bool)
    image_mask[1, :, 1] = False
    return {
        "images": torch.randint(0, 256, (3, length, 2, 3, 40, 48), dtype=torch.uint8, generator=generator),
        "image_mask": image_mask,
        "input_ids": torch.randint(3, 250, (3, 7), generator=generator),
        "text_mask": torch.arange(7) < torch.tensor([[7], [4], [2]]),
        "proprio": torch.randn(3, length, 2, generator=generator),
        "proprio_mask": torch.ones(3, length, dtype=torch.bool),
    }


def steps(episode: dict[str, Tensor], first: int, end: int) -> dict[str, Tensor]:
    per_step = ("images", "image_mask", "proprio", "proprio_mask")
    return {name: x[:, first:end] if name in per_step else x for name, x in episode.items()}


def predict_window(policy: RoboFlamingo, window: dict[str, Tensor]) -> Tensor:
    """Actions at the last step, from one pass over the window."""
    output = policy(
        window["images"],
        window["input_ids"],
        window["text_mask"],
        image_mask=window["image_mask"],
        proprio=window["proprio"],
        proprio_mask=window["proprio_mask"],
        mode="inference",
    )
    return output.action_predictions[:, -1]


@torch.inference_mode()
@pytest.mark.parametrize("history", HISTORIES)
def test_stream_equals_one_pass(kind: str, history: str) -> None:
    model = HISTORIES[history]
    built, whole, window = policy(kind, **model), episode(5), model.get("window_size", 1)
    stream = built.stream(3)
    for t in range(5):
        frames = built.encode(**steps(whole, t, t + 1))
        actual = built.predict(*stream.step(frames, range(3))).action_predictions[:, -1]
        first = 0 if model["history"] == "interleaved" else max(0, t - window + 1)
        expected = predict_window(built, steps(whole, first, t + 1))
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("history", HISTORIES)
def test_every_camera_matters(kind: str, history: str) -> None:
    model = HISTORIES[history]
    built, window = policy(kind, **model), episode(model.get("window_size", 1))
    before = built.encode(**window)
    for camera in range(2):
        images = window["images"].clone()
        images[:, -1, camera] = 255 - images[:, -1, camera]
        after = built.encode(**{**window, "images": images})
        queries, is_discrete = built.history.first_queries(before), built.act_head.is_discrete
        change = built.history.features(before, queries, is_discrete)[0][:, -1]
        change = (change - built.history.features(after, queries, is_discrete)[0][:, -1]).abs().amax((1, 2))
        is_there = window["image_mask"][:, -1, camera]
        assert (change[is_there] > 1e-5).all()
        assert (change[~is_there] == 0).all()


def test_a_random_policy_looks_at_images_from_the_start(kind: str) -> None:
    """Closed gates would protect a decoder that knows nothing."""
    vlm = VLMConfig(overrides={"model_type": kind})
    backbone = FlamingoBackbone.build(vlm, TokenizerConfig(), torch.float32, None).eval()
    (embeds, media), (_, other) = inputs(backbone), inputs(backbone, seed=2)
    assert (decode(backbone, embeds, media) - decode(backbone, embeds, other)).abs().max() > 1e-3
