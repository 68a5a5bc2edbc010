"""Actions and states between physical units and the space a network learns in, forward and inverse side by side.

The policy learns regression dimensions in [-1, 1] (min-max and quantile schemes), gripper dimensions as the label
1 = open, 0 = closed, and reads proprioception under any scheme, for example with zero mean and unit variance.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from jaxtyping import Float

from robovlms.actions.space import ActionSpace
from robovlms.errors import ConfigError, DataError, unknown_name

Scheme = Literal["min_max", "quantile", "mean_std", "none"]
ArrayT = TypeVar("ArrayT")  # NumPy array or torch tensor; the result is of the same kind
_BOUNDED: tuple[Scheme, ...] = ("min_max", "quantile")
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
        is_bounded: whether `normalize` clips to [-1, 1]; of all dimensions, or bool [p].
    """

    offset: np.ndarray
    scale: np.ndarray
    is_bounded: bool | np.ndarray

    @classmethod
    def from_statistics(cls, scheme: str | Sequence[str], statistics: FeatureStatistics) -> "Normalizer":
        """Build the map of `scheme` from `statistics`.

        Args:
            scheme: "min_max" and "quantile" (1 % to 99 %) map a range to [-1, 1] and clip; "mean_std" gives zero mean
                and unit variance; "none" changes nothing. One `Scheme` for all dimensions, or one for each.
            statistics: of the feature, p dimensions.

        Raises:
            ConfigError: if a scheme is unknown, or there are not as many as dimensions.
        """
        size = len(statistics.min)
        if isinstance(scheme, str):
            offset, scale = _offset_and_scale(scheme, statistics)
            return cls(offset=offset, scale=scale, is_bounded=scheme in _BOUNDED)
        if len(scheme) != size:
            raise ConfigError(f"expected a normalisation for each of {size} dimensions, got {len(scheme)}")
        maps = [_offset_and_scale(name, statistics) for name in scheme]
        return cls(
            offset=np.array([offset[i] for i, (offset, _) in enumerate(maps)]),
            scale=np.array([scale[i] for i, (_, scale) in enumerate(maps)]),
            is_bounded=np.array([name in _BOUNDED for name in scheme]),
        )

    def normalize(self, x: ArrayT) -> ArrayT:
        """Physical units -> learned space; float32 [..., p], a tensor for a tensor."""
        xp, x, offset, scale = self._precise(x)
        limit = _like(x, np.where(self.is_bounded, 1.0, np.inf))
        return _as_float32(xp.clip((x - offset) / scale, -limit, limit))

    def unnormalize(self, y: ArrayT) -> ArrayT:
        """Learned space -> physical units; float32 [..., p]. Inverse of `normalize` where that did not clip."""
        _, y, offset, scale = self._precise(y)
        return _as_float32(y * scale + offset)

    def _precise(self, x: Any) -> tuple[Any, Any, Any, Any]:
        """NumPy or torch, `x`, offset and scale, in float64 where the device has it."""
        xp, x = _floating(x)
        if xp is not np and x.device.type != "mps":
            x = x.double()
        return xp, x, _like(x, self.offset), _like(x, self.scale)


@dataclass(frozen=True, kw_only=True)
class ActionCodec:
    """Actions in physical units <-> learned targets: regression dimensions normalised, grippers as 1 = open.

    Attributes:
        space: what the numbers mean.
        normalizer: map of all dimensions; not applied to gripper dimensions.
        mu: spreads small normalised actions by this mu-law, see `mu_law_companding`, where most actions are small and a
            few are not; None does not. The scheme of the regression dimensions must be bounded.
    """

    space: ActionSpace
    normalizer: Normalizer
    mu: float | None = None

    def __post_init__(self) -> None:
        bounded = np.broadcast_to(self.normalizer.is_bounded, self.space.size)
        if self.mu is not None:
            _checked_mu(self.mu)
            if not np.delete(bounded, self.space.gripper_dims).all():
                raise ConfigError("the mu-law needs actions in [-1, 1]: normalise them by min_max or quantile")

    def encode(self, actions: Float[np.ndarray, "*lead a"]) -> Float[np.ndarray, "*lead a"]:
        """Physical actions [..., a] -> learned targets [..., a], float32."""
        grippers = list(self.space.gripper_dims)
        targets = self.normalizer.normalize(actions)
        if self.mu is not None:
            targets = mu_law_companding(targets, self.mu)
        middle = (self.space.low + self.space.high)[grippers] / 2
        is_positive = actions[..., grippers] > middle
        targets[..., grippers] = is_positive if self.space.gripper_opens == "positive" else ~is_positive
        return targets

    def decode(self, predictions: Float[np.ndarray, "*lead a"]) -> Float[np.ndarray, "*lead a"]:
        """Predictions [..., a] (gripper = probability of open) -> physical actions [..., a] within the bounds."""
        grippers = list(self.space.gripper_dims)
        learned = predictions
        if self.mu is not None:  # beyond [-1, 1] the inverse grows exponentially
            learned = inverse_mu_law_companding(np.clip(predictions, -1, 1), self.mu)
        actions = self.normalizer.unnormalize(learned)
        is_positive = (predictions[..., grippers] > 0.5) == (self.space.gripper_opens == "positive")
        actions[..., grippers] = np.where(is_positive, self.space.high[grippers], self.space.low[grippers])
        return np.clip(actions, self.space.low, self.space.high)


