"""Metrics of a run: one JSON object per line, appended while training runs."""

import json
import sys
from pathlib import Path
from typing import Any

from robovlms.data.quarantine import Quarantine


class MetricsLog:
    """Appends rows to `metrics.jsonl`.

    Args:
        file: the log.
        resume_step: rows after this step are dropped, so that a resumed run does not write them twice; 0 starts anew.
    """

    def __init__(self, file: Path, resume_step: int) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        kept = [row for row in read_metrics(file) if row["step"] <= resume_step] if resume_step else []
        temporary = file.with_suffix(".writing")
        temporary.write_text("".join(json.dumps(row) + "\n" for row in kept))
        temporary.rename(file)
        self._file = file.open("a")

    def write(self, row: dict[str, Any]) -> None:
        """Append one row and hand it to the operating system."""
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """Rows of a log, oldest first; empty if there is none. A last line cut short by a kill is left out."""
    if not file.is_file():
        return []
    rows = []
    for line in file.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


class BadWindowLog:
    """Says and writes down each window that could not be read.

    Args:
        file: one JSON object per window; written anew, with what a resumed run knew already.
        quarantine: what is bad; grows while training runs.
    """

    def __init__(self, file: Path, quarantine: Quarantine) -> None:
        self.file, self.quarantine, self._num_written = file, quarantine, 0
        if not quarantine:
            file.unlink(missing_ok=True)

    def write_new(self) -> None:
        """Bring the file up to date; print what is new."""
        found = list(self.quarantine.found.values())
        for window in found[self._num_written :]:
            print(f"bad window replaced: {window.file}: {window.reason}", file=sys.stderr)
        if len(found) > self._num_written:
            self.file.write_text("".join(json.dumps(vars(window)) + "\n" for window in found))
            self._num_written = len(found)
