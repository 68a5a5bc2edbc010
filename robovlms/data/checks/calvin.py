"""Checks of the files of a CALVIN split; that each frame can be read is seen when its numbers are."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robovlms.data.checks.fault import Fault
from robovlms.data.sources.calvin import ANNOTATIONS, RECORDINGS, SPLITS

_FRAME = re.compile(r"episode_(\d+)\.npz")


def check_calvin(path: Path, options: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield recordings with missing frames, and frames of no recording."""
    folder = path if (path / ANNOTATIONS).is_file() else path / str(options.get("split") or SPLITS[0])
    file = folder / RECORDINGS
    try:
        recordings = np.load(file, allow_pickle=False).reshape(-1, 2)
    except FileNotFoundError:
        yield Fault(check="missing_file", file=file, message=f"{file} is missing; it says which frames belong together")
        return
    except (OSError, ValueError, EOFError) as error:
        yield Fault(check="damaged_file", file=file, message=f"{file}: not readable: {error}")
        return
    there = {int(found[1]) for one in folder.iterdir() if (found := _FRAME.fullmatch(one.name))}
    wanted = {frame for first, last in recordings.tolist() for frame in range(first, last + 1)}
    for first, last in recordings.tolist():
        missing = [frame for frame in range(first, last + 1) if frame not in there]
        if missing:
            frame = folder / f"episode_{missing[0]:07d}.npz"
            yield Fault(
                check="missing_file",
                file=frame,
                expected=f"frames {first} to {last}",
                seen=f"{len(missing)} missing",
                message=f"{frame} is missing, of the recording with frames {first} to {last}; {len(missing)} are",
            )
    for frame in sorted(there - wanted):
        name = folder / f"episode_{frame:07d}.npz"
        yield Fault(
            check="orphan_file", severity="warning", file=name, message=f"{name}: of no recording in {RECORDINGS}"
        )
