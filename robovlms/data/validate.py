"""`robovlms data validate`: look at every file of a dataset and report all that is wrong.

::

    files of the format   tables, videos, indices    checks.registry.FILE_CHECKS     need no dataset that opens
    opening               description, action space
    episode by episode    numbers, frames, texts     checks.registry.CHECKS          through EpisodeSource
    all of them           duplicates, conventions    the same, at the end
"""

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from robovlms.data.checks.check import Check, Scope
from robovlms.data.checks.episode import read_numbers
from robovlms.data.checks.fault import Fault, Findings
from robovlms.data.checks.registry import CHECKS, FILE_CHECKS, FORMAT_CHECKS
from robovlms.data.sources.base import EpisodeSource
from robovlms.data.sources.registry import find_format, open_source
from robovlms.errors import ConfigError, DataError, MissingDependencyError, RoboVLMsError
from robovlms.progress import ProgressBar

_SHOWN_PER_CHECK = 3  # findings of one check in the summary
_WIDTH_IN_FILE = 120  # characters, where output is no terminal


@dataclass(frozen=True, kw_only=True)
class ValidationReport:
    """Everything found in one dataset.

    Attributes:
        path: of the dataset.
        format: key of `SOURCES`; "auto" if it could not be told.
        num_episodes, num_frames: as far as the dataset could be opened, else 0.
        faults: what spoils training or evaluation; the first ones of each check.
        warnings: what may be meant.
        more: check -> findings that are not listed, faults and warnings.
        checks: names of the checks that ran.
        seconds: how long they took.
    """

    path: Path
    format: str
    num_episodes: int
    num_frames: int
    faults: tuple[Fault, ...]
    warnings: tuple[Fault, ...]
    more: dict[str, int]
    checks: tuple[str, ...]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "path": str(self.path),
            "format": self.format,
            "num_episodes": self.num_episodes,
            "num_frames": self.num_frames,
            "faults": [fault.to_json() for fault in self.faults],
            "warnings": [warning.to_json() for warning in self.warnings],
            "more": self.more,
            "checks": list(self.checks),
            "seconds": round(self.seconds, 3),
        }


def validate_dataset(
    path: Path,
    format: str = "auto",
    options: dict[str, Any] | None = None,
    *,
    all_frames: bool = False,
    json_path: Path | None = None,
    show_progress: bool = True,
) -> ValidationReport:
    """Check a dataset, print a summary, write the report as JSON.

    Args:
        path: folder or file.
        format: key of `SOURCES`; "auto" looks at the names of the files.
        options: keywords of that format's class.
        all_frames: decode every frame instead of the first, middle and last of each camera and episode.
        json_path: file for the report; None prints it to standard output, and the summary to standard error.
        show_progress: whether a bar shows how far it is.

    Raises:
        ConfigError: if the format or an option is unknown or missing. Whatever is wrong with the dataset is a fault.
        MissingDependencyError: if a library to read it is not installed.
    """
    report = find_faults(Path(path), format, options or {}, all_frames=all_frames, show_progress=show_progress)
    text = json.dumps(report.to_json(), indent=2, ensure_ascii=False)
    if json_path is None:
        _show(report, Console(stderr=True, highlight=False))
        sys.stdout.write(text + "\n")
    else:
        json_path.parent.mkdir(parents=True, exist_ok=True)
        json_path.write_text(text + "\n", encoding="utf-8")
        _show(report, Console(highlight=False))
    return report


