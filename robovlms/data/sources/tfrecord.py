"""TFRecord files: where the records lie, and their bytes, without TensorFlow.

::

    ┌ length uint64 ┬ crc of length uint32 ┬ data … ┬ crc of data uint32 ┐ ┌ length …      all little-endian
    └ record 0      ┴                      ┴        ┴                    ┘ └ record 1

Records are found by hopping from length to length; a file is mapped into memory, so nothing else of it is read. The
checksum of a length is looked at whenever it is used, that of the data only by `verify_file`.

Source: https://www.tensorflow.org/tutorials/load_data/tfrecord (section "TFRecords format details").
"""

import mmap
import struct
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from robovlms.data.sources.crc32c import masked_crc32c
from robovlms.errors import DataError

_HEADER = struct.Struct("<QI")
_CRC = struct.Struct("<I")


class TFRecordFiles:
    """Records of many files by number; keeps the last `max_open` mapped. Can be pickled and survives a fork.

    Args:
        max_open: files kept mapped.
    """

    def __init__(self, max_open: int = 16) -> None:
        self.max_open = max_open
        self._open: OrderedDict[Path, _Records] = OrderedDict()

    def __reduce__(self) -> tuple[Any, ...]:
        return TFRecordFiles, (self.max_open,)

    def record(self, path: Path, number: int) -> memoryview:
        """Return the bytes of a record, not copied.

        Raises:
            DataError: names the file, the record and the byte at which it is damaged, or that there are fewer.
        """
        return self._file(path).record(number)

    def count(self, path: Path) -> int:
        """Number of records of a file; hops through all of it.

        Raises:
            DataError: as `record`.
        """
        return self._file(path).count()

    def _file(self, path: Path) -> "_Records":
        if path not in self._open:
            while len(self._open) >= self.max_open:
                self._open.popitem(last=False)
            self._open[path] = _Records(path)
        self._open.move_to_end(path)
        return self._open[path]


class _Records:
    """One mapped file, and the places of those records that were looked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
                self.data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b"")
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
        self.begins = [0]

    def record(self, number: int) -> memoryview:
        while len(self.begins) <= number + 1:
            self._hop()
        return self.data[self.begins[number] + _HEADER.size : self.begins[number + 1] - _CRC.size]

    def count(self) -> int:
        while self.begins[-1] < len(self.data):
            self._hop()
        return len(self.begins) - 1

    def crc(self, number: int) -> int:
        return _CRC.unpack_from(self.data, self.begins[number + 1] - _CRC.size)[0]

    def _hop(self) -> None:
        begin, number = self.begins[-1], len(self.begins) - 1
        where = f"{self.path}: record {number}, at byte {begin}"
        if begin == len(self.data):
            raise DataError(f"{self.path}: record {number} asked for, the file has {number}")
        if begin + _HEADER.size > len(self.data):
            raise DataError(f"{where}: the file ends after {len(self.data) - begin} bytes of it; it is truncated")
        length, crc = _HEADER.unpack_from(self.data, begin)
        if masked_crc32c(self.data[begin : begin + 8]) != crc:
            raise DataError(f"{where}: the checksum of its length is wrong; the file is damaged, or no TFRecord file")
        end = begin + _HEADER.size + length + _CRC.size
        if end > len(self.data):
            raise DataError(f"{where}: expected {end - begin} bytes, the file ends after {len(self.data) - begin}")
        self.begins.append(end)


def verify_file(path: Path) -> Iterator[str]:
    """Read all of a file; yield one line for each record whose checksum is wrong, and for damaged framing."""
    try:
        records = _Records(path)
        count = records.count()
    except DataError as error:
        yield str(error)
        count = max(0, len(records.begins) - 1) if "records" in locals() else 0
    for number in range(count):
        if masked_crc32c(records.record(number)) != records.crc(number):
            yield f"{path}: record {number}, at byte {records.begins[number]}: the checksum of its data is wrong"
