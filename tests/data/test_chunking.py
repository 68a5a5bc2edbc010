"""Windows of the original: by hand, and against the rule spelled out step by step."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robovlms.data.chunking import chunk_rows, claw_matrix, get_chunked_episode, get_tensor_chunk, num_chunk_rows
from robovlms.errors import DataError


def spelled_out(window_sample, left_pad, window_size, fwd_pred_next_n, length):
    """Rows as lists of (step or None), None = masked; clamping checked apart."""
    rows = []
    for now in range(0 if left_pad else window_size - 1, length):
        for hidden in range(window_size if window_sample == "range" else 1):
            wanted = [now - window_size + 1 + column for column in range(window_size + fwd_pred_next_n)]
            rows.append(
                [step if 0 <= step < length and i >= hidden else None for i, step in enumerate(wanted)],
            )
    return rows


@given(st.sampled_from(["sliding", "range"]), st.booleans(), st.integers(1, 5), st.integers(1, 4), st.integers(1, 9))
def test_rule(window_sample, left_pad, window_size, fwd_pred_next_n, length):
    index, mask = get_chunked_episode(window_sample, left_pad, window_size, fwd_pred_next_n, np.arange(length) + 100)
    expected = spelled_out(window_sample, left_pad, window_size, fwd_pred_next_n, length)
    assert index.shape == mask.shape == (len(expected), window_size + fwd_pred_next_n)
    assert mask.tolist() == [[step is not None for step in row] for row in expected]
    seen = [[int(i) - 100 if ok else None for i, ok in zip(*row, strict=True)] for row in zip(index, mask, strict=True)]
    assert seen == expected
    assert ((index >= 100) & (index < 100 + length)).all()
    assert num_chunk_rows(length, window_sample, left_pad, window_size) == len(expected)


def test_clamped_indices_by_hand():
    index, mask = get_chunked_episode("sliding", True, 3, 2, np.array([7, 8]))
    assert index.tolist() == [[7, 7, 7, 8, 8], [7, 7, 8, 8, 8]]
    assert mask.tolist() == [[False, False, True, True, False], [False, True, True, False, False]]


def test_range_hides_one_more_column_in_every_copy():
    index, mask = get_chunked_episode("range", False, 3, 1, np.arange(3))
    assert index.tolist() == [[0, 1, 2, 2]] * 3
    assert mask.astype(int).tolist() == [
        [1, 1, 1, 0],
        [0, 1, 1, 0],
        [0, 0, 1, 0],
    ]


def test_too_short_an_episode_has_no_window_but_keeps_the_shape():
    index, mask = get_chunked_episode("range", False, 4, 3, np.arange(3))
    assert index.shape == mask.shape == (0, 7)


def test_single_rows_are_the_rows_of_the_whole():
    index, mask = get_chunked_episode("range", True, 4, 3, np.arange(6))
    settings = {"length": 6, "window_sample": "range", "left_pad": True, "window_size": 4, "fwd_pred_next_n": 3}
    one_index, one_mask = chunk_rows(np.array([13, 2]), **settings)
    assert one_index.tolist() == index[[13, 2]].tolist()
    assert one_mask.tolist() == mask[[13, 2]].tolist()


@given(st.integers(1, 6), st.integers(1, 6))
def test_tensor_chunks_are_runs_of_neighbours(k, size):
    x = torch.arange(k * 2).reshape(k, 2)
    if size > k:
        with pytest.raises(DataError, match=f"chunks of {size} steps out of {k}"):
            get_tensor_chunk(x, size)
        return
    chunks = get_tensor_chunk(x, size)
    assert torch.equal(chunks, x.unfold(0, size, 1).movedim(-1, 1))
    assert np.array_equal(get_tensor_chunk(x.numpy(), size), chunks.numpy())


def test_tensor_chunks_are_a_copy():
    x = torch.zeros(3, dtype=torch.bool)
    chunks = get_tensor_chunk(x, 2)
    chunks[:] = True
    assert chunks.dtype == torch.bool
    assert not x.any()


@given(st.integers(1, 7), st.integers(0, 7))
def test_claw_matrix_is_a_band(n, k):
    row, column = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
    band = (column >= row) & (column - row <= k)
    assert torch.equal(claw_matrix(n, k), band.float())
