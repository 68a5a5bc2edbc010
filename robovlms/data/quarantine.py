"""Windows that cannot be read: each is counted, named and replaced; too many stop the training."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from robovlms.errors import DataError

_NAMED = 10  # files in the message


@dataclass(frozen=True, kw_only=True)
class BadWindow:
    """One window that could not be read.

    Attributes:
        dataset: number of the dataset in a mixture.
        window: index of the window, or of the episode of a stream.
        file: where it lies.
        reason: what was wrong.
    """

    dataset: int
    window: int
    file: str
    reason: str


class Quarantine:
    """The bad windows of a run.

    Args:
        budget: share of a dataset that may be bad.
        totals: number of a dataset -> its windows; of a stream, its episodes.

    Attributes:
        found: each bad window once, in the order they were met.
    """

    def __init__(self, budget: float, totals: Mapping[int, int]) -> None:
        self.budget, self.totals = budget, totals
        self.found: dict[tuple[int, int], BadWindow] = {}

    def __len__(self) -> int:
        return len(self.found)

    def add(self, windows: Iterable[BadWindow]) -> list[BadWindow]:
        """Count windows; return those that were not known.

        Raises:
            DataError: names the files, if a dataset has more than the budget allows.
        """
        new = [window for window in windows if (window.dataset, window.window) not in self.found]
        for window in new:
            self.found[window.dataset, window.window] = window
        for dataset in {window.dataset for window in new}:
            bad = [window for window in self.found.values() if window.dataset == dataset]
            if len(bad) > self.budget * self.totals[dataset]:
                raise DataError(self._message(bad, self.totals[dataset]))
        return new

    def _message(self, bad: list[BadWindow], total: int) -> str:
        by_file: dict[str, list[str]] = {}
        for window in bad:
            by_file.setdefault(window.file, []).append(window.reason)
        shown = [f"{file} ({len(reasons)}: {reasons[0]})" for file, reasons in list(by_file.items())[:_NAMED]]
        more = f"; and {len(by_file) - _NAMED} more files" if len(by_file) > _NAMED else ""
        return (
            f"{len(bad)} of {total} windows cannot be read, more than data.bad_budget = "
            f"{self.budget:g} allows: {'; '.join(shown)}{more}"
        )
