"""Metrics of a run: one JSON object per line, appended while training runs."""

import json
from pathlib import Path
from typing import Any


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
