"""Losses of the action heads: element-wise first, then a mean over the supervised elements only."""

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def masked_mean(values: Float[Tensor, "*lead d"], mask: Bool[Tensor, "*lead"]) -> Float[Tensor, ""]:
    """Mean of `values` over the rows where `mask` is True; 0, with a gradient of 0, where none is."""
    weights = mask.unsqueeze(-1).expand_as(values)
    return values.where(weights, 0.0).sum() / weights.sum().clamp_min(1)


def masked_huber(
    prediction: Float[Tensor, "*lead d"], target: Float[Tensor, "*lead d"], mask: Bool[Tensor, "*lead"], delta: float
) -> Float[Tensor, ""]:
    """Huber loss, quadratic below an error of `delta` and linear above.

    Source: P. J. Huber, "Robust Estimation of a Location Parameter", 1964.
    """
    target = target.where(mask.unsqueeze(-1), 0.0)
    return masked_mean(F.huber_loss(prediction, target, reduction="none", delta=delta), mask)


def masked_bce(
    logit: Float[Tensor, "*lead d"], target: Float[Tensor, "*lead d"], mask: Bool[Tensor, "*lead"]
) -> Float[Tensor, ""]:
    """Binary cross-entropy of logits; targets in [0, 1]."""
    target = target.where(mask.unsqueeze(-1), 0.0)
    return masked_mean(F.binary_cross_entropy_with_logits(logit, target, reduction="none"), mask)
