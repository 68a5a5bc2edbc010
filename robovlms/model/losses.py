"""Losses of the action heads: element-wise first, then a mean over the supervised elements only."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from robovlms.actions.tokenizer import ActionTokenizer

Mask = Bool[Tensor, "..."]  # [*lead], of whole rows, or [*lead, d], of each number


def masked_mean(values: Float[Tensor, "*lead d"], mask: Mask) -> Float[Tensor, ""]:
    """Mean of `values` over the rows or numbers where `mask` is True; 0, with a gradient of 0, where none is."""
    weights = elementwise(mask, values)
    return values.where(weights, 0.0).sum() / weights.sum().clamp_min(1)


def elementwise(mask: Mask, values: Float[Tensor, "*lead d"] | Int64[Tensor, "*lead d"]) -> Bool[Tensor, "*lead d"]:
    """The mask of each number of `values`, from one of rows or of numbers."""
    return mask if mask.ndim == values.ndim else mask.unsqueeze(-1).expand_as(values)


def masked_huber(
    prediction: Float[Tensor, "*lead d"], target: Float[Tensor, "*lead d"], mask: Mask, delta: float
) -> Float[Tensor, ""]:
    """Huber loss, quadratic below an error of `delta` and linear above.

    Source: P. J. Huber, "Robust Estimation of a Location Parameter", 1964.
    """
    target = target.where(elementwise(mask, target), 0.0)
    return masked_mean(F.huber_loss(prediction, target, reduction="none", delta=delta), mask)


def masked_l1(prediction: Float[Tensor, "*lead d"], target: Float[Tensor, "*lead d"], mask: Mask) -> Float[Tensor, ""]:
    """Mean absolute error."""
    target = target.where(elementwise(mask, target), 0.0)
    return masked_mean((prediction - target).abs(), mask)


def masked_bce(logit: Float[Tensor, "*lead d"], target: Float[Tensor, "*lead d"], mask: Mask) -> Float[Tensor, ""]:
    """Binary cross-entropy of logits; targets in [0, 1]."""
    target = target.where(elementwise(mask, target), 0.0)
    return masked_mean(F.binary_cross_entropy_with_logits(logit, target, reduction="none"), mask)


def masked_cross_entropy(
    logits: Float[Tensor, "*lead d classes"], target: Int64[Tensor, "*lead d"], mask: Mask
) -> Float[Tensor, ""]:
    """Cross-entropy of classes, computed in float32; `target` holds valid classes also where it is masked."""
    errors = F.cross_entropy(logits.flatten(0, -2).float(), target.flatten(), reduction="none")
    return masked_mean(errors.view_as(target), mask)


def discrete_loss(
    logits: Float[Tensor, "b s vocab"],
    labels: Int64[Tensor, "b s"],
    *,
    action_tokenizer: ActionTokenizer,
    action_dim: int,
    gripper_dims: Sequence[int] | None = None,
    ignore_index: int = -100,
) -> dict[str, Float[Tensor, ""]]:
    """Next-token loss of sequences that mix text and action tokens, and how well the action tokens are met.

    Position i predicts label i + 1. Every label but `ignore_index` is supervised, the end of the sequence among them.
    The greedy choice runs over the whole vocabulary, and a choice that is no action token counts, in the distance, as
    the nearest end of the action ids.

    Args:
        logits: [b, s, vocab].
        labels: [b, s], token ids; the action tokens of a row are whole actions, one after the other.
        action_tokenizer: says which ids are action tokens and what they mean.
        action_dim: a, tokens per action.
        gripper_dims: indices of the gripper dimensions; None takes the last.
        ignore_index: label of what is not supervised.

    Returns:
        total_loss, and, without a gradient, accuracy_arm, accuracy_gripper (parts of the tokens that the greedy choice
        meets) and l1_action (mean distance over all dimensions, in the unit of the bins). Each is 0 where there is
        nothing to take the mean of.

    Source: the loss of RT-2 (Brohan et al., 2023), with the metrics of OpenVLA (Kim et al., 2024).
    """
    logits, labels = logits[:, :-1], labels[:, 1:]
    is_supervised = labels != ignore_index
    target = labels.where(is_supervised, 0)
    total = masked_cross_entropy(logits.unsqueeze(2), target.unsqueeze(2), is_supervised)
    with torch.no_grad():
        metrics = _token_metrics(logits.argmax(-1), labels, action_tokenizer, action_dim, gripper_dims)
    return {"total_loss": total, **metrics}


def _token_metrics(
    chosen: Tensor, labels: Tensor, tokenizer: ActionTokenizer, action_dim: int, gripper_dims: Sequence[int] | None
) -> dict[str, Tensor]:
    first, last = tokenizer.action_token_begin_idx + 1, tokenizer.action_token_end_idx - 1
    is_action = (first <= labels) & (labels <= last)
    grippers = torch.tensor([action_dim - 1] if gripper_dims is None else gripper_dims, device=labels.device)
    is_gripper = torch.isin((is_action.cumsum(1) - 1) % action_dim, grippers)
    is_met = (chosen == labels).float().unsqueeze(-1)
    values = torch.as_tensor(tokenizer.decode_token_ids_to_actions(range(first, last + 1))).to(labels.device)
    chosen, labels = (ids.clamp(first, last) - first for ids in (chosen, labels))
    distance = (values[chosen] - values[labels]).abs().float().unsqueeze(-1)
    return {
        "accuracy_arm": masked_mean(is_met, is_action & ~is_gripper),
        "accuracy_gripper": masked_mean(is_met, is_action & is_gripper),
        "l1_action": masked_mean(distance, is_action),
    }
