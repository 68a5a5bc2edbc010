"""Progress of long steps: a bar with ETA on a terminal, a line every few seconds in a log file."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_SECONDS_BETWEEN_LINES = 15.0


class ProgressBar:
    """Progress of one long step, used as a context manager.

    Args:
        description: what is going on, a few words.
        total: number of units.
        done: units already done, when work is resumed.
        unit: name of a unit, plural.
        is_shown: False prints nothing.
    """

    def __init__(self, description: str, total: int, *, done: int = 0, unit: str = "", is_shown: bool = True) -> None:
        self.description, self.total, self.done, self.unit, self.is_shown = description, total, done, unit, is_shown
        self._resumed_at, self._started_s, self._line_s = done, time.monotonic(), time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> "ProgressBar":
        console = Console(stderr=True)
        if self.is_shown and console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            info = (TextColumn("ETA"), TimeRemainingColumn(), TextColumn("{task.fields[info]}"))
            self._bar = Progress(*columns, *info, console=console)
            self._task = self._bar.add_task(self.description, total=self.total, completed=self.done, info="")
            self._bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self.is_shown:
            self._print_line("")

    def advance(self, amount: int = 1, info: str = "") -> None:
        """Count `amount` more units as done; `info` is shown behind the bar."""
        self.done += amount
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, info=info)
        elif self.is_shown and time.monotonic() - self._line_s > _SECONDS_BETWEEN_LINES:
            self._print_line(info)

    def _print_line(self, info: str) -> None:
        self._line_s = time.monotonic()
        elapsed_s = self._line_s - self._started_s
        rest_s = elapsed_s * (self.total - self.done) / max(1, self.done - self._resumed_at)
        eta = f", ETA {rest_s:.0f} s" if self._resumed_at < self.done < self.total else ""
        parts = f"{self.description}: {self.done}/{self.total} {self.unit}".rstrip(), f" {elapsed_s:.0f} s{eta}"
        print(",".join(parts), info, file=sys.stderr, flush=True)
