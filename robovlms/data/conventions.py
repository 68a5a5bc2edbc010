"""What actions seem to mean, from states and actions, and whether that contradicts what is declared.

`estimates` says how. A declared value is refused only if

- the data tells another one with a confidence of at least `REFUSES` (0.8),
- and, for the scale, they differ by more than a factor of `SCALE_FACTOR` (10): controllers reach only part of a
  command within a step,
- and, for the rate, by more than `RATE_TOLERANCE` (10 %).

"world" and "base" both stay where they are; the data cannot tell them apart. Of the rotation only that of targets is
held against what is declared, because small relative rotations are the same in every representation.
"""

import dataclasses
import re
from dataclasses import dataclass

import numpy as np

from robovlms.actions.space import ActionSpace
from robovlms.data.checks.timestamps import timestamps
from robovlms.data.estimates import (
    Estimate,
    Recording,
    estimate_delta,
    estimate_frame,
    estimate_gripper,
    estimate_lag,
    estimate_rate,
    estimate_rotation,
    estimate_scale,
    fit_motion,
    unknown,
)
from robovlms.data.sources.base import EpisodeSource, Steps
from robovlms.data.sources.stream import StreamableSource
from robovlms.data.state_columns import StateColumns, state_columns
from robovlms.errors import DataError

REFUSES = 0.8  # confidence
SCALE_FACTOR = 10.0
RATE_TOLERANCE = 0.1
_MAX_EPISODES, _MAX_STEPS = 64, 20_000  # of the sample
_UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001}
_UNIT = re.compile(r"(?:([\d.eE+-]+) )?(m|cm|mm)(/s)?")


@dataclass(frozen=True, kw_only=True)
class Conventions:
    """What the data shows; each value may be None, with the reason as its evidence.

    Attributes:
        is_delta: bool, whether actions are relative.
        frame: "world" (any frame that stays) or "tcp", of relative actions.
        scale: float, m per step that an action of 1 moves the tcp.
        lag_steps: int, steps until an action shows; 0 = in the next step.
        gripper_opens: "positive" or "negative".
        gripper_lag_steps: int, until the gripper is half way.
        control_hz: float, steps per second.
        rotation: str, how rotations are to be read.
        num_episodes, num_steps: of the sample.
    """

    is_delta: Estimate
    frame: Estimate
    scale: Estimate
    lag_steps: Estimate
    gripper_opens: Estimate
    gripper_lag_steps: Estimate
    control_hz: Estimate
    rotation: Estimate
    num_episodes: int
    num_steps: int

    def estimates(self) -> dict[str, Estimate]:
        """By name."""
        fields = ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))
        return {name: value for name, value in fields if isinstance(value, Estimate)}


@dataclass(frozen=True, kw_only=True)
class Contradiction:
    """A declared value that the data contradicts.

    Attributes:
        field: of the action space.
        declared, seen: both values.
        message: with the evidence and what to do.
    """

    field: str
    declared: str
    seen: str
    message: str


def infer_conventions(source: EpisodeSource, seed: int = 0) -> Conventions:
    """Estimate what actions mean from a sample of at most 64 episodes and 20,000 steps; no picture is decoded.

    Episodes that cannot be read are left out.

    Args:
        source: dataset.
        seed: of the choice of episodes.
    """
    recordings = _sample(source, seed)
    state, action = state_columns(source.proprio_names), state_columns(source.action_space.names)
    motion = fit_motion(recordings, state, action)
    if isinstance(motion, str):
        is_delta = frame = scale = lag = unknown(motion)
    else:
        is_delta = estimate_delta(motion)
        lag = estimate_lag(motion, is_delta.value)
        targets = unknown(
            "actions are targets" if is_delta.value is False else "it is not known whether they are relative"
        )
        frame, scale = (estimate_frame(motion), estimate_scale(motion)) if is_delta.value else (targets, targets)
    gripper, gripper_lag = _gripper(source, recordings, state)
    return Conventions(
        is_delta=is_delta,
        frame=frame,
        scale=scale,
        lag_steps=lag,
        gripper_opens=gripper,
        gripper_lag_steps=gripper_lag,
        control_hz=estimate_rate(recordings),
        rotation=estimate_rotation(recordings, state, action, is_delta.value),
        num_episodes=len(recordings),
        num_steps=sum(len(recording.actions) for recording in recordings),
    )


