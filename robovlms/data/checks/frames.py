"""Checks of pictures: can they be decoded, and do they show anything?

Of every camera of every episode the first, the middle and the last frame are decoded, and the one after the middle;
with `all_frames` all of them. Where two neighbours are the same, or all of the four are, the whole episode is decoded.

A camera counts as frozen while its frames stay the same though the robot moves. "The same" is within `_SAME` levels of
256, which is what encoding a picture twice may change; "moves" is more than `_MOVES` of what the dataset's numbers
allow. Frames that stay the same for `_SUSPICIOUS_S` and at least 5 steps are a warning; for `_FROZEN_S`, or half of an
episode of at least 10 steps, they are a fault.
"""

from collections.abc import Iterator

import numpy as np

from robovlms.data.checks.check import Check, Scope
from robovlms.data.checks.episode import EpisodeNumbers, ReadError, read_steps
from robovlms.data.checks.fault import Fault
from robovlms.errors import DataError

_AT_ONCE = 64  # frames decoded in one go
_SAME = 2  # levels
_CONSTANT = 3  # levels between the darkest and the brightest pixel, in each colour, of a picture that shows nothing
_MOVES = 0.05
_LEAST_MOVE = 1e-3  # m or rad; less is noise
_SUSPICIOUS_S, _FROZEN_S = 0.5, 2.0
_LEAST_SUSPICIOUS, _LEAST_FROZEN = 5, 10  # steps


