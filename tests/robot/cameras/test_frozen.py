"""A camera that repeats its last frame."""

import math

import numpy as np
import pytest

from robovlms.errors import ConfigError
from robovlms.robot.cameras.frozen import STALE_S, FrozenFrameMonitor


def _frame(value: int) -> np.ndarray:
    frame = np.zeros((4, 6, 3), np.uint8)
    frame[3, 5, 2] = value
    return frame


def test_the_same_frame_for_more_than_a_second_is_a_day_old():
    monitor = FrozenFrameMonitor(1.0)
    stamps = [(0, 0.0), (1, 0.25), (1, 0.75), (1, 1.25), (1, 1.5), (1, 2.0), (2, 2.25), (2, 2.5)]
    ages = [at - monitor.observed_at(_frame(value), at) for value, at in stamps]
    assert ages == [0.0, 0.0, 0.0, 0.0, STALE_S, STALE_S, 0.0, 0.0]
    assert not monitor.is_frozen


def test_one_value_of_one_pixel_is_another_frame():
    monitor = FrozenFrameMonitor(1.0)
    assert [monitor.observed_at(_frame(at % 2), float(at)) for at in range(5)] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_view_and_another_shape_of_the_same_bytes():
    monitor = FrozenFrameMonitor(1.0)
    image = np.zeros((4, 6, 3), np.uint8)
    assert monitor.observed_at(image[:, ::-1], 0.0) == 0.0
    assert monitor.observed_at(image.reshape(6, 4, 3), 5.0) == 5.0, "another shape is another frame"
    assert monitor.observed_at(image.reshape(6, 4, 3), 7.0) == 7.0 - STALE_S


def test_a_stamp_that_is_no_number_is_frozen():
    monitor = FrozenFrameMonitor(1.0)
    monitor.observed_at(_frame(1), 0.0)
    monitor.observed_at(_frame(1), math.nan)
    assert monitor.is_frozen


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
def test_a_time_that_makes_no_sense_is_refused(seconds):
    with pytest.raises(ConfigError, match="frozen camera"):
        FrozenFrameMonitor(seconds)
