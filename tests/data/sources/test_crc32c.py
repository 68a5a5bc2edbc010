import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robovlms.data.sources.crc32c import crc32c, masked_crc32c


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"\0" * 32, 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (b"123456789", 0xE3069283),
    ],
)
def test_published_values(data: bytes, expected: int) -> None:
    """RFC 3720, appendix B.4."""
    assert crc32c(data) == expected


@given(st.integers(0, 20_000), st.integers(0, 5))
def test_lanes_and_bytes_agree(length: int, seed: int) -> None:
    reference = pytest.importorskip("crc32c")
    data = np.random.default_rng(seed).integers(0, 256, length, np.uint8).tobytes()
    assert crc32c(data) == reference.crc32c(data)
    assert crc32c(memoryview(data)) == crc32c(np.frombuffer(data, np.uint8))


def test_masked() -> None:
    crc = crc32c(b"abc")
    assert masked_crc32c(b"abc") == (((crc >> 15) | (crc << 17)) + 0xA282EAD8) % 2**32
