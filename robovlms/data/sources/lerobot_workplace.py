"""Where a dataset grows until it is complete, and what is kept there to go on after an interruption.

Without settings the place has a random name and goes away with an error. With settings it can be taken up again::

    .NAME.partial/
        settings.json       what the dataset is made of; another process with the same ones may go on
        lock                held by the process that writes
        part-00000.npz      what the first episodes add to the writer; the files they lie in are closed
        part-00001.npz      …
        dataset/            becomes NAME when it is complete

Going on removes whatever was written after the last part, so that the bytes are those of a run without interruption.
"""

import io
import json
import os
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from robovlms.errors import DataError

try:
    import fcntl
except ImportError:  # Windows: two processes are not kept apart
    fcntl = None  # type: ignore[assignment]


class Workplace:
    """A folder beside the target.

    Args:
        path: what the dataset will be called; must not exist, or be an empty folder.
        settings: what the dataset is made of, as JSON can hold it; None if it is not to be taken up again.

    Attributes:
        folder: where to write.

    Raises:
        DataError: if the target exists, the settings differ from those it was begun with, or another process writes.
    """

    def __init__(self, path: Path, settings: dict[str, Any] | None = None) -> None:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise DataError(f"{path} already exists; choose another folder, or remove it first")
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        self.path, self.is_resumable = path, settings is not None
        self._lock: IO[bytes] | None = None
        self.num_parts = 0
        if settings is None:
            name = tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.absolute().parent)
            self._root = self.folder = Path(name)
            self.folder.chmod(0o755)
        else:
            self._root = path.absolute().parent / f".{path.name}.partial"
            self.folder = self._root / "dataset"
            self._take(settings)

    def save(self, arrays: dict[str, np.ndarray], content: dict[str, Any]) -> None:
        """Keep one more part: arrays, and what JSON can hold. Files that it relies on must be closed."""
        sync(self.folder)
        target = self._part(self.num_parts)
        temporary = target.with_suffix(".tmp")
        with temporary.open("wb") as stream:
            np.savez(stream, json=np.frombuffer(json.dumps(content, allow_nan=False).encode(), np.uint8), **arrays)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
        _sync_one(self._root)
        self.num_parts += 1

    def load(self) -> list[tuple[dict[str, np.ndarray], dict[str, Any]]]:
        """The parts that are kept, in the order they were saved."""
        parts = []
        while self._part(len(parts)).is_file():
            file = self._part(len(parts))
            try:
                with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as stored:
                    arrays = dict(stored)
            except (OSError, ValueError, zipfile.BadZipFile) as error:
                self.release()
                raise DataError(f"{file}: damaged, {error}; remove {self._root} to begin anew") from error
            parts.append((arrays, json.loads(arrays.pop("json").tobytes())))
        self.num_parts = len(parts)
        return parts

    def publish(self) -> None:
        """Have the disk hold every file, and give the folder its name."""
        sync(self.folder)
        os.replace(self.folder, self.path)
        _sync_one(self.path.absolute().parent)
        self.remove()

    def remove(self) -> None:
        """Remove what is left of the place."""
        self.release()
        shutil.rmtree(self._root, ignore_errors=True)

    def release(self) -> None:
        """Let another process go on."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _part(self, number: int) -> Path:
        return self._root / f"part-{number:05d}.npz"

    def _take(self, settings: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = (self._root / "lock").open("wb")
        file, settings = self._root / "settings.json", json.loads(json.dumps(settings))
        try:
            if fcntl is not None:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            begun = json.loads(file.read_text()) if file.is_file() else None
        except BlockingIOError as error:
            self.release()
            raise DataError(f"{self._root}: another process is writing {self.path}; wait for it") from error
        except ValueError:
            begun = None  # interrupted while it was written, so there is nothing else
        if begun is not None and begun != settings:
            self.release()
            raise DataError(f"{self._root} was begun with {_differences(begun, settings)}; use that, or remove it")
        if begun is None:
            file.write_text(json.dumps(settings, indent=2))


def sync(folder: Path) -> None:
    """Have the disk hold every file below `folder`."""
    for file in sorted(folder.rglob("*")):
        _sync_one(file)
    _sync_one(folder)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _differences(begun: dict[str, Any], settings: dict[str, Any]) -> str:
    names = [name for name in {**begun, **settings} if begun.get(name) != settings.get(name)]
    return ", ".join(f"{name} = {begun.get(name)!r} (now {settings.get(name)!r})" for name in names)
