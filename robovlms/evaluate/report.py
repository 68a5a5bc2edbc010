"""The result of an evaluation for people: one HTML file that needs nothing else, and a table on the terminal."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from robovlms.evaluate.statistics import SuccessRate

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 900, 240, 56, 24


@dataclass(frozen=True, kw_only=True)
class Film:
    """A filmed episode.

    Attributes:
        file: `.mp4` file.
        instruction: what the robot was told.
        caption: task, seed and outcome.
    """

    file: Path
    instruction: str
    caption: str

    @property
    def base64(self) -> str:
        """The file as text."""
        return base64.b64encode(self.file.read_bytes()).decode()


def write_report(
    path: Path,
    *,
    title: str,
    subtitle: str,
    rates: Sequence[SuccessRate],
    instructions: Mapping[str, str],
    films: Sequence[Film],
    metrics: Sequence[Mapping[str, Any]],
    facts: Mapping[str, str],
    config: str,
    contract: str,
) -> None:
    """Write a self-contained HTML file, atomically.

    Args:
        path: the file.
        title, subtitle: heading.
        rates: per task and, last, of all.
        instructions: task -> what the robot was told.
        films: shown in this order.
        metrics: rows of `metrics.jsonl`; empty shows no curve.
        facts: name -> value, for example timings and machine.
        config: YAML of the run.
        contract: JSON of the contract.
    """
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    template = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True).get_template("report.html.j2")
    html = template.render(
        title=title,
        subtitle=subtitle,
        rates=rates,
        total=rates[-1],
        instructions=instructions,
        films=films,
        curve=loss_curve(metrics),
        facts=facts,
        config=config,
        contract=contract,
        percent=percent,
    )
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(html)
    temporary.rename(path)


def print_summary(
    rates: Sequence[SuccessRate], instructions: Mapping[str, str], console: Console | None = None
) -> None:
    """Print the table of success rates."""
    table = Table(title="Success in closed loop")
    table.add_column("task", no_wrap=True)
    table.add_column("instruction")
    for name in ("solved", "rate", "95 % interval", "steps"):
        table.add_column(name, justify="right", no_wrap=True)
    for rate in rates:
        if rate is rates[-1]:
            table.add_section()
        low, high = rate.interval
        steps = "–" if math.isnan(rate.mean_steps) else f"{rate.mean_steps:.0f}"
        solved = f"{rate.successes}/{rate.trials}"
        interval = f"{100 * low:.1f} – {100 * high:.1f}"
        table.add_row(rate.name, instructions.get(rate.name, ""), solved, percent(rate.rate), interval, steps)
    (console or Console()).print(table)


def percent(share: float) -> str:
    """
    >>> percent(0.875)
    '87.5 %'
    """
    return "–" if math.isnan(share) else f"{100 * share:.1f} %"


def loss_curve(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Coordinates of the training and validation loss over steps, on a logarithmic axis; None without losses."""
    series = {
        name: [(row["step"], row[name]) for row in metrics if (row.get(name) or 0) > 0] for name in ("loss", "val_loss")
    }
    values = [value for points in series.values() for _, value in points]
    if len(series["loss"]) < 2:
        return None
    low, high = math.log10(min(values)), math.log10(max(values))
    last = max(step for points in series.values() for step, _ in points)

    def x(step: float) -> float:
        return round(_LEFT + (_WIDTH - _LEFT) * step / last, 1)

    def y(value: float) -> float:
        share = (math.log10(value) - low) / ((high - low) or 1)
        return round(8 + (_HEIGHT - _BOTTOM - 16) * (1 - share), 1)

    def path(points: Sequence[tuple[int, float]]) -> str:
        return " ".join(f"{'L' if i else 'M'}{x(step)},{y(value)}" for i, (step, value) in enumerate(points))

    ticks = [10 ** (low + (high - low) * i / 4) for i in range(5)]
    return {
        "width": _WIDTH,
        "height": _HEIGHT,
        "left": _LEFT,
        "loss": path(series["loss"]),
        "val": path(series["val_loss"]),
        "y_ticks": [{"at": y(value), "label": f"{value:.2g}"} for value in ticks],
        "x_ticks": [{"at": x(last * i / 4), "label": round(last * i / 4)} for i in range(1, 4)],
    }
