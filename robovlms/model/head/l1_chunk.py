"""A head that decodes a chunk in parallel: one query token per chunk step, the queries seeing each other.

::

    features [b, t, n, d] ── the same MLP for every token ─┬─ tanh ─ arm     [b, t, n, arm]
                                                           └──────── gripper [b, t, n, g] (logits)

Source: Kim et al., "Fine-Tuning Vision-Language-Action Models: Optimizing Speed and Success" (OpenVLA-OFT), 2025,
section IV: parallel decoding, action chunks and an L1 loss.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from robovlms.errors import ConfigError, PolicyError
from robovlms.model.head.base import BasePolicyHead
from robovlms.model.losses import masked_bce, masked_l1


class L1ChunkDecoder(BasePolicyHead):
    """One token per chunk step to one action. Arguments as in `BasePolicyHead`.

    `latent` must be 1 and `down_sample` "none": the number of queries is the number of chunk steps.

    Raises:
        ConfigError: if `latent` or `down_sample` say otherwise.
    """

    has_parallel_queries = True

    def __init__(self, in_features: int, hidden_size: int, action_dim: int, **settings: Any) -> None:
        super().__init__(in_features, hidden_size, action_dim, **settings)
        if self.latent != 1 or self.down_sample != "none":
            raise ConfigError(
                f"head: l1_chunk has one query per chunk step ({self.fwd_pred_next_n}); set latent: 1 and down_sample: "
                f"none, not {self.latent} and {self.down_sample}"
            )
        self.mlp = nn.Sequential(
            nn.LayerNorm(in_features),
            nn.Linear(in_features, hidden_size),
            nn.ReLU(),
            nn.Linear(hidden_size, hidden_size),
            nn.ReLU(),
        )
        self.actions = nn.Linear(hidden_size, len(self.arm_dims))
        self.gripper = nn.Linear(hidden_size, len(self.gripper_dims)) if self.gripper_dims else None

    @property
    def num_queries(self) -> int:
        """One query per chunk step."""
        return self.fwd_pred_next_n

    def forward(
        self,
        features: Float[Tensor, "b t k d"],
        step_mask: Bool[Tensor, "b t"] | None = None,
        token_mask: Bool[Tensor, "b t k"] | None = None,
    ) -> tuple[Float[Tensor, "b t n arm"], Float[Tensor, "b t n g"]]:
        """Regress one action from each token. The masks are not used: tokens do not see each other here.

        Returns:
            arm [b, t, n, arm] in [-1, 1], gripper logits [b, t, n, g].

        Raises:
            PolicyError: if there is not one token per chunk step.
        """
        if features.shape[2] != self.num_queries:
            raise PolicyError(
                f"l1_chunk takes one token per chunk step: expected {self.num_queries}, got {features.shape[2]}"
            )
        hidden = self.mlp(features)
        gripper = hidden[..., :0] if self.gripper is None else self.gripper(hidden)
        return torch.tanh(self.actions(hidden)), gripper

    def loss(
        self,
        features: Float[Tensor, "b t k d"],
        actions: Float[Tensor, "b t n a"],
        action_mask: Bool[Tensor, "b t n"] | Bool[Tensor, "b t n a"],
        step_mask: Bool[Tensor, "b t"] | None = None,
        token_mask: Bool[Tensor, "b t k"] | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """Masked absolute error of the arm plus weighted masked cross-entropy of the gripper, as in the base."""
        arm, gripper = self(features, step_mask, token_mask)
        return self._total(
            masked_l1(arm, actions[..., self.arm_dims], self._of_dims(action_mask, self.arm_dims)),
            masked_bce(gripper, actions[..., self.gripper_dims], self._of_dims(action_mask, self.gripper_dims)),
        )

    def predict(
        self,
        features: Float[Tensor, "b t k d"],
        step_mask: Bool[Tensor, "b t"] | None = None,
        token_mask: Bool[Tensor, "b t k"] | None = None,
    ) -> Float[Tensor, "b t n a"]:
        """Chunk at every window step: arm in [-1, 1], gripper as the probability of open."""
        arm, gripper = self(features, step_mask, token_mask)
        return self._join(arm, torch.sigmoid(gripper))
