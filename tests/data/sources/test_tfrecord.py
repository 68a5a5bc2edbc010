import pickle
from pathlib import Path

import pytest
from tfrecord.writer import TFRecordWriter

from robovlms.data.sources.tfrecord import TFRecordFiles, verify_file
from robovlms.errors import DataError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Three records of different lengths, written by another library."""
    path = tmp_path / "a.tfrecord"
    writer = TFRecordWriter(str(path))
    for number in range(3):
        writer.write({"blob": ([b"x" * 100 * number], "byte"), "number": ([number], "int")})
    writer.close()
    return path


def test_records_in_any_order(file: Path) -> None:
    files = TFRecordFiles()
    sizes = [len(files.record(file, number)) for number in (2, 0, 1)]
    assert sizes[0] > sizes[2] > sizes[1]
    assert b"x" * 200 in bytes(files.record(file, 2))
    assert files.count(file) == 3
    assert len(pickle.loads(pickle.dumps(files)).record(file, 1)) == sizes[2]
    assert list(verify_file(file)) == []


def test_more_files_than_may_be_open(tmp_path: Path, file: Path) -> None:
    other = tmp_path / "b.tfrecord"
    other.write_bytes(file.read_bytes())
    files = TFRecordFiles(max_open=1)
    assert bytes(files.record(file, 2)) == bytes(files.record(other, 2)) == bytes(files.record(file, 2))


def test_a_record_that_is_not_there(file: Path) -> None:
    with pytest.raises(DataError, match=r"a.tfrecord: record 3 asked for, the file has 3"):
        TFRecordFiles().record(file, 3)
    with pytest.raises(DataError, match="cannot be read: No such file"):
        TFRecordFiles().record(file.with_name("c"), 0)


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    assert TFRecordFiles().count(path) == 0
    with pytest.raises(DataError, match="record 0 asked for, the file has 0"):
        TFRecordFiles().record(path, 0)


@pytest.mark.parametrize(("cut", "message"), [(1, r"expected \d+ bytes, the file ends after"), (5, "expected")])
def test_truncated_data(file: Path, cut: int, message: str) -> None:
    file.write_bytes(file.read_bytes()[:-cut])
    files = TFRecordFiles()
    assert len(files.record(file, 1)) > 100  # those before it are whole
    with pytest.raises(DataError, match="record 2, at byte .*" + message):
        files.record(file, 2)
    assert any("record 2" in line for line in verify_file(file))


def test_truncated_head(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"1234")
    with pytest.raises(DataError, match="record 3, at byte .*the file ends after 4 bytes of it; it is truncated"):
        TFRecordFiles().count(file)


def test_damaged_length(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[1] ^= 4
    file.write_bytes(data)
    with pytest.raises(DataError, match="record 0, at byte 0: the checksum of its length is wrong"):
        TFRecordFiles().record(file, 0)


def test_damaged_data_is_found_by_verifying(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[20] ^= 1
    file.write_bytes(data)
    assert len(TFRecordFiles().record(file, 0)) > 0
    (line,) = verify_file(file)
    assert "record 0, at byte 0: the checksum of its data is wrong" in line
