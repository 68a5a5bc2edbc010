"""Statistics of a dataset, computed once and kept between runs; and statistics that others have published.

A dataset without statistics of its own is read through once, numbers only. The result is kept in a file outside the
dataset, which may be read-only. Its name is made of the dataset's fingerprint and of the meaning of its numbers, so
that changed data, or the same data read with other options, are computed anew::

    $ROBOVLMS_CACHE, or $XDG_CACHE_HOME/robovlms, or ~/.cache/robovlms
    └── statistics/<SHA-256>.json    {"format": 1, "path": …, "statistics": {"action": {"min": […], …}, "proprio": …}}
"""

import dataclasses
import hashlib
import json
import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from robovlms.actions.normalize import FeatureStatistics
from robovlms.data.sources.base import EpisodeSource
from robovlms.data.statistics import FeatureAccumulator, feature_statistics
from robovlms.errors import DataError, StatisticsMissingError
from robovlms.progress import ProgressBar

_FORMAT = 1  # counts up when the same data gives other statistics, or the file another layout
_MANY_STEPS = 10_000  # from here on a pass shows its progress
_PUBLISHED = {"min": ("min",), "max": ("max",), "mean": ("mean",), "std": ("std",)}
_PUBLISHED |= {"q01": ("q01", "p01"), "q99": ("q99", "p99")}  # OpenVLA's names, and those of newer Octo versions


def statistics_of(
    source: EpisodeSource, *, refresh: bool = False, may_compute: bool | None = None, show_progress: bool = True
) -> dict[str, FeatureStatistics]:
    """Return "action" and, if there is proprioception, "proprio"; as kept from an earlier run, or computed and kept.

    Args:
        source: dataset; with a class attribute `is_dear_to_scan` = True it is only read through when asked.
        refresh: compute them in any case.
        may_compute: whether they may be computed; None = unless that is dear.
        show_progress: whether a long pass shows how far it is.

    Raises:
        StatisticsMissingError: if they are not kept and may not be computed.
        DataError: if the dataset cannot be read, or holds NaN or infinity.
    """
    file = cache_folder() / "statistics" / f"{_key(source)}.json"
    kept = None if refresh else _load(file, source)
    if kept is not None:
        return kept
    is_dear = getattr(source, "is_dear_to_scan", False)
    if not (refresh or (not is_dear if may_compute is None else may_compute)):
        raise StatisticsMissingError(
            f"{source.path}: no statistics are known, and reading all of its steps takes long; training does not guess "
            f"them. Compute them once with: robovlms data stats {shlex.quote(str(source.path))}"
        )
    statistics = {name: feature_statistics(kind.summary()) for name, kind in _scan(source, show_progress).items()}
    _save(file, source, statistics)
    return statistics


