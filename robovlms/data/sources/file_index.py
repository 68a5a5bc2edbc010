"""What was learned by opening each file of a dataset, kept between runs, so that the next opening only looks at sizes.

::

    <cache folder>/index/<SHA-256>.json     {"format": 1, "entries": {"task_0.hdf5": {"stamp": …, "facts": {…}}, …}}

The name is made of the dataset's path and of `kind`. A file's facts count as long as its size and its time of change,
and those of everything else that they were learned from, are what they were. Where the cache folder cannot be written,
every opening looks into every file.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from robovlms.data.statistics_cache import cache_folder

_FORMAT = 1  # counts up when the file's layout changes


def look_into(
    root: Path,
    files: Sequence[Path],
    kind: str,
    look: Callable[[Path], dict[str, Any]],
    depends_on: Callable[[Path], Sequence[Path]] = lambda file: (file,),
) -> list[dict[str, Any]]:
    """Return `look(file)` for each file, from the last run where nothing has changed.

    Args:
        root: of the dataset; all files are below it, or it is the only one.
        files: what to look into.
        kind: says how `look` works; another text, other facts.
        look: reads a file and returns what JSON can hold.
        depends_on: everything that the facts of a file are learned from, the file itself among it.
    """
    index = cache_folder() / "index" / f"{hashlib.sha256(f'{root.resolve()}|{kind}'.encode()).hexdigest()}.json"
    known, entries = _load(index), {}
    try:
        for file in files:
            name = str(file.relative_to(root))
            stamp = [_stamp(path) for path in depends_on(file)]
            entry = known.get(name)
            entries[name] = entry if entry and entry["stamp"] == stamp else {"stamp": stamp, "facts": look(file)}
    except BaseException:  # what was learned so far is not learned again
        _save(index, known | entries)
        raise
    if entries != known:
        _save(index, entries)
    return [entry["facts"] for entry in entries.values()]


def _stamp(path: Path) -> list[int]:
    """Size and time of change; of a missing file neither, so that `look` says what is wrong."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return []
    return [status.st_size, status.st_mtime_ns]


def _load(index: Path) -> dict[str, Any]:
    """What is kept; nothing if there is no index, or a damaged one, which is then written anew."""
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    is_ours = isinstance(content, dict) and content.get("format") == _FORMAT
    return content["entries"] if is_ours else {}


def _save(index: Path, entries: dict[str, Any]) -> None:
    """Write under a temporary name and rename; leave it where the folder cannot be written."""
    temporary = None
    try:
        index.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=index.parent, suffix=".tmp")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"format": _FORMAT, "entries": entries}, file)
        os.replace(temporary, index)
    except OSError:  # read-only or full: the next run looks again
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
