"""Numbers of one episode as far as they can be read, with what went wrong at which step."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from robovlms.data.sources.base import EpisodeSource, Steps
from robovlms.errors import DataError, MissingDependencyError

_NOT_FINITE = re.compile(r", step (\d+): (\S+) '(.*)' is (nan|-?inf)$")  # what `check_finite` says
_TWO_SIZES = re.compile(r"\[[\d, T]+\].*\[[\d, T]+\]|pixels")


@dataclass(frozen=True, kw_only=True)
class ReadError:
    """A step that cannot be read.

    Attributes:
        step: None if it is the whole episode.
        message: what the source says.
    """

    step: int | None
    message: str

    @property
    def not_finite(self) -> tuple[str, str, str] | None:
        """Feature, dimension and value, if a number is NaN or infinite."""
        found = _NOT_FINITE.search(self.message)
        return (found[2], found[3], found[4]) if found else None

    @property
    def is_of_size(self) -> bool:
        """Whether two shapes differ."""
        return bool(_TWO_SIZES.search(self.message))

    @property
    def check(self) -> str:
        """The check that it belongs to, from the words that all sources use."""
        if "is missing" in self.message:
            return "missing_file"
        return "damaged_file" if "not readable" in self.message else "readable"

    def file(self, default: Path) -> Path:
        """The file that the message begins with, or `default`."""
        named = Path(self.message.split(": ")[0].split(",")[0].removesuffix(" is missing"))
        is_path = named.is_absolute() == default.is_absolute() and (named.is_file() or named.parent == default.parent)
        return named if is_path and named.suffix else default


@dataclass(frozen=True, kw_only=True)
class EpisodeNumbers:
    """One episode without its pictures.

    Attributes:
        source: dataset.
        index: of the episode.
        file: that holds it.
        actions: float32 [T, a], NaN in steps that cannot be read.
        proprio: float32 [T, p], likewise; None if the dataset has none.
        is_read: bool [T].
        errors: one per step that cannot be read, or one for all.
    """

    source: EpisodeSource
    index: int
    file: Path
    actions: np.ndarray
    proprio: np.ndarray | None
    is_read: np.ndarray
    errors: tuple[ReadError, ...]

    def __len__(self) -> int:
        return len(self.actions)

    @cached_property
    def where(self) -> str:
        """For messages."""
        return f"{self.file}: episode {self.index}"


def read_numbers(source: EpisodeSource, episode: int) -> EpisodeNumbers:
    """Read actions and proprioception of an episode, step by step where not all of them can be read at once."""
    length = max(0, int(source.lengths[episode]))
    size, num_proprio = source.action_space.size, len(source.proprio_names)
    actions = np.full((length, size), np.nan, np.float32)
    proprio = np.full((length, num_proprio), np.nan, np.float32) if num_proprio else None
    is_read = np.zeros(length, bool)
    errors: list[ReadError] = []
    for steps in _attempts(length):
        try:
            read = read_steps(source, episode, steps, steps, ())
        except DataError as error:
            if len(steps) > 1 and length > 1:
                continue  # some of them are bad; the attempts that follow say which
            errors.append(ReadError(step=int(steps[0]), message=str(error)))
            if _is_of_all(errors, length):
                errors = [ReadError(step=None, message=str(error))]
                break
        else:
            actions[steps] = read.actions
            is_read[steps] = True
            if proprio is not None and read.proprio is not None:
                proprio[steps] = read.proprio
            if len(steps) == length:
                break
    return EpisodeNumbers(
        source=source,
        index=episode,
        file=source.file(episode),
        actions=actions,
        proprio=proprio,
        is_read=is_read,
        errors=tuple(errors),
    )


def read_steps(
    source: EpisodeSource, episode: int, frames: np.ndarray, steps: np.ndarray, cameras: tuple[str, ...]
) -> Steps:
    """As `source.read`, but whatever a damaged file makes a library raise is a DataError.

    Raises:
        DataError: as `source.read`.
    """
    try:
        return source.read(episode, frames, steps, cameras)
    except (DataError, MissingDependencyError):
        raise
    except Exception as error:
        text = " ".join(f"{source.file(episode)}: episode {episode}: {type(error).__name__}: {error}".split())
        raise DataError(text) from error


def _attempts(length: int) -> list[np.ndarray]:
    """All steps at once, then each alone."""
    return [np.arange(length), *(np.array([step]) for step in range(length) if length > 1)] if length else []


def _is_of_all(errors: list[ReadError], length: int) -> bool:
    """Whether the first steps fail for a reason that is none of theirs, for example a missing file."""
    same = min(length, 3)
    return len(errors) == same and len({error.message for error in errors}) == 1 and same > 1
