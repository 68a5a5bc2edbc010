"""Open X-Embodiment as it is released: TensorFlow Datasets in the RLDS layout, read without TensorFlow.

::

    bridge_orig/1.0.0/
    ├── dataset_info.json                              splits, and how many records each of their files holds
    ├── features.json                                  names and types of the keys
    └── bridge_orig-train.tfrecord-00000-of-01024 …    one record per episode, a tf.train.Example

    steps/observation/image_0    bytes [T]     one encoded picture per step
    steps/action                 float [T·7]
    steps/is_first               int   [T]     from its length comes T

Two ways in. As a stream, records are read one after the other and nothing is looked at first. At random, every record's
head is looked at once to learn how long its episode is, pictures are hopped over, and the lengths are kept for the next
time. What keys mean comes from `oxe.yaml`, or from a file of the user's.

Source: https://github.com/google-research/rlds and https://www.tensorflow.org/datasets/external_tfrecord.
"""

import hashlib
import json
import re
import sys
from collections import OrderedDict
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from robovlms.actions.contract import CameraSpec
from robovlms.actions.normalize import FeatureStatistics
from robovlms.data.sources.base import EpisodeSource, Steps
from robovlms.data.sources.file_index import look_into
from robovlms.data.sources.oxe import OXE, oxe_standard
from robovlms.data.sources.rlds_episode import OBSERVATION, RldsEpisode, count_steps, open_picture, usable_steps
from robovlms.data.sources.stream import StreamableSource
from robovlms.data.sources.tf_example import Example
from robovlms.data.sources.tfrecord import TFRecordFiles, verify_file
from robovlms.data.statistics_cache import read_published, statistics_of
from robovlms.errors import ConfigError, DataError, unknown_name
from robovlms.progress import ProgressBar

INFO = "dataset_info.json"
_DEAR_BYTES = 20 * 2**30
_MAIN_CAMERA = "static"
_KEPT = 8  # episodes; of their pictures only the places are remembered


