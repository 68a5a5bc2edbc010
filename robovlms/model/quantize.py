"""Frozen linear layers whose weights are kept in 8 or 4 bits.

::

    8 bits    weight [o, i] ≈ packed [o, i] int8 × scale [o, 1]             one scale per row
    4 bits    weight [o, i] ≈ code(packed [o·i / 2] uint8) × scale [blocks]  NF4, one scale per 64 weights

Products are computed in the type of the input, from weights unpacked for one layer at a time; the backward pass unpacks
them again instead of keeping them. Only the weights' memory shrinks, not the activations'. A checkpoint holds the
packed numbers as they are, so a policy that comes back is the same to the last bit.

Source: 8 bits, Dettmers et al., "LLM.int8()", 2022, https://arxiv.org/abs/2208.07339, section 2 (row-wise absmax);
4 bits, Dettmers et al., "QLoRA", 2023, https://arxiv.org/abs/2305.14314, section 3.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from robovlms.errors import MissingDependencyError
from robovlms.extras import missing_dependency

_NF4_BLOCK = 64  # weights that share a scale; Source: QLoRA, section 4


class QuantizedLinear(nn.Module, ABC):
    """A linear layer that cannot be trained but passes gradients on to its input.

    Args:
        linear: whose weight is packed.

    Attributes:
        packed, scale: drawn in the module's docstring.
    """

    packed: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        packed, scale = self.pack(linear.weight.detach().float())
        self.register_buffer("packed", packed)
        self.register_buffer("scale", scale)
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach(), requires_grad=False)

    @staticmethod
    @abstractmethod
    def pack(weight: Float[Tensor, "o i"]) -> tuple[Shaped[Tensor, "..."], Float[Tensor, "..."]]:
        """(packed, scale) of a weight."""

    @abstractmethod
    def unpack(self, dtype: torch.dtype) -> Float[Tensor, "o i"]:
        """The weight that the packed numbers stand for."""

    @property
    def weight(self) -> Float[Tensor, "o i"]:
        """The unpacked weight, float32; a copy."""
        return self.unpack(torch.float32)

    def forward(self, x: Float[Tensor, "*lead i"]) -> Float[Tensor, "*lead o"]:
        """As `nn.Linear`, also under autocast."""
        kind = x.device.type
        x = x.to(torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype)
        y = _FrozenProduct.apply(x, self)
        return y if self.bias is None else y + self.bias.to(y.dtype)

    def to_linear(self) -> nn.Linear:
        """A frozen float32 layer with the unpacked weight."""
        linear = nn.Linear(self.in_features, self.out_features, self.bias is not None, device="meta")
        linear.weight = nn.Parameter(self.weight, requires_grad=False)
        linear.bias = self.bias
        return linear

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class _FrozenProduct(torch.autograd.Function):
    """x Wᵀ, which keeps the packed weight for the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: QuantizedLinear) -> Tensor:
        ctx.layer = layer
        return F.linear(x, layer.unpack(x.dtype))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient @ ctx.layer.unpack(gradient.dtype), None


class Int8Linear(QuantizedLinear):
    """8 bits: plain PyTorch, on every device."""

    @staticmethod
    def pack(weight: Tensor) -> tuple[Tensor, Tensor]:
        scale = (weight.abs().amax(1, keepdim=True) / 127).clamp_min(torch.finfo(weight.dtype).tiny)  # a row of zeros
        return (weight / scale).round().to(torch.int8), scale

    def unpack(self, dtype: torch.dtype) -> Tensor:
        return (self.packed * self.scale.float()).to(dtype)


class NF4Linear(QuantizedLinear):
    """4 bits: the kernels of bitsandbytes, for CPU and CUDA."""

    @staticmethod
    def pack(weight: Tensor) -> tuple[Tensor, Tensor]:
        packed, state = _bitsandbytes().quantize_4bit(weight.contiguous(), blocksize=_NF4_BLOCK, quant_type="nf4")
        return packed, state.absmax

    def unpack(self, dtype: torch.dtype) -> Tensor:
        library, shape = _bitsandbytes(), torch.Size((self.out_features, self.in_features))
        state = library.QuantState(self.scale.float(), shape=shape, blocksize=_NF4_BLOCK, quant_type="nf4", dtype=dtype)
        return library.dequantize_4bit(self.packed, state)


LAYERS: dict[int, type[QuantizedLinear]] = {8: Int8Linear, 4: NF4Linear}


def quantize_frozen(module: nn.Module, bits: int) -> None:
    """Pack the weights of every frozen linear layer within `module`, in place.

    Args:
        module: for example a text tower.
        bits: key of `LAYERS`.

    Raises:
        MissingDependencyError: if the library for so few bits is not installed.
    """
    for name, layer in list(module.named_modules()):
        # Subclasses are left alone: PyTorch and transformers have some whose weight is used without calling them.
        if type(layer) is nn.Linear and not layer.weight.requires_grad:
            module.set_submodule(name, LAYERS[bits](layer))


def unpack_linears(module: nn.Module) -> None:
    """Replace every packed layer within `module` by a float32 one, in place."""
    for name, layer in list(module.named_modules()):
        if isinstance(layer, QuantizedLinear):
            module.set_submodule(name, layer.to_linear())


def _bitsandbytes() -> Any:
    try:
        import bitsandbytes.functional
    except ModuleNotFoundError as error:
        raise MissingDependencyError(f"model.base_bits: 4: {missing_dependency(error) or error}") from error
    return bitsandbytes.functional
