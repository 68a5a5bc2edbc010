"""How time enters: the token sequence that the decoder reads for each frame.

one-step and policy head: every frame is its own sequence, folded into the batch. The recurrent part, if any, is the
head, which sees the hidden states at the action queries (ACT) of all frames of the window::

    frame 0   [lead · image tokens of each camera · text · proprio · ACT × latent]  ── hidden at ACT ─┐
    frame 1   [lead · image tokens of each camera · text · proprio · ACT × latent]  ── hidden at ACT ─┤ head over t
    …                                                                                                 ┘

Padding (short texts, missing cameras, missing proprioception) takes no part in attention and no position, so a sample
gives the same action alone and in a padded batch.

Worked example, one camera of 2 tokens, a text of 2 tokens padded to 3, no proprioception, 1 query, prefix-LM:

>>> mask = torch.tensor([[True, True, True, True, False, True]])  # image image text text (pad) ACT
>>> positions_of(mask).tolist()
[[0, 1, 2, 3, 3, 4]]
>>> attention_allowed(mask, num_queries=1, is_prefix_lm=True)[0].int()
tensor([[1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 0],
        [1, 1, 1, 1, 0, 1]], dtype=torch.int32)
"""

import torch
from jaxtyping import Bool, Int64
from torch import Tensor


def positions_of(mask: Bool[Tensor, "f s"]) -> Int64[Tensor, "f s"]:
    """Position of each token from 0, padding not counted; a padded token repeats the position before it."""
    return (mask.long().cumsum(-1) - 1).clamp_min(0)


def attention_allowed(mask: Bool[Tensor, "f s"], num_queries: int, is_prefix_lm: bool) -> Bool[Tensor, "f s s"]:
    """Who may attend to whom: [f, query token, key token]. A padded token sees itself too, so that no row is empty.

    Args:
        mask: True = a real token.
        num_queries: trailing action queries; they see the whole prefix and the queries before them.
        is_prefix_lm: whether the prefix attends to itself in both directions, or causally.
    """
    size = mask.shape[1]
    order = torch.ones(size, size, dtype=torch.bool, device=mask.device).tril()
    if is_prefix_lm:
        order[: size - num_queries, : size - num_queries] = True
    return order & mask.unsqueeze(1) | torch.eye(size, dtype=torch.bool, device=mask.device)
