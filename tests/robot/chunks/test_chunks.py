"""Chunks, executed: exact by hand, then what must hold whatever arrives whenever."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robovlms.errors import SafetyError, UnsafeActionError
from robovlms.robot.chunks import EXECUTORS, AsyncQueue, ChunkExecutor, RecedingHorizon, TemporalEnsemble

SETTINGS = dict(control_hz=10.0, num_dims=2, gripper_dims=(1,), max_age_s=1.0)


def chunk(first: float, steps: int = 4, gripper: float = 1.0) -> np.ndarray:
    """Actions first, first + 1, … with one gripper command."""
    return np.stack([first + np.arange(steps, dtype=float), np.full(steps, gripper)], axis=1)


def given_out(executor: ChunkExecutor, now: float) -> float | None:
    action = executor.next(now)
    return None if action is None else float(action.values[0])


def test_receding_horizon_executes_the_first_steps_and_holds() -> None:
    executor = RecedingHorizon(execute_steps=2, **SETTINGS)
    assert executor.wants_chunk(0.0)
    assert executor.add(chunk(10), observed_at=0.0, now=0.3)
    assert not executor.wants_chunk(0.3)
    assert [given_out(executor, now) for now in (0.3, 0.35, 0.4, 0.5)] == [10, 10, 11, None]
    assert executor.wants_chunk(0.5)
    assert executor.counters == {"empty": 1}


def test_async_queue_drops_what_is_past_and_blends_the_rest() -> None:
    executor = AsyncQueue(new_weight=0.75, **SETTINGS)
    executor.add(chunk(0, 6, gripper=0.0), observed_at=0.0, now=0.0)
    assert [given_out(executor, now) for now in (0.0, 0.1, 0.2, 0.3)] == [0, 1, 2, 3]
    executor.add(chunk(30, 4, gripper=1.0), observed_at=0.2, now=0.35)  # due at 0.2 … 0.5
    action = executor.next(0.4)
    assert action is not None
    assert action.values.tolist() == [0.75 * 32 + 0.25 * 4, 1.0]  # the gripper is the newer one's
    assert action.observed_at == 0.0  # as old as the older of the two
    assert given_out(executor, 0.5) == 0.75 * 33 + 0.25 * 5
    assert given_out(executor, 0.6) is None


def test_what_is_fresh_does_not_expire_with_what_it_is_blended_with() -> None:
    """Chunks of 1 s and an age limit of 0.5 s: where the old chunk would be too old, the new one stands alone."""
    executor = AsyncQueue(new_weight=0.5, **{**SETTINGS, "max_age_s": 0.5})
    executor.add(chunk(0, 10), observed_at=0.0, now=0.0)
    assert given_out(executor, 0.3) == 3
    executor.add(chunk(20, 10), observed_at=0.2, now=0.3)  # 22 is for 0.4
    assert given_out(executor, 0.4) == 0.5 * 4 + 0.5 * 22
    assert [given_out(executor, now) for now in (0.5, 0.6, 0.7)] == [23, 24, 25]
    assert given_out(executor, 0.75) is None


def test_an_action_of_another_phase_joins_in_order() -> None:
    """The new chunk is due 0.02 s after the steps of the old one: each step is still 0.1 s, none goes back."""
    executor = AsyncQueue(new_weight=1, **SETTINGS)
    executor.add(chunk(0, 8), observed_at=0.0, now=0.0)
    assert given_out(executor, 0.3) == 3
    executor.add(chunk(50, 8), observed_at=0.22, now=0.31)  # 51 is for 0.32 to 0.42
    assert [given_out(executor, now) for now in (0.31, 0.33, 0.41, 0.43)] == [3, 51, 51, 52]


@pytest.mark.parametrize("name", EXECUTORS)
def test_a_clock_that_goes_back_gives_nothing(name: str) -> None:
    executor = EXECUTORS[name](**SETTINGS)
    executor.add(chunk(0), observed_at=5.0, now=5.0)
    assert executor.next(4.95) is None


def test_async_queue_asks_when_half_is_left() -> None:
    executor = AsyncQueue(refill_below=0.5, **SETTINGS)
    assert executor.wants_chunk(0.0)
    executor.add(chunk(0), observed_at=0.0, now=0.0)
    assert [executor.wants_chunk(now) for now in (0.0, 0.1, 0.2)] == [False, False, True]


def test_temporal_ensemble_is_the_weighted_mean() -> None:
    executor = TemporalEnsemble(decay=0.5, **SETTINGS)
    executor.add(chunk(0, gripper=0.0), observed_at=0.0, now=0.0)
    executor.add(chunk(10, gripper=1.0), observed_at=0.1, now=0.1)
    action = executor.next(0.1)
    assert action is not None
    old, new = 1.0, math.exp(-0.5)
    assert action.values[0] == pytest.approx((old * 1 + new * 10) / (old + new), rel=1e-12)
    assert action.values[1] == 1.0
    assert action.observed_at == 0.0


def test_an_old_chunk_leaves_the_ensemble_at_its_age_limit() -> None:
    executor = TemporalEnsemble(**{**SETTINGS, "max_age_s": 0.25})
    executor.add(chunk(0, 9), observed_at=0.0, now=0.0)
    executor.add(chunk(10, 9), observed_at=0.2, now=0.2)
    assert given_out(executor, 0.3) == 11
    assert given_out(executor, 0.5) is None


@pytest.mark.parametrize("name", EXECUTORS)
def test_faults_of_observations(name: str) -> None:
    executor = EXECUTORS[name](**SETTINGS)
    executor.add(chunk(0), observed_at=5.0, now=5.0)
    assert not executor.add(chunk(0), observed_at=4.9, now=5.0)
    assert not executor.add(chunk(0), observed_at=5.5, now=5.1)
    assert not executor.add(chunk(0), observed_at=math.nan, now=5.1)
    assert not executor.add(chunk(0), observed_at=5.1, now=6.2)
    executor.reset(7.0)
    assert executor.next(7.0) is None
    assert not executor.add(chunk(0), observed_at=6.9, now=7.1)
    assert executor.counters == {"out_of_order": 1, "future": 2, "stale": 1, "before_reset": 1, "empty": 1}


@pytest.mark.parametrize("name", EXECUTORS)
@pytest.mark.parametrize(
    "bad", [np.zeros((0, 2)), np.zeros((4, 3)), np.zeros(2), np.full((4, 2), np.nan), np.array([["a", "b"]])]
)
def test_a_bad_chunk_changes_nothing(name: str, bad: np.ndarray) -> None:
    executor = EXECUTORS[name](**SETTINGS)
    executor.add(chunk(3), observed_at=0.0, now=0.0)
    with pytest.raises(UnsafeActionError, match="a chunk"):
        executor.add(bad, observed_at=0.05, now=0.05)
    assert given_out(executor, 0.05) == 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RecedingHorizon(execute_steps=0, **SETTINGS), "execute_steps"),
        (lambda: AsyncQueue(refill_below=0, **SETTINGS), "refill_below"),
        (lambda: AsyncQueue(new_weight=1.5, **SETTINGS), "new_weight"),
        (lambda: TemporalEnsemble(decay=math.nan, **SETTINGS), "decay"),
        (lambda: AsyncQueue(**{**SETTINGS, "max_age_s": math.inf}), "max_age_s"),
        (lambda: AsyncQueue(**{**SETTINGS, "control_hz": 0.0}), "control_hz"),
    ],
)
def test_wrong_settings(make, message) -> None:
    with pytest.raises(SafetyError, match=message):
        make()


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(sorted(EXECUTORS)),
    st.lists(
        st.tuples(st.floats(0, 0.3), st.booleans(), st.floats(0, 1.5), st.integers(1, 8), st.booleans()), max_size=40
    ),
)
def test_whatever_arrives_whenever(name: str, events: list[tuple[float, bool, float, int, bool]]) -> None:
    """Age and order hold, a gripper is a value that some chunk had, and a reset forgets."""
    executor = EXECUTORS[name](**SETTINGS)
    now, last_due, reset_at = 0.0, -math.inf, -math.inf
    for wait, has_chunk, delay, steps, is_reset in events:
        now += wait
        if is_reset and delay > 1:
            executor.reset(now)
            last_due, reset_at = -math.inf, now
        if has_chunk:
            executor.add(chunk(now, steps, gripper=float(steps % 2)), observed_at=now - delay, now=now)
        action = executor.next(now)
        if action is not None:
            assert now - action.observed_at <= executor.max_age_s
            assert action.observed_at > reset_at
            assert last_due <= action.due_s <= now + 1e-6
            assert action.values[1] in (0.0, 1.0)
            last_due = action.due_s


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5))
def test_a_late_chunk_rewrites_nothing_that_was_executed(late: int, ahead: int) -> None:
    executor = AsyncQueue(**{**SETTINGS, "max_age_s": 9.0})
    executor.add(chunk(0, 12), observed_at=0.0, now=0.0)
    executed = [given_out(executor, k / 10) for k in range(late + 1)]
    executor.add(chunk(100, 12), observed_at=1e-4, now=late / 10)
    assert given_out(executor, late / 10) == executed[-1]
    after = given_out(executor, (late + ahead) / 10 + 0.001)
    assert after == pytest.approx(0.7 * (100 + late + ahead) + 0.3 * (late + ahead))
