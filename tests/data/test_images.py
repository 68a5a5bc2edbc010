import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from robovlms.data.images import decode_png, encode_png, shift_into
from robovlms.errors import DataError

FRAMES = arrays(np.uint8, st.tuples(st.integers(1, 8), st.integers(1, 8), st.just(3)))


def png(frame: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG", **options)
    return buffer.getvalue()


@given(FRAMES, st.sampled_from([0, 1, 9]))
def test_round_trip(frame: np.ndarray, level: int) -> None:
    data = encode_png(frame, level)
    np.testing.assert_array_equal(decode_png(data), frame)
    with Image.open(io.BytesIO(data)) as picture:
        np.testing.assert_array_equal(np.asarray(picture), frame)


@given(FRAMES)
def test_reads_what_others_write(frame: np.ndarray) -> None:
    np.testing.assert_array_equal(decode_png(png(frame)), frame)
    np.testing.assert_array_equal(decode_png(memoryview(png(frame)).cast("b")), frame)


def test_reads_filtered_rows_after_an_unfiltered_one() -> None:
    frame = np.cumsum(np.full((64, 64, 3), 3), axis=0).astype(np.uint8)
    frame[0] = np.random.default_rng(0).integers(0, 256, (64, 3))
    np.testing.assert_array_equal(decode_png(png(frame, optimize=True)), frame)


def test_grey_and_palette_become_rgb() -> None:
    grey = np.arange(16, dtype=np.uint8).reshape(4, 4)
    np.testing.assert_array_equal(decode_png(png(grey)), np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("length", [0, 7, 20, 45, -40])
def test_truncated(length: int) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    for data in (encode_png(frame), png(frame)):
        with pytest.raises(DataError, match="not a readable PNG"):
            decode_png(data[:length])


def test_changed_bytes() -> None:
    data = bytearray(encode_png(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)))
    data[100] ^= 255
    with pytest.raises(DataError, match="not a readable PNG"):
        decode_png(bytes(data))


@given(st.integers(-3, 3), st.integers(-3, 3))
def test_shift_repeats_the_border(dy: int, dx: int) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 4), np.uint8)
    rows, columns = np.clip(np.arange(5) - dy, 0, 4), np.clip(np.arange(4) - dx, 0, 3)
    expected = frames[..., rows, :][..., columns]
    np.testing.assert_array_equal(shift_into(np.empty_like(frames), frames, dy, dx), expected)
