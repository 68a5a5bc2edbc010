"""CRC-32C (Castagnoli), the checksum of TFRecord files, in NumPy: many lanes at a time, put together at the end.

A CRC is linear over bits. So a long text is cut into lanes of equal length, all lanes are advanced byte by byte in one
array operation, and the lane before is moved over the length of the next one by squaring a 32 × 32 matrix of bits.

>>> hex(crc32c(b"123456789"))
'0xe3069283'

Source: RFC 3720, appendix B.4; combination as in zlib's crc32_combine (Mark Adler).
"""

from functools import lru_cache

import numpy as np

_POLYNOMIAL = 0x82F63B78
_LANES = 4096
_ALL = 0xFFFFFFFF


def crc32c(data: bytes | memoryview | np.ndarray) -> int:
    """Return the checksum of some bytes."""
    values = np.frombuffer(data, np.uint8)
    length = len(values) // _LANES
    lanes = values[: length * _LANES].reshape(_LANES, length)
    crc = _ALL
    if length:
        table = _table()
        state = np.zeros(_LANES, np.uint32)
        state[0] = _ALL
        for column in np.ascontiguousarray(lanes.T):
            state = table[(state ^ column) & 0xFF] ^ (state >> 8)
        crc = _joined(state, length)
    return _advance(crc, values[length * _LANES :].tobytes()) ^ _ALL


def masked_crc32c(data: bytes | memoryview | np.ndarray) -> int:
    """Return the checksum as TFRecord files store it: rotated and shifted, so that checksums of checksums differ."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & _ALL


def _advance(crc: int, data: bytes) -> int:
    table = _plain_table()
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc


def _joined(state: np.ndarray, length: int) -> int:
    """One state from those of neighbouring lanes of `length` bytes: halve the number of lanes until one is left."""
    move = _zeros_operator(length)
    while len(state) > 1:
        state = _apply(move, state[0::2]) ^ state[1::2]
        move = _apply(move, move)
    return int(state[0])


def _zeros_operator(length: int) -> np.ndarray:
    """What `length` zero bytes do to a state: uint32 [32], the image of each bit."""
    operator = 1 << np.arange(32, dtype=np.uint32)
    square = _one_zero_byte()
    while length:
        if length & 1:
            operator = _apply(square, operator)
        square = _apply(square, square)
        length >>= 1
    return operator


def _one_zero_byte() -> np.ndarray:
    bits = 1 << np.arange(32, dtype=np.uint32)
    return _table()[bits & 0xFF] ^ (bits >> 8)


def _apply(operator: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Multiply states [k] with a matrix of bits [32], over GF(2)."""
    bits = (states[:, None] >> np.arange(32, dtype=np.uint32)) & 1
    return np.bitwise_xor.reduce(np.where(bits == 1, operator, np.uint32(0)), axis=1)


@lru_cache(maxsize=1)
def _table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(_POLYNOMIAL), table >> 1)
    return table


@lru_cache(maxsize=1)
def _plain_table() -> list[int]:
    return _table().tolist()
