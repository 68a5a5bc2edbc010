"""Frames as PNG bytes, and the random shift of training. NumPy, zlib and Pillow; no torch.

Frames are written as PNG with the row filter "none": inflating them gives the pixels as they are, which a plain
`numpy.frombuffer` reads twice as fast as a general decoder. Any reader opens them, and `decode_png` opens any PNG.
"""

import io
import struct
import zlib

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from robovlms.errors import DataError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">IIBBBBB")  # width, height, bit depth, colour type, compression, filter method, interlace
_RGB8 = (8, 2, 0, 0, 0)
_IHDR_AT, _IDAT_AT = len(_SIGNATURE), len(_SIGNATURE) + 12 + _HEADER.size
_STORED = b"\x01\x00"  # zlib's head at level 0: what follows lies there as it is, so a first look saves nothing
_END = struct.pack(">I", 0) + b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))


def encode_png(frame: UInt8[np.ndarray, "h w 3"], compress_level: int = 1) -> bytes:
    """Return an RGB frame as PNG, without loss.

    Args:
        frame: uint8 [h, w, 3].
        compress_level: of zlib, 0 (fastest) to 9 (smallest).
    """
    height, width, _ = frame.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each row begins with its filter: 0 = none
    rows[:, 1:] = frame.reshape(height, -1)
    header = _HEADER.pack(width, height, *_RGB8)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows, compress_level)) + _END


def decode_png(data: bytes | memoryview) -> UInt8[np.ndarray, "h w 3"]:
    """Return the pixels of a PNG as RGB, uint8 [h, w, 3], perhaps read-only.

    Raises:
        DataError: if the bytes are truncated or no picture.
    """
    try:
        frame = _decode_unfiltered(memoryview(data).cast("B"))
        return _decode_any(data) if frame is None else frame
    except (OSError, SyntaxError, ValueError, struct.error, zlib.error) as error:
        raise DataError(f"not a readable PNG of {len(data)} bytes: {error}") from error


def shift_into(
    out: UInt8[np.ndarray, "*lead h w"], frames: UInt8[np.ndarray, "*lead h w"], dy: int, dx: int
) -> UInt8[np.ndarray, "*lead h w"]:
    """Copy pictures to `out`, moved by (`dy`, `dx`) pixels, down and right positive; what comes in repeats the border.

    >>> shift_into(np.empty((1, 3), np.uint8), np.array([[1, 2, 3]], np.uint8), dy=0, dx=1).tolist()
    [[1, 1, 2]]
    """
    height, width = frames.shape[-2:]
    top, bottom = max(dy, 0), height + min(dy, 0)
    left, right = max(dx, 0), width + min(dx, 0)
    out[..., top:bottom, left:right] = frames[..., top - dy : bottom - dy, left - dx : right - dx]
    out[..., top:bottom, :left] = out[..., top:bottom, left : left + 1]
    out[..., top:bottom, right:] = out[..., top:bottom, right - 1 : right]
    out[..., :top, :] = out[..., top : top + 1, :]
    out[..., bottom:, :] = out[..., bottom - 1 : bottom, :]
    return out


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def _decode_unfiltered(data: memoryview) -> np.ndarray | None:
    """Pixels of an 8-bit RGB PNG whose rows are all unfiltered and in one chunk; None for any other PNG."""
    width, height, *kind = _HEADER.unpack_from(data, _IHDR_AT + 8)
    size, name = struct.unpack_from(">I4s", data, _IDAT_AT)
    body = data[_IDAT_AT + 8 : _IDAT_AT + 8 + size]
    if data[:_IHDR_AT] != _SIGNATURE or tuple(kind) != _RGB8 or name != b"IDAT" or data[-12:] != _END:
        return None
    is_stored = body[1:3] == _STORED
    if not is_stored and zlib.decompressobj().decompress(body, 1) != b"\0":
        return None
    pixels = zlib.decompress(body, bufsize=height * (1 + 3 * width))
    rows = np.frombuffer(pixels, np.uint8).reshape(height, 1 + 3 * width)
    return None if rows[:, 0].any() else rows[:, 1:].reshape(height, width, 3)


def _decode_any(data: bytes | memoryview) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB"))
