"""The two output networks of a regression head."""

from jaxtyping import Float
from torch import Tensor, nn


def _mlp(in_features: int, out_features: int) -> nn.Sequential:
    widths = (in_features, 1024, 512, 256, out_features)
    layers: list[nn.Module] = []
    for inside, outside in zip(widths, widths[1:], strict=False):
        linear = nn.Linear(inside, outside)
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class MLPTanhHead(nn.Module):
    """Continuous dimensions of an action, in [-1, 1].

    Args:
        in_features: width of the input.
        out_features: number of outputs.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(*_mlp(in_features, out_features), nn.Tanh())

    def forward(self, x: Float[Tensor, "*lead i"]) -> Float[Tensor, "*lead o"]:
        """Map [..., in_features] to [..., out_features] in [-1, 1]."""
        return self.mlp(x)


class MLPSigmoidHead(nn.Module):
    """Gripper dimensions of an action, as logits; the sigmoid belongs to the loss and to `predict`.

    Args:
        in_features: width of the input.
        out_features: number of outputs.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.mlp = _mlp(in_features, out_features)

    def forward(self, x: Float[Tensor, "*lead i"]) -> Float[Tensor, "*lead o"]:
        """Map [..., in_features] to logits [..., out_features]."""
        return self.mlp(x)
