"""What every action head is: a loss and a prediction on the features of a window's frames.

::

                              ┌─ fc, lstm, gpt    a trunk over the frames, then regression or flow matching
    features [b, t, k, d] ────┼─ l1_chunk         one token per chunk step, no trunk
                              └─ discrete         one token per number, a class per bin
                                        │
                                        └──▶ loss(…) -> dict of scalars     predict(…) -> chunk [b, t, n, a]

A head holds weights and nothing else: what must be remembered between control steps is given to it as features.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from jaxtyping import Bool, Float
from torch import Tensor, nn

from robovlms.errors import ConfigError
from robovlms.model.head.original import constructor_keywords, load_original
from robovlms.model.head.pooling import adaptive_max_pool


class BasePolicyHead(nn.Module, ABC):
    """Settings that all heads share, and the two functions that a policy calls.

    Args:
        in_features: d, width of one token.
        hidden_size: width of the head's own layers.
        action_dim: a, numbers per action.
        down_sample: "none" takes exactly `latent` tokens per frame; "pooling" max-pools any number of tokens to
            `latent`.
        latent: tokens per frame that a trunk sees.
        fwd_pred_next_n: n, actions per chunk.
        window_size: t, frames that a trunk with memory sees at most, the current one included.
        num_layers: layers of a trunk with memory.
        gripper_dims: indices of the binary gripper dimensions; None takes the last dimension.
        gripper_loss_weight: weight of the gripper's loss in the total.
        huber_delta: error above which the arm loss grows linearly.

    Attributes:
        needs_history: whether the head makes sense only with past frames.
        is_discrete: whether the head predicts a class per number, one after the other.
        has_parallel_queries: whether the queries of a frame see each other in both directions.
        arm_dims, gripper_dims: indices of the two kinds of dimensions, each a tuple of ints.

    Raises:
        ConfigError: if no dimension is left for the arm, or `down_sample` is unknown.
    """

    needs_history: ClassVar[bool] = False
    is_discrete: ClassVar[bool] = False
    has_parallel_queries: ClassVar[bool] = False

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
        self.in_features, self.hidden_size, self.action_dim = in_features, hidden_size, action_dim
        self.arm_dims, self.gripper_dims = arm, gripper
        self.down_sample, self.latent, self.fwd_pred_next_n = down_sample, latent, fwd_pred_next_n
        self.window_size, self.num_layers = window_size, num_layers
        self.gripper_loss_weight, self.huber_delta = gripper_loss_weight, huber_delta

    @classmethod
    def from_original(cls, state_dict: Mapping[str, Tensor], **kwargs: Any) -> "BasePolicyHead":
        """Build a head with weights of the original RoboVLMs.

        Args:
            state_dict: the head's weights, or a whole checkpoint's; keys may begin with "module.", "model." and
                "act_head.".
            kwargs: constructor keywords, under the names of the original's `act_head` settings. Those that say
                nothing about the head here are ignored, see `constructor_keywords`.

        Raises:
            CheckpointError: names the first key that is missing, unknown or of another shape.
        """
        head = cls(**constructor_keywords(kwargs))
        load_original(head, state_dict)
        return head

    @property
    def num_queries(self) -> int:
        """Action-query tokens per frame whose hidden states the head reads."""
        return self.latent

    @abstractmethod
    def loss(
        self,
        features: Float[Tensor, "b t k d"],
        actions: Float[Tensor, "b t n a"],
        action_mask: Bool[Tensor, "b t n"] | Bool[Tensor, "b t n a"],
        step_mask: Bool[Tensor, "b t"] | None = None,
        token_mask: Bool[Tensor, "b t k"] | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """Losses of a batch.

        Args:
            features: [b, t, k, d], k tokens per frame.
            actions: targets [b, t, n, a]; arm normalised to [-1, 1], gripper 1 = open.
            action_mask: [b, t, n], True = supervised; or [b, t, n, a], where robots have different numbers.
            step_mask: [b, t], False at window steps before the episode (on the left); None = all real.
            token_mask: [b, t, k], False at padding tokens, which "pooling" leaves out; None = all real.

        Returns:
            At least loss_arm, loss_gripper (0 without a gripper) and total_loss; all 0 where nothing is supervised.
        """

    @abstractmethod
    def predict(
        self,
        features: Float[Tensor, "b t k d"],
        step_mask: Bool[Tensor, "b t"] | None = None,
        token_mask: Bool[Tensor, "b t k"] | None = None,
    ) -> Float[Tensor, "b t n a"]:
        """Chunk at every window step: arm in [-1, 1], gripper as the probability of open. Arguments as in `loss`."""

    def _pool(
        self, features: Float[Tensor, "*lead k d"], token_mask: Bool[Tensor, "*lead k"] | None
    ) -> Float[Tensor, "*lead latent d"]:
        if self.down_sample == "none":
            return features
        return adaptive_max_pool(features, token_mask, self.latent)

    def _join(self, arm: Float[Tensor, "*lead arm"], gripper: Float[Tensor, "*lead g"]) -> Float[Tensor, "*lead a"]:
        chunk = arm.new_empty(*arm.shape[:-1], self.action_dim)
        chunk[..., self.arm_dims] = arm
        chunk[..., self.gripper_dims] = gripper
        return chunk

    def _of_dims(self, action_mask: Tensor, dims: list[int] | tuple[int, ...]) -> Tensor:
        """The part of the mask that some numbers of an action have."""
        return action_mask[..., dims] if action_mask.ndim == 4 else action_mask

    def _total(self, loss_arm: Tensor, loss_gripper: Tensor) -> dict[str, Tensor]:
        total = loss_arm + self.gripper_loss_weight * loss_gripper
        return {"loss_arm": loss_arm, "loss_gripper": loss_gripper, "total_loss": total}
