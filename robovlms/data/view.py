"""A dataset to look at: an HTML page per episode and an index of them, which need nothing but a browser.

::

    out/index.html              table of the chosen episodes, statistics of the dataset
        episode_000012.html     frames with a slider, action and proprio curves; the frames are in the file
        episodes.rrd            the same for the rerun viewer, if asked for

The same dataset gives the same pages, byte by byte. They load nothing from elsewhere, and every text of the dataset is
escaped.
"""

import re
from pathlib import Path

from robovlms.data.sources.base import EpisodeSource
from robovlms.data.view_episode import evenly, read_episode_view
from robovlms.data.view_pages import episode_page, episode_row, fault_row, index_page, page_name
from robovlms.data.view_rerun import RerunRecording
from robovlms.errors import ConfigError, DataError
from robovlms.progress import ProgressBar

_INDEX, _RECORDING = "index.html", "episodes.rrd"
_OURS = re.compile(r"index\.html|episode_\d{6,}\.html|episodes\.rrd")


def write_view(source: EpisodeSource, out: Path, *, num_episodes: int = 10, use_rerun: bool = False) -> Path:
    """Write pages of some episodes, evenly spread over the dataset; return the index page.

    An episode that cannot be read is a line of the index that says why.

    Args:
        source: the dataset.
        out: folder; may hold an older view, which is replaced.
        num_episodes: at most so many, at least 1.
        use_rerun: write `episodes.rrd` as well.

    Raises:
        ConfigError: if no episode is asked for, or `out` holds other files.
        DataError: if no episode can be read.
        MissingDependencyError: if rerun is asked for and not installed.
    """
    if num_episodes < 1:
        raise ConfigError(f"--episodes: expected at least 1, got {num_episodes}")
    if len(source) == 0:
        raise DataError(f"{source.path}: no episode to show")
    recording = RerunRecording(source) if use_rerun else None
    _make_room(out)
    if recording is not None:
        recording.open(out / _RECORDING)
    rows, faults = [], []
    numbers = evenly(len(source), num_episodes).tolist()
    with ProgressBar("Pages", len(numbers), unit="episodes") as progress:
        for number in numbers:
            try:
                episode = read_episode_view(source, number)
            except DataError as error:
                faults.append(error)
                rows.append(fault_row(number, str(error)))
            else:
                (out / page_name(number)).write_text(episode_page(source, episode), encoding="utf-8")
                rows.append(episode_row(source, episode))
                if recording is not None:
                    recording.add(episode)
            progress.advance()
    if recording is not None:
        recording.close()
    if len(faults) == len(numbers):
        raise DataError(f"none of {len(numbers)} episodes can be read; the first: {faults[0]}")
    index = out / _INDEX
    index.write_text(index_page(source, rows), encoding="utf-8")
    return index


def _make_room(out: Path) -> None:
    """Make the folder, without an older view in it.

    Raises:
        ConfigError: if there is anything else.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: expected a folder, that is a file")
    out.mkdir(parents=True, exist_ok=True)
    files = sorted(out.iterdir())
    others = [file.name for file in files if not _OURS.fullmatch(file.name)]
    if others:
        raise ConfigError(f"--out {out}: holds {others[0]!r}, which no view writes; name an empty or a new folder")
    for file in files:
        file.unlink()
