"""`robovlms data inspect`: what a dataset holds and what its numbers seem to mean, as tables."""

from collections import Counter
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from robovlms.actions.normalize import FeatureStatistics
from robovlms.data.conventions import Conventions, check_conventions, infer_conventions
from robovlms.data.sources.base import EpisodeSource
from robovlms.data.sources.registry import SOURCES
from robovlms.data.state_columns import state_columns
from robovlms.data.statistics_table import show_statistics
from robovlms.errors import DataError, RoboVLMsError

__all__ = ["show_dataset", "show_statistics"]

_WIDTH_IN_FILE = 120  # characters, where output is no terminal
_TOP_TASKS = 10
_FEW_STEPS = 200_000  # a set of no more is read through for its extremes; that takes seconds
_DECLARED = ("is_delta", "frame", "gripper_opens", "control_hz", "rotation")


def show_dataset(source: EpisodeSource, console: Console | None = None) -> None:
    """Print what a dataset holds. No picture is decoded, and of large sets only a sample of the numbers is read.

    Args:
        source: dataset.
        console: where to print; None prints to standard output.
    """
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDTH_IN_FILE
    statistics = _statistics(source)
    tables = (
        _overview(source),
        _tasks(source),
        _cameras(source),
        _actions(source, statistics.get("action")),
        _proprio(source, statistics.get("proprio")),
    )
    for table in tables:
        if table.row_count:
            console.print(table)
    found = infer_conventions(source)
    console.print(_conventions(source, found))
    for contradiction in check_conventions(source.action_space, found):
        console.print(f"warning: {contradiction.message}", markup=False, soft_wrap=True)


def _overview(source: EpisodeSource) -> Table:
    table = _table(str(source.path), "", "")
    lengths, hz = source.lengths, source.action_space.control_hz
    steps = int(lengths.sum())
    table.add_row("format", next((name for name, kind in SOURCES.items() if kind is type(source)), "unknown"))
    table.add_row("episodes", f"{len(source):,}")
    table.add_row("frames", f"{steps:,}")
    table.add_row("hours", f"{steps / hz / 3600:.2f} at {hz:g} per second")
    if len(source):
        middle = float(np.median(lengths))
        table.add_row("steps per episode", f"{lengths.min()} to {lengths.max()}, median {middle:g}")
    return table


def _tasks(source: EpisodeSource) -> Table:
    """The most frequent tasks, each with the instruction of its first episode."""
    tasks = [_said(source.task, episode) for episode in range(len(source))]
    counts, first = Counter(tasks), {}
    for episode, task in enumerate(tasks):
        first.setdefault(task, episode)
    table = _table(f"{len(counts)} tasks", "task", "episodes", "an instruction")
    for task, count in counts.most_common(_TOP_TASKS):
        table.add_row(escape(task), f"{count:,}", escape(_said(source.instruction, first[task])))
    if len(counts) > _TOP_TASKS:
        rest = counts.most_common()[_TOP_TASKS:]
        table.add_row(f"… and {len(rest)} more", f"{sum(count for _, count in rest):,}", "")
    return table


def _said(ask: Callable[[int], str], episode: int) -> str:
    """A task or an instruction; what is wrong where there is none."""
    try:
        return ask(episode)
    except DataError as error:
        return f"({error})"


def _cameras(source: EpisodeSource) -> Table:
    table = _table(f"{len(source.cameras)} cameras", "camera", "height x width", "source")
    for camera in source.cameras:
        table.add_row(escape(camera.name), f"{camera.height} x {camera.width}", escape(camera.source))
    return table


def _actions(source: EpisodeSource, statistics: FeatureStatistics | None) -> Table:
    table = _table("actions", "name", "unit", "kind", "declared", "seen")
    for i, dimension in enumerate(source.action_space.dimensions):
        declared = f"{dimension.low:g} to {dimension.high:g}"
        table.add_row(escape(dimension.name), escape(dimension.unit), dimension.kind, declared, _seen(statistics, i))
    return table


def _proprio(source: EpisodeSource, statistics: FeatureStatistics | None) -> Table:
    table = _table("proprioception", "name", "seen")
    for i, name in enumerate(source.proprio_names):
        table.add_row(escape(name), _seen(statistics, i))
    return table


def _seen(statistics: FeatureStatistics | None, i: int) -> str:
    if statistics is None:
        return "not known"
    return f"{statistics.min[i] + 0.0:.4g} to {statistics.max[i] + 0.0:.4g}"  # + 0.0: no -0


def _statistics(source: EpisodeSource) -> dict[str, FeatureStatistics]:
    """Those that are known, or computed soon; nothing where the numbers cannot be read, which `validate` explains."""
    brings_its_own = type(source).statistics is not EpisodeSource.statistics
    if not brings_its_own and (source.is_dear_to_scan or source.lengths.sum() > _FEW_STEPS):
        return {}
    try:
        return source.statistics
    except RoboVLMsError:
        return {}


def _conventions(source: EpisodeSource, found: Conventions) -> Table:
    """What is declared beside what the data shows."""
    title = f"conventions, from {found.num_episodes} episodes and {found.num_steps:,} steps"
    table = _table(title, "", "declared", "seems to be", "confidence", "evidence")
    space = source.action_space
    for name, estimate in found.estimates().items():
        declared = _text(getattr(space, name)) if name in _DECLARED else _unit(source) if name == "scale" else ""
        seen = "cannot tell" if estimate.value is None else _text(estimate.value)
        table.add_row(name, declared, seen, f"{estimate.confidence:.2f}", escape(estimate.evidence))
    return table


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _unit(source: EpisodeSource) -> str:
    """Unit of x, y and z."""
    names = source.action_space.names
    columns = state_columns(names).position or ()
    return escape(", ".join(dict.fromkeys(source.action_space.dimensions[column].unit for column in columns)))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=escape(title), title_justify="left", show_header=any(columns))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
