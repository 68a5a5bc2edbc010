"""Actions and states between physical units and the space a network learns in, forward and inverse side by side.

The policy learns regression dimensions in [-1, 1] (min-max and quantile schemes), gripper dimensions as the label
1 = open, 0 = closed, and reads proprioception under any scheme, for example with zero mean and unit variance.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from robovlms.actions.space import ActionSpace
from robovlms.errors import ConfigError, DataError

Scheme = Literal["min_max", "quantile", "mean_std", "none"]
_SMALLEST_SPAN = 1e-6  # a dimension that never moves is passed through around its constant value


@dataclass(frozen=True, kw_only=True)
class FeatureStatistics:
    """Per-dimension statistics of one feature, in its physical units; each a tuple of p floats.

    Attributes:
        min, max: extremes.
        mean, std: mean and population standard deviation.
        q01, q99: 1 % and 99 % quantiles.
        count: number of steps they were computed from.
    """

    min: tuple[float, ...]
    max: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    q01: tuple[float, ...]
    q99: tuple[float, ...]
    count: int

    def __post_init__(self) -> None:
        columns = {name: getattr(self, name) for name in ("min", "max", "mean", "std", "q01", "q99")}
        for name, column in columns.items():
            if len(column) != len(self.min) or not np.isfinite(column).all():
                raise DataError(f"statistics: {name} must hold {len(self.min)} finite numbers, got {list(column)}")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "FeatureStatistics":
        """Inverse of `dataclasses.asdict`; takes lists or tuples."""
        return cls(**{k: int(v) if k == "count" else tuple(float(x) for x in v) for k, v in values.items()})


@dataclass(frozen=True, kw_only=True)
class Normalizer:
    """An affine map per dimension, y = (x - offset) / scale, clipped to [-1, 1] where the scheme is bounded.

    Attributes:
        offset: [p] in physical units.
        scale: [p] in physical units, positive.
        is_bounded: whether `normalize` clips to [-1, 1].
    """

    offset: np.ndarray
    scale: np.ndarray
    is_bounded: bool

    @classmethod
    def from_statistics(cls, scheme: Scheme, statistics: FeatureStatistics) -> "Normalizer":
        """Build the map of `scheme` from `statistics`.

        Raises:
            ConfigError: if the scheme is unknown.
        """
        size = len(statistics.min)
        if scheme == "none":
            return cls(offset=np.zeros(size), scale=np.ones(size), is_bounded=False)
        if scheme == "mean_std":
            return cls(offset=np.array(statistics.mean), scale=_safe(np.array(statistics.std)), is_bounded=False)
        bounds = {"min_max": (statistics.min, statistics.max), "quantile": (statistics.q01, statistics.q99)}
        if scheme not in bounds:
            raise ConfigError(f"unknown normalisation {scheme!r}; choices: min_max, quantile, mean_std, none")
        low, high = (np.array(bound) for bound in bounds[scheme])
        return cls(offset=(high + low) / 2, scale=_safe((high - low) / 2), is_bounded=True)

    def normalize(self, x: Float[np.ndarray, "*lead p"]) -> Float[np.ndarray, "*lead p"]:
        """Physical units -> learned space; float32 [..., p]."""
        y = (x - self.offset) / self.scale
        return (np.clip(y, -1, 1) if self.is_bounded else y).astype(np.float32)

    def unnormalize(self, y: Float[np.ndarray, "*lead p"]) -> Float[np.ndarray, "*lead p"]:
        """Learned space -> physical units; float32 [..., p]. Inverse of `normalize` where that did not clip."""
        return (y * self.scale + self.offset).astype(np.float32)


def normalize_action(
    action: Float[np.ndarray, "*shape"], action_min: float | np.ndarray = -1.0, action_max: float | np.ndarray = 1.0
) -> Float[np.ndarray, "*shape"]:
    """Clip to [action_min, action_max] and map that range to [-1, 1].

    >>> normalize_action(np.array([0.0, 1.0, 9.0]), action_min=0.0, action_max=4.0).tolist()
    [-1.0, -0.5, 1.0]
    """
    return 2 * (np.clip(action, action_min, action_max) - action_min) / (action_max - action_min) - 1


def unnormalize_action(
    action: Float[np.ndarray, "*shape"], action_min: float | np.ndarray = -1.0, action_max: float | np.ndarray = 1.0
) -> Float[np.ndarray, "*shape"]:
    """Inverse of `normalize_action` where that did not clip.

    >>> unnormalize_action(np.array([-1.0, -0.5, 1.0]), action_min=0.0, action_max=4.0).tolist()
    [0.0, 1.0, 4.0]
    """
    return (action + 1) / 2 * (action_max - action_min) + action_min


def _safe(scale: np.ndarray) -> np.ndarray:
    return np.where(scale < _SMALLEST_SPAN, 1.0, scale)


@dataclass(frozen=True, kw_only=True)
class ActionCodec:
    """Actions in physical units <-> learned targets: regression dimensions normalised, grippers as 1 = open.

    Attributes:
        space: what the numbers mean.
        normalizer: map of all dimensions; not applied to gripper dimensions.
    """

    space: ActionSpace
    normalizer: Normalizer

    def encode(self, actions: Float[np.ndarray, "*lead a"]) -> Float[np.ndarray, "*lead a"]:
        """Physical actions [..., a] -> learned targets [..., a], float32."""
        targets = self.normalizer.normalize(actions)
        grippers = list(self.space.gripper_dims)
        middle = (self.space.low + self.space.high)[grippers] / 2
        is_positive = actions[..., grippers] > middle
        targets[..., grippers] = is_positive if self.space.gripper_opens == "positive" else ~is_positive
        return targets

    def decode(self, predictions: Float[np.ndarray, "*lead a"]) -> Float[np.ndarray, "*lead a"]:
        """Predictions [..., a] (gripper = probability of open) -> physical actions [..., a] within the bounds."""
        actions = self.normalizer.unnormalize(predictions)
        grippers = list(self.space.gripper_dims)
        is_positive = (predictions[..., grippers] > 0.5) == (self.space.gripper_opens == "positive")
        actions[..., grippers] = np.where(is_positive, self.space.high[grippers], self.space.low[grippers])
        return np.clip(actions, self.space.low, self.space.high)
