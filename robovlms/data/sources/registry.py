"""Every dataset format by name, and which one a folder holds. A new format is one file and one line here."""

import inspect
from pathlib import Path
from typing import Any

from robovlms.data.sources.base import EpisodeSource
from robovlms.data.sources.calvin import CalvinSource
from robovlms.data.sources.folder import FolderSource
from robovlms.data.sources.hdf5 import HDF5Source
from robovlms.data.sources.lerobot import LeRobotSource
from robovlms.data.sources.lerobot_v21 import LeRobotV21Source
from robovlms.data.sources.rlds import RldsSource
from robovlms.errors import ConfigError, DataError, unknown_name

SOURCES: dict[str, type[EpisodeSource]] = {
    "calvin": CalvinSource,
    "folder": FolderSource,
    "hdf5": HDF5Source,
    "lerobot": LeRobotSource,
    "lerobot_v21": LeRobotV21Source,
    "rlds": RldsSource,
}


def open_source(path: Path | str, format: str = "auto", **options: Any) -> EpisodeSource:
    """Open a dataset.

    Args:
        path: folder or file.
        format: key of `SOURCES`; "auto" looks at the names of the files.
        options: keywords of that format's class.

    Raises:
        ConfigError: if the format or an option is unknown.
        DataError: if there is no dataset, or it is damaged.
    """
    path = Path(path)
    kind = find_format(path) if format == "auto" else format
    if kind not in SOURCES:
        raise ConfigError("data.format: " + unknown_name("format", kind, ["auto", *SOURCES]))
    known = inspect.signature(SOURCES[kind]).parameters
    for name in options:
        if name not in known:
            raise ConfigError(f"data.options of format {kind!r}: " + unknown_name("option", name, list(known)[1:]))
    try:
        return SOURCES[kind](path, **options)
    except (TypeError, ValueError) as error:
        if not options or isinstance(error, UnicodeError):  # not of an option's making
            raise
        raise ConfigError(f"data.options of format {kind!r}: {options}: {error}") from error


def find_format(path: Path) -> str:
    """Return the key of the format of the dataset at `path`.

    Raises:
        DataError: if there is none, or none that is known.
    """
    if not path.exists():
        raise DataError(f"no dataset in {path}: it does not exist")
    found = [name for name, source in SOURCES.items() if source.is_at(path)]
    if len(found) != 1:
        several = f"it looks like {' and '.join(found)}; say which with data.format" if found else ""
        raise DataError(f"no dataset in {path}: {several or 'it is of no known format: ' + ', '.join(SOURCES)}")
    return found[0]
