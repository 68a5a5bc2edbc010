from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robovlms.data.order import Shares, WindowOrder
from robovlms.errors import ConfigError

LENGTHS = st.lists(st.integers(0, 7), min_size=1, max_size=6).filter(any)


def spans(lengths: list[int]) -> list[range]:
    ends = np.cumsum(lengths).tolist()
    return [range(end - length, end) for end, length in zip(ends, lengths, strict=True)]


@given(LENGTHS, st.integers(0, 3), st.integers(0, 2))
def test_each_epoch_holds_every_window_once(lengths: list[int], seed: int, part: int) -> None:
    order = WindowOrder(spans(lengths), seed=seed, part=part)
    size = sum(lengths)
    for epoch in range(3):
        assert sorted(order.window(epoch * size + i) for i in range(size)) == list(range(size))


@given(LENGTHS, st.integers(0, 3))
def test_balance_by_episode(lengths: list[int], seed: int) -> None:
    """Every round has one window of each episode, and an episode's windows come equally often."""
    order = WindowOrder(spans(lengths), seed=seed, balance="episode")
    filled = [span for span in spans(lengths) if len(span)]
    rounds = int(np.lcm.reduce([len(span) for span in filled]))
    seen: Counter[int] = Counter()
    for turn in range(rounds):
        windows = [order.window(turn * len(filled) + i) for i in range(len(filled))]
        assert sorted(next(n for n, span in enumerate(filled) if w in span) for w in windows) == list(
            range(len(filled))
        )
        seen.update(windows)
    for span in filled:
        assert {seen[window] for window in span} == {rounds // len(span)}


def test_epochs_seeds_and_parts_differ() -> None:
    def epoch(number: int, **settings: int) -> tuple[int, ...]:
        order = WindowOrder([range(50)], **settings)
        return tuple(order.window(50 * number + i) for i in range(50))

    found = {epoch(number, seed=seed, part=part) for number in range(2) for seed in range(2) for part in range(2)}
    assert len(found) == 8


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=5), st.integers(0, 3))
def test_draws_of_a_dataset_are_numbered_without_gaps(weights: list[float], seed: int) -> None:
    shares = Shares(weights, seed=seed, block=64)
    draws: dict[int, list[int]] = {}
    for position in range(200):
        part, draw = shares.at(position)
        draws.setdefault(part, []).append(draw)
    for numbers in draws.values():
        assert numbers == list(range(len(numbers)))


@given(st.lists(st.floats(0.01, 100), min_size=2, max_size=6))
def test_each_block_has_the_shares(weights: list[float]) -> None:
    shares = Shares(weights, seed=0)
    exact = np.array(weights) / sum(weights)
    assert sum(shares.quotas) == 4096
    assert min(shares.quotas) >= 1
    assert np.abs(np.array(shares.quotas) / 4096 - exact).max() <= (len(weights) + 1) / 4096
    dealt = Counter(shares.at(position)[0] for position in range(4096, 8192))
    assert [dealt[part] for part in range(len(weights))] == shares.quotas


def test_any_position_can_be_asked_first() -> None:
    first, again = (Shares([1.0, 2.0, 5.0], seed=4) for _ in range(2))
    positions = [9000, 3, 4095, 4096, 9000, 0]
    expected = [first.at(position) for position in range(9001)]
    assert [again.at(position) for position in positions] == [expected[position] for position in positions]


def test_datasets_are_mixed_and_not_in_runs() -> None:
    parts = [Shares([1.0, 1.0], seed=0).at(position)[0] for position in range(4096)]
    changes = sum(a != b for a, b in zip(parts, islice(parts, 1, None), strict=False))
    assert 1800 < changes < 2300  # 2048 expected of a fair coin


@pytest.mark.parametrize("weights", [[], [1.0, 0.0], [-1.0]])
def test_bad_weights(weights: list[float]) -> None:
    with pytest.raises(ConfigError, match="positive weights"):
        Shares(weights, seed=0)
