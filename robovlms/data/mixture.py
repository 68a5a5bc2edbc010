"""Several datasets trained on together."""

from collections.abc import Sequence
from typing import Literal

from robovlms.actions.space import ActionSpace
from robovlms.data.dataset import BaseTaskDataset
from robovlms.data.streaming import StreamingDataset
from robovlms.errors import ConfigError, DataError

Part = BaseTaskDataset | StreamingDataset
_MixtureBy = Literal["weight", "frames", "episodes"]


class Mixture:
    """Datasets of one sample layout, and how often each is drawn.

    Args:
        parts: the datasets.
        weights: of each; None = 1.
        by: what a weight is a share of: samples drawn, or frames or episodes of the dataset, times the weight.
        robot: number of the dataset whose robot the policy is for.
        action_space: meaning of the numbers that the samples hold; None = the robot's.

    Attributes:
        shares: part of the samples of each dataset; they add up to 1.

    Raises:
        ConfigError: if weights and parts differ in number, layouts differ, or frames of a stream are asked for.
        DataError: if a dataset is empty.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        weights: Sequence[float] | None = None,
        *,
        by: _MixtureBy = "weight",
        robot: int = 0,
        action_space: ActionSpace | None = None,
    ) -> None:
        self.parts, self.robot, self.action_space = tuple(parts), robot, action_space
        weights = [1.0] * len(self.parts) if weights is None else list(weights)
        if len(weights) != len(self.parts) or not self.parts:
            raise ConfigError(f"a mixture needs one weight per dataset, got {len(weights)} for {len(self.parts)}")
        self._check_layouts()
        sizes = [weight * _size(part, by) for weight, part in zip(weights, self.parts, strict=True)]
        self.shares = tuple(size / sum(sizes) for size in sizes)

    @property
    def robot_part(self) -> Part:
        """The dataset whose robot the policy is for."""
        return self.parts[self.robot]

    def __len__(self) -> int:
        """Windows of the datasets that are not streamed."""
        return sum(len(part) for part in self.parts if isinstance(part, BaseTaskDataset))

    def _check_layouts(self) -> None:
        first = _layout(self.parts[0])
        for part in self.parts:
            if _layout(part) != first:
                raise ConfigError(
                    f"the datasets of a mixture must give samples of one layout: {part.source.path} gives "
                    f"{_layout(part)}, {self.parts[0].source.path} gives {first}"
                )
            if isinstance(part, BaseTaskDataset) and len(part) == 0:
                raise DataError(f"{part.source.path}: the training set has no window; hold out fewer episodes")


def parts_of(dataset: "Part | Mixture") -> tuple[Part, ...]:
    """The datasets of a mixture, or the one that it is."""
    return dataset.parts if isinstance(dataset, Mixture) else (dataset,)


def _layout(part: Part) -> dict[str, object]:
    builder = part.builder
    return {
        "cameras": builder.cameras,
        "frame size": (builder.height, builder.width),
        "action numbers": builder.action_dim,
        "proprio numbers": builder.proprio_dim,
        "window_size": part.window_size,
        "fwd_pred_next_n": part.fwd_pred_next_n,
    }


def _size(part: Part, by: _MixtureBy) -> float:
    if by == "weight":
        return 1.0
    if isinstance(part, StreamingDataset):
        if by == "frames" and part.num_frames is not None:
            return float(part.num_frames)
        if by == "frames":
            raise ConfigError(
                f"{part.source.path} is streamed, so nobody counted its frames; set data.mixture_by: episodes or weight"
            )
        return float(part.num_episodes)
    return float(len(part) if by == "frames" else len(part.episodes))