class Frames(Check):
    """Frames can be decoded, have the size that is declared, show something, and change when the robot moves."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self._told: set[str] = set()

    def is_new(self, message: str) -> bool:
        """Whether a message has not been reported; one that names no step is the same for all steps of a file."""
        is_new = message not in self._told and not self.scope.is_known(message)
        self._told.add(message)
        return is_new

    def episode(self, episode: EpisodeNumbers) -> Iterator[Fault]:
        good = np.flatnonzero(episode.is_read)
        if not len(good):
            return
        for camera in self.source.cameras:
            looked = _Looked(self, episode, camera.name)
            few = np.unique([good[0], good[len(good) // 2], good[min(len(good) // 2 + 1, len(good) - 1)], good[-1]])
            yield from looked.look(good if self.scope.all_frames else few)
            if not self.scope.all_frames and looked.has_repeats(few) and len(good) > len(few):
                yield from looked.look(np.setdiff1d(good, few))
            yield from looked.frozen()


class _Looked:
    """What was seen of one camera in one episode."""

    def __init__(self, check: Frames, episode: EpisodeNumbers, camera: str) -> None:
        self.check, self.source, self.numbers, self.camera = check, check.source, episode, camera
        self._thumbs: dict[int, np.ndarray] = {}  # every frame looked at; small ones as they are

    def look(self, steps: np.ndarray) -> Iterator[Fault]:
        """Decode frames; yield what is wrong with each."""
        for begin in range(0, len(steps), _AT_ONCE):
            piece = steps[begin : begin + _AT_ONCE]
            try:
                frames = self._read(piece)
            except DataError:
                for step in piece.tolist():
                    yield from self._look_alone(step)
            else:
                for step, frame in zip(piece.tolist(), frames, strict=bool(len(frames))):
                    yield from self._seen(step, frame)

    def has_repeats(self, steps: np.ndarray) -> bool:
        """Whether neighbours among the frames looked at are the same, or all frames are."""
        known = [step for step in steps.tolist() if step in self._thumbs]
        pairs = list(zip(known, known[1:], strict=False))
        same = [self._is_same(a, b) for a, b in pairs]
        neighbours = any(is_same and b == a + 1 for is_same, (a, b) in zip(same, pairs, strict=True))
        return neighbours or (len(same) > 1 and all(same))

    def frozen(self) -> Iterator[Fault]:
        """Runs of frames that stay the same while the robot moves."""
        hz, length = self.source.action_space.control_hz, len(self.numbers)
        for first, last in self._runs():
            count = last - first + 1
            is_fault = count >= _FROZEN_S * hz or 2 * count >= length
            is_fault &= count >= _LEAST_FROZEN
            if count < max(_LEAST_SUSPICIOUS, _SUSPICIOUS_S * hz) and not is_fault:
                continue
            if _is_moving(self.numbers, first, last):
                yield self._fault(
                    "frozen_camera",
                    first,
                    f"{count} frames from step {first} to {last} are the same while the robot moves",
                    expected="frames that change",
                    seen=f"{count} times the same",
                    severity="fault" if is_fault else "warning",
                )

    def _look_alone(self, step: int) -> Iterator[Fault]:
        try:
            frames = self._read(np.array([step]))
        except DataError as error:
            if self.check.is_new(str(error)):
                yield self._unreadable(ReadError(step=step, message=str(error)))
        else:
            if len(frames):
                yield from self._seen(step, frames[0])

    def _read(self, steps: np.ndarray) -> np.ndarray:
        """Frames [k, h, w, 3]; none if the episode lacks the camera."""
        none = np.zeros(0, np.int64)
        images = read_steps(self.source, self.numbers.index, steps, none, (self.camera,)).images
        return images.get(self.camera, np.zeros((0, 0, 0, 3), np.uint8))

    def _seen(self, step: int, frame: np.ndarray) -> Iterator[Fault]:
        stride = max(1, max(frame.shape[:2]) // 128)  # what a robot moves is larger than a few pixels
        self._thumbs[step] = frame[::stride, ::stride].copy()
        spec = next(one for one in self.source.cameras if one.name == self.camera)
        if frame.shape != (spec.height, spec.width, 3):
            expected, seen = [spec.height, spec.width, 3], list(frame.shape)
            yield self._fault(
                "frame_size", step, f"frame is {seen}, expected {expected}", expected=str(expected), seen=str(seen)
            )
        if int(np.ptp(frame, axis=(0, 1)).max()) <= _CONSTANT:
            yield self._fault(
                "constant_frame",
                step,
                f"every pixel is about {frame[0, 0].tolist()}: the picture shows nothing",
                expected="a picture",
                seen=f"one colour, {frame[0, 0].tolist()}",
            )

    def _runs(self) -> Iterator[tuple[int, int]]:
        """First and last step of every run of equal frames, of at least two."""
        steps = sorted(self._thumbs)
        first = 0
        for i in range(1, len(steps) + 1):
            goes_on = i < len(steps) and steps[i] == steps[i - 1] + 1 and self._is_same(steps[i - 1], steps[i])
            if not goes_on:
                if i - first > 1:
                    yield steps[first], steps[i - 1]
                first = i

    def _is_same(self, one: int, other: int) -> bool:
        a, b = self._thumbs[one], self._thumbs[other]
        return a.shape == b.shape and int(np.abs(a.astype(np.int16) - b).max(initial=0)) <= _SAME

    def _unreadable(self, error: ReadError) -> Fault:
        return Fault(
            check="frame_size" if error.is_of_size else "frames" if error.check == "readable" else error.check,
            file=error.file(self.numbers.file),
            episode=self.numbers.index,
            step=error.step,
            key=self.camera,
            message=error.message,
        )

    def _fault(self, check: str, step: int, text: str, *, expected: str, seen: str, severity: str = "fault") -> Fault:
        return Fault(
            check=check,
            severity=severity,
            file=self.numbers.file,
            episode=self.numbers.index,
            step=step,
            key=self.camera,
            expected=expected,
            seen=seen,
            message=f"{self.numbers.where}, step {step}, camera {self.camera!r}: {text}",
        )


def _is_moving(episode: EpisodeNumbers, first: int, last: int) -> bool:
    """Whether the robot moves between two steps.

    Where it feels itself, what it feels says so: one number changes by `_MOVES` of what it does in the episode.
    Otherwise what it is told: the middle size of a relative action, or the change of a target.
    """
    if episode.proprio is not None:
        whole, part = _spans(episode.proprio[episode.is_read]), _spans(episode.proprio[first : last + 1])
        return bool((part > np.maximum(_MOVES * whole, _LEAST_MOVE)).any())
    space = episode.source.action_space
    columns = [i for i in range(space.size) if i not in space.gripper_dims]
    told, reach = episode.actions[first : last + 1, columns], (space.high - space.low)[columns] / 2
    if not len(columns):
        return False
    moved = np.median(np.abs(told), axis=0) if space.is_delta else _spans(told)
    return bool((moved > _MOVES * reach).any())


def _spans(values: np.ndarray) -> np.ndarray:
    return np.nanmax(values, axis=0) - np.nanmin(values, axis=0)
