"""MPT with given positions, against the model of transformers and against itself."""

import pytest
import torch
from torch import Tensor
from transformers import MptConfig, MptModel

from robovlms.errors import CheckpointError
from robovlms.model.backbone.mpt import MptDecoder, alibi_slopes, mpt_arguments
from robovlms.model.backbone.native_decoder import run_decoder
from robovlms.model.cache import KVCache

WIDTH, LENGTH = 24, 7


def config(**attention: object) -> MptConfig:
    heads = attention.pop("n_heads", 3)
    return MptConfig(d_model=WIDTH, n_heads=heads, n_layers=2, vocab_size=40, max_seq_len=32, attn_config=attention)


def decoder(**attention: object) -> MptDecoder:
    """Every weight is away from its first value: a norm that is left out is seen."""
    torch.manual_seed(0)
    model = MptDecoder(config(**attention)).eval()
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return model


def causal(rows: int, length: int = LENGTH) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool).tril().expand(rows, -1, -1)


def run(model: MptDecoder, embeds: Tensor, allowed: Tensor, positions: Tensor, cache: KVCache | None = None) -> Tensor:
    with torch.inference_mode():
        return run_decoder(model, embeds, allowed, positions, torch.arange(embeds.shape[1]), cache)


@pytest.fixture
def embeds() -> Tensor:
    return torch.randn(2, LENGTH, WIDTH, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "attention",
    [{}, {"n_heads": 4}, {"alibi_bias_max": 4}, {"clip_qkv": 0.3}, {"softmax_scale": 0.7}],
    ids=["three heads", "four heads", "alibi_bias_max", "clip_qkv", "softmax_scale"],
)
def test_equals_the_model_of_transformers(attention: dict[str, object], embeds: Tensor) -> None:
    model = decoder(**attention)
    native = MptModel(config(**attention)).eval()
    native.load_state_dict(model.state_dict())  # the same names
    # transformers gives every MPT the largest bias 8, whatever its configuration says
    is_different = "alibi_bias_max" in attention
    with torch.inference_mode():
        expected = native(inputs_embeds=embeds).last_hidden_state
    actual = run(model, embeds, causal(2), torch.arange(LENGTH).expand(2, -1))
    assert ((actual - expected).abs().max() > 1e-4) == is_different
    assert is_different or (actual - expected).abs().max() <= 1e-5


def attention_by_loops(model: MptDecoder, hidden: Tensor, positions: Tensor) -> Tensor:
    """The first layer's causal attention, one query and one head at a time."""
    attn, heads = model.blocks[0].attn, model.num_heads
    query, key, value = attn.Wqkv(hidden).chunk(3, dim=-1)
    query, key = attn.q_ln(query), attn.k_ln(key)
    slopes = alibi_slopes(heads, 8)
    rows = []
    for i in range(len(hidden)):
        parts = []
        for head, columns in enumerate(torch.arange(WIDTH).chunk(heads)):
            scores = key[: i + 1, columns] @ query[i, columns] / len(columns) ** 0.5
            scores = scores - slopes[head] * (positions[i] - positions[: i + 1])
            parts.append(scores.softmax(0) @ value[: i + 1, columns])
        rows.append(torch.cat(parts))
    return attn.out_proj(torch.stack(rows))


@torch.inference_mode()
def test_queries_and_keys_are_normalised_over_all_heads(embeds: Tensor) -> None:
    model = decoder(qk_ln=True)
    assert model.blocks[0].attn.q_ln.weight.shape == (WIDTH,)
    positions = torch.tensor([0, 1, 1, 4, 5, 9, 10])
    distance = (positions[:, None] - positions).abs()
    bias = (-alibi_slopes(3, 8)[:, None, None] * distance).masked_fill(~causal(1), -1e9)
    actual, _ = model.blocks[0].attn(embeds[:1], position_bias=bias.unsqueeze(0))
    torch.testing.assert_close(actual[0], attention_by_loops(model, embeds[0], positions), atol=1e-5, rtol=0)


