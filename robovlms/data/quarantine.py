"""Windows that cannot be read: each is counted, named and replaced; too many stop the training."""

from collections.abc import Iterable
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
        budget: share of the windows that may be bad.
        num_windows: windows of the datasets; of streams, those that may be drawn before the share is looked at.

    Attributes:
        found: each bad window once, in the order they were met.
    """

    def __init__(self, budget: float, num_windows: int) -> None:
        self.budget, self.num_windows = budget, num_windows
        self.found: dict[tuple[int, int], BadWindow] = {}

    def __len__(self) -> int:
        return len(self.found)

    def add(self, windows: Iterable[BadWindow]) -> list[BadWindow]:
        """Count windows; return those that were not known.

        Raises:
            DataError: names the files, if there are more than the budget allows.
        """
        new = [window for window in windows if (window.dataset, window.window) not in self.found]
        for window in new:
            self.found[window.dataset, window.window] = window
        if new and len(self.found) > self.budget * self.num_windows:
            raise DataError(self._message())
        return new

    def _message(self) -> str:
        by_file: dict[str, list[str]] = {}
        for window in self.found.values():
            by_file.setdefault(window.file, []).append(window.reason)
        shown = [f"{file} ({len(reasons)}: {reasons[0]})" for file, reasons in list(by_file.items())[:_NAMED]]
        more = f"; and {len(by_file) - _NAMED} more files" if len(by_file) > _NAMED else ""
        return (
            f"{len(self.found)} of {self.num_windows} windows cannot be read, more than data.bad_budget = "
            f"{self.budget:g} allows: {'; '.join(shown)}{more}"
        )
