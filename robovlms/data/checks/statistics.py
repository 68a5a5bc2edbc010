"""Statistics that a dataset brings along, against those of its numbers: normalisation uses the former."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from robovlms.data.checks.check import Check, Scope
from robovlms.data.checks.episode import EpisodeNumbers
from robovlms.data.checks.fault import Fault
from robovlms.data.checks.lerobot_folder import stored_statistics
from robovlms.data.sources import lerobot_layout as layout
from robovlms.data.sources.lerobot_v21 import read_lines
from robovlms.data.statistics import FeatureAccumulator
from robovlms.errors import DataError

_SAME = 1e-3  # share of the range by which an extreme, a mean or a standard deviation may differ
_EXACT = ("min", "max", "mean", "std")
_ROUGH = ("q01", "q99")  # lerobot takes means of those of episodes, which may be anything between the extremes


class EpisodeStatistics(Check):
    """`meta/episodes_stats.jsonl` of LeRobot v2.1 agrees with the numbers of each episode.

    Training does not use it, so a difference is a warning: the numbers are not those that were recorded.
    """

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self.file = self.source.path / "meta" / "episodes_stats.jsonl"
        self._fault = ""
        self._stored: dict[int, dict[str, Any]] = {}
        try:
            rows = read_lines(self.file, ("episode_index", "stats")) if self.file.is_file() else []
            self._stored = {row["episode_index"]: row["stats"] for row in rows}
        except (DataError, ValueError) as error:  # bytes that are no text are a ValueError
            self._fault = str(error) if isinstance(error, DataError) else f"{self.file}: not readable: {error}"

    def episode(self, episode: EpisodeNumbers) -> Iterator[Fault]:
        stored = self._stored.get(episode.index, {})
        numbers = {layout.ACTION: episode.actions, layout.STATE: episode.proprio}
        for key, values in numbers.items():
            if values is None or key not in stored or not episode.is_read.all() or not len(values):
                continue
            found = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0, np.float64)}
            span = np.maximum(found["max"] - found["min"], 1e-6)
            for column, expected in found.items():
                said = np.array(stored[key].get(column, expected), np.float64).ravel()
                if said.shape != span.shape or (np.abs(said - expected) > _SAME * span).any():
                    yield self._difference(episode.index, key, column, _text(expected), _text(said))

    def end(self) -> Iterator[Fault]:
        if self._fault:
            yield Fault(check="statistics", file=self.file, message=self._fault)

    def _difference(self, episode: int, key: str, column: str, expected: str, seen: str) -> Fault:
        return Fault(
            check="statistics",
            severity="warning",
            file=self.file,
            episode=episode,
            key=key,
            expected=expected,
            seen=seen,
            message=f"{self.file}: episode {episode}: {column} of {key!r} is {seen}, but its numbers give {expected}",
        )


class LeRobotStatistics(Check):
    """`meta/stats.json` agrees with the numbers. Without that file, or a feature in it, nothing is compared."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self._numbers = {layout.ACTION: FeatureAccumulator()}
        self._numbers |= {layout.STATE: FeatureAccumulator()} if self.source.proprio_names else {}
        self._is_whole = True

    def episode(self, episode: EpisodeNumbers) -> Iterator[Fault]:
        self._is_whole &= bool(episode.is_read.all())
        if self._is_whole and len(episode):
            self._numbers[layout.ACTION].add(episode.actions)
            if episode.proprio is not None:
                self._numbers[layout.STATE].add(episode.proprio)
        return
        yield

    def end(self) -> Iterator[Fault]:
        file = self.source.path / layout.STATS
        try:
            stored = stored_statistics(self.source.path)
        except DataError as error:
            yield Fault(check="statistics", file=file, message=str(error))
            return
        if not self._is_whole:
            return  # of what could not be read nothing can be said
        names = {layout.ACTION: self.source.action_space.names, layout.STATE: self.source.proprio_names}
        for key, numbers in self._numbers.items():
            if key in stored and numbers.count:
                yield from self._compare(key, names[key], stored[key], numbers.summary())

    def _compare(
        self, key: str, names: tuple[str, ...], stored: dict[str, Any], found: dict[str, list]
    ) -> Iterator[Fault]:
        count = stored.get("count", found["count"])[0]
        if count != found["count"][0]:
            yield self._fault(key, "count", str(found["count"][0]), str(count))
            return  # of other steps, so nothing else can agree
        span = np.maximum(np.array(found["max"]) - found["min"], 1e-6)
        for column in (*_EXACT, *_ROUGH):
            said = np.array(stored.get(column, found[column]), np.float64).ravel()
            if said.shape != span.shape:
                yield self._fault(key, column, f"{len(span)} numbers", f"{said.size} numbers")
                continue
            is_rough = column in _ROUGH
            low, high = (found["min"], found["max"]) if is_rough else (found[column], found[column])
            is_wrong = ~((said >= low - _SAME * span) & (said <= high + _SAME * span))
            if is_wrong.any():
                i = int(is_wrong.argmax())
                expected = f"{low[i]:g} to {high[i]:g}" if is_rough else f"{low[i]:g}"
                yield self._fault(f"{key} {names[i]}", column, expected, f"{said[i]:g}")

    def _fault(self, key: str, column: str, expected: str, seen: str) -> Fault:
        file = self.source.path / layout.STATS
        return Fault(
            check="statistics",
            file=file,
            key=key,
            expected=expected,
            seen=seen,
            message=f"{file}: {column} of {key!r} is {seen}, but the numbers give {expected}; normalisation would use "
            "the former. Compute them again, or remove that file",
        )


def _text(values: np.ndarray) -> str:
    return "[" + ", ".join(f"{value:.5g}" for value in values.tolist()) + "]"
