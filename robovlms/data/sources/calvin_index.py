"""Windows of language-annotated CALVIN as the original RoboVLMs cuts them: pure index arithmetic.

An annotation (start, end) stands for the frames start … end - 1; frame `end` shows what the last action led to. A row
of window size W and chunk F has W + F columns: W frames looked at, then F frames of which only actions, or images to
come, are wanted. Columns from `end` on all hold frame `end` and are masked::

    start 0, end 6, W = 2, F = 3        columns  0  1    2  3  4     right_pad
                                       row 0     0  1    2  3  4      0
                                       row 1     1  2    3  4  5      0
                                       row 2     2  3    4  5  ·     -1       · = frame 6, masked
                                       row 3     3  4    5  ·  ·     -2
                                       row 4     4  5    ·  ·  ·     -3

Habits of the original that `robovlms.data.windows` does not have, kept here to tell its numbers apart from ours:

- No left padding: the first window begins at `start`, so the first "now" is `start` + W - 1 and the steps before it
  are never "now". Ours begins with a masked history.
- An annotation with fewer than W frames gives no window at all. Ours gives one per frame.
- Masked columns read frame `end`, outside of the annotation, where ours repeat its last frame.

>>> windows = calvin_windows(0, 6, window_size=2, fwd_pred_next_n=3)
>>> windows.frames[3].tolist(), windows.mask[3].tolist(), windows.right_pad.tolist()
([3, 4, 5, 6, 6], [True, True, True, False, False], [0, 0, -1, -2, -3])
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64

from robovlms.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class CalvinWindows:
    """Rows of the original; see the module's drawing.

    Attributes:
        annotation: int64 [n], number of the annotation that each row is of.
        starts: int64 [n], first frame of each row.
        right_pad: int64 [n], minus the number of masked columns.
        frames: int64 [n, W + F], number of the frame in each column.
        mask: bool [n, W + F], False = frame `end`, which stands for what comes after the annotation.
    """

    annotation: Int64[np.ndarray, "n"]
    starts: Int64[np.ndarray, "n"]
    right_pad: Int64[np.ndarray, "n"]
    frames: Int64[np.ndarray, "n c"]
    mask: Bool[np.ndarray, "n c"]


def calvin_windows(
    start: int, end: int, *, window_size: int, fwd_pred_next_n: int, skip_frames: int = 1, annotation: int = 0
) -> CalvinWindows:
    """Return the rows of one annotation.

    Args:
        start, end: of the annotation, as CALVIN writes them.
        window_size: W, at least 1.
        fwd_pred_next_n: F, at least 1.
        skip_frames: of all rows, every `skip_frames`-th is taken, the first one first.
        annotation: its number, for the result.

    Raises:
        ConfigError: if a number is too small.
    """
    for name, value in (
        ("window_size", window_size),
        ("fwd_pred_next_n", fwd_pred_next_n),
        ("skip_frames", skip_frames),
    ):
        if value < 1:
            raise ConfigError(f"{name}: expected at least 1, got {value}")
    starts = np.arange(start, end - window_size + 1, skip_frames, dtype=np.int64)
    frames = starts[:, None] + np.arange(window_size + fwd_pred_next_n)
    mask = frames < end
    return CalvinWindows(
        annotation=np.full(len(starts), annotation, np.int64),
        starts=starts,
        right_pad=mask.sum(1) - mask.shape[1],
        frames=np.minimum(frames, end),
        mask=mask,
    )


def calvin_window_table(
    spans: Sequence[tuple[int, int]],
    tasks: Sequence[str],
    *,
    window_size: int,
    fwd_pred_next_n: int,
    skip_frames: int = 1,
    exclude_tasks: Container[str] = (),
    only_spans: Container[tuple[int, int]] | None = None,
) -> CalvinWindows:
    """Return the rows of all annotations, one annotation after the other.

    Args:
        spans: (start, end) of each annotation.
        tasks: its task.
        window_size, fwd_pred_next_n, skip_frames: as in `calvin_windows`.
        exclude_tasks: tasks to leave out.
        only_spans: annotations to take, what the original calls partial data and few shot; None takes all. Numbers
            of annotations count those left out.

    Raises:
        ConfigError: as `calvin_windows`.
    """
    sizes = {"window_size": window_size, "fwd_pred_next_n": fwd_pred_next_n, "skip_frames": skip_frames}
    parts = [calvin_windows(0, 0, **sizes)]  # no row, so that no annotation is no special case
    for number, ((start, end), task) in enumerate(zip(spans, tasks, strict=True)):
        if task not in exclude_tasks and (only_spans is None or (start, end) in only_spans):
            parts.append(calvin_windows(start, end, **sizes, annotation=number))
    names = ("annotation", "starts", "right_pad", "frames", "mask")
    return CalvinWindows(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})
