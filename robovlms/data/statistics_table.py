"""`robovlms data stats`: the statistics of a dataset as tables, and what in them is worth a second look."""

from collections.abc import Iterator, Sequence

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from robovlms.actions.normalize import FeatureStatistics
from robovlms.actions.space import ActionSpace
from robovlms.data.sources.base import EpisodeSource
from robovlms.data.statistics_cache import statistics_of
from robovlms.errors import StatisticsMissingError

_WIDTH_IN_FILE = 120  # characters, where output is no terminal
_COLUMNS = ("min", "q01", "mean", "std", "q99", "max")
_ROUNDING = 1e-6  # share of a range, or of a number; float32 keeps a little more
_SAME = 1e-3  # share of the range by which two computations of a number may differ


def show_statistics(source: EpisodeSource, *, refresh: bool, console: Console | None = None) -> None:
    """Print the statistics of a dataset; they are computed and kept where they are not known.

    Args:
        source: dataset.
        refresh: compute them again, also where they are known.
        console: where to print; None prints to standard output.

    Raises:
        DataError: if the dataset cannot be read, or holds NaN or infinity.
    """
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH_IN_FILE
    statistics = statistics_of(source, refresh=True) if refresh else _known_or_computed(source)
    space = source.action_space
    units = [dimension.unit for dimension in space.dimensions]
    tables = {"action": ("Actions", space.names, units), "proprio": ("Proprioception", source.proprio_names, None)}
    for feature, (title, names, unit) in tables.items():
        if feature in statistics:
            console.print(f"\n[bold]{title} of {escape(str(source.path))}", soft_wrap=True)
            console.print(_table(statistics[feature], names, unit))
    warnings = [*_constant(statistics, tables), *_outside(statistics["action"], space)]
    if refresh and type(source).statistics is not EpisodeSource.statistics:
        warnings += _contradictions(statistics, source.statistics)
    for warning in warnings:
        console.print(f"warning: {warning}", markup=False, soft_wrap=True)


def _known_or_computed(source: EpisodeSource) -> dict[str, FeatureStatistics]:
    try:
        return source.statistics
    except StatisticsMissingError:  # too dear to compute without being asked; here someone asks
        return statistics_of(source, may_compute=True)


def _table(statistics: FeatureStatistics, names: Sequence[str], units: Sequence[str] | None) -> Table:
    table = Table()
    for column in ("name", *(("unit",) if units else ())):
        table.add_column(column)
    for column in (*_COLUMNS, "count"):
        table.add_column(column, justify="right")
    for i, name in enumerate(names):
        numbers = [f"{getattr(statistics, column)[i]:.4g}" for column in _COLUMNS]
        table.add_row(escape(name), *([escape(units[i])] if units else []), *numbers, f"{statistics.count:,}")
    return table


def _constant(statistics: dict[str, FeatureStatistics], tables: dict[str, tuple]) -> Iterator[str]:
    for feature, values in statistics.items():
        for name, low, high in zip(tables[feature][1], values.min, values.max, strict=True):
            if low == high:
                yield f"{feature} {name!r} is {low:g} in every step: there is nothing to learn from it"


def _outside(statistics: FeatureStatistics, space: ActionSpace) -> Iterator[str]:
    for dimension, low, high in zip(space.dimensions, statistics.min, statistics.max, strict=True):
        margin = _ROUNDING * max(abs(dimension.low), abs(dimension.high))
        if low < dimension.low - margin or high > dimension.high + margin:
            yield (
                f"action {dimension.name!r} goes from {low:g} to {high:g} {dimension.unit}, but is declared to stay "
                f"within {dimension.low:g} to {dimension.high:g}: a policy can never send what lies outside"
            )


def _contradictions(computed: dict[str, FeatureStatistics], own: dict[str, FeatureStatistics]) -> Iterator[str]:
    """Where a dataset that brings its own statistics contradicts its numbers."""
    for feature, values in ((name, computed[name]) for name in computed if name in own):
        span = np.maximum(np.array(values.max) - values.min, _ROUNDING)
        for column in _COLUMNS:
            differs = np.abs(np.array(getattr(values, column)) - getattr(own[feature], column)) > _SAME * span
            if differs.any():
                i = int(differs.argmax())
                yield (
                    f"{feature}: {column} of number {i} is {getattr(values, column)[i]:g}, but the dataset's own "
                    f"statistics, which training uses, say {getattr(own[feature], column)[i]:g}"
                )