class RldsSource(EpisodeSource, StreamableSource):
    """One split of a dataset.

    Args:
        path: folder of the dataset, or of one of its versions; of several versions the newest is taken.
        split: key of `dataset_info.json`.
        standard: what the keys mean: name of an entry of `oxe.yaml`, or a YAML file with the same fields; None takes
            the folder's name or the one in `dataset_info.json`, whichever is known.

    Raises:
        DataError: if there is no such dataset, a file is missing, or a camera's key is not in the first record.
        ConfigError: if it is not known what the keys mean.
    """

    def __init__(self, path: Path | str, *, split: str = "train", standard: str | None = None) -> None:
        self.path = find_version(Path(path))
        self._info = _read_json(self.path / INFO)
        self.split, self.name = split, _name(self.path, self._info)
        self.standard = oxe_standard(standard or self.name)
        self.shards, self._records = _shards(self.path, self._info, split)
        self._numbers = {file: number for number, file in enumerate(self.shards)}
        self._files, self._recent = TFRecordFiles(), _Recent()
        self.action_space, self.proprio_names = self.standard.space, self.standard.proprio_names
        self.cameras = self._find_cameras()
        self.provenance = {"format": "rlds", "name": self.name, "version": self.path.name, "split": split}

    @classmethod
    def is_at(cls, path: Path) -> bool:
        return path.is_dir() and bool(_versions(path))

    # ------------------------------------------------------------------------------------------------------- stream

    @property
    def num_shards(self) -> int:
        return len(self.shards)

    def shard_records(self, shard: int) -> int:
        return self._records[shard]

    def episode_at(self, shard: int, record: int) -> RldsEpisode:
        where = f"{self.shards[shard]}: record {record}"
        example = self._example(shard, record)
        try:
            return RldsEpisode(self.standard, self.cameras, self.name, shard, record, example, where)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error

    # ------------------------------------------------------------------------------------------------------ at random

    def __len__(self) -> int:
        return int(self._firsts[-1])

    @cached_property
    def lengths(self) -> np.ndarray:
        """Steps of each episode; the first time this looks at the head of every record."""
        kind = f"rlds lengths, {self.standard!r}"
        with ProgressBar(f"Looking into {self.name}", self.num_shards, unit="files", is_shown=self._is_large) as bar:

            def look(file: Path) -> dict[str, Any]:
                bar.advance()
                return {"lengths": self._lengths_of(file)}

            facts = look_into(self.path, self.shards, kind, look)
        return np.array([length for entry in facts for length in entry["lengths"]], np.int64)

    @cached_property
    def fingerprint(self) -> str:
        sizes = [f"{file.name} {file.stat().st_size}" for file in self.shards]
        described = json.dumps([self._info, self.split, repr(self.standard), sizes], sort_keys=True)
        return hashlib.sha256(described.encode()).hexdigest()

    @property
    def is_dear_to_scan(self) -> bool:  # type: ignore[override]
        return sum(file.stat().st_size for file in self.shards) > _DEAR_BYTES

    @cached_property
    def statistics(self) -> dict[str, FeatureStatistics]:
        """Published ones, from dataset_statistics*.json beside the data, if they fit; else computed and kept."""
        return self._published() or statistics_of(self)

    def task(self, episode: int) -> str:
        return self.name

    def instruction(self, episode: int) -> str:
        return self._at(episode).instruction

    def file(self, episode: int) -> Path:
        return self.shards[self._place(episode)[0]]

    def read(self, episode: int, frames: np.ndarray, steps: np.ndarray, cameras: tuple[str, ...]) -> Steps:
        return self._at(episode).read(frames, steps, cameras)

    def numbers(self) -> Iterator[dict[str, np.ndarray]]:
        """As in the base; what cannot be read is said, and left out."""
        bad: list[str] = []
        for shard, count in enumerate(self._records):
            for record in range(count):
                try:
                    episode = self.episode_at(shard, record)
                    everything = np.arange(episode.length)
                    steps = episode.read(everything, everything, ()) if episode.length else None
                except DataError as error:
                    bad.append(str(error))
                    continue
                if steps is not None:
                    yield {"action": steps.actions} | ({} if steps.proprio is None else {"proprio": steps.proprio})
        if bad:
            print(f"{self.path}: {len(bad)} episodes cannot be read; the first: {bad[0]}", file=sys.stderr)

    def verify(self) -> Iterator[str]:
        """Read every byte; yield one line for each damaged record, and for files that hold another number of them."""
        for file, expected in zip(self.shards, self._records, strict=True):
            yield from verify_file(file)
            try:
                count = self._files.count(file)
            except DataError:
                continue  # verify_file has said so
            if count != expected:
                yield f"{file}: holds {count} records, {INFO} says {expected}"

    @cached_property
    def _firsts(self) -> np.ndarray:
        """Number of the first episode of each shard, and of all episodes."""
        return np.cumsum([0, *self._records])

    @property
    def _is_large(self) -> bool:
        return bool(self._firsts[-1] > 1000)

    def _place(self, episode: int) -> tuple[int, int]:
        if not 0 <= episode < len(self):
            raise DataError(f"{self.path}: episode {episode} of {len(self)}")
        shard = int(np.searchsorted(self._firsts, episode, side="right")) - 1
        return shard, episode - int(self._firsts[shard])

    def _at(self, episode: int) -> RldsEpisode:
        """One of those read last, or read anew: windows of an episode share what was found out about it."""
        if episode not in self._recent.episodes:
            while len(self._recent.episodes) >= _KEPT:
                self._recent.episodes.popitem(last=False)
            self._recent.episodes[episode] = self.episode_at(*self._place(episode))
        self._recent.episodes.move_to_end(episode)
        return self._recent.episodes[episode]

    def _example(self, shard: int, record: int) -> Example:
        file = self.shards[shard]
        try:
            return Example(self._files.record(file, record))
        except DataError as error:
            text = str(error)
            raise DataError(text if text.startswith(str(file)) else f"{file}: record {record}: {text}") from error

    def _lengths_of(self, file: Path) -> list[int]:
        return [self._length_of(self._numbers[file], record) for record in range(self._records[self._numbers[file]])]

    def _length_of(self, shard: int, record: int) -> int:
        """Steps that count; 1 for a record that cannot be read, so that training meets it, counts it and goes on."""
        try:
            return usable_steps(self._example(shard, record), self.standard)
        except DataError:
            return 1

    def _find_cameras(self) -> tuple[CameraSpec, ...]:
        """Sizes from the first record that has a step."""
        if not any(self._records):
            raise DataError(f"{self.path / INFO}: split {self.split!r} has no episode")
        shard, record, example = self._first_example()
        specs = []
        for name, key in sorted(self.standard.cameras.items()):
            if OBSERVATION + str(key) not in example and name != _MAIN_CAMERA:
                continue  # not every version of a dataset has every other view
            if OBSERVATION + str(key) not in example:
                known = [one.removeprefix(OBSERVATION) for one in example.keys if one.startswith(OBSERVATION)]
                raise DataError(f"{self.path}: camera {name!r}: " + unknown_name("key", str(key), known))
            try:
                width, height = open_picture(example.blob(OBSERVATION + str(key), 0)).size
            except DataError as error:
                raise DataError(f"{self.shards[shard]}: record {record}, step 0, {key}: {error}") from error
            specs.append(CameraSpec(name=name, height=height, width=width, source=f"{self.name}/{key}"))
        return tuple(specs)

    def _first_example(self) -> tuple[int, int, Example]:
        """Shard, record and content of the first episode with a step."""
        for shard, count in enumerate(self._records):
            for record in range(count):
                example = self._example(shard, record)
                if count_steps(example):
                    return shard, record, example
        raise DataError(f"{self.path}: no episode of split {self.split!r} has a step")

    def _published(self) -> dict[str, FeatureStatistics]:
        """Published statistics; nothing if there are none for these actions."""
        for file in sorted(
            (*self.path.glob("dataset_statistics*.json"), *self.path.parent.glob("dataset_statistics*.json"))
        ):
            known = read_published(file)
            entry = known.get(self.name) or (next(iter(known.values())) if len(known) == 1 else {})
            sizes = {"action": self.action_space.size, "proprio": len(self.proprio_names)}
            if all(len(entry[name].min) == size if name in entry else not size for name, size in sizes.items()):
                return {name: entry[name] for name, size in sizes.items() if size}
        return {}


