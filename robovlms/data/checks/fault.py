"""What a check finds, and the list of everything found."""

import dataclasses
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from robovlms.errors import MissingDependencyError

_DAMAGES = ("damaged_file", "missing_file")
LISTED_PER_CHECK = 20  # findings of one check that are listed; the others are counted


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that is wrong, or, as a warning, worth a second look.

    Attributes:
        check: name of the check.
        file: the file, or the folder, in which it is.
        message: the whole finding in one line.
        severity: "fault" spoils training or evaluation; "warning" may be meant.
        episode: index of the episode; None if it is of no single one.
        step: step of the episode; None if it is of no single one.
        key: camera, column, dimension or field; None if it is of none.
        expected, seen: the two things that differ, as text; None where nothing is compared.
    """

    check: str
    file: Path
    message: str
    severity: Literal["fault", "warning"] = "fault"
    episode: int | None = None
    step: int | None = None
    key: str | None = None
    expected: str | None = None
    seen: str | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {**dataclasses.asdict(self), "file": str(self.file)}


class Findings:
    """Gathers what all checks find; the first ones of each check are listed, the rest is counted.

    Attributes:
        listed: in the order they were found.
        more: (check, severity) -> how many were found but not listed.
        checks: names of the checks that ran.
        damaged: every file found missing or damaged, also those that are not listed.
    """

    def __init__(self, limit: int = LISTED_PER_CHECK) -> None:
        self.limit = limit
        self.listed: list[Fault] = []
        self.more: Counter[tuple[str, str]] = Counter()
        self.checks: list[str] = []
        self.damaged: set[Path] = set()
        self._counts: Counter[tuple[str, str]] = Counter()

    def run(self, name: str, found: Iterable[Fault], file: Path) -> None:
        """Take all that a check finds.

        A damaged file makes libraries raise whatever they like; that, too, is a fault of the dataset and not an end of
        the report.

        Args:
            name: of the check.
            found: what it finds, one after the other.
            file: where it was looking, in case that it cannot go on.
        """
        if name not in self.checks:
            self.checks.append(name)
        try:
            for fault in found:
                self.add(fault)
        except MissingDependencyError:
            raise  # nothing is wrong with the dataset
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            self.add(Fault(check=name, file=file, message=f"{file}: the check could not be finished: {text}"))

    def add(self, fault: Fault) -> None:
        """Take one."""
        kind = fault.check, fault.severity
        self._counts[kind] += 1
        if fault.check in _DAMAGES and fault.severity == "fault":
            self.damaged.add(fault.file)
        if self._counts[kind] <= self.limit:
            self.listed.append(fault)
        else:
            self.more[kind] += 1

    def of(self, severity: str) -> tuple[Fault, ...]:
        """Those of one severity."""
        return tuple(fault for fault in self.listed if fault.severity == severity)