@pytest.mark.parametrize("qk_ln", [False, True])
def test_masked_tokens_in_the_middle_equal_the_sequence_without_them(qk_ln: bool, embeds: Tensor) -> None:
    model, kept = decoder(qk_ln=qk_ln), torch.tensor([0, 1, 4, 5, 6])
    expected = run(model, embeds[:, kept], causal(2, 5), torch.arange(5).expand(2, -1))
    allowed = causal(2).clone()
    allowed[:, :, 2:4] = False
    allowed[:, 2:4] = torch.eye(LENGTH, dtype=torch.bool)[2:4]
    positions = torch.tensor([0, 1, 2, 2, 2, 3, 4]).expand(2, -1)
    actual = run(model, embeds, allowed, positions)[:, kept]
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("qk_ln", [False, True])
def test_a_cache_with_slots_in_any_order_equals_one_pass(qk_ln: bool, embeds: Tensor) -> None:
    model, slots = decoder(qk_ln=qk_ln), torch.tensor([5, 2, 8, 0, 1, 7, 3])
    positions = torch.arange(LENGTH).expand(2, -1)
    expected = run(model, embeds, causal(2), positions)
    cache, parts = KVCache(2, 9), []
    for part in (slice(0, 3), slice(3, LENGTH)):
        allowed = torch.zeros(2, part.stop - part.start, 9, dtype=torch.bool)
        allowed[:, :, slots] = causal(2)[:, part]
        cache.aim(slots[part].expand(2, -1))
        parts.append(run(model, embeds[:, part], allowed, positions[:, part], cache))
    torch.testing.assert_close(torch.cat(parts, dim=1), expected, atol=1e-5, rtol=0)


def test_only_distances_count(embeds: Tensor) -> None:
    model, positions = decoder(), torch.arange(LENGTH).expand(2, -1)
    expected = run(model, embeds, causal(2), positions)
    torch.testing.assert_close(run(model, embeds, causal(2), positions + 1000), expected, atol=1e-5, rtol=0)
    assert (run(model, embeds, causal(2), positions * 3) - expected).abs().max() > 1e-3


def test_later_tokens_are_as_far_away_as_earlier_ones(embeds: Tensor) -> None:
    model, positions = decoder(), torch.arange(LENGTH).expand(2, -1)
    both_ways = torch.ones(2, LENGTH, LENGTH, dtype=torch.bool)
    mirrored = run(model, embeds.flip(1), both_ways, positions).flip(1)
    torch.testing.assert_close(run(model, embeds, both_ways, positions), mirrored, atol=1e-5, rtol=0)


def test_checkpointed_activations_give_the_same_gradients(embeds: Tensor) -> None:
    gradients = []
    for is_checkpointed in (False, True):
        model = decoder(qk_ln=True).train()
        if is_checkpointed:
            model.activation_checkpointing_enable({"use_reentrant": False})
        positions = torch.arange(LENGTH).expand(2, -1)
        run_decoder(model, embeds, causal(2), positions, torch.arange(LENGTH), None).square().mean().backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(gradients[1]) == len(list(decoder(qk_ln=True).parameters())) - 1  # all but words
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-7, rtol=0)


def test_learned_positions_are_refused() -> None:
    with pytest.raises(CheckpointError, match="alibi is false"):
        MptDecoder(config(alibi=False))


def test_both_kinds_of_released_configuration() -> None:
    old = {
        "model_type": "mosaic_gpt", "d_model": 2048, "n_heads": 16, "n_layers": 24, "vocab_size": 50368,
        "max_seq_len": 2048, "alibi": True, "alibi_bias_max": 8, "attn_qk_ln": True, "attn_clip_qkv": None,
        "softmax_scale": None, "mlp_ratio": 4, "no_bias": True,
    }  # fmt: skip
    new = {
        "model_type": "mpt", "d_model": 4096, "n_heads": 32, "n_layers": 32, "vocab_size": 50432, "max_seq_len": 2048,
        "attn_config": {"alibi": True, "alibi_bias_max": 8, "clip_qkv": 6, "qk_ln": False, "attn_pdrop": 0},
    }  # fmt: skip
    shared = {"model_type", "d_model", "n_heads", "n_layers", "vocab_size", "max_seq_len", "attn_config"}
    assert set(mpt_arguments(old)) == set(mpt_arguments(new)) == shared
    assert mpt_arguments(old)["attn_config"] == {"alibi": True, "alibi_bias_max": 8, "qk_ln": True}
    assert mpt_arguments(new)["attn_config"] == {"alibi": True, "alibi_bias_max": 8, "qk_ln": False, "clip_qkv": 6}