def find_faults(
    path: Path, format: str, options: dict[str, Any], *, all_frames: bool, show_progress: bool
) -> ValidationReport:
    """As `validate_dataset`, without printing."""
    started_s, findings = time.monotonic(), Findings()
    kind, source = format, None
    try:
        kind = find_format(path) if format == "auto" else format
    except DataError as error:
        findings.add(Fault(check="open", file=path, message=str(error)))
    else:
        for name, check in FILE_CHECKS.get(kind, {}).items():
            findings.run(name, check(path, options), path)
        source = _open(path, kind, options, findings)
    if source is not None:
        _check_source(source, kind, findings, all_frames, show_progress)
    more: dict[str, int] = {}
    for (check, _), count in findings.more.items():
        more[check] = more.get(check, 0) + count
    return ValidationReport(
        path=path,
        format=kind,
        num_episodes=0 if source is None else len(source),
        num_frames=0 if source is None else int(source.lengths.sum()),
        faults=findings.of("fault"),
        warnings=findings.of("warning"),
        more=more,
        checks=tuple(findings.checks),
        seconds=time.monotonic() - started_s,
    )


def _open(path: Path, kind: str, options: dict[str, Any], findings: Findings) -> EpisodeSource | None:
    """The dataset; None, and a fault, if it cannot be opened."""
    findings.checks.append("open")
    try:
        source = open_source(path, kind, **options)
        source.lengths.sum()  # some formats look into their files only now
        return source
    except MissingDependencyError:
        raise  # nothing is wrong with the dataset
    except Exception as error:  # whatever a damaged file makes a library raise
        if isinstance(error, ConfigError) and not findings.of("fault"):
            raise  # neither here; where files are damaged, it may be because of them
        text = str(error) if isinstance(error, RoboVLMsError) else f"{path}: {type(error).__name__}: {error}"
        findings.add(Fault(check="open", file=path, message=" ".join(text.split())))
        return None


def _check_source(source: EpisodeSource, kind: str, findings: Findings, all_frames: bool, show_progress: bool) -> None:
    """Run the checks that look at episodes."""
    scope = Scope(source=source, all_frames=all_frames, damaged=frozenset(findings.damaged))
    checks = {name: check(scope) for name, check in (CHECKS | FORMAT_CHECKS.get(kind, {})).items()}
    with ProgressBar("Validate", len(source), unit="episodes", is_shown=show_progress) as progress:
        for index in range(len(source)):
            findings.run("readable", _check_episode(checks, scope, index, findings), source.path)
            progress.advance()
    for name, check in checks.items():
        findings.run(name, check.end(), source.path)


def _check_episode(checks: dict[str, Check], scope: Scope, index: int, findings: Findings) -> Iterator[Fault]:
    """Nothing is yielded; what cannot be read at all is raised, and reported by whoever asked."""
    if scope.source.file(index) in scope.damaged:
        return
    numbers = read_numbers(scope.source, index)
    for name, check in checks.items():
        findings.run(name, check.episode(numbers), numbers.file)
    return
    yield


def _show(report: ValidationReport, console: Console) -> None:
    """Print a short summary."""
    if not console.is_terminal:
        console.width = _WIDTH_IN_FILE
    table = Table(title=escape(f"{report.path} ({report.format})"), title_justify="left", show_lines=False)
    for column in ("check", "severity", "found", "examples"):
        table.add_column(column, overflow="fold")
    for severity, found in (("fault", report.faults), ("warning", report.warnings)):
        for name in dict.fromkeys(fault.check for fault in found):
            messages = [fault.message for fault in found if fault.check == name]
            count = f"{len(messages)}" + (f" + {report.more[name]}" if name in report.more else "")
            table.add_row(name, severity, count, escape("\n".join(messages[:_SHOWN_PER_CHECK])))
    if table.row_count:
        console.print(table)
    more = f" and {sum(report.more.values())} that are not listed" if report.more else ""
    verdict = f"{len(report.faults)} fault{'s'[: len(report.faults) != 1]}" if report.faults else "no fault"
    console.print(
        f"{report.num_episodes} episodes, {report.num_frames} steps: {verdict}, {len(report.warnings)} warnings{more} "
        f"({len(report.checks)} checks, {report.seconds:.1f} s)",
        markup=False,
        soft_wrap=True,
    )