def normalize_action(
    action: ArrayT,
    action_min: Any = -1.0,
    action_max: Any = 1.0,
    *,
    protected_dims: Sequence[int] = (),
    maintain_last: bool = False,
) -> ArrayT:
    """Clip to [action_min, action_max] and map that range to [-1, 1].

    Like all six functions here: a NumPy array gives an array and a torch tensor a tensor, of the same dtype (whole
    numbers become floating point) and on the same device, through which gradients flow; the argument is not changed.

    Args:
        action: [..., a], any shape.
        action_min, action_max: number or [a], in the unit of `action`. Where both are equal the dimension cannot
            move: its result is 0.
        protected_dims: indices of the last axis that come out exactly as they went in, for example a gripper.
        maintain_last: the same for the last dimension, as the original RoboVLMs calls it.

    Raises:
        ConfigError: if a minimum is above its maximum, or a protected dimension does not exist.

    >>> normalize_action(np.array([0.0, 1.0, 9.0]), action_min=0.0, action_max=4.0).tolist()
    [-1.0, -0.5, 1.0]
    >>> normalize_action(np.array([0.0, 1.0, 9.0]), 0.0, 4.0, protected_dims=(-1,)).tolist()
    [-1.0, -0.5, 9.0]
    """
    xp, action = _floating(action)
    low, high = _range_like(action, action_min, action_max)
    is_still = high == low
    span = xp.where(is_still, xp.ones_like(low), high - low)
    middle = xp.where(is_still, xp.zeros_like(low), xp.ones_like(low))
    result = 2 * (xp.clip(action, low, high) - low) / span - middle
    return _protect(xp, result, action, protected_dims, maintain_last)


def unnormalize_action(
    action: ArrayT,
    action_min: Any = -1.0,
    action_max: Any = 1.0,
    *,
    protected_dims: Sequence[int] = (),
    maintain_last: bool = False,
) -> ArrayT:
    """Inverse of `normalize_action` where that did not clip; [-1, 1] -> [action_min, action_max], nothing is clipped.

    >>> unnormalize_action(np.array([-1.0, -0.5, 1.0]), action_min=0.0, action_max=4.0).tolist()
    [0.0, 1.0, 4.0]
    """
    xp, action = _floating(action)
    low, high = _range_like(action, action_min, action_max)
    return _protect(xp, 0.5 * (action + 1) * (high - low) + low, action, protected_dims, maintain_last)


def regularize_action(
    x: ArrayT,
    x_mean: Any,
    x_std: Any,
    *,
    eps: float = 1e-6,
    protected_dims: Sequence[int] = (),
    maintain_last: bool = False,
) -> ArrayT:
    """Subtract the mean and divide by the standard deviation + `eps`.

    Args:
        x: [..., a], any shape.
        x_mean, x_std: number or [a], in the unit of `x`; standard deviations are not negative.
        eps: positive; keeps a dimension that never moves finite.
        protected_dims, maintain_last: as in `normalize_action`.

    Raises:
        ConfigError: if a standard deviation is negative or a protected dimension does not exist.

    >>> regularize_action(np.array([3.0, 5.0]), x_mean=3.0, x_std=2.0, eps=0.5).tolist()
    [0.0, 0.8]
    """
    xp, x = _floating(x)
    mean, scale = _like(x, x_mean), _scale_like(x, x_std, eps)
    return _protect(xp, (x - mean) / scale, x, protected_dims, maintain_last)


def unregularize_action(
    x: ArrayT,
    x_mean: Any,
    x_std: Any,
    *,
    eps: float = 1e-6,
    protected_dims: Sequence[int] = (),
    maintain_last: bool = False,
) -> ArrayT:
    """Inverse of `regularize_action`.

    >>> unregularize_action(np.array([0.0, 0.8]), x_mean=3.0, x_std=2.0, eps=0.5).tolist()
    [3.0, 5.0]
    """
    xp, x = _floating(x)
    mean, scale = _like(x, x_mean), _scale_like(x, x_std, eps)
    return _protect(xp, x * scale + mean, x, protected_dims, maintain_last)