def cache_folder() -> Path:
    """Where things are kept between runs; it need not exist."""
    own, shared = os.environ.get("ROBOVLMS_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return Path(own) if own else (Path(shared) if shared else Path("~/.cache").expanduser()) / "robovlms"


def read_published(path: Path | str) -> dict[str, dict[str, FeatureStatistics]]:
    """Read a `dataset_statistics.json` of OpenVLA, Octo or the original RoboVLMs.

    Such a file holds one dataset, or several by name. Its "mask" (OpenVLA: which numbers are normalised) is left to the
    action space, whose gripper dimensions never are. A feature that is 0 throughout stands for one that nobody has
    computed, and is left out.

    Args:
        path: JSON file.

    Returns:
        Name of the dataset -> feature -> statistics; a single dataset without a name is called as the file.

    Raises:
        DataError: if it is no such file, a feature lacks a key, or its lists differ in length.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable as JSON: {error}") from error
    datasets = {path.stem: content} if isinstance(content, dict) and "action" in content else content
    if not isinstance(datasets, dict) or not datasets:
        raise DataError(f"{path}: expected statistics of 'action', or of datasets by name")
    return {name: _published_dataset(f"{path}, {name}", values) for name, values in datasets.items()}


def _key(source: EpisodeSource) -> str:
    meaning = dataclasses.asdict(source.action_space), source.proprio_names
    return hashlib.sha256(json.dumps([_FORMAT, source.fingerprint, meaning], sort_keys=True).encode()).hexdigest()


def _scan(source: EpisodeSource, show_progress: bool) -> dict[str, FeatureAccumulator]:
    """Read all numbers, in one pass."""
    names = ("action", "proprio") if source.proprio_names else ("action",)
    accumulators = {name: FeatureAccumulator() for name in names}
    title, total = f"statistics of {source.path.name}", int(source.lengths.sum())
    is_shown = show_progress and total >= _MANY_STEPS
    with ProgressBar(title, total, unit="steps", is_shown=is_shown) as progress:
        for piece in source.numbers():
            for name, accumulator in accumulators.items():
                _add(accumulator, piece, name, source)
            progress.advance(len(piece["action"]))
    if not accumulators["action"].count:
        raise DataError(f"{source.path}: the dataset has no step to compute statistics of")
    return accumulators


def _add(accumulator: FeatureAccumulator, piece: dict[str, np.ndarray], name: str, source: EpisodeSource) -> None:
    if name not in piece:
        raise DataError(f"{source.path}: episode {_place(source, accumulator.count)[0]} has no {name}")
    try:
        accumulator.add(piece[name])
    except DataError as error:
        first = np.argwhere(~np.isfinite(piece[name]))
        episode, step = _place(source, accumulator.count + (int(first[0, 0]) if len(first) else 0))
        raise DataError(f"{source.path}: {name}, episode {episode}, step {step}: {error}") from error


def _place(source: EpisodeSource, row: int) -> tuple[int, int]:
    """Episode and step of a row of all numbers; pieces come in the order of the episodes."""
    ends = source.lengths.cumsum()
    episode = min(int(ends.searchsorted(row, side="right")), len(ends) - 1)
    return episode, int(row - ends[episode] + source.lengths[episode])


def _load(file: Path, source: EpisodeSource) -> dict[str, FeatureStatistics] | None:
    """What is kept; None if there is nothing, or nothing that can be used."""
    try:
        content = json.loads(file.read_text())
        found = {name: FeatureStatistics.from_dict(values) for name, values in content["statistics"].items()}
        sizes = {"action": source.action_space.size, "proprio": len(source.proprio_names)}
        sizes = {name: size for name, size in sizes.items() if size}
        if {name: len(statistics.min) for name, statistics in found.items()} != sizes:
            raise ValueError(f"expected statistics of {sizes} numbers")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, DataError) as error:
        _say(f"{file} cannot be used ({type(error).__name__}: {error}); the statistics are computed again")
        return None
    return found


def _save(file: Path, source: EpisodeSource, statistics: dict[str, FeatureStatistics]) -> None:
    """Keep them, whole or not at all; without a place to write to they are only used."""
    content = {
        "format": _FORMAT,
        "path": str(source.path),
        "fingerprint": source.fingerprint,
        "statistics": {name: dataclasses.asdict(values) for name, values in statistics.items()},
    }
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "w") as stream:
                json.dump(content, stream, indent=2)
            os.replace(temporary, file)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        _say(
            f"statistics of {source.path} are not kept: {file.parent} cannot be written ({error.strerror}); they are "
            "computed again next time, unless ROBOVLMS_CACHE names a folder that can be"
        )


def _say(text: str) -> None:
    print(f"note: {text}", file=sys.stderr, flush=True)


def _published_dataset(where: str, values: Any) -> dict[str, FeatureStatistics]:
    if not isinstance(values, dict) or "action" not in values:
        raise DataError(f"{where}: expected statistics of 'action', got {_keys(values)}")
    count = values.get("num_transitions")
    if not isinstance(count, int) or count < 1:
        raise DataError(f"{where}: num_transitions must be a positive number of steps, got {count!r}")
    features = {name: values[name] for name in ("action", "proprio") if name in values}
    found = {name: _published_feature(f"{where}, {name}", value, count) for name, value in features.items()}
    return {name: one for name, one in found.items() if name == "action" or any(one.max) or any(one.min)}


def _published_feature(where: str, values: Any, count: int) -> FeatureStatistics:
    columns = {}
    for name, aliases in _PUBLISHED.items():
        present = [alias for alias in aliases if isinstance(values, dict) and alias in values]
        if not present:
            raise DataError(f"{where}: {' or '.join(aliases)} is missing, got {_keys(values)}")
        columns[name] = values[present[0]]
    mask = values.get("mask", columns["min"])
    if not isinstance(mask, list) or not isinstance(columns["min"], list) or len(mask) != len(columns["min"]):
        raise DataError(f"{where}: mask must be a list as long as min")
    try:
        return FeatureStatistics.from_dict({**columns, "count": count})
    except (DataError, TypeError, ValueError) as error:
        raise DataError(f"{where}: {error}") from error


def _keys(values: Any) -> str:
    return ", ".join(values) if isinstance(values, dict) else type(values).__name__
