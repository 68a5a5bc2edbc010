"""A head without memory: each frame on its own."""

from jaxtyping import Bool, Float
from torch import Tensor, nn

from robovlms.model.head.trunk import TrunkHead


class FCDecoder(TrunkHead):
    """Two linear layers per frame; simple, reactive, fast. Arguments as in `TrunkHead`."""

    def _init_trunk(self, in_features: int, hidden_size: int) -> None:
        self.mlp = nn.Sequential(
            nn.Linear(in_features, in_features // 2), nn.ReLU(), nn.Linear(in_features // 2, hidden_size)
        )
        for layer in (self.mlp[0], self.mlp[2]):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def trunk(self, x: Float[Tensor, "*lead i"], step_mask: Bool[Tensor, "b t"] | None) -> Float[Tensor, "*lead h"]:
        return self.mlp(x)

    def forward(
        self,
        features: Float[Tensor, "b t k d"] | Float[Tensor, "b k d"] | Float[Tensor, "b latent_d"],
        step_mask: Bool[Tensor, "b t"] | None = None,
        token_mask: Bool[Tensor, "b t k"] | Bool[Tensor, "b k"] | None = None,
    ) -> tuple[Float[Tensor, "*arm_shape"], Float[Tensor, "*gripper_shape"]]:
        """Regress a chunk from each frame; also of tokens without a window, and of one vector per sample.

        Args:
            features: [b, t, k, d], [b, k, d] or, already pooled, [b, latent·d].
            step_mask: not used, as the frames do not see each other.
            token_mask: as in `loss`, of the same leading axes as `features`.

        Returns:
            arm in [-1, 1] and gripper logits: [b, t, n, arm], [b, n, arm] or flat [b, n·arm], and alike for g.
        """
        if features.ndim == 2:
            return self._regress(self.mlp(features))
        if features.ndim == 3:
            mask = None if token_mask is None else token_mask.unsqueeze(1)
            arm, gripper = super().forward(features.unsqueeze(1), None, mask)
            return arm.squeeze(1), gripper.squeeze(1)
        return super().forward(features, step_mask, token_mask)
