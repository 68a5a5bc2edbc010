"""Where a training run keeps its checkpoints. Needs no torch.

::

    runs/demo/train/
    ├── config.yaml
    ├── parameters.json      sizes of the parts, see `robovlms.parameter_table`
    ├── metrics.jsonl
    ├── bad_windows.jsonl    windows of the data that could not be read, if there were any
    └── checkpoints/
        ├── step_000700/     a checkpoint, see `robovlms.train.checkpoint`
        └── step_001400/
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from robovlms.errors import CheckpointError

CHECKPOINTS, METRICS, BAD_WINDOWS = "checkpoints", "metrics.jsonl", "bad_windows.jsonl"
TEMPORARY = ".writing-"  # begins the name of a folder that is not complete


def checkpoint_path(run: Path, step: int) -> Path:
    """Folder of the checkpoint after `step` optimiser steps."""
    return run / CHECKPOINTS / f"step_{step:06d}"


def checkpoints_of(run: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first; folders of any other name are not looked at."""
    found = {}
    for folder in (run / CHECKPOINTS).glob("step_*"):
        match = re.fullmatch(r"step_(\d+)", folder.name)
        if match and folder.is_dir():
            found[int(match[1])] = folder
    return [found[step] for step in sorted(found)]


def find_checkpoint(path: Path) -> Path:
    """Return the checkpoint at `path`, or the newest one of the run at `path`.

    Raises:
        CheckpointError: if there is none.
    """
    if (path / "model.safetensors").is_file():
        return path
    found = checkpoints_of(path)
    if not found:
        reason = "holds no checkpoint" if path.is_dir() else "does not exist"
        raise CheckpointError(
            f"{path} {reason}; expected a checkpoint (a folder with model.safetensors) or a run (with checkpoints/)"
        )
    return found[-1]


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Give a folder to write into; it gets its final name when all is on the disk, and is removed on an error."""
    temporary = folder.with_name(TEMPORARY + folder.name)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for entry in (temporary, *temporary.rglob("*")):
            _flush(entry)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    remove_folder(folder)
    temporary.rename(folder)
    _flush(folder.parent)


def remove_folder(folder: Path) -> None:
    """Take the final name away first: a folder that has it is complete, whenever the power goes."""
    if folder.exists():
        doomed = folder.with_name(f"{TEMPORARY}{folder.name}-old")
        folder.rename(doomed)
        shutil.rmtree(doomed)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
