"""Which frames and which actions make up the window of one step: pure index arithmetic.

A window belongs to one step, "now". It looks at `window_size` frames, of which now is the last, and for each of them
asks for the `fwd_pred_next_n` actions that follow from it, that frame's own action first. Indices outside the episode
are clamped into it, so that they can always be read, and masked, so that nothing is learned from them::

    episode of 5 steps, window_size t = 3, fwd_pred_next_n n = 2

    now = 1         frame    mask     actions   mask            (· = before or after the episode)
      window 0      ·  -> 0  False    ·  0      False False     padding supervises nothing, though action 0 exists
      window 1      0        True     0  1      True  True
      window 2      1        True     1  2      True  True      now
    now = 4
      window 0      2        True     2  3      True  True
      window 1      3        True     3  4      True  True
      window 2      4        True     4  ·      True  False     now; the episode ends after action 4

>>> window = window_at(1, length=5, window_size=3, fwd_pred_next_n=2)
>>> window.frames.tolist(), window.frame_mask.tolist()
([0, 0, 1], [False, True, True])
>>> window.steps.tolist(), window.step_mask.tolist()
([[0, 0], [0, 1], [1, 2]], [[False, False], [True, True], [True, True]])
>>> window_at(4, length=5, window_size=3, fwd_pred_next_n=2).step_mask.tolist()
[[True, True], [True, True], [True, False]]
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64


@dataclass(frozen=True, kw_only=True)
class WindowIndices:
    """Indices of one window; see the module's drawing.

    Attributes:
        frames: int64 [t], steps of the episode at which to look, oldest first, clamped into the episode.
        frame_mask: bool [t], False = before the episode.
        steps: int64 [t, n], steps whose actions are wanted, clamped into the episode.
        step_mask: bool [t, n], False = outside the episode, or of a frame before it.
    """

    frames: Int64[np.ndarray, "t"]
    frame_mask: Bool[np.ndarray, "t"]
    steps: Int64[np.ndarray, "t n"]
    step_mask: Bool[np.ndarray, "t n"]


def window_at(now: int, *, length: int, window_size: int, fwd_pred_next_n: int) -> WindowIndices:
    """Return the window of step `now`.

    Args:
        now: current step, in [0, length).
        length: steps in the episode.
        window_size: t, frames looked at, now included; at least 1.
        fwd_pred_next_n: n, actions per frame; at least 1.

    Raises:
        IndexError: if the episode has no step `now`.
    """
    if not 0 <= now < length:
        raise IndexError(f"step {now} of an episode with {length} steps")
    frames = np.arange(now - window_size + 1, now + 1)
    steps = frames[:, None] + np.arange(fwd_pred_next_n)
    frame_mask = frames >= 0
    return WindowIndices(
        frames=np.maximum(frames, 0),
        frame_mask=frame_mask,
        steps=np.clip(steps, 0, length - 1),
        step_mask=frame_mask[:, None] & (steps < length),
    )
