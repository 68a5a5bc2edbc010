"""A head that speaks actions: one token per number, a class per bin, each token seeing those before it.

A chunk of n actions of a numbers is a sequence of n·a tokens, the steps one after the other and the dimensions of a
step inside it. With n = 2 and a = 3::

    chunk      [[x0, y0, g0], [x1, y1, g1]]
    tokens     x0  y0  g0  x1  y1  g1
    fed        s   x0  y0  g0  x1  y1      s = a start query
    features   ·   ·   ·   ·   ·   ·       [..., i, :] predicts token i

The model feeds the tokens through the backbone; the head turns actions into tokens, tokens into vectors, and vectors
into logits. Its tokens are either reserved, with tables of their own, or tokens of the text model's vocabulary.
"""

from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from robovlms.actions.tokenizer import ActionTokenizer
from robovlms.errors import ConfigError
from robovlms.model.head.base import BasePolicyHead
from robovlms.model.losses import masked_cross_entropy, masked_mean

_ROUNDING = 1e-4  # far below half a bin: the middle one of an odd number of bins is not above the middle


@runtime_checkable
class Vocabulary(Protocol):
    """The text model's own tokens, of which some stand for actions."""

    @property
    def action_tokenizer(self) -> ActionTokenizer:
        """Which ids are action tokens and what they mean."""

    def embed(self, ids: Int64[Tensor, "*lead"]) -> Float[Tensor, "*lead d"]:
        """Token ids to the vectors that the decoder takes."""

    def logits(self, hidden: Float[Tensor, "*lead d"]) -> Float[Tensor, "*lead vocab"]:
        """Hidden states to logits of the whole vocabulary."""


