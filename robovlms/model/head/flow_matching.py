"""A decoder that learns the distribution of chunks: conditional flow matching along straight paths.

::

    time   0 ──────────────────────────────▶ 1
    chunk  noise ε      (1 - τ)·ε + τ·x      x      velocity of the path: x - ε, the same at every τ

The network learns the mean velocity at a point of the path given the trunk's output; following it from noise with Euler
steps gives a sample. Two demonstrations that do different things in the same situation stay two modes, where a
regression would give their mean. While flowing a gripper label {0, 1} is the coordinate {-1, 1}.

Source: Lipman et al., "Flow Matching for Generative Modeling", 2023, section 4.1 (optimal-transport paths with
sigma_min = 0), for action chunks as in Black et al., "π0", 2024, section IV; conditioning by adaptive layer norm as in
Peebles and Xie, "Scalable Diffusion Models with Transformers", 2023.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from robovlms.errors import ConfigError
from robovlms.model.losses import elementwise

NOISE_SEED = 0  # of the noise that `predict` starts from when none is given
_WIDTH, _NUM_BLOCKS = 256, 3
_NUM_FREQUENCIES, _LONGEST_PERIOD, _SHORTEST_PERIOD = 16, 4.0, 0.04


class FlowMatching(nn.Module):
    """From a trunk's output and noise to a chunk.

    Args:
        in_features: h, width of the trunk's output.
        fwd_pred_next_n: n, actions per chunk.
        action_dim: a, numbers per action.
        gripper_dims: indices of the binary gripper dimensions.
        num_flow_steps: Euler steps from noise to a chunk, at least 1.

    Raises:
        ConfigError: if there is no step.
    """

    def __init__(
        self, in_features: int, fwd_pred_next_n: int, action_dim: int, gripper_dims: Sequence[int], num_flow_steps: int
    ) -> None:
        super().__init__()
        if num_flow_steps < 1:
            raise ConfigError(f"head: num_flow_steps must be at least 1, got {num_flow_steps}")
        self.num_flow_steps, self.gripper_dims = num_flow_steps, tuple(gripper_dims)
        self.chunk_shape = (fwd_pred_next_n, action_dim)
        self.time = nn.Sequential(nn.Linear(2 * _NUM_FREQUENCIES, _WIDTH), nn.SiLU(), nn.Linear(_WIDTH, _WIDTH))
        self.condition = nn.Linear(in_features, _WIDTH)
        self.inside = nn.Linear(fwd_pred_next_n * action_dim, _WIDTH)
        self.blocks = nn.ModuleList(_Block() for _ in range(_NUM_BLOCKS))
        self.outside = nn.Linear(_WIDTH, fwd_pred_next_n * action_dim)

    def forward(
        self, chunk: Float[Tensor, "*lead n a"], time: Float[Tensor, "*#lead"], hidden: Float[Tensor, "*lead h"]
    ) -> Float[Tensor, "*lead n a"]:
        """Velocity at a point of the path.

        Args:
            chunk: the point, [..., n, a].
            time: τ in [0, 1], one per row.
            hidden: the trunk's output, [..., h].
        """
        condition = self.time(_time_features(time)) + self.condition(hidden)
        x = self.inside(chunk.flatten(-2))
        for block in self.blocks:
            x = block(x, condition)
        return self.outside(x).unflatten(-1, self.chunk_shape)

    def squared_errors(
        self,
        hidden: Float[Tensor, "*lead h"],
        actions: Float[Tensor, "*lead n a"],
        action_mask: Bool[Tensor, "*lead n"] | Bool[Tensor, "*lead n a"],
    ) -> Float[Tensor, "*lead n a"]:
        """Squared errors of the velocity at one random point of one random path per row.

        Args:
            hidden: [..., h].
            actions: [..., n, a]; arm in [-1, 1], gripper 1 = open.
            action_mask: [..., n] or [..., n, a], True = supervised; what is not counts as 0 in the path, and its errors
                as nothing.

        Returns:
            [..., n, a]; meaningless where `action_mask` is False.
        """
        target = self._to_path(actions).where(elementwise(action_mask, actions), 0.0)
        noise = torch.randn_like(target)
        time = torch.rand_like(target[..., 0, 0])
        portion = time[..., None, None]
        velocity = self((1 - portion) * noise + portion * target, time, hidden)
        return (velocity - (target - noise)).square()

    def predict(
        self, hidden: Float[Tensor, "*lead h"], noise: Float[Tensor, "*#lead n a"] | None = None
    ) -> Float[Tensor, "*lead n a"]:
        """Follow the velocity from noise to a chunk.

        Args:
            hidden: [..., h].
            noise: start, standard normal, broadcast to all rows; None draws [n, a] from a generator seeded with
                `NOISE_SEED`, the same for every row and call.

        Returns:
            [..., n, a]; arm clamped to [-1, 1], gripper as the probability of open.
        """
        if noise is None:
            noise = torch.randn(self.chunk_shape, generator=torch.Generator().manual_seed(NOISE_SEED))
        chunk = noise.to(hidden).expand(*hidden.shape[:-1], *self.chunk_shape)
        for step in range(self.num_flow_steps):
            time = hidden.new_full(hidden.shape[:-1], step / self.num_flow_steps)
            chunk = chunk + self(chunk, time, hidden) / self.num_flow_steps
        return self._from_path(chunk)

    def _to_path(self, actions: Tensor) -> Tensor:
        target = actions.clone()
        target[..., self.gripper_dims] = 2 * actions[..., self.gripper_dims] - 1
        return target

    def _from_path(self, chunk: Tensor) -> Tensor:
        chunk = chunk.clamp(-1, 1)
        chunk[..., self.gripper_dims] = (chunk[..., self.gripper_dims] + 1) / 2
        return chunk


class _Block(nn.Module):
    """A residual MLP whose normalised input is scaled and shifted by the condition."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(_WIDTH, elementwise_affine=False)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(_WIDTH, 2 * _WIDTH))
        self.mlp = nn.Sequential(nn.Linear(_WIDTH, 2 * _WIDTH), nn.SiLU(), nn.Linear(2 * _WIDTH, _WIDTH))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.modulation(condition).chunk(2, -1)
        return x + self.mlp(self.norm(x) * (1 + scale) + shift)


def _time_features(time: Float[Tensor, "*lead"]) -> Float[Tensor, "*lead f"]:
    """Sines and cosines of τ with periods from far longer than the path to a small part of it."""
    exponent = torch.linspace(0, 1, _NUM_FREQUENCIES, device=time.device, dtype=time.dtype)
    period = _LONGEST_PERIOD * (_SHORTEST_PERIOD / _LONGEST_PERIOD) ** exponent
    angle = time.unsqueeze(-1) * (2 * math.pi / period)
    return torch.cat([angle.sin(), angle.cos()], -1)
