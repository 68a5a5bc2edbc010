"""Checks of the files of an RLDS split: every byte is read, and every checksum compared."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from robovlms.data.checks.fault import Fault
from robovlms.data.sources.lerobot_layout import read_json
from robovlms.data.sources.rlds import INFO, find_version
from robovlms.data.sources.tfrecord import TFRecordFiles, verify_file
from robovlms.errors import DataError


def check_rlds(path: Path, options: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield files that are missing, truncated, damaged, or hold another number of records than is declared."""
    split = str(options.get("split", "train"))
    try:
        folder = find_version(path)
        info = read_json(folder / INFO)
        lengths = {entry["name"]: [int(n) for n in entry.get("shardLengths", [])] for entry in info["splits"]}
    except (DataError, KeyError, TypeError, ValueError, AttributeError) as error:
        text = str(error) if isinstance(error, DataError) else f"{path / INFO}: no list of splits: {error!r}"
        yield Fault(check="description", file=path / INFO, message=text)
        return
    counts = lengths.get(split, [])
    name = info.get("name") or folder.parent.name
    files = [folder / f"{name}-{split}.tfrecord-{i:05d}-of-{len(counts):05d}" for i in range(len(counts))]
    for file, expected in zip(files, counts, strict=True):
        yield from _check_file(file, expected)
    for file in sorted(set(folder.glob(f"*-{split}.tfrecord-*")) - set(files)):
        yield Fault(
            check="orphan_file", severity="warning", file=file, message=f"{file}: {INFO} has no such file of the split"
        )


def _check_file(file: Path, expected: int) -> Iterator[Fault]:
    if not file.is_file():
        yield Fault(
            check="missing_file", file=file, message=f"{file} is missing; {INFO} says it holds {expected} records"
        )
        return
    is_whole = True
    for text in verify_file(file):
        is_crc = "checksum of its data" in text
        is_whole &= is_crc
        yield Fault(check="crc" if is_crc else "damaged_file", file=file, message=text)
    count = TFRecordFiles().count(file) if is_whole else expected
    if count != expected:
        yield Fault(
            check="lengths",
            file=file,
            expected=f"{expected} records",
            seen=f"{count} records",
            message=f"{file}: holds {count} records, {INFO} says {expected}",
        )
