"""A perceiver resampler: any number of image tokens becomes a few.

::

    latents [n, d] ──┐
    image [k, d] ────┴─ attend to (image · latents), add ─ feed-forward, add ─ … depth times … ─ norm ── [n, d]

Source: Alayrac et al., "Flamingo", 2022, https://arxiv.org/abs/2204.14198, section 2.1 and appendix A.1.1.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn


def attend(
    query: Float[Tensor, "f s i"],
    key: Float[Tensor, "f k i"],
    value: Float[Tensor, "f k i"],
    num_heads: int,
    allowed: Bool[Tensor, "f s k"] | None = None,
) -> Float[Tensor, "f s i"]:
    """Attention of several heads, which lie side by side in the last axis.

    Args:
        allowed: True where a query may look, at least once per query; None = everywhere.
    """
    query, key, value = (x.unflatten(-1, (num_heads, -1)).transpose(1, 2) for x in (query, key, value))
    mask = None if allowed is None else allowed.unsqueeze(1)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2).flatten(2)


class PerceiverAttention(nn.Module):
    """Latents attend to image tokens and to themselves."""

    def __init__(self, dim: int, num_heads: int, head_dim: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm_media, self.norm_latents = nn.LayerNorm(dim), nn.LayerNorm(dim)
        inner = num_heads * head_dim
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_kv = nn.Linear(dim, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, dim, bias=False)

    def forward(self, media: Float[Tensor, "f k d"], latents: Float[Tensor, "f n d"]) -> Float[Tensor, "f n d"]:
        """Return what is added to the latents."""
        media, latents = self.norm_media(media), self.norm_latents(latents)
        key, value = self.to_kv(torch.cat([media, latents], dim=1)).chunk(2, dim=-1)
        return self.to_out(attend(self.to_q(latents), key, value, self.num_heads))


def feed_forward(dim: int, multiple: int = 4) -> nn.Sequential:
    """Norm and a two-layer network, without biases."""
    inner = multiple * dim
    return nn.Sequential(
        nn.LayerNorm(dim), nn.Linear(dim, inner, bias=False), nn.GELU(), nn.Linear(inner, dim, bias=False)
    )


class PerceiverResampler(nn.Module):
    """Learned latents that read the image tokens.

    Args:
        dim: d, width of the tokens.
        depth: layers.
        num_latents: n, tokens that come out.
        num_heads: attention heads.
        head_dim: width of a head.
    """

    def __init__(self, dim: int, depth: int = 6, num_latents: int = 64, num_heads: int = 8, head_dim: int = 64) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(num_latents, dim))
        self.layers = nn.ModuleList(
            nn.ModuleList([PerceiverAttention(dim, num_heads, head_dim), feed_forward(dim)]) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, tokens: Float[Tensor, "f k d"]) -> Float[Tensor, "f n d"]:
        """Map k image tokens to n."""
        latents = self.latents.expand(len(tokens), -1, -1)
        for attention, mlp in self.layers:
            latents = latents + attention(tokens, latents)
            latents = latents + mlp(latents)
        return self.norm(latents)