class _Recent:
    """Episodes read last; a copy in another process begins with none."""

    def __init__(self) -> None:
        self.episodes: OrderedDict[int, RldsEpisode] = OrderedDict()

    def __reduce__(self) -> tuple[Any, ...]:
        return _Recent, ()


def find_version(path: Path) -> Path:
    """The folder with `dataset_info.json`: `path`, or the newest version below it.

    Raises:
        DataError: if there is none.
    """
    found = _versions(path)
    if not found:
        seen = f"holds no {INFO}" if path.is_dir() else "does not exist"
        raise DataError(f"{path}: {seen}; expected it there, or in a folder of a version such as 1.0.0")
    return found[-1]


def _versions(path: Path) -> list[Path]:
    if (path / INFO).is_file():
        return [path]
    folders = [file.parent for file in path.glob(f"*/{INFO}")] if path.is_dir() else []
    return sorted(folders, key=lambda folder: [int(number) for number in re.findall(r"\d+", folder.name)])


def _name(path: Path, info: dict[str, Any]) -> str:
    """The dataset's name: that of its folder if it is known, for some were given another one before their release."""
    folder = (path.parent if re.fullmatch(r"[0-9.]+", path.name) else path).name
    return folder if folder in OXE else str(info.get("name") or folder)


def shard_files(path: Path, info: dict[str, Any], split: dict[str, Any]) -> list[Path]:
    """Files of a split, which is one entry of "splits" in `dataset_info.json`."""
    count = len(split.get("shardLengths", []))
    values = {
        "{DATASET}": str(info.get("name") or _name(path, info)),
        "{SPLIT}": str(split.get("name")),
        "{FILEFORMAT}": "tfrecord",
        "{SHARD_X_OF_Y}": "{SHARD_INDEX}-of-{NUM_SHARDS}",
        "{NUM_SHARDS}": f"{count:05d}",
    }
    template = str(split.get("filepathTemplate") or "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}")
    for placeholder, value in values.items():
        template = template.replace(placeholder, value)
    return [path / template.replace("{SHARD_INDEX}", f"{number:05d}") for number in range(count)]


def _shards(path: Path, info: dict[str, Any], split: str) -> tuple[list[Path], list[int]]:
    """Files of a split, and how many records each holds."""
    splits = {entry.get("name"): entry for entry in info.get("splits", [])}
    if "[" in split:
        raise ConfigError(f"{path}: slices such as {split!r} are not read; hold out episodes with data.val_episodes")
    if split not in splits:
        raise ConfigError(f"{path}: " + unknown_name("split", split, [str(one) for one in splits]))
    counts = splits[split].get("shardLengths", [])
    if not isinstance(counts, list):
        raise DataError(f"{path / INFO}: shardLengths of split {split!r}: expected a list, got {counts!r}")
    records = [int(count) for count in counts]
    files = shard_files(path, info, splits[split])
    missing = [file for file in files if not file.is_file()]
    if missing:
        there = len(list(path.glob(f"*-{split}.tfrecord-*")))
        raise DataError(
            f"{missing[0]} is missing: {INFO} says {len(files)} files, {there} of this split are there; get the others"
        )
    return files, records


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not readable as JSON: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("splits", []), list):
        raise DataError(f"{path}: expected an object with 'splits', got {str(content)[:60]}")
    if content.get("fileFormat", "tfrecord") != "tfrecord":
        raise DataError(f"{path}: files of the format {content['fileFormat']!r} are not read, only tfrecord")
    return content
