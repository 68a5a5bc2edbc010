"""One evaluation, from a checkpoint to episodes, films, report and table."""

import datetime
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robovlms.config import RunConfig, dump_config, load_config
from robovlms.data.sources.registry import open_source
from robovlms.errors import ConfigError
from robovlms.evaluate.report import Film, print_summary, write_report
from robovlms.evaluate.rollout import EpisodeRecord, Job, evaluate_policy
from robovlms.evaluate.statistics import SuccessRate, success_rates
from robovlms.model.checkpoint import read_text
from robovlms.run_folder import CHECKPOINTS, METRICS, find_checkpoint
from robovlms.train.metrics import read_metrics


def evaluate_checkpoint(
    checkpoint: Path,
    *,
    overrides: Mapping[str, Any] | None = None,
    out: Path | None = None,
    title: str | None = None,
    facts: Mapping[str, str] | None = None,
    show_progress: bool = True,
) -> list[SuccessRate]:
    """Evaluate a checkpoint (or the newest one of a run) and write episodes, films and a report.

    Args:
        checkpoint: checkpoint or run folder.
        overrides: dotted keys "evaluate.…" -> values that differ from the run's configuration.
        out: folder of the results; None takes `evaluation/` in the run folder.
        title: of the report.
        facts: further lines of the report.
        show_progress: whether to print progress and the table.

    Returns:
        Success rates per task and, last, of all episodes.

    Raises:
        RoboVLMsError: whatever is wrong with checkpoint, tasks or simulator, in one line.
    """
    folder = find_checkpoint(checkpoint)
    config = load_config(folder / "config.yaml", overrides or {})
    tasks = config.evaluate.tasks or _trained_tasks(config)
    run = folder.parent.parent if folder.parent.name == CHECKPOINTS else folder
    out = out or run / "evaluation"
    records = evaluate_policy(folder, config.evaluate, out, tasks=tasks, show_progress=show_progress)
    rates = success_rates((record.task, record.success, record.steps) for record in records)
    instructions = {record.task: record.instruction for record in records}
    write_report(
        out / "report.html",
        title=title or f"Evaluation of {folder.name}",
        subtitle=f"{config.evaluate.env}, {config.evaluate.episodes} episodes per task, {datetime.date.today()}",
        rates=rates,
        instructions=instructions,
        films=_films(records, config, out),
        metrics=read_metrics(run / METRICS),
        facts={**(facts or {}), **_facts(records, config)},
        config=dump_config(config),
        contract=read_text(folder / "contract.json"),
    )
    if show_progress:
        print_summary(rates, instructions)
        print(f"episodes: {out / 'episodes.jsonl'}\nreport:   {out / 'report.html'}")
    return rates


def _trained_tasks(config: RunConfig) -> tuple[str, ...]:
    if config.data.path is None or not config.data.path.is_dir():
        raise ConfigError(
            f"which tasks? evaluate.tasks is empty and the training data {config.data.path} is not here; give --tasks"
        )
    source = open_source(config.data.path, config.data.format, **config.data.options)
    return tuple(dict.fromkeys(source.task(episode) for episode in range(len(source))))


def _films(records: list[EpisodeRecord], config: RunConfig, out: Path) -> list[Film]:
    films = []
    for record in records:
        file = Job(task=record.task, seed=record.seed, is_filmed=True).film(out)
        if record.seed - config.evaluate.seed < config.evaluate.videos and file.is_file():
            outcome = f"solved in {record.steps} steps" if record.success else f"not solved in {record.steps} steps"
            caption = f"{record.task}, seed {record.seed}, {outcome}"
            films.append(Film(file=file, instruction=record.instruction, caption=caption))
    return films


def _facts(records: list[EpisodeRecord], config: RunConfig) -> dict[str, str]:
    import torch

    decision_ms = sum(record.decision_ms for record in records) / len(records)
    return {
        "evaluation": f"{sum(record.wall_s for record in records):.0f} s of episodes, shared by "
        f"{config.evaluate.workers} workers",
        "evaluation seeds": f"{config.evaluate.seed} to {config.evaluate.seed + config.evaluate.episodes - 1}",
        "time of one decision": f"{decision_ms:.1f} ms on one thread",
        "actions executed per decision": f"{config.evaluate.execute_steps} of {config.model.fwd_pred_next_n}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"PyTorch {torch.__version__}",
    }
