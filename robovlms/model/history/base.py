"""What a way of using history is: features of whole windows, and the same features frame by frame."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from robovlms.model.history.frames import PER_STEP, FrameBuilder, Frames, PolicyParts

Features = tuple[Float[Tensor, "b t q d"], Bool[Tensor, "b t"]]


class Stream(ABC):
    """The past of several rows (robots), one new frame at a time. All run-time state of a policy is in here."""

    @torch.inference_mode()
    def reset(self, rows: Sequence[int]) -> None:
        """Forget the past of some rows."""
        self._reset(rows)

    def step(self, frames: Frames, rows: Sequence[int]) -> Features:
        """Take the next frame of some rows, a window of 1; return the features that the head needs to act now."""
        with torch.inference_mode():
            features, step_mask = self._step(frames, rows)
        return features.clone(), step_mask.clone()

    @abstractmethod
    def _reset(self, rows: Sequence[int]) -> None: ...

    @abstractmethod
    def _step(self, frames: Frames, rows: Sequence[int]) -> Features: ...


class History(ABC):
    """A way of using past frames. Holds no run-time state.

    Args:
        policy: whose history.

    Attributes:
        gives_every_step: whether there are features for every step of a window, or only for the last one.
    """

    gives_every_step: ClassVar[bool] = True

    def __init__(self, policy: PolicyParts) -> None:
        self.policy, self.builder = policy, FrameBuilder(policy)

    @abstractmethod
    def features(self, frames: Frames, queries: Float[Tensor, "b s known d"], choose: bool) -> Features:
        """Features of a window.

        Args:
            frames: the window.
            queries: embeddings of the tokens that the head reads from, known in advance: all of them, or, if `choose`,
                the first one of each step.
            choose: whether a discrete head chooses its tokens itself, one after the other.

        Returns:
            Features of each step, or of the last one, and which are real.
        """

    @abstractmethod
    def stream(self, num_rows: int) -> Stream:
        """A stream without a past."""

    def first_queries(self, frames: Frames) -> Float[Tensor, "b t q d"]:
        """The queries that are known before anything is predicted."""
        policy, (b, t) = self.policy, frames.proprio.shape[:2]
        starts_with_prompt = policy.act_head.is_discrete and policy.config.original_layout
        needs_none = starts_with_prompt or policy.config.token_source != "action"
        token = policy.action_token[:0] if needs_none else policy.action_token
        return token.expand(b, t, -1, -1)


class Recent:
    """The last steps of several rows: tensors [r, t, ...], the newest last.

    Axes: row, step. Fill: a new step moves the others one to the left and drops the oldest. Reset: zeros, masked.

    Args:
        num_rows: r.
        num_steps: t.
    """

    def __init__(self, num_rows: int, num_steps: int) -> None:
        self._shape = (num_rows, num_steps)
        self._buffers: dict[str, Tensor] = {}
        self._mask = torch.zeros(num_rows, num_steps, dtype=torch.bool)

    def reset(self, rows: Sequence[int]) -> None:
        """Forget rows."""
        self._mask[list(rows)] = False
        for buffer in self._buffers.values():
            buffer[list(rows)] = 0

    def append(self, rows: Sequence[int], **new: Tensor) -> tuple[dict[str, Tensor], Bool[Tensor, "f t"]]:
        """Add one step [f, 1, ...] of each tensor to some rows; return their last t steps, and which are real."""
        index = list(rows)
        device = next(iter(new.values())).device
        self._mask = self._mask.to(device)
        self._mask[index] = _shifted(self._mask[index], torch.ones(len(index), 1, dtype=torch.bool, device=device))
        for name, value in new.items():
            if name not in self._buffers:
                self._buffers[name] = value.new_zeros(*self._shape, *value.shape[2:])
            self._buffers[name][index] = _shifted(self._buffers[name][index], value)
        return {name: self._buffers[name][index] for name in new}, self._mask[index]


def _shifted(past: Tensor, new: Tensor) -> Tensor:
    return torch.cat([past[:, 1:], new], dim=1)


class HeadMemory:
    """What a head that remembers sees: the features of the last steps, or only those of now.

    Args:
        policy: whose head.
        num_rows: r.
    """

    def __init__(self, policy: PolicyParts, num_rows: int) -> None:
        steps = policy.config.window_size if policy.act_head.needs_history else 1
        self._recent = Recent(num_rows, steps)

    def reset(self, rows: Sequence[int]) -> None:
        """Forget rows."""
        self._recent.reset(rows)

    def append(self, rows: Sequence[int], features: Float[Tensor, "f 1 q d"]) -> Features:
        """Add the features of now."""
        tensors, mask = self._recent.append(rows, features=features)
        return tensors["features"], mask


class WindowStream(Stream):
    """Encoded pictures of the last frames; the decoder reads the whole window again at every step.

    Args:
        history: how a window becomes features.
        num_rows: robots.
    """

    def __init__(self, history: History, num_rows: int) -> None:
        self._history, policy = history, history.policy
        self._recent = Recent(num_rows, policy.config.window_size)

    def _reset(self, rows: Sequence[int]) -> None:
        self._recent.reset(rows)

    def _step(self, frames: Frames, rows: Sequence[int]) -> Features:
        window, mask = self._recent.append(rows, **{name: getattr(frames, name) for name in PER_STEP})
        window["image_mask"] = window["image_mask"] & mask.unsqueeze(-1)
        frames = dataclasses.replace(frames, **window)
        choose = self._history.policy.act_head.is_discrete
        return self._history.features(frames, self._history.first_queries(frames), choose)


def index_of(rows: Sequence[int], device: torch.device) -> Int64[Tensor, "f"]:
    """Rows as a tensor."""
    return torch.tensor(list(rows), dtype=torch.int64, device=device)
