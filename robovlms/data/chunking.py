"""Windows of the original RoboVLMs: one row of indices holds a history, now, and the steps to predict.

A row of window size W and chunk F has W + F columns. Column W - 1 is "now", the W - 1 before it are the history, the F
behind it are the images to come, or the rest of the actions. Indices outside the episode are clamped into it and
masked::

    episode of 4 steps, W = 3, F = 2            columns   history   now   to come
                                                          0    1    2     3    4
    sliding, without left padding    now = 2              0    1    2     3    ·      · = masked
                                     now = 3              1    2    3     ·    ·
    sliding, with left padding       now = 0              ·    ·    0     1    2      and so on for 1, 2, 3
    range: every row W times         now = 2              0    1    2     3    ·
           row w hides columns < w   now = 2              ·    1    2     3    ·
                                     now = 2              ·    ·    2     3    ·

>>> index, mask = get_chunked_episode("sliding", False, 3, 2, np.arange(4))
>>> index.tolist(), mask[1].tolist()
([[0, 1, 2, 3, 3], [1, 2, 3, 3, 3]], [True, True, True, False, False])
"""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Bool, Int64, Shaped

from robovlms.errors import DataError

if TYPE_CHECKING:
    import torch

WindowSample = Literal["sliding", "range"]


def num_chunk_rows(length: int, window_sample: WindowSample, left_pad: bool, window_size: int) -> int:
    """Number of rows of an episode of `length` steps; arguments as in `get_chunked_episode`."""
    num_nows = length if left_pad else max(0, length - window_size + 1)
    return num_nows * (window_size if window_sample == "range" else 1)


def chunk_rows(
    rows: Int64[np.ndarray, "k"],
    *,
    length: int,
    window_sample: WindowSample,
    left_pad: bool,
    window_size: int,
    fwd_pred_next_n: int,
) -> tuple[Int64[np.ndarray, "k s"], Bool[np.ndarray, "k s"]]:
    """Return some rows of an episode.

    Args:
        rows: numbers of the rows, in [0, `num_chunk_rows`).
        length: steps in the episode, at least 1.
        window_sample, left_pad, window_size, fwd_pred_next_n: as in `get_chunked_episode`.

    Returns:
        Steps of the episode [k, W + F], clamped into it, and their mask, True = a step that counts.
    """
    nows, hidden = np.divmod(rows, window_size) if window_sample == "range" else (rows, np.zeros_like(rows))
    columns = np.arange(window_size + fwd_pred_next_n)
    # Without left padding, row 0 is the first whose history is complete.
    steps = nows[:, None] + columns - (window_size - 1 if left_pad else 0)
    mask = (steps >= 0) & (steps < length) & (columns >= hidden[:, None])
    return np.clip(steps, 0, length - 1), mask


def get_chunked_episode(
    window_sample: WindowSample,
    left_pad: bool,
    window_size: int,
    fwd_pred_next_n: int,
    episode_idx_range: Shaped[np.ndarray, "n"],
) -> tuple[Shaped[np.ndarray, "k s"], Bool[np.ndarray, "k s"]]:
    """Return all windows of an episode; see the module's drawing.

    Args:
        window_sample: "sliding" gives one row per step that is now, "range" window_size rows, which see ever less of
            the history.
        left_pad: whether the first window_size - 1 steps are "now" too, with a history that reaches out of the episode.
        window_size: W, steps of history, now included; at least 1.
        fwd_pred_next_n: F, steps to predict; at least 1.
        episode_idx_range: what the steps of the episode are called, for example their numbers in the dataset.

    Returns:
        Names of the steps [k, W + F], and their mask, True = inside of the episode and not hidden; k = 0 where the
        episode is too short.
    """
    length = len(episode_idx_range)
    steps, mask = chunk_rows(
        np.arange(num_chunk_rows(length, window_sample, left_pad, window_size)),
        length=length,
        window_sample=window_sample,
        left_pad=left_pad,
        window_size=window_size,
        fwd_pred_next_n=fwd_pred_next_n,
    )
    return episode_idx_range[steps], mask


def get_tensor_chunk(x: Any, fwd_pred_next_n: int) -> Any:
    """Every run of F neighbours along the first axis.

    Args:
        x: [k, ...], an array or a tensor.
        fwd_pred_next_n: F, in [1, k].

    Returns:
        [k - F + 1, F, ...], a copy of the same kind.

    Raises:
        DataError: if x is too short.

    >>> get_tensor_chunk(np.array([1, 2, 3, 4]), 3).tolist()
    [[1, 2, 3], [2, 3, 4]]
    """
    if not 1 <= fwd_pred_next_n <= len(x):
        raise DataError(f"chunks of {fwd_pred_next_n} steps out of {len(x)}")
    return x[np.arange(len(x) - fwd_pred_next_n + 1)[:, None] + np.arange(fwd_pred_next_n)]


def claw_matrix(n: int, k: int) -> "torch.Tensor":
    """Which step of n is within the k steps that follow which other, float32 [n, n]: 1 where 0 <= column - row <= k.

    >>> claw_matrix(4, 1).int().tolist()
    [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [0, 0, 0, 1]]
    """
    import torch  # the rest of this module does without

    return torch.ones(n, n).triu().tril(k)
