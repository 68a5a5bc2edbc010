"""Windows with steps that are not real: a trunk with memory must see the real frames alone, one after the other.

Mostly the padding stands on the left, before the episode. Moved to the right it cannot be seen by a trunk that looks
only back, and the first real frame becomes position 0, so a window of 3 real frames in a window of 5 gives exactly what
a window of 3 gives::

    step_mask   0 0 1 1 1
    x           · · a b c  ── real ones first ──  a b c · ·  ── trunk ──  A B C ? ?  ── back ──  ? ? A B C
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def run_from_first_frame(
    trunk: Callable[[Tensor], Tensor], x: Float[Tensor, "b t i"], step_mask: Bool[Tensor, "b t"] | None
) -> Float[Tensor, "b t h"]:
    """Run a causal trunk over the real frames of a window.

    Args:
        trunk: [b, t, i] -> [b, t, h], where a step sees itself and the steps before.
        x: [b, t, i].
        step_mask: [b, t], False at steps that are not real; None = all real.

    Returns:
        [b, t, h]; meaningless at the steps that are not real.
    """
    if step_mask is None:
        return trunk(x)
    order = torch.argsort((~step_mask).long(), dim=1, stable=True)
    hidden = trunk(_reorder(x, order))
    return _reorder(hidden, torch.argsort(order, dim=1))


def _reorder(x: Tensor, index: Tensor) -> Tensor:
    return x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
