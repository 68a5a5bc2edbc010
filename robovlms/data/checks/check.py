"""What every check of a dataset offers."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from robovlms.data.checks.episode import EpisodeNumbers
from robovlms.data.checks.fault import Fault
from robovlms.data.sources.base import EpisodeSource


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What is checked, and how thoroughly.

    Attributes:
        source: dataset.
        all_frames: decode every frame instead of the first, middle and last of an episode.
        damaged: files that earlier checks have found damaged; what fails because of them is not reported again.
    """

    source: EpisodeSource
    all_frames: bool = False
    damaged: frozenset[Path] = frozenset()

    def is_known(self, message: str) -> bool:
        """Whether a message is about a file that is known to be damaged."""
        return any(str(file) in message for file in self.damaged)


class Check:
    """Looks at one episode after the other, then says what only all of them show.

    Args:
        scope: what is checked.
    """

    def __init__(self, scope: Scope) -> None:
        self.scope, self.source = scope, scope.source

    def episode(self, episode: EpisodeNumbers) -> Iterable[Fault]:
        """Yield what is wrong with one episode."""
        del episode
        return ()

    def end(self) -> Iterable[Fault]:
        """Yield what is wrong with all of them; called once, last."""
        return ()
