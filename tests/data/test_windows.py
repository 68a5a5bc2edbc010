import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robovlms.data.windows import window_at

SIZES = st.tuples(st.integers(1, 12), st.integers(1, 6), st.integers(1, 6))  # length, window_size, fwd_pred_next_n


def plain_window(now: int, length: int, t: int, n: int) -> list[tuple[int, bool, list[tuple[int, bool]]]]:
    """The same by loops: per window step its frame, whether it is real, and (action, is supervised) of its chunk."""
    rows = []
    for i in range(t):
        frame = now - (t - 1) + i
        chunk = []
        for k in range(n):
            step = frame + k
            chunk.append((min(max(step, 0), length - 1), frame >= 0 and 0 <= step < length))
        rows.append((max(frame, 0), frame >= 0, chunk))
    return rows


@given(SIZES)
def test_equals_plain_loops(sizes: tuple[int, int, int]) -> None:
    length, t, n = sizes
    for now in range(length):
        window = window_at(now, length=length, window_size=t, fwd_pred_next_n=n)
        chunks = [
            list(zip(steps, mask, strict=True))
            for steps, mask in zip(window.steps.tolist(), window.step_mask.tolist(), strict=True)
        ]
        assert list(zip(window.frames.tolist(), window.frame_mask.tolist(), chunks, strict=True)) == plain_window(
            now, length, t, n
        )


@given(SIZES)
def test_every_step_is_supervised_from_every_place(sizes: tuple[int, int, int]) -> None:
    """Step s is the k-th action of frame s - k, and now is w frames later: each such place occurs, and once."""
    length, t, n = sizes
    seen = set()
    for now in range(length):
        window = window_at(now, length=length, window_size=t, fwd_pred_next_n=n)
        for i, k in np.argwhere(window.step_mask).tolist():
            step = int(window.steps[i, k])
            assert step == window.frames[i] + k
            seen.add((step, k, t - 1 - i))
    expected = {
        (step, k, w) for step in range(length) for k in range(n) for w in range(t) if 0 <= step - k < length - w
    }
    assert seen == expected


@given(SIZES)
def test_indices_can_be_read_and_now_is_last(sizes: tuple[int, int, int]) -> None:
    length, t, n = sizes
    for now in range(length):
        window = window_at(now, length=length, window_size=t, fwd_pred_next_n=n)
        assert window.frames.min() >= 0
        assert window.frames.max() == now == window.frames[-1]
        assert window.steps.min() >= 0
        assert window.steps.max() < length
        assert not window.step_mask[~window.frame_mask].any()
        assert window.frame_mask.sum() == min(t, now + 1)
        assert window.step_mask[-1, 0]


def test_first_and_last_step() -> None:
    first = window_at(0, length=3, window_size=2, fwd_pred_next_n=2)
    assert (first.frames.tolist(), first.frame_mask.tolist()) == ([0, 0], [False, True])
    assert first.step_mask.tolist() == [[False, False], [True, True]]
    last = window_at(2, length=3, window_size=2, fwd_pred_next_n=2)
    assert (last.steps.tolist(), last.step_mask.tolist()) == ([[1, 2], [2, 2]], [[True, True], [True, False]])


def test_episode_shorter_than_window_and_chunk() -> None:
    window = window_at(0, length=1, window_size=3, fwd_pred_next_n=4)
    assert window.frame_mask.tolist() == [False, False, True]
    assert window.step_mask.sum() == 1
    assert window.step_mask[2, 0]


@pytest.mark.parametrize("now", [-1, 3])
def test_step_outside_the_episode(now: int) -> None:
    with pytest.raises(IndexError, match="3 steps"):
        window_at(now, length=3, window_size=1, fwd_pred_next_n=1)
