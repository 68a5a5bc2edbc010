"""Checks of actions and proprioception."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from robovlms.data.checks.check import Check, Scope
from robovlms.data.checks.episode import EpisodeNumbers
from robovlms.data.checks.fault import Fault

_ROUNDING = 1e-5  # share of the larger limit by which a float32 may exceed it
_BINARY = 0.05  # share of the range within which a gripper command counts as one of its ends


class Readable(Check):
    """Every step can be read. A file that several episodes share is reported once."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self._damaged: set[tuple[str, Path]] = set()

    def episode(self, episode: EpisodeNumbers) -> Iterator[Fault]:
        for error in episode.errors:
            if error.not_finite is not None or self.scope.is_known(error.message):
                continue
            file, check = error.file(episode.file), error.check
            if check != "readable" and (check, file) in self._damaged:
                continue
            self._damaged.add((check, file))
            yield Fault(check=check, file=file, episode=episode.index, step=error.step, message=error.message)


class Finite(Check):
    """No number is NaN or infinite."""

    def episode(self, episode: EpisodeNumbers) -> Iterator[Fault]:
        for error in episode.errors:
            if error.not_finite is not None:
                feature, dimension, value = error.not_finite
                yield Fault(
                    check="finite",
                    file=error.file(episode.file),
                    episode=episode.index,
                    step=error.step,
                    key=f"{feature} {dimension}",
                    expected="a finite number",
                    seen=value,
                    message=error.message,
                )


class Lengths(Check):
    """Every episode has a step."""

    def episode(self, episode: EpisodeNumbers) -> Iterator[Fault]:
        length = int(self.source.lengths[episode.index])
        if length < 1:
            yield Fault(
                check="lengths",
                file=episode.file,
                episode=episode.index,
                expected="at least 1 step",
                seen=str(length),
                message=f"{episode.where} has {length} steps, expected at least 1",
            )


class Range(Check):
    """Actions stay within what is declared; a policy can never send what lies outside."""

    def episode(self, episode: EpisodeNumbers) -> Iterator[Fault]:
        space = self.source.action_space
        margin = _ROUNDING * np.maximum(np.abs(space.low), np.abs(space.high))
        is_outside = (episode.actions < space.low - margin) | (episode.actions > space.high + margin)
        for column in np.flatnonzero(is_outside.any(axis=0)).tolist():
            steps, dimension = np.flatnonzero(is_outside[:, column]), space.dimensions[column]
            value = episode.actions[steps[0], column]
            more = f" and {len(steps) - 1} more steps" if len(steps) > 1 else ""
            yield Fault(
                check="range",
                file=episode.file,
                episode=episode.index,
                step=int(steps[0]),
                key=dimension.name,
                expected=f"{dimension.low:g} to {dimension.high:g} {dimension.unit}",
                seen=f"{value:g}",
                message=f"{episode.where}, step {steps[0]}{more}: action {dimension.name!r} is {value:g} "
                f"{dimension.unit}, declared are {dimension.low:g} to {dimension.high:g}",
            )


class BinaryGripper(Check):
    """A dimension of kind "gripper" is learned as open or closed; values between its ends lose their meaning."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self._between = np.zeros(self.source.action_space.size, np.int64)
        self._first: dict[int, tuple[EpisodeNumbers, int]] = {}

    def episode(self, episode: EpisodeNumbers) -> Iterator[Fault]:
        space = self.source.action_space
        for column in space.gripper_dims:
            share = (episode.actions[:, column] - space.low[column]) / (space.high[column] - space.low[column])
            steps = np.flatnonzero((share > _BINARY) & (share < 1 - _BINARY))
            self._between[column] += len(steps)
            if len(steps):
                self._first.setdefault(column, (episode, int(steps[0])))
        return
        yield

    def end(self) -> Iterator[Fault]:
        for column, (episode, step) in self._first.items():
            dimension = self.source.action_space.dimensions[column]
            value = episode.actions[step, column]
            yield Fault(
                check="binary_gripper",
                severity="warning",
                file=episode.file,
                episode=episode.index,
                step=step,
                key=dimension.name,
                expected=f"{dimension.low:g} or {dimension.high:g}",
                seen=f"{value:g}",
                message=f"{episode.where}, step {step}: gripper {dimension.name!r} is {value:g}, expected "
                f"{dimension.low:g} or {dimension.high:g}; {self._between[column]} steps lie between the two. If the "
                "effort or the width is commanded, its kind is arm",
            )


class ConstantDimension(Check):
    """Something is to be learned in every dimension of an action."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self._low = np.full(self.source.action_space.size, np.inf)
        self._high = -self._low
        self._steps = 0

    def episode(self, episode: EpisodeNumbers) -> Iterator[Fault]:
        actions = episode.actions[episode.is_read]
        if len(actions):
            self._low, self._high = np.minimum(self._low, actions.min(0)), np.maximum(self._high, actions.max(0))
            self._steps += len(actions)
        return
        yield

    def end(self) -> Iterator[Fault]:
        for name, low, high in zip(self.source.action_space.names, self._low, self._high, strict=True):
            if self._steps > 1 and low == high:
                yield Fault(
                    check="constant_dimension",
                    severity="warning",
                    file=self.source.path,
                    key=name,
                    seen=f"{low:g}",
                    message=f"{self.source.path}: action {name!r} is {low:g} in all {self._steps} steps: there is "
                    "nothing to learn from it",
                )


class DuplicateEpisode(Check):
    """No episode is there twice: the copy would count double, and may be validated on after training on it.

    Episodes with the same actions and proprioception whose first frames are the same too are the same recording. With
    one instruction that is a fault; with two, somebody may have described it twice: a warning.
    """

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self._known: dict[bytes, int] = {}

    def episode(self, episode: EpisodeNumbers) -> Iterator[Fault]:
        if not episode.is_read.all() or len(episode) == 0:
            return
        proprio = b"" if episode.proprio is None else episode.proprio.tobytes()
        first = self._known.setdefault(hashlib.sha256(episode.actions.tobytes() + proprio).digest(), episode.index)
        if first != episode.index and self._looks_the_same(first, episode.index):
            is_same_text = self.source.instruction(first) == self.source.instruction(episode.index)
            yield Fault(
                check="duplicate_episode",
                severity="fault" if is_same_text else "warning",
                file=episode.file,
                episode=episode.index,
                expected="different episodes",
                seen=f"the same as episode {first}",
                message=f"{episode.where} has the numbers and the first frames of episode {first}"
                + ("; remove one of them" if is_same_text else ", under another instruction"),
            )

    def _looks_the_same(self, one: int, other: int) -> bool:
        cameras = tuple(camera.name for camera in self.source.cameras)
        first, none = np.zeros(1, np.int64), np.zeros(0, np.int64)
        views = [self.source.read(episode, first, none, cameras).images for episode in (one, other)]
        return views[0].keys() == views[1].keys() and all(np.array_equal(views[0][n], views[1][n]) for n in views[0])
