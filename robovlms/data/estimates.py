"""What states and actions show of the meaning of actions: regressions over pairs of neighbouring steps.

With p the position of the tcp, a the action and L a lag of 0 … 8 steps, each hypothesis predicts the next motion::

    relative, in a frame that stays    p[t+1] - p[t] = s · a[t-L] + b            s > 0, one for all axes
    relative, to the tcp               p[t+1] - p[t] = s · R[t-L] · a[t-L] + b   R from the state's orientation
    relative, in any constant frame    p[t+1] - p[t] = M · a[t-L] + b            M any 3 x 3 matrix
    absolute                           p[t+1]        = a[t-L] + b                 slope 1: same unit, any origin

    absolute, differences              p[t+1] - p[t] = s · (a[t-L] - a[t-L-1]) + b

R² is the share of the variance of the left side that the right side explains, at the best lag. A slope of 1 is asked
of absolute actions because a controller that drives towards a fixed goal makes *relative* actions that depend linearly
on the position too, but with a negative slope. The differences tell which of the two it is: positions and slow actions
may well be correlated by chance, but not their changes from step to step.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robovlms.actions.pose import (
    axis_angle_to_matrix,
    euler_to_matrix,
    matrix_to_axis_angle,
    quaternion_xyzw_to_matrix,
    wrap_angle,
)
from robovlms.data.state_columns import StateColumns

MAX_LAG = 8  # steps
LEAST = 0.5  # confidence below which nothing is told
_LEAST_PAIRS = 50
_LEAD = 0.2  # by which the R² of one hypothesis must be above that of another to be told without doubt
_STILL = 1e-4  # m; a robot whose position varies less does not move
_EVENT = 0.1  # share of the range of the opening that a gripper must move to count
_GRIPPER_S = 1.0  # within which a gripper answers a command, and within MAX_LAG + 2 steps

# How the state's orientation may be read, by the kind that its names tell.
READINGS = {
    "euler": {
        "Euler xyz (fixed axes)": lambda values: euler_to_matrix(values, "xyz"),
        "Euler XYZ (turning axes)": lambda values: euler_to_matrix(values, "XYZ"),
    },
    "quaternion": {"quaternion": quaternion_xyzw_to_matrix},
    "rotation_vector": {"rotation vector": axis_angle_to_matrix},
}


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One thing that the data shows, or why it does not.

    Attributes:
        value: None = cannot tell.
        confidence: 0 to 1.
        evidence: figures, or the reason why nothing can be told.
    """

    value: Any
    confidence: float
    evidence: str


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Numbers of one episode.

    Attributes:
        actions: float64 [T, a].
        states: float64 [T, p].
        times_s: float64 [T]; None if the dataset has none.
    """

    actions: np.ndarray
    states: np.ndarray
    times_s: np.ndarray | None = None


def unknown(reason: str) -> Estimate:
    """An estimate that tells nothing."""
    return Estimate(value=None, confidence=0.0, evidence=reason)


@dataclass(frozen=True, kw_only=True)
class Motion:
    """How well each hypothesis explains the motion: R², slope and lag at its best lag.

    Attributes:
        fixed: relative, in the state's frame.
        tcp: relative to the tcp, by the best reading of the orientation; None without one.
        reading: that reading.
        linear: relative, in any constant frame; its slope is not used.
        absolute: with slope 1.
        changes: absolute, differences.
        num_pairs: steps compared.
    """

    fixed: "Fit"
    tcp: "Fit | None"
    reading: str
    linear: "Fit"
    absolute: "Fit"
    changes: "Fit"
    num_pairs: int


@dataclass(frozen=True, kw_only=True)
class Fit:
    """One regression."""

    r2: float
    slope: float
    lag: int


def fit_motion(recordings: Sequence[Recording], state: StateColumns, action: StateColumns) -> Motion | str:
    """Compare the hypotheses of the module; a text says why that cannot be done."""
    if state.position is None:
        return "no names of the proprioception say which numbers are the position"
    if action.position is None:
        return "no names of the action say which numbers are a position"
    places = [recording.states[:, list(state.position)] for recording in recordings]
    told = [recording.actions[:, list(action.position)] for recording in recordings]
    num_pairs = sum(max(0, len(place) - 1) for place in places)
    if num_pairs < _LEAST_PAIRS:
        return f"only {num_pairs} pairs of steps, {_LEAST_PAIRS} are needed"
    spread = np.concatenate([place - place.mean(0) for place in places if len(place)]).std(0).max()
    if spread < _STILL:
        return f"the robot does not move: its position varies by {spread:.1g}"
    if np.concatenate(told).std(0).max() == 0:
        return "the actions never change"
    turns = _turns(recordings, state)
    steps, ends = [np.diff(place, axis=0) for place in places], [place[1:] for place in places]
    by_reading = {
        name: _best(steps, [_turned(r, a) for r, a in zip(turn, told, strict=True)], _shared)
        for name, turn in turns.items()
    }
    reading = max(by_reading, key=lambda name: by_reading[name].r2, default="")
    return Motion(
        fixed=_best(steps, told, _shared),
        tcp=by_reading.get(reading),
        reading=reading,
        linear=_best(steps, told, _linear),
        absolute=_best(ends, told, _unit),
        changes=_best([step[1:] for step in steps], [np.diff(action, axis=0) for action in told], _shared),
        num_pairs=num_pairs,
    )


def estimate_delta(motion: Motion) -> Estimate:
    """Whether actions are relative: True, or False for a target."""
    relative = max((motion.linear, motion.fixed, *([motion.tcp] if motion.tcp else [])), key=lambda fit: fit.r2)
    evidence = (
        f"R² of the next motion on the action {relative.r2:.2f} and on its change {motion.changes.r2:.2f}, of the next "
        f"position on the action {motion.absolute.r2:.2f}, {motion.num_pairs} steps"
    )
    lead = (relative.r2 - max(0.0, motion.changes.r2)) / _LEAD
    if lead < 0:
        return _told(False, max(0.0, motion.absolute.r2) * min(1.0, -lead), evidence)
    return _told(True, max(0.0, relative.r2) * min(1.0, lead), evidence)


def estimate_frame(motion: Motion) -> Estimate:
    """The frame of relative actions: "world", which stands for any that stays, or "tcp"."""
    if motion.tcp is None:
        return unknown("no names of the proprioception say which numbers are the orientation")
    best, other = sorted((motion.fixed.r2, motion.tcp.r2), reverse=True)
    confidence = max(0.0, best) * min(1.0, (best - max(0.0, other)) / 0.3)
    evidence = (
        f"R² of the next motion on the action {motion.fixed.r2:.2f} in the frame of the state, {motion.tcp.r2:.2f} if "
        f"turned by the state's orientation ({motion.reading})"
    )
    return _told("world" if motion.fixed.r2 >= motion.tcp.r2 else "tcp", confidence, evidence)


def estimate_scale(motion: Motion) -> Estimate:
    """How far an action of 1 moves the tcp in a step, in units of the state."""
    fit = max((motion.fixed, *([motion.tcp] if motion.tcp else [])), key=lambda fit: fit.r2)
    evidence = f"an action of 1 moves the position by {fit.slope:.4g} per step (R² {fit.r2:.2f})"
    return _told(fit.slope, max(0.0, fit.r2), evidence)


def estimate_lag(motion: Motion, is_delta: bool | None) -> Estimate:
    """Steps between an action and the first motion that it explains best; 0 = the next step."""
    if is_delta is None:
        return unknown("it is not known whether actions are relative")
    fits = (motion.linear, *([motion.tcp] if motion.tcp else [])) if is_delta else (motion.absolute,)
    fit = max(fits, key=lambda fit: fit.r2)
    return _told(fit.lag, max(0.0, fit.r2), f"R² is largest, {fit.r2:.2f}, {fit.lag} steps after the action")


def estimate_gripper(
    recordings: Sequence[Recording], state: StateColumns, column: int, middle: float, hz: float
) -> tuple[Estimate, Estimate]:
    """Which sign of the command opens the gripper, "positive" or "negative"; and the lag of its answer in steps.

    Each time the command crosses `middle`, the opening is compared with that a second later, 10 steps at least, or
    before the next crossing. Commands that the gripper does not answer count for nothing.
    """
    if state.opening is None:
        return (unknown("no names of the proprioception say which number is the gripper's opening"),) * 2
    openings = [_opening(recording.states, state) for recording in recordings]
    signs = [np.where(recording.actions[:, column] > middle, 1, -1) for recording in recordings]
    whole = float(np.ptp(np.concatenate(openings))) if openings else 0.0
    if whole == 0:
        return (unknown("the gripper never moves"),) * 2
    answers, lags = _answers(openings, signs, _EVENT * whole, max(MAX_LAG + 2, round(_GRIPPER_S * hz)))
    if not answers:
        return (unknown("the gripper answers no command"),) * 2
    same, count = sum(answer > 0 for answer in answers), len(answers)
    agreement = abs(2 * same - count) / count
    confidence = agreement * (1 - 1 / (count + 1))
    evidence = f"after {count} commands the opening followed {same} times and went against it {count - same} times"
    if state.opening_sign == 0:
        confidence = min(confidence, 0.5)
        evidence += "; that it grows as the gripper opens is an assumption"
    sign = _told("positive" if 2 * same >= count else "negative", confidence, evidence)
    lag = Estimate(value=int(np.median(lags)), confidence=1 - 1 / (count + 1), evidence=f"half way, middle of {count}")
    return sign, lag


def estimate_rate(recordings: Sequence[Recording]) -> Estimate:
    """Steps per second."""
    distances = [np.diff(recording.times_s) for recording in recordings if recording.times_s is not None]
    together = np.concatenate(distances) if distances else np.zeros(0)
    if not len(together):
        return unknown("the dataset has no timestamps")
    middle = float(np.median(together))
    if not middle > 0:
        return unknown(f"timestamps do not rise: they are {middle:g} s apart")
    jitter = float(together.std() / middle)
    return _told(
        1 / middle, 1 / (1 + jitter), f"timestamps are {middle:.4g} s apart, give or take {100 * jitter:.1f} %"
    )


def estimate_rotation(
    recordings: Sequence[Recording], state: StateColumns, action: StateColumns, is_delta: bool | None
) -> Estimate:
    """How the three rotation numbers of an action are to be read.

    Of targets "euler_xyz" or "axis_angle", by the angle to the next orientation. Of relative actions "Euler
    difference", "axis-angle, fixed axes" or "axis-angle, tcp axes", by R²; where turns are small, these agree.
    """
    if state.orientation is None or state.orientation_kind not in READINGS:
        return unknown("no names of the proprioception say which numbers are the orientation")
    if action.orientation is None or len(action.orientation) != 3:
        return unknown("no names of the action say which three numbers are a rotation")
    if is_delta is None:
        return unknown("it is not known whether actions are relative")
    pairs = [(r.actions[:, list(action.orientation)], r.states[:, list(state.orientation)]) for r in recordings]
    return _relative_rotation(pairs, state) if is_delta else _target_rotation(pairs, state)


def _relative_rotation(pairs: list[tuple[np.ndarray, np.ndarray]], state: StateColumns) -> Estimate:
    read = next(iter(READINGS[state.orientation_kind].values()))
    told, turns = [action for action, _ in pairs], [read(pose) for _, pose in pairs]
    candidates = {
        "axis-angle, fixed axes": [matrix_to_axis_angle(r[1:] @ r[:-1].swapaxes(-1, -2)) for r in turns],
        "axis-angle, tcp axes": [matrix_to_axis_angle(r[:-1].swapaxes(-1, -2) @ r[1:]) for r in turns],
    }
    if state.orientation_kind == "euler":
        candidates["Euler difference"] = [wrap_angle(np.diff(pose, axis=0)) for _, pose in pairs]
    if np.concatenate(next(iter(candidates.values()))).std() < _STILL or np.concatenate(told).std() == 0:
        return unknown("the robot does not turn")
    fits = {name: _best(steps, told, _shared) for name, steps in candidates.items()}
    best, *others = sorted(fits, key=lambda name: fits[name].r2, reverse=True)
    gap = fits[best].r2 - max(0.0, max(fits[name].r2 for name in others))
    evidence = ", ".join(f"{name} R² {fit.r2:.2f}" for name, fit in fits.items())
    return _told(best, max(0.0, fits[best].r2) * min(1.0, gap / 0.1), evidence)


def _target_rotation(pairs: list[tuple[np.ndarray, np.ndarray]], state: StateColumns) -> Estimate:
    read = next(iter(READINGS[state.orientation_kind].values()))
    makers = {"euler_xyz": lambda values: euler_to_matrix(values, "xyz"), "axis_angle": axis_angle_to_matrix}
    errors = {}
    for name, make in makers.items():
        apart = [matrix_to_axis_angle(read(p[1:]) @ make(a[:-1]).swapaxes(-1, -2)) for a, p in pairs]
        errors[name] = float(np.median(np.linalg.norm(np.concatenate(apart), axis=-1)))
    best, other = sorted(errors, key=errors.__getitem__)
    evidence = ", ".join(f"{error:.2g} rad from the next orientation as {name}" for name, error in errors.items())
    confidence = max(0.0, 1 - errors[best] / max(errors[other], 1e-9)) if errors[best] < 0.2 else 0.0
    return _told(best, confidence, evidence)


def _told(value: Any, confidence: float, evidence: str) -> Estimate:
    """The estimate, unless the confidence is too small to name a value."""
    if confidence < LEAST:
        return Estimate(value=None, confidence=confidence, evidence=f"not clear: {evidence}")
    return Estimate(value=value, confidence=float(min(1.0, confidence)), evidence=evidence)


def _turns(recordings: Sequence[Recording], state: StateColumns) -> dict[str, list[np.ndarray]]:
    """Reading -> rotation matrices [T, 3, 3] of each recording."""
    if state.orientation is None:
        return {}
    columns, readings = list(state.orientation), READINGS.get(state.orientation_kind, {})
    return {name: [read(recording.states[:, columns]) for recording in recordings] for name, read in readings.items()}


def _turned(turns: np.ndarray, values: np.ndarray) -> np.ndarray:
    return (turns @ values[:, :, None])[:, :, 0]


def _best(
    left: list[np.ndarray], told: list[np.ndarray], regress: Callable[[np.ndarray, np.ndarray], tuple[float, float]]
) -> Fit:
    """The fit at the lag with the largest R²; `left` begins with what the first action leads to."""
    fits = []
    for lag in range(MAX_LAG + 1):
        y = [side[lag:] for side in left]
        x = [action[: len(side)] for action, side in zip(told, y, strict=True)]
        y, x = np.concatenate(y), np.concatenate(x)
        if len(y) >= _LEAST_PAIRS // 2:
            r2, slope = regress(y - y.mean(0), x - x.mean(0))
            fits.append(Fit(r2=float(r2), slope=float(slope), lag=lag))
    return max(fits, key=lambda fit: fit.r2)


def _shared(y: np.ndarray, x: np.ndarray) -> tuple[float, float]:
    """R² and slope with one positive slope for all columns; 0 where it would be negative."""
    squares = (x * x).sum()
    slope = max(0.0, (x * y).sum() / squares) if squares else 0.0
    return _r2(y, slope * x), slope


def _unit(y: np.ndarray, x: np.ndarray) -> tuple[float, float]:
    """R² with slope 1."""
    return _r2(y, x), 1.0


def _linear(y: np.ndarray, x: np.ndarray) -> tuple[float, float]:
    """R² with any matrix."""
    matrix, *_ = np.linalg.lstsq(x, y, rcond=None)
    return _r2(y, x @ matrix), float("nan")


def _r2(y: np.ndarray, predicted: np.ndarray) -> float:
    whole = (y * y).sum()
    return 1 - ((y - predicted) ** 2).sum() / whole if whole else 0.0


def _opening(states: np.ndarray, columns: StateColumns) -> np.ndarray:
    """Grows as the gripper opens, as far as that is known; fingers may move in opposite directions."""
    values = states[:, list(columns.opening or ())]
    opening = np.abs(values).sum(1) if values.shape[1] > 1 else values[:, 0]
    return -opening if columns.opening_sign < 0 else opening


def _answers(
    openings: list[np.ndarray], signs: list[np.ndarray], least: float, reach: int
) -> tuple[list[float], list[int]]:
    """Of every change of the command that the gripper answers: change of the opening times the sign; its lag."""
    answers, lags = [], []
    for opening, sign in zip(openings, signs, strict=True):
        changes = (np.flatnonzero(np.diff(sign)) + 1).tolist()
        for change, end in zip(changes, [*changes[1:], len(sign) - 1], strict=False):
            seen = opening[change : min(change + reach, end) + 1]
            moved = float(seen[-1] - seen[0]) if len(seen) > 1 else 0.0
            if abs(moved) >= least:
                answers.append(moved * sign[change])
                lags.append(int(np.argmax(np.abs(seen - seen[0]) >= abs(moved) / 2)) - 1)
    return answers, lags
