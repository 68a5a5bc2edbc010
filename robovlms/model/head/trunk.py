"""A head that looks at whole frames: a trunk over their features, then a decoder that gives the chunk.

::

    features [b, t, k, d] ── pool ── [b, t, latent·d] ── trunk ── [b, t, h] ─┬─ tanh MLP ─ arm     [b, t, n, arm]
                                                                             └─ MLP ────── gripper [b, t, n, g] (logits)
                                                                       or    └─ flow matching ─ chunk [b, t, n, a]
"""

from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from robovlms.errors import ConfigError, PolicyError, unknown_name
from robovlms.model.head.base import BasePolicyHead
from robovlms.model.head.flow_matching import FlowMatching
from robovlms.model.head.mlp import MLPSigmoidHead, MLPTanhHead
from robovlms.model.losses import masked_bce, masked_huber, masked_mean

DECODERS = ("regression", "flow_matching")


class TrunkHead(BasePolicyHead):
    """A trunk over the frames with one of two decoders.

    "regression" gives one chunk: masked Huber loss for the arm, masked cross-entropy for the gripper.
    "flow_matching" learns the distribution of chunks: both losses are squared velocity errors, and the total is their
    mean over all numbers of an action; `gripper_loss_weight` and `huber_delta` play no part.

    Args:
        in_features, hidden_size, action_dim: as in `BasePolicyHead`; the trunk is `hidden_size`·`latent` wide.
        decoder: "regression" or "flow_matching".
        num_flow_steps: steps from noise to a chunk, for flow matching.
        settings: further keywords of `BasePolicyHead`.

    Raises:
        ConfigError: if `decoder` is unknown.
    """

    def __init__(
        self,
        in_features: int,
        hidden_size: int,
        action_dim: int,
        *,
        decoder: str = "regression",
        num_flow_steps: int = 10,
        **settings: Any,
    ) -> None:
        super().__init__(in_features, hidden_size, action_dim, **settings)
        if decoder not in DECODERS:
            raise ConfigError("head: " + unknown_name("decoder", decoder, DECODERS))
        width, n = hidden_size * self.latent, self.fwd_pred_next_n
        self._init_trunk(in_features * self.latent, width)
        self.flow = self.actions = self.gripper = None
        if decoder == "flow_matching":
            self.flow = FlowMatching(width, n, action_dim, self.gripper_dims, num_flow_steps)
            return
        self.actions = MLPTanhHead(width, n * len(self.arm_dims))
        self.gripper = MLPSigmoidHead(width, n * len(self.gripper_dims)) if self.gripper_dims else None

    @abstractmethod
    def _init_trunk(self, in_features: int, hidden_size: int) -> None:
        """Create the trunk's modules."""

    @abstractmethod
    def trunk(self, x: Float[Tensor, "b t i"], step_mask: Bool[Tensor, "b t"] | None) -> Float[Tensor, "b t h"]:
        """Mix the frames of a window; `step_mask` is False at window steps before the episode."""

    def forward(
        self,
        features: Float[Tensor, "b t k d"],
        step_mask: Bool[Tensor, "b t"] | None = None,
        token_mask: Bool[Tensor, "b t k"] | None = None,
    ) -> tuple[Float[Tensor, "b t n arm"], Float[Tensor, "b t n g"]]:
        """Regress a chunk at every window step. Arguments as in `loss`.

        Returns:
            arm [b, t, n, arm] in [-1, 1], gripper logits [b, t, n, g].

        Raises:
            PolicyError: if the decoder is flow matching, which has no single regression.
        """
        arm, gripper = self._regress(self._hidden(features, step_mask, token_mask))
        return arm.unflatten(-1, (self.fwd_pred_next_n, -1)), gripper.unflatten(
            -1, (self.fwd_pred_next_n, len(self.gripper_dims))
        )

    def _regress(self, hidden: Float[Tensor, "*lead h"]) -> tuple[Float[Tensor, "*lead arm"], Float[Tensor, "*lead g"]]:
        """Both outputs with the chunk's steps flat in the last axis, step-major."""
        if self.actions is None:
            raise PolicyError("a head with the decoder flow_matching has no regression output; call `predict`")
        return self.actions(hidden), hidden[..., :0] if self.gripper is None else self.gripper(hidden)

    def _hidden(self, features: Tensor, step_mask: Tensor | None, token_mask: Tensor | None) -> Tensor:
        return self.trunk(self._pool(features, token_mask).flatten(-2), step_mask)

    def loss(
        self,
        features: Float[Tensor, "b t k d"],
        actions: Float[Tensor, "b t n a"],
        action_mask: Bool[Tensor, "b t n"] | Bool[Tensor, "b t n a"],
        step_mask: Bool[Tensor, "b t"] | None = None,
        token_mask: Bool[Tensor, "b t k"] | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """Losses of the decoder, see the class; arguments and results as in `BasePolicyHead.loss`."""
        arm_mask, gripper_mask = (self._of_dims(action_mask, dims) for dims in (self.arm_dims, self.gripper_dims))
        if self.flow is not None:
            errors = self.flow.squared_errors(self._hidden(features, step_mask, token_mask), actions, action_mask)
            return {
                "loss_arm": masked_mean(errors[..., self.arm_dims], arm_mask),
                "loss_gripper": masked_mean(errors[..., self.gripper_dims], gripper_mask),
                "total_loss": masked_mean(errors, action_mask),
            }
        arm, gripper = self(features, step_mask, token_mask)
        return self._total(
            masked_huber(arm, actions[..., self.arm_dims], arm_mask, self.huber_delta),
            masked_bce(gripper, actions[..., self.gripper_dims], gripper_mask),
        )

    def predict(
        self,
        features: Float[Tensor, "b t k d"],
        step_mask: Bool[Tensor, "b t"] | None = None,
        token_mask: Bool[Tensor, "b t k"] | None = None,
        *,
        noise: Float[Tensor, "*#lead n a"] | None = None,
    ) -> Float[Tensor, "b t n a"]:
        """Chunk at every window step: arm in [-1, 1], gripper as the probability of open.

        Args:
            features, step_mask, token_mask: as in `loss`.
            noise: start of the flow, [n, a] for all rows or [b, t, n, a]; None takes the same fixed noise for every
                row and call, so that a frame gives the same chunk alone, in a batch and in a stream.

        Raises:
            PolicyError: if noise is given to a regression decoder.
        """
        if self.flow is not None:
            return self.flow.predict(self._hidden(features, step_mask, token_mask), noise)
        if noise is not None:
            raise PolicyError("noise is for the decoder flow_matching; this head regresses one chunk")
        arm, gripper = self(features, step_mask, token_mask)
        return self._join(arm, torch.sigmoid(gripper))