def check_conventions(declared: ActionSpace, found: Conventions) -> list[Contradiction]:
    """Return what of a declared action space the data contradicts; see the module."""
    pairs = {
        "is_delta": (declared.is_delta, found.is_delta, lambda told, seen: told != seen),
        "frame": (declared.frame, found.frame, lambda told, seen: (told == "tcp") != (seen == "tcp")),
        "gripper_opens": (declared.gripper_opens, found.gripper_opens, lambda told, seen: told != seen),
        "control_hz": (
            declared.control_hz,
            found.control_hz,
            lambda told, seen: abs(told / seen - 1) > RATE_TOLERANCE,
        ),
    }
    if not declared.is_delta and found.is_delta.value is False:
        pairs["rotation"] = (declared.rotation, found.rotation, _other_rotation)
    meters = _meters_per_unit(declared)
    if meters is not None and declared.is_delta:
        pairs["unit"] = (meters, found.scale, lambda told, seen: not 1 / SCALE_FACTOR < seen / told < SCALE_FACTOR)
    contradictions = []
    for field, (told, estimate, differs) in pairs.items():
        if estimate.value is not None and estimate.confidence >= REFUSES and differs(told, estimate.value):
            contradictions.append(_contradiction(field, told, estimate, found))
    return contradictions


def refuse_contradictions(source: EpisodeSource) -> None:
    """Raise DataError if the data contradicts the declared action space, with the evidence in one line."""
    found = check_conventions(source.action_space, infer_conventions(source))
    if found:
        raise DataError(f"{source.path}: " + "; ".join(one.message for one in found))


def _contradiction(field: str, told: object, estimate: Estimate, found: Conventions) -> Contradiction:
    declared, seen = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in (told, estimate.value))
    what = {"unit": "a unit of x, y and z is declared to be {} m, but moves {} m"}.get(
        field, "action_space." + field + " is declared {}, but the data shows {}"
    )
    name = "action_space.dimensions[x, y, z].unit" if field == "unit" else f"action_space.{field}"
    return Contradiction(
        field=field,
        declared=declared,
        seen=seen,
        message=f"{what.format(declared, seen)} (confidence {estimate.confidence:.2f}, {found.num_episodes} episodes: "
        f"{estimate.evidence}); change {name}, or the data",
    )


def _other_rotation(told: str, seen: str) -> bool:
    return told in ("euler_xyz", "axis_angle") and told != seen


def _meters_per_unit(space: ActionSpace) -> float | None:
    """How far an action of 1 is declared to move the tcp in a step, m; None if the units do not say."""
    position = state_columns(space.names).position
    units = {space.dimensions[column].unit for column in position or ()}
    match = _UNIT.fullmatch(next(iter(units))) if len(units) == 1 else None
    if match is None:
        return None
    per_step = space.control_hz if match[3] else 1.0
    return float(match[1] or 1) * _UNITS[match[2]] / per_step


def _gripper(source: EpisodeSource, recordings: list[Recording], state: StateColumns) -> tuple[Estimate, Estimate]:
    space = source.action_space
    if len(space.gripper_dims) != 1:
        return (unknown(f"{len(space.gripper_dims)} dimensions of kind gripper, expected one"),) * 2
    column = space.gripper_dims[0]
    middle = float(space.low[column] + space.high[column]) / 2
    return estimate_gripper(recordings, state, column, middle, space.control_hz)


def _sample(source: EpisodeSource, seed: int) -> list[Recording]:
    """Some episodes in random order, as many as fit."""
    recordings, num_steps = [], 0
    for episode in np.random.default_rng(seed).permutation(len(source))[:_MAX_EPISODES].tolist():
        if num_steps >= _MAX_STEPS:
            break
        try:
            read, times_s = _read(source, episode)
        except DataError:
            continue  # reading the episode in training says what is wrong with it
        if not len(read.actions):
            continue
        states = np.zeros((len(read.actions), 0)) if read.proprio is None else read.proprio.astype(np.float64)
        recordings.append(Recording(actions=read.actions.astype(np.float64), states=states, times_s=times_s))
        num_steps += len(read.actions)
    return recordings


def _read(source: EpisodeSource, episode: int) -> tuple[Steps, np.ndarray | None]:
    """Numbers and times of all steps; of a stream without asking for its lengths, which may take hours to learn."""
    if isinstance(source, StreamableSource):
        ends = np.cumsum([source.shard_records(shard) for shard in range(source.num_shards)])
        shard = int(ends.searchsorted(episode, side="right"))
        record = source.episode_at(shard, int(episode - ends[shard] + source.shard_records(shard)))
        everything = np.arange(record.length)
        return record.read(everything, everything, ()), None
    everything = np.arange(int(source.lengths[episode]))
    return source.read(episode, everything, everything, ()), timestamps(source, episode)
