"""The models' arithmetic written out over the names of a released checkpoint, without any layer of a library."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

State = dict[str, Tensor]


def linear(x: Tensor, state: State, name: str) -> Tensor:
    return x @ state[f"{name}.weight"].T + state.get(f"{name}.bias", torch.zeros(()))


def norm(x: Tensor, state: State, name: str, eps: float = 1e-5) -> Tensor:
    x = x - x.mean(-1, keepdim=True)
    x = x / (x.square().mean(-1, keepdim=True) + eps).sqrt()
    return x * state[f"{name}.weight"] + state.get(f"{name}.bias", torch.zeros(()))


def rms_norm(x: Tensor, state: State, name: str, eps: float = 1e-6) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * state[f"{name}.weight"]


def heads(x: Tensor, count: int) -> Tensor:
    return x.unflatten(-1, (count, -1)).transpose(-2, -3)


def attend(query: Tensor, key: Tensor, value: Tensor, count: int, allowed: Tensor | None = None) -> Tensor:
    """Attention of `count` heads side by side, [..., s, width]."""
    query, key, value = heads(query, count), heads(key, count), heads(value, count)
    return mix(query, key, value, allowed)


def mix(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None = None) -> Tensor:
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
    return (scores.softmax(-1) @ value).transpose(-2, -3).flatten(-2)


def in_one(x: Tensor, y: Tensor, state: State, name: str, count: int, key_extra: Tensor | float = 0.0) -> Tensor:
    """`nn.MultiheadAttention` of x on y."""
    weights, biases = state[f"{name}.in_proj_weight"].chunk(3), state[f"{name}.in_proj_bias"].chunk(3)
    inputs = (x, y + key_extra, y)
    parts = [one @ weight.T + bias for one, weight, bias in zip(inputs, weights, biases, strict=True)]
    return linear(attend(*parts, count), state, f"{name}.out_proj")


def rotate(x: Tensor, positions: Tensor, width: int, base: float = 1e4) -> Tensor:
    """Rotary code of the first `width` numbers of each head, [..., heads, s, head width]; halves belong together."""
    frequency = base ** (-torch.arange(0, width, 2) / width)
    angle = positions[:, None] * frequency
    first, second, rest = x[..., : width // 2], x[..., width // 2 : width], x[..., width:]
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], dim=-1)


def patches(pixels: Tensor, size: int) -> Tensor:
    """[f, 3, h, w] -> [f, patches, 3 · size²], as an unfolded convolution takes them."""
    return F.unfold(pixels, size, stride=size).transpose(1, 2)


def gelu_tanh(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def bicubic(table: Tensor, side: int, **scaling: Any) -> Tensor:
    """Positions of a square grid, [n, v], for another grid."""
    old = math.isqrt(len(table))
    grid = table.T.reshape(1, -1, old, old)
    grid = F.interpolate(grid, mode="bicubic", align_corners=False, **(scaling or {"size": (side, side)}))
    return grid[0].flatten(1).T
