"""Any number of tokens to a fixed number of them, seeing only the real ones.

With `latent` = 2 and the tokens a … e, of which c and d are padding, the bins cover the real tokens in order::

    mask   1 1 0 0 1
    real   a b e          ranks 0 1 2
    bins   [0, 2) [1, 3)  ──  max(a, b), max(b, e)

Bin i of m real tokens covers the ranks ⌊i·m/latent⌋ … ⌈(i+1)·m/latent⌉ - 1, as in
`torch.nn.functional.adaptive_max_pool1d`, so a padded row gives exactly what the row gives alone.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def adaptive_max_pool(
    tokens: Float[Tensor, "*lead k d"], mask: Bool[Tensor, "*lead k"] | None, latent: int
) -> Float[Tensor, "*lead latent d"]:
    """Largest value per channel in each of `latent` bins of the real tokens.

    Args:
        tokens: [..., k, d].
        mask: [..., k], True = a real token; None = all real.
        latent: number of bins.

    Returns:
        [..., latent, d]; zeros for a row without a real token.

    >>> tokens = torch.tensor([[1.0], [5.0], [9.0], [9.0], [2.0]])
    >>> adaptive_max_pool(tokens, torch.tensor([True, True, False, False, True]), 2).squeeze(-1).tolist()
    [5.0, 5.0]
    """
    if mask is None:
        channels_first = tokens.flatten(0, -3).transpose(1, 2) if tokens.ndim > 2 else tokens.t().unsqueeze(0)
        pooled = F.adaptive_max_pool1d(channels_first, latent).transpose(1, 2)
        return pooled.reshape(*tokens.shape[:-2], latent, tokens.shape[-1])
    rank, count = mask.cumsum(-1) - 1, mask.sum(-1, keepdim=True)
    bins = [_bin_max(tokens, mask & _is_in_bin(rank, count, i, latent)) for i in range(latent)]
    return torch.stack(bins, -2)


def _is_in_bin(rank: Tensor, count: Tensor, index: int, latent: int) -> Tensor:
    start, stop = index * count // latent, -(-(index + 1) * count // latent)
    return (start <= rank) & (rank < stop)


def _bin_max(tokens: Tensor, members: Tensor) -> Tensor:
    largest = tokens.where(members.unsqueeze(-1), float("-inf")).max(-2).values
    return largest.where(members.any(-1, keepdim=True), 0.0)
