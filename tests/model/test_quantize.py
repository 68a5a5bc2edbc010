"""Packed weights: what they stand for, that gradients pass through them, what they weigh."""

import importlib.util
import sys
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from robovlms.config import LoRAConfig
from robovlms.errors import MissingDependencyError
from robovlms.model.base import BaseRoboVLM
from robovlms.model.lora import adapter_parameters, merge_lora
from robovlms.model.quantize import LAYERS, Int8Linear, NF4Linear, QuantizedLinear, quantize_frozen, unpack_linears
from robovlms.model.tuning import count_parameters
from robovlms.testing.policies import Inputs, loss, predict, tiny_policy

needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes, for 4 bits, is not installed"
)
each_bits = pytest.mark.parametrize("bits", [8, pytest.param(4, marks=needs_bitsandbytes)])
# Norm of the error over the norm of a Gaussian weight.
ERROR = {8: 0.01, 4: 0.11}
LORA = LoRAConfig(rank=2)


@pytest.fixture(autouse=True)
def _quiet_bitsandbytes() -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        yield


def linear(out_features: int = 48, in_features: int = 64, seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    layer = nn.Linear(in_features, out_features).requires_grad_(False)
    layer.weight.data.normal_(std=0.02)
    return layer


@given(st.lists(st.lists(st.floats(-1e4, 1e4, width=32), min_size=3, max_size=3), min_size=1, max_size=4))
def test_8_bits_are_off_by_half_a_step_of_the_row_at_most(rows: list[list[float]]) -> None:
    weight = torch.tensor(rows)
    packed, scale = Int8Linear.pack(weight)
    assert packed.dtype == torch.int8
    assert ((packed * scale - weight).abs() <= 0.5001 * scale).all()
    again, scale_again = Int8Linear.pack(packed * scale)
    if (weight.abs().amax(1) > 1e-30).all():
        assert torch.equal(again, packed)
        torch.testing.assert_close(scale_again, scale)


def test_8_bits_by_hand() -> None:
    packed, scale = Int8Linear.pack(torch.tensor([[1.27, -0.64, 0.004], [0.0, 0.0, 0.0]]))
    assert packed.tolist() == [[127, -64, 0], [0, 0, 0]]
    torch.testing.assert_close(scale[0], torch.tensor([0.01]))


@each_bits
def test_the_error_is_that_of_the_number_of_bits(bits: int) -> None:
    layer = linear(256, 256)
    unpacked = LAYERS[bits](layer).weight
    error = ((unpacked - layer.weight).norm() / layer.weight.norm()).item()
    assert ERROR[bits] / 3 < error < ERROR[bits]


@each_bits
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_product_and_gradient_are_those_of_the_unpacked_weight(bits: int, dtype: torch.dtype) -> None:
    packed = LAYERS[bits](linear())
    dense, x = packed.to_linear(), torch.randn(2, 5, 64)
    results = []
    for layer in (packed, dense):
        value = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            y = layer(value)
        y.float().square().sum().backward()
        assert y.dtype == dtype
        results.append((y, value.grad))
    tolerance = 1e-6 if dtype == torch.float32 else 0.01
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, atol=tolerance, rtol=tolerance)


@each_bits
def test_the_graph_keeps_no_unpacked_weight(bits: int) -> None:
    layer, kept = LAYERS[bits](linear()), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.shape) or t, lambda t: t):
        layer(torch.randn(2, 64, requires_grad=True))
    assert (48, 64) not in kept


@each_bits
def test_only_the_packed_numbers_take_memory(bits: int) -> None:
    layer = LAYERS[bits](linear(64, 64))
    size = sum(t.numel() * t.element_size() for t in layer.state_dict().values()) - 4 * 64  # without the bias
    scales = 64 if bits == 8 else 64 * 64 // 64
    assert size == 64 * 64 * bits // 8 + 4 * scales


def test_trained_layers_and_subclasses_are_left_alone() -> None:
    module = nn.ModuleDict({"frozen": linear(), "trained": linear().requires_grad_(True)})
    module["attention"] = nn.MultiheadAttention(8, 2).requires_grad_(False)
    quantize_frozen(module, 8)
    assert [type(module[name]) for name in ("frozen", "trained")] == [Int8Linear, nn.Linear]
    assert isinstance(module["attention"].out_proj, nn.Linear)
    unpack_linears(module)
    assert type(module["frozen"]) is nn.Linear


# ------------------------------------------------------------------------------------------------------------ policies


@pytest.mark.parametrize("values", [{"lora": LORA}, {"freeze_backbone": True}], ids=["lora", "frozen"])
def test_a_policy_packs_its_text_tower_and_still_learns(vlm: str, inputs: Inputs, values: dict[str, Any]) -> None:
    _check_policy(tiny_policy(vlm, **values), tiny_policy(vlm, base_bits=8, **values), inputs)


@needs_bitsandbytes
def test_a_policy_learns_with_4_bits(inputs: Inputs) -> None:
    _check_policy(tiny_policy(lora=LORA), tiny_policy(lora=LORA, base_bits=4), inputs)


def _check_policy(plain: BaseRoboVLM, policy: BaseRoboVLM, inputs: Inputs) -> None:
    packed = {name for name, module in policy.named_modules() if isinstance(module, QuantizedLinear)}
    tower = {id(module) for module in plain.text_tower.modules()}
    frozen = {
        name
        for name, module in plain.named_modules()
        if id(module) in tower and type(module) is nn.Linear and not module.weight.requires_grad
    }
    assert packed == frozen
    assert packed
    assert count_parameters(policy) == count_parameters(plain)
    loss(policy.train(), inputs).backward()
    for name, parameter in policy.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


@each_bits
def test_merging_unpacks(inputs: Inputs, bits: int) -> None:
    policy = tiny_policy(lora=LORA, base_bits=bits)
    adapted, names = predict(policy, inputs), set(tiny_policy().state_dict())
    merge_lora(policy)
    assert not adapter_parameters(policy)
    assert set(policy.state_dict()) == names
    assert policy.config.base_bits == 16
    torch.testing.assert_close(predict(policy, inputs), adapted, atol=1e-5, rtol=0)


@each_bits
def test_sizes_of_packed_weights_need_no_memory(bits: int) -> None:
    values = {"lora": LORA, "base_bits": bits}
    with torch.device("meta"):
        policy = tiny_policy(**values)
    assert count_parameters(policy) == count_parameters(tiny_policy(**values))


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MissingDependencyError, match=r"base_bits: 4: .*pip install 'robovlms\[quantize\]'"):
        tiny_policy(lora=LORA, base_bits=4)


@needs_bitsandbytes
def test_4_bits_packed_again_are_the_same() -> None:
    packed, scale = NF4Linear.pack(linear(64, 64).weight)
    layer = NF4Linear(linear(64, 64))
    again, scale_again = NF4Linear.pack(layer.weight)
    assert torch.equal(packed, again)
    assert torch.equal(scale, scale_again)
