import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robovlms.evaluate.statistics import success_rates, wilson_interval


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Roots of |p - s/n| = z sqrt(p (1 - p) / n), solved by hand.
    [(0, 10, 0.0, 0.27753), (10, 10, 0.72247, 1.0), (5, 10, 0.23659, 0.76341), (17, 20, 0.63958, 0.94763)],
)
def test_wilson_by_hand(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=2e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_bounds_solve_the_score_equation(pair: tuple[int, int]) -> None:
    successes, trials = pair
    low, high = wilson_interval(successes, trials)
    rate = successes / trials
    assert 0 <= low <= rate <= high <= 1
    for bound in (low, high):
        if 0 < bound < 1:
            z = (rate - bound) / math.sqrt(bound * (1 - bound) / trials)
            assert abs(z) == pytest.approx(1.959964, abs=1e-4)


def test_no_trials_and_impossible_counts() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="between 0 and 3"):
        wilson_interval(4, 3)


def test_rates_per_task_and_of_all() -> None:
    rates = success_rates([("b", True, 10), ("a", False, 500), ("b", True, 30), ("a", False, 500)])
    assert [(rate.name, rate.successes, rate.trials) for rate in rates] == [("b", 2, 2), ("a", 0, 2), ("all", 2, 4)]
    assert rates[0].mean_steps == 20
    assert math.isnan(rates[1].mean_steps)
    assert rates[2].rate == 0.5