class DiscreteDecoder(BasePolicyHead):
    """Bins instead of a regression. Other arguments as in `BasePolicyHead`.

    Args:
        n_bin: bins per number.
        min_action, max_action: range of the bins, in the normalised space; a closed gripper is `min_action`, an open
            one `max_action`.
        vocabulary: the text model's tokens; None reserves ids 0 … n_bin - 1 of a vocabulary of the head's own. Its
            weights are not registered here, as they belong to the text model.
        settings: further keywords of `BasePolicyHead`.

    Raises:
        ConfigError: if the bins of `vocabulary` are others, or it lacks a function.
    """

    is_discrete = True

    def __init__(
        self,
        in_features: int,
        hidden_size: int,
        action_dim: int,
        *,
        n_bin: int = 256,
        min_action: float = -1.0,
        max_action: float = 1.0,
        vocabulary: Any = None,
        **settings: Any,
    ) -> None:
        super().__init__(in_features, hidden_size, action_dim, **settings)
        self._vocabulary = (vocabulary,)  # in a tuple a module is not registered
        if vocabulary is None:
            self.action_tokenizer = ActionTokenizer.reserved(0, n_bin, min_action, max_action)
            self.embedding = nn.Embedding(n_bin, in_features)
            nn.init.normal_(self.embedding.weight, std=in_features**-0.5)
            self.output = nn.Linear(in_features, n_bin, bias=False)
            return
        if not isinstance(vocabulary, Vocabulary):
            raise ConfigError(f"head: {type(vocabulary).__name__} needs embed, logits and action_tokenizer")
        self.action_tokenizer = tokenizer = vocabulary.action_tokenizer
        asked, found = (
            (n_bin, min_action, max_action),
            (tokenizer.vocab_size, tokenizer.min_action, tokenizer.max_action),
        )
        if asked != found:
            raise ConfigError(f"head: n_bin, min_action, max_action are {asked}, those of the vocabulary are {found}")

    @property
    def num_queries(self) -> int:
        """One token per number of the chunk."""
        return self.fwd_pred_next_n * self.action_dim

    def encode(self, actions: Float[Tensor, "*lead n a"]) -> Int64[Tensor, "*lead m"]:
        """Chunks to token ids.

        Args:
            actions: [..., n, a]; arm in [-1, 1], gripper 1 = open. A NaN, as in a step that is not supervised, gives
                some action token.

        Returns:
            [..., n·a].
        """
        tokenizer = self.action_tokenizer
        low, high = tokenizer.min_action, tokenizer.max_action
        values = actions.clone()
        values[..., self.gripper_dims] = low + (high - low) * actions[..., self.gripper_dims]
        # As `ActionTokenizer.to_bins`, but without leaving the device.
        edges = torch.as_tensor(tokenizer.bins).to(actions.device)
        bins = torch.bucketize(values.clamp(low, high).double(), edges, right=True) - 1
        return tokenizer.bins_to_ids(bins.clamp(0, tokenizer.vocab_size - 1)).flatten(-2)

    def embed_tokens(self, ids: Int64[Tensor, "*lead"]) -> Float[Tensor, "*lead d"]:
        """Token ids to the vectors that the backbone's decoder takes."""
        (vocabulary,) = self._vocabulary
        return self.embedding(ids) if vocabulary is None else vocabulary.embed(ids)

    def logits(self, hidden: Float[Tensor, "*lead d"]) -> Float[Tensor, "*lead vocab"]:
        """Hidden states to logits: of the n_bin action tokens, or of the text model's whole vocabulary."""
        (vocabulary,) = self._vocabulary
        return self.output(hidden) if vocabulary is None else vocabulary.logits(hidden)

    def choose(self, logits: Float[Tensor, "*lead vocab"]) -> Int64[Tensor, "*lead"]:
        """The likeliest action token; tokens of the text are never chosen."""
        return self._of_actions(logits).argmax(-1) + self.action_tokenizer.action_token_begin_idx + 1

    def action_logits(self, features: Float[Tensor, "*lead d"]) -> Float[Tensor, "*lead vocab"]:
        """As `logits`, with -inf for tokens that are no action: argmax is what `action_tokenizer` decodes."""
        logits = self.logits(features)
        constrained = torch.full_like(logits, float("-inf"))
        self._of_actions(constrained).copy_(self._of_actions(logits))
        return constrained

    def forward(
        self,
        features: Float[Tensor, "b t m d"],
        step_mask: Bool[Tensor, "b t"] | None = None,
        token_mask: Bool[Tensor, "b t m"] | None = None,
    ) -> Float[Tensor, "b t m vocab"]:
        """Logits of every token of the chunk; the masks are not used, as tokens do not see each other here."""
        return self.logits(features)

    def loss(
        self,
        features: Float[Tensor, "b t m d"],
        actions: Float[Tensor, "b t n a"],
        action_mask: Bool[Tensor, "b t n"] | Bool[Tensor, "b t n a"],
        step_mask: Bool[Tensor, "b t"] | None = None,
        token_mask: Bool[Tensor, "b t m"] | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """Masked cross-entropy of the tokens, with the true tokens fed.

        Args:
            features: [b, t, n·a, d]; number i of the flat chunk is predicted from features[..., i, :].
            actions, action_mask, step_mask, token_mask: as in `BasePolicyHead.loss`.

        Returns:
            total_loss: mean over all supervised tokens; loss_arm and loss_gripper: the means over their tokens, so
            `gripper_loss_weight` plays no part; without a gradient accuracy_arm, accuracy_gripper (parts of the tokens
            met) and l1_arm (mean distance, normalised space), of the greedy choice given the true tokens before.
        """
        shape = (self.fwd_pred_next_n, self.action_dim)
        ids = self.encode(actions).unflatten(-1, shape)
        logits = self.logits(features).unflatten(-2, shape)

        def part(dims: tuple[int, ...]) -> Tensor:
            return masked_cross_entropy(logits[..., dims, :], ids[..., dims], self._of_dims(action_mask, dims))

        losses = {"loss_arm": part(self.arm_dims), "loss_gripper": part(self.gripper_dims)}
        total = masked_cross_entropy(logits, ids, action_mask)
        return {**losses, "total_loss": total, **self._metrics(logits, ids, action_mask)}

    def _metrics(self, logits: Tensor, ids: Tensor, action_mask: Tensor) -> dict[str, Tensor]:
        chosen = self.choose(logits)
        is_met = (chosen == ids).float()
        distance = (self._values(chosen) - self._values(ids)).abs()
        arm_mask, gripper_mask = (self._of_dims(action_mask, dims) for dims in (self.arm_dims, self.gripper_dims))
        return {
            "accuracy_arm": masked_mean(is_met[..., self.arm_dims], arm_mask),
            "accuracy_gripper": masked_mean(is_met[..., self.gripper_dims], gripper_mask),
            "l1_arm": masked_mean(distance[..., self.arm_dims], arm_mask),
        }

    def predict(
        self,
        features: Float[Tensor, "b t m d"],
        step_mask: Bool[Tensor, "b t"] | None = None,
        token_mask: Bool[Tensor, "b t m"] | None = None,
    ) -> Float[Tensor, "b t n a"]:
        """Chunk from the features of its tokens, where the tokens fed were those that `choose` gave.

        Returns:
            [b, t, n, a]: arm at the centre of the chosen bin; gripper as the probability of open, the share of the bins
            above the middle of the range among all action tokens.
        """
        logits = self.logits(features).unflatten(-2, (self.fwd_pred_next_n, self.action_dim))
        arm = self._values(self.choose(logits[..., self.arm_dims, :]))
        is_broken = self._of_actions(logits[..., self.arm_dims, :]).isfinite().logical_not().any(-1)
        arm = arm.masked_fill(is_broken, float("nan"))  # the choice among such numbers would look like an action
        shares = self._of_actions(logits[..., self.gripper_dims, :]).float().softmax(-1)
        low, high = self.action_tokenizer.min_action, self.action_tokenizer.max_action
        portion = (self._centers(shares.device) - low) / (high - low)
        return self._join(arm, (shares * (portion > 0.5 + _ROUNDING)).sum(-1))

    def _of_actions(self, logits: Float[Tensor, "*lead vocab"]) -> Float[Tensor, "*lead bins"]:
        return logits[
            ..., self.action_tokenizer.action_token_begin_idx + 1 : self.action_tokenizer.action_token_end_idx
        ]

    def _centers(self, device: torch.device) -> Float[Tensor, "bins"]:
        """Value of every action token, in the order of the ids."""
        tokenizer = self.action_tokenizer
        ids = range(tokenizer.action_token_begin_idx + 1, tokenizer.action_token_end_idx)
        return torch.as_tensor(tokenizer.decode_token_ids_to_actions(ids), dtype=torch.float32).to(device)

    def _values(self, ids: Int64[Tensor, "*lead"]) -> Float[Tensor, "*lead"]:
        return self._centers(ids.device)[ids - self.action_tokenizer.action_token_begin_idx - 1]
