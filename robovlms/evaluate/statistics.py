"""Success rates with their uncertainty."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

_Z95 = 1.959963984540054  # standard normal quantile of 97.5 %


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95 % confidence interval of a success rate; (0, 1) without trials.

    >>> tuple(round(bound, 4) for bound in wilson_interval(17, 20))
    (0.6396, 0.9476)

    Source: E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must lie between 0 and {trials}, got {successes}")
    if trials == 0:
        return 0.0, 1.0
    rate, z2 = successes / trials, _Z95**2
    centre = (rate + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z95 / (1 + z2 / trials) * math.sqrt(rate * (1 - rate) / trials + z2 / (4 * trials**2))
    # The bounds of no and of every success are 0 and 1 exactly; rounding must not move them.
    return 0.0 if successes == 0 else centre - half, 1.0 if successes == trials else centre + half


@dataclass(frozen=True, kw_only=True)
class SuccessRate:
    """How often one task, or all of them, was solved.

    Attributes:
        name: the task, or "all".
        successes: solved episodes.
        trials: episodes.
        mean_steps: mean length of the solved episodes in steps; NaN if none was solved.
    """

    name: str
    successes: int
    trials: int
    mean_steps: float

    @property
    def rate(self) -> float:
        """Share of solved episodes; NaN without trials."""
        return self.successes / self.trials if self.trials else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the rate."""
        return wilson_interval(self.successes, self.trials)


def success_rates(outcomes: Iterable[tuple[str, bool, int]]) -> list[SuccessRate]:
    """Rates per task, in order of appearance, and of all episodes together, last.

    Args:
        outcomes: (task, whether it was solved, steps) of each episode.
    """
    by_task: dict[str, list[tuple[bool, int]]] = {}
    for task, is_success, steps in outcomes:
        by_task.setdefault(task, []).append((is_success, steps))
    everything = [outcome for rows in by_task.values() for outcome in rows]
    return [_rate(task, rows) for task, rows in by_task.items()] + [_rate("all", everything)]


def _rate(name: str, rows: list[tuple[bool, int]]) -> SuccessRate:
    solved = [steps for is_success, steps in rows if is_success]
    mean_steps = sum(solved) / len(solved) if solved else math.nan
    return SuccessRate(name=name, successes=len(solved), trials=len(rows), mean_steps=mean_steps)
