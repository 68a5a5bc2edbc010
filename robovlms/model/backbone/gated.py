"""Gated cross-attention in front of the layers of a decoder of transformers, whose modules and names stay.

::

    hidden ──┬─ norm ─ attend to media ─ × tanh(gate) ─ + ──┬─ feed forward ─ × tanh(gate) ─ + ── decoder layer
             └──────────────────────────────────────────┘   └────────────────────────────┘

Media travel as an argument of the decoder's forward pass, which hands unknown arguments on to its layers; a hook in
front of a layer takes them out again. So no module keeps any of them, not even between forward and backward pass.

Source: Alayrac et al., "Flamingo", 2022, https://arxiv.org/abs/2204.14198, section 2.2 and appendix A.1.2.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from robovlms.model.backbone.base import Media
from robovlms.model.resampler import attend, feed_forward


class MaskedCrossAttention(nn.Module):
    """Tokens of the sequence attend to media; one that may look at none of them gets zeros.

    Args:
        dim: d, width of the sequence's tokens.
        media_dim: e, width of the media.
        num_heads: attention heads.
        head_dim: width of a head.
    """

    def __init__(self, dim: int, media_dim: int, num_heads: int, head_dim: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        inner = num_heads * head_dim
        self.norm = nn.LayerNorm(dim)
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_kv = nn.Linear(media_dim, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, dim, bias=False)

    def forward(
        self, hidden: Float[Tensor, "f s d"], media: Float[Tensor, "f m e"], allowed: Bool[Tensor, "f s m"]
    ) -> Float[Tensor, "f s d"]:
        """Return what is added to the tokens."""
        key, value = self.to_kv(media).chunk(2, dim=-1)
        sees_any = allowed.any(-1, keepdim=True)
        mixed = attend(self.to_q(self.norm(hidden)), key, value, self.num_heads, allowed | ~sees_any)
        return self.to_out(mixed * sees_any)


class GatedCrossAttention(nn.Module):
    """Cross-attention and a feed-forward network, each behind a gate.

    Args:
        dim: d, width of the sequence's tokens.
        media_dim: e, width of the media.
        num_heads: attention heads.
        head_dim: width of a head.
        gate: what both gates begin at; at 0 they are closed, and a pretrained decoder begins as it was.
    """

    def __init__(self, dim: int, media_dim: int, num_heads: int = 8, head_dim: int = 64, *, gate: float = 0.0) -> None:
        super().__init__()
        self.attn = MaskedCrossAttention(dim, media_dim, num_heads, head_dim)
        self.attn_gate = nn.Parameter(torch.full((1,), gate))
        self.ff = feed_forward(dim)
        self.ff_gate = nn.Parameter(torch.full((1,), gate))
        self.saves_memory = False

    def forward(self, hidden: Float[Tensor, "f s d"], media: Media | None) -> Float[Tensor, "f s d"]:
        """Add what the media tell, and what the tokens make of it; without media only the latter."""
        if media is not None:
            hidden = hidden + self.attn(hidden, media.tokens, media.allowed) * self.attn_gate.tanh()
        return hidden + self.ff(hidden) * self.ff_gate.tanh()


class AttendFirst:
    """A forward pre-hook of a decoder layer.

    Args:
        block: runs before the layer.
    """

    def __init__(self, block: GatedCrossAttention) -> None:
        self.block = block

    def __call__(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """Replace the layer's input, and keep the media from it."""
        hidden, *rest = args
        return (self._run(hidden, kwargs.get("media")), *rest), _without_media(kwargs)

    def _run(self, hidden: Tensor, media: Media | None) -> Tensor:
        if self.block.saves_memory and self.block.training and torch.is_grad_enabled():
            return checkpoint(self.block, hidden, media, use_reentrant=False)
        return self.block(hidden, media)


def keep_media_away(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """The pre-hook of a layer without cross-attention."""
    return args, _without_media(kwargs)


def _without_media(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in kwargs.items() if name != "media"}


def attach(layers: nn.ModuleList, blocks: nn.ModuleDict) -> None:
    """Let blocks run in front of layers.

    Args:
        layers: of a decoder that hands unknown arguments on to them.
        blocks: number of a layer, as text -> its block.
    """
    for index, layer in enumerate(layers):
        hook = AttendFirst(blocks[str(index)]) if str(index) in blocks else keep_media_away
        layer.register_forward_pre_hook(hook, with_kwargs=True)
