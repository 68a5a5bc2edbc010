"""A head without memory: each frame on its own."""

from jaxtyping import Bool, Float
from torch import Tensor, nn

from robovlms.model.head.base import BasePolicyHead


class FCDecoder(BasePolicyHead):
    """Two linear layers per frame; simple, reactive, fast. Arguments as in `BasePolicyHead`."""

    def _init_trunk(self, in_features: int, hidden_size: int) -> None:
        self.mlp = nn.Sequential(
            nn.Linear(in_features, in_features // 2), nn.ReLU(), nn.Linear(in_features // 2, hidden_size)
        )
        for layer in (self.mlp[0], self.mlp[2]):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def trunk(self, x: Float[Tensor, "b t i"], step_mask: Bool[Tensor, "b t"] | None) -> Float[Tensor, "b t h"]:
        return self.mlp(x)
