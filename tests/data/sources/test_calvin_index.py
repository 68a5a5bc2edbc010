import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robovlms.data.sources.calvin_index import calvin_window_table, calvin_windows
from robovlms.errors import ConfigError

GOLDENS = Path(__file__).parents[4] / "shared" / "reference" / "goldens"
needs_goldens = pytest.mark.skipif(
    not GOLDENS.is_dir(), reason="the original's reference numbers are not beside the project"
)


def _description() -> dict[str, Any]:
    return json.loads((GOLDENS / "d_calvin_index.json").read_text()) if GOLDENS.is_dir() else {"cases": []}


@needs_goldens
@pytest.mark.parametrize("case", _description()["cases"], ids=lambda case: case["key"])
def test_rows_equal_the_original(case: dict[str, Any]) -> None:
    description = _description()
    lists = {"partial_list": case["partial_data"], "few_shot_list": case["few_shot"]}
    chosen = [description[name] for name, is_used in lists.items() if is_used]
    found = calvin_window_table(
        [tuple(span) for span in description["ep_start_end"]],
        description["tasks"],
        window_size=case["window_size"],
        fwd_pred_next_n=case["fwd_pred_next_n"],
        skip_frames=case["skip_frames"],
        exclude_tasks=case["exclude_tasks"],
        only_spans={tuple(span) for span in chosen[0]} if chosen else None,
    )
    pairs = {
        "episode": found.starts,
        "lang": found.annotation,
        "rightpad": found.right_pad,
        "frames": found.frames,
        "mask": found.mask,
    }
    assert len(found.starts) == case["n"] > 0
    with np.load(GOLDENS / "d_calvin_index.npz") as golden:
        for name, ours in pairs.items():
            np.testing.assert_array_equal(ours, golden[f"{case['key']}_{name}"], err_msg=name)


def test_rows_by_hand() -> None:
    windows = calvin_windows(10, 14, window_size=2, fwd_pred_next_n=2, annotation=5)
    assert windows.frames.tolist() == [[10, 11, 12, 13], [11, 12, 13, 14], [12, 13, 14, 14]]
    assert windows.mask.tolist() == [[True] * 4, [True, True, True, False], [True, True, False, False]]
    assert windows.right_pad.tolist() == [0, -1, -2]
    assert windows.starts.tolist() == [10, 11, 12]
    assert windows.annotation.tolist() == [5, 5, 5]


@pytest.mark.parametrize(("length", "rows"), [(7, 0), (8, 1), (9, 2)])
def test_an_annotation_shorter_than_the_window_gives_nothing(length: int, rows: int) -> None:
    windows = calvin_windows(100, 100 + length, window_size=8, fwd_pred_next_n=3)
    assert windows.frames.shape == windows.mask.shape == (rows, 11)


@given(
    start=st.integers(0, 10**7),
    length=st.integers(1, 40),
    window_size=st.integers(1, 10),
    fwd_pred_next_n=st.integers(1, 12),
    skip_frames=st.integers(1, 5),
)
def test_every_row_is_a_run_that_the_annotation_ends(
    start: int, length: int, window_size: int, fwd_pred_next_n: int, skip_frames: int
) -> None:
    end = start + length
    sizes = {"window_size": window_size, "fwd_pred_next_n": fwd_pred_next_n}
    windows = calvin_windows(start, end, **sizes, skip_frames=skip_frames)
    assert windows.mask[:, :window_size].all()  # what is looked at is always there
    assert ((windows.frames == end) == ~windows.mask).all()
    np.testing.assert_array_equal(-windows.right_pad, (~windows.mask).sum(1))
    for row, first in zip(windows.frames, windows.starts, strict=True):
        np.testing.assert_array_equal(row, np.minimum(np.arange(first, first + row.size), end))
    every = calvin_windows(start, end, **sizes)
    np.testing.assert_array_equal(windows.frames, every.frames[::skip_frames])


def test_no_annotation_gives_no_row() -> None:
    table = calvin_window_table([], [], window_size=3, fwd_pred_next_n=2)
    assert table.frames.shape == (0, 5)
    assert table.frames.dtype == np.int64


@pytest.mark.parametrize("name", ["window_size", "fwd_pred_next_n", "skip_frames"])
def test_numbers_too_small_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: expected at least 1, got 0"):
        calvin_windows(0, 9, **({"window_size": 2, "fwd_pred_next_n": 2} | {name: 0}))
