"""An action head: a trunk over the frames' features, then two small networks that give a chunk of actions.

::

    features [b, t, k, d] ── pool ── [b, t, latent·d] ── trunk ── [b, t, h] ─┬─ tanh MLP ─ arm     [b, t, n, arm]
                                                                             └─ MLP ────── gripper [b, t, n, g] (logits)
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from robovlms.errors import ConfigError
from robovlms.model.head.mlp import MLPSigmoidHead, MLPTanhHead
from robovlms.model.losses import masked_bce, masked_huber


class BasePolicyHead(nn.Module, ABC):
    """Regression of the arm, logits of the gripper.

    Args:
        in_features: d, width of one action token.
        hidden_size: width of the trunk per latent token.
        action_dim: a, numbers per action.
        down_sample: "none" takes exactly `latent` tokens per frame; "pooling" max-pools any number of tokens to
            `latent`.
        latent: tokens per frame that the trunk sees.
        fwd_pred_next_n: n, actions per chunk.
        window_size: t, frames that a trunk with memory sees at most, the current one included.
        num_layers: layers of a trunk with memory.
        gripper_dims: indices of the binary gripper dimensions; None takes the last dimension.
        gripper_loss_weight: weight of the gripper's loss in the total.
        huber_delta: error above which the arm loss grows linearly.

    Attributes:
        needs_history: whether the trunk makes sense only with past frames.

    Raises:
        ConfigError: if no dimension is left for the arm, or `down_sample` is unknown.
    """

    needs_history: ClassVar[bool] = False

    def __init__(
        self,
        in_features: int,
        hidden_size: int,
        action_dim: int,
        *,
        down_sample: str = "none",
        latent: int = 1,
        fwd_pred_next_n: int = 1,
        window_size: int = 1,
        num_layers: int = 4,
        gripper_dims: Sequence[int] | None = None,
        gripper_loss_weight: float = 0.01,
        huber_delta: float = 1.0,
    ) -> None:
        super().__init__()
        gripper = (action_dim - 1,) if gripper_dims is None else tuple(gripper_dims)
        arm = tuple(i for i in range(action_dim) if i not in gripper)
        if not arm or any(not 0 <= i < action_dim for i in gripper):
            raise ConfigError(f"head: gripper dimensions {list(gripper)} do not fit an action of {action_dim} numbers")
        if down_sample not in ("none", "pooling"):
            raise ConfigError(f"head: down_sample must be none or pooling, got {down_sample!r}")
        self.arm_dims, self.gripper_dims = arm, gripper
        self.down_sample, self.latent, self.fwd_pred_next_n = down_sample, latent, fwd_pred_next_n
        self.window_size, self.num_layers = window_size, num_layers
        self.gripper_loss_weight, self.huber_delta = gripper_loss_weight, huber_delta
        self._init_trunk(in_features * latent, hidden_size * latent)
        self.actions = MLPTanhHead(hidden_size * latent, fwd_pred_next_n * len(arm))
        self.gripper = MLPSigmoidHead(hidden_size * latent, fwd_pred_next_n * len(gripper)) if gripper else None

    @abstractmethod
    def _init_trunk(self, in_features: int, hidden_size: int) -> None:
        """Create the trunk's modules."""

    @abstractmethod
    def trunk(self, x: Float[Tensor, "b t i"], step_mask: Bool[Tensor, "b t"] | None) -> Float[Tensor, "b t h"]:
        """Mix the frames of a window; `step_mask` is False at window steps before the episode."""

    def forward(
        self, features: Float[Tensor, "b t k d"], step_mask: Bool[Tensor, "b t"] | None = None
    ) -> tuple[Float[Tensor, "b t n arm"], Float[Tensor, "b t n g"]]:
        """Predict a chunk at every window step.

        Args:
            features: [b, t, k, d], k action tokens per frame.
            step_mask: [b, t], False at window steps before the episode (on the left); None = all real.

        Returns:
            arm [b, t, n, arm] in [-1, 1], gripper logits [b, t, n, g].
        """
        hidden = self.trunk(self._pool(features), step_mask)
        arm = self.actions(hidden).unflatten(-1, (self.fwd_pred_next_n, -1))
        if self.gripper is None:
            return arm, arm[..., :0]
        return arm, self.gripper(hidden).unflatten(-1, (self.fwd_pred_next_n, -1))

    def _pool(self, features: Tensor) -> Tensor:
        if self.down_sample == "pooling":
            tokens = features.flatten(0, 1).transpose(1, 2)
            pooled = F.adaptive_max_pool1d(tokens, self.latent).transpose(1, 2)
            features = pooled.unflatten(0, features.shape[:2])
        return features.flatten(2)

    def loss(
        self,
        features: Float[Tensor, "b t k d"],
        actions: Float[Tensor, "b t n a"],
        action_mask: Bool[Tensor, "b t n"],
        step_mask: Bool[Tensor, "b t"] | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """Masked Huber loss of the arm plus weighted masked cross-entropy of the gripper.

        Args:
            features: [b, t, k, d].
            actions: targets [b, t, n, a]; arm normalised, gripper 1 = open.
            action_mask: [b, t, n], True = supervised.
            step_mask: as in `forward`.

        Returns:
            loss_arm, loss_gripper (0 without a gripper) and total_loss.
        """
        arm, gripper = self(features, step_mask)
        loss_arm = masked_huber(arm, actions[..., self.arm_dims], action_mask, self.huber_delta)
        loss_gripper = (
            masked_bce(gripper, actions[..., self.gripper_dims], action_mask)
            if self.gripper
            else loss_arm.new_zeros(())
        )
        total = loss_arm + self.gripper_loss_weight * loss_gripper
        return {"loss_arm": loss_arm, "loss_gripper": loss_gripper, "total_loss": total}

    def predict(
        self, features: Float[Tensor, "b t k d"], step_mask: Bool[Tensor, "b t"] | None = None
    ) -> Float[Tensor, "b t n a"]:
        """Chunk at every window step: arm in [-1, 1], gripper as the probability of open."""
        arm, gripper = self(features, step_mask)
        chunk = arm.new_empty(*arm.shape[:-1], len(self.arm_dims) + len(self.gripper_dims))
        chunk[..., self.arm_dims] = arm
        chunk[..., self.gripper_dims] = torch.sigmoid(gripper)
        return chunk