def mu_law_companding(
    x: ArrayT, mu: float = 255, *, protected_dims: Sequence[int] = (), maintain_last: bool = False
) -> ArrayT:
    """Spread small values and squeeze large ones: sign(x) ln(1 + mu |x|) / ln(1 + mu); [-1, 1] -> [-1, 1].

    Args:
        x: [..., a], any shape; outside [-1, 1] the curve goes on.
        mu: how strongly, above 0.
        protected_dims, maintain_last: as in `normalize_action`.

    Raises:
        ConfigError: if `mu` is not positive or a protected dimension does not exist.

    Source: ITU-T G.711, continuous form.

    >>> mu_law_companding(np.array([-1.0, 0.0, 1 / 85]), mu=255).tolist()
    [-1.0, 0.0, 0.25]
    """
    xp, x = _floating(x)
    sign, size = _sign_and_size(xp, x)
    result = sign * xp.log1p(_checked_mu(mu) * size) / math.log1p(mu)
    return _protect(xp, result, x, protected_dims, maintain_last)


def inverse_mu_law_companding(
    x: ArrayT, mu: float = 255, *, protected_dims: Sequence[int] = (), maintain_last: bool = False
) -> ArrayT:
    """Inverse of `mu_law_companding`.

    >>> inverse_mu_law_companding(np.array([-1.0, 0.0, 0.25]), mu=255).round(9).tolist()
    [-1.0, 0.0, 0.011764706]
    """
    xp, x = _floating(x)
    sign, size = _sign_and_size(xp, x)
    result = sign * xp.expm1(size * math.log1p(_checked_mu(mu))) / mu
    return _protect(xp, result, x, protected_dims, maintain_last)


def _floating(x: Any) -> tuple[Any, Any]:
    """NumPy or torch, and `x` as its array of floating point; torch is never imported here."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        return torch, x if x.is_floating_point() else x.to(torch.get_default_dtype())
    x = np.asarray(x)
    return np, x if np.issubdtype(x.dtype, np.floating) else x.astype(np.float64)


def _like(x: Any, values: Any) -> Any:
    """`values` as an array of the kind of `x`; statistics in an array keep their precision until the result."""
    if isinstance(x, np.ndarray):
        return np.asarray(values, None if np.ndim(values) else x.dtype)
    return sys.modules["torch"].as_tensor(values, dtype=x.dtype, device=x.device)


def _range_like(x: Any, action_min: Any, action_max: Any) -> tuple[Any, Any]:
    low, high = _like(x, action_min), _like(x, action_max)
    if not bool((low <= high).all()):
        raise ConfigError(f"action_min must not be above action_max, got {action_min} and {action_max}")
    return low, high


def _scale_like(x: Any, x_std: Any, eps: float) -> Any:
    std = _like(x, x_std)
    if not bool((std >= 0).all()):
        raise ConfigError(f"x_std must not be negative, got {x_std}")
    return std + eps


def _checked_mu(mu: float) -> float:
    if not mu > 0:
        raise ConfigError(f"mu must be positive, got {mu}")
    return mu


def _sign_and_size(xp: Any, x: Any) -> tuple[Any, Any]:
    """Sign and absolute value; unlike those of the libraries they have a useful gradient at 0, that of x >= 0."""
    is_positive, one = x >= 0, xp.ones_like(x)
    return xp.where(is_positive, one, -one), xp.where(is_positive, x, -x)


def _protect(xp: Any, result: Any, x: Any, protected_dims: Sequence[int], maintain_last: bool) -> Any:
    """`result` in the dtype of `x`, but `x` itself in the protected dimensions of the last axis."""
    dims = {*protected_dims, -1} if maintain_last else {*protected_dims}
    result = np.asarray(result, x.dtype) if xp is np else result
    if not dims:
        return result
    size = x.shape[-1] if x.ndim else 0
    if not all(-size <= dim < size for dim in dims):
        raise ConfigError(f"protected dimensions {sorted(dims)} of an action with {size} numbers")
    protected = np.zeros(size, bool)
    protected[list(dims)] = True
    return xp.where(protected if xp is np else xp.as_tensor(protected, device=x.device), x, result)


def _offset_and_scale(scheme: str, statistics: FeatureStatistics) -> tuple[np.ndarray, np.ndarray]:
    """Of all dimensions, float64 [p]."""
    size = len(statistics.min)
    if scheme == "none":
        return np.zeros(size), np.ones(size)
    if scheme == "mean_std":
        return np.array(statistics.mean), _safe(np.array(statistics.std))
    bounds = {"min_max": (statistics.min, statistics.max), "quantile": (statistics.q01, statistics.q99)}
    if scheme not in bounds:
        raise ConfigError(unknown_name("normalisation", scheme, get_args(Scheme)))
    low, high = (np.array(bound) for bound in bounds[scheme])
    return (high + low) / 2, _safe((high - low) / 2)


def _safe(scale: np.ndarray) -> np.ndarray:
    return np.where(scale < _SMALLEST_SPAN, 1.0, scale)


def _as_float32(x: Any) -> Any:
    return x.astype(np.float32) if isinstance(x, np.ndarray) else x.float()
