"""The raw observations that a checkpoint keeps, so that `robovlms verify` can replay them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from robovlms.actions.contract import PolicyContract
from robovlms.data.mixture import Part
from robovlms.data.sources.base import EpisodeSource, Steps
from robovlms.data.sources.stream import StreamedEpisode
from robovlms.data.sources.view import SourceView
from robovlms.data.streaming import StreamingDataset
from robovlms.errors import DataError
from robovlms.model.parity import ObservationWindow
from robovlms.types import Observation

_LOOKED_AT = 100  # episodes of a stream


def native_source(dataset: Part) -> EpisodeSource:
    """The robot's dataset with frames as the robot sees them."""
    return dataset.source.native if isinstance(dataset.source, SourceView) else dataset.source


def parity_windows(dataset: Part, contract: PolicyContract) -> list[ObservationWindow]:
    """The beginning of the first and of the last episode that have every camera, windows of equal length.

    Raises:
        DataError: if no episode has every camera, or the file that none can be read from.
    """
    names = tuple(camera.name for camera in contract.cameras)
    found = [_first_complete(order, names) for order in _from_both_ends(dataset)]
    length = min(contract.window_size, *(one.length for one in found))
    return [_observations(one, length, contract) for one in {one.number: one for one in found}.values()]


def _first_complete(episodes: Iterator["_Readable"], names: tuple[str, ...]) -> "_Readable":
    """The first episode that has a step and every camera; one that cannot be read is a matter of the quarantine."""
    unreadable: DataError | None = None
    for episode in episodes:
        try:
            if episode.length > 0 and len(episode.read(np.zeros(1, np.int64), names).images) == len(names):
                return episode
        except DataError as error:
            unreadable = unreadable or error
    raise unreadable or DataError(f"no episode has every camera of {list(names)}; choose fewer in data.cameras")


@dataclass(frozen=True, kw_only=True)
class _Readable:
    """An episode as the robot sees it.

    Attributes:
        number: of the episode.
        length: steps.
        instruction: what the robot was asked to do.
        read: frames of some cameras, and proprioception, at some steps.
    """

    number: int
    length: int
    instruction: str
    read: Callable[[np.ndarray, tuple[str, ...]], Steps]


def _from_both_ends(dataset: Part) -> list[Iterator[_Readable]]:
    """Episodes from the first on, and from the last back; of a stream those at its beginning."""
    source = native_source(dataset)
    if isinstance(dataset, StreamingDataset):
        return [islice(_streamed(dataset, source), _LOOKED_AT)]
    forth = range(len(source))
    return [(_indexed(source, number) for number in order) for order in (forth, reversed(forth))]


def _indexed(source: EpisodeSource, number: int) -> _Readable:
    def read(steps: np.ndarray, cameras: tuple[str, ...]) -> Steps:
        return source.read(number, steps, steps, cameras)

    length = int(source.lengths[number])
    return _Readable(number=number, length=length, instruction=source.instruction(number), read=read)


def _streamed(dataset: StreamingDataset, source: EpisodeSource) -> Iterator[_Readable]:
    for number in range(dataset.stream.shard_records(0)):
        try:
            episode = dataset.stream.episode_at(0, number)
        except DataError:
            continue

        def read(steps: np.ndarray, cameras: tuple[str, ...], episode: StreamedEpisode = episode) -> Steps:
            if isinstance(source, SourceView):
                return source.seen(episode.read(steps, steps, source.keys_of(cameras)))
            return episode.read(steps, steps, cameras)

        yield _Readable(number=number, length=episode.length, instruction=episode.instruction, read=read)


def _observations(episode: _Readable, length: int, contract: PolicyContract) -> ObservationWindow:
    names = tuple(camera.name for camera in contract.cameras)
    steps = episode.read(np.arange(length), names)
    return [
        Observation(
            images={name: steps.images[name][t] for name in names},
            proprio=steps.proprio[t] if contract.proprio_names else None,
            instruction=episode.instruction,
            timestamp_s=0.0,
        )
        for t in range(length)
    ]
