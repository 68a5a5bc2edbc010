import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robovlms.actions.normalize import ActionCodec, FeatureStatistics, Normalizer, normalize_action, unnormalize_action
from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.errors import DataError

VALUES = arrays(np.float32, (12, 3), elements=st.floats(-100, 100, width=32))
SCHEMES = ("min_max", "quantile", "mean_std", "none")


def statistics_of(values: np.ndarray) -> FeatureStatistics:
    exact = values.astype(np.float64)
    columns = {"min": exact.min(0), "max": exact.max(0), "mean": exact.mean(0), "std": exact.std(0)}
    columns |= {"q01": np.quantile(exact, 0.01, axis=0), "q99": np.quantile(exact, 0.99, axis=0)}
    return FeatureStatistics(**{name: tuple(column.tolist()) for name, column in columns.items()}, count=len(values))


def codec(opens: str = "positive", low: float = -1.0, high: float = 1.0) -> ActionCodec:
    dimensions = [ActionDimension(name=name, unit="m", low=-2.0, high=2.0) for name in "xy"]
    gripper = ActionDimension(name="g", unit="1", low=low, high=high, kind="gripper")
    space = ActionSpace(
        dimensions=(dimensions[0], gripper, dimensions[1]),
        frame="world",
        is_delta=True,
        gripper_opens=opens,
        control_hz=10.0,
    )
    normalizer = Normalizer(offset=np.array([0.5, 0, 0]), scale=np.array([0.5, 1, 2.0]), is_bounded=True)
    return ActionCodec(space=space, normalizer=normalizer)


@given(VALUES, st.sampled_from(SCHEMES))
def test_round_trip(values: np.ndarray, scheme: str) -> None:
    """Inside the bounds of the scheme the inverse gives back what went in; outside it gives the bound."""
    statistics = statistics_of(values)
    normalizer = Normalizer.from_statistics(scheme, statistics)
    found = normalizer.unnormalize(normalizer.normalize(values))
    expected = values
    if scheme == "quantile":
        constant = (np.array(statistics.q99) - np.array(statistics.q01)) / 2 < 1e-6
        expected = np.where(constant, values, np.clip(values, statistics.q01, statistics.q99))
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert found.dtype == np.float32


@given(VALUES, st.sampled_from(("min_max", "quantile")))
def test_bounded_schemes_stay_in_bounds(values: np.ndarray, scheme: str) -> None:
    normalized = Normalizer.from_statistics(scheme, statistics_of(values)).normalize(values * 2)
    assert np.abs(normalized).max() <= 1


def test_numbers_by_hand() -> None:
    statistics = FeatureStatistics(min=(-2.0,), max=(6.0,), mean=(1.0,), std=(2.0,), q01=(0.0,), q99=(4.0,), count=5)
    values = np.float32([[-2], [2], [6], [5]])
    expected = {"min_max": [-1, 0, 1, 0.75], "quantile": [-1, 0, 1, 1], "mean_std": [-1.5, 0.5, 2.5, 2]}
    for scheme, column in (expected | {"none": [-2, 2, 6, 5]}).items():
        np.testing.assert_allclose(Normalizer.from_statistics(scheme, statistics).normalize(values)[:, 0], column)


@pytest.mark.parametrize("scheme", ["min_max", "quantile", "mean_std"])
def test_a_dimension_that_never_moves(scheme: str) -> None:
    normalizer = Normalizer.from_statistics(scheme, statistics_of(np.full((4, 3), 7.0)))
    np.testing.assert_array_equal(normalizer.normalize(np.full((2, 3), 7.0)), 0)
    np.testing.assert_array_equal(normalizer.unnormalize(np.zeros((2, 3))), 7)


def test_statistics_round_trip_and_refuse_nonsense() -> None:
    statistics = statistics_of(np.arange(12.0).reshape(4, 3))
    values: dict[str, Any] = dataclasses.asdict(statistics)
    assert FeatureStatistics.from_dict({k: list(v) if k != "count" else v for k, v in values.items()}) == statistics
    with pytest.raises(DataError, match="mean must hold 3 finite numbers"):
        FeatureStatistics.from_dict(values | {"mean": [0.0, 1.0]})
    with pytest.raises(DataError, match="q99 must hold 3 finite numbers"):
        FeatureStatistics.from_dict(values | {"q99": [0.0, 1.0, float("nan")]})


@given(arrays(np.float32, (4, 2, 3), elements=st.floats(-1, 1, width=32)), st.sampled_from(["positive", "negative"]))
def test_codec_round_trip(learned: np.ndarray, opens: str) -> None:
    """Arms come back as they are, grippers as open or closed, whatever the shape in front."""
    actions = codec(opens).decode(learned)
    again = codec(opens).encode(actions)
    np.testing.assert_allclose(again[..., [0, 2]], learned[..., [0, 2]], atol=1e-6)
    np.testing.assert_array_equal(again[..., 1], learned[..., 1] > 0.5)
    assert actions.dtype == again.dtype == np.float32


@pytest.mark.parametrize(
    ("opens", "low", "high"), [("positive", -1.0, 1.0), ("negative", -1.0, 1.0), ("negative", 0.0, 0.08)]
)
def test_gripper_is_one_for_open(opens: str, low: float, high: float) -> None:
    actions = np.float32([[0, low, 0], [0, high, 0]])
    labels = codec(opens, low, high).encode(actions)[:, 1].tolist()
    assert labels == ([0, 1] if opens == "positive" else [1, 0])
    predictions = np.float32([[0, 0.9, 0], [0, 0.1, 0]])  # open, closed
    opened, closed = codec(opens, low, high).decode(predictions)[:, 1]
    assert (opened, closed) == tuple(np.float32([high, low] if opens == "positive" else [low, high]))


def test_decoded_actions_stay_within_the_space() -> None:
    wild = np.float32([[50, 0.2, -50]])
    np.testing.assert_array_equal(codec().decode(wild), np.float32([[2, -1, -2]]))


@given(arrays(np.float64, (5,), elements=st.floats(-3, 3)), st.floats(-2, 0), st.floats(0.5, 2))
def test_free_functions_round_trip(action: np.ndarray, low: float, high: float) -> None:
    normalized = normalize_action(action, low, high)
    assert np.abs(normalized).max() <= 1 + 1e-12
    np.testing.assert_allclose(unnormalize_action(normalized, low, high), np.clip(action, low, high), atol=1e-12)


def test_encode_leaves_its_input_alone() -> None:
    actions = np.float32([[0.2, -1, 0.3]])
    codec().encode(actions)
    np.testing.assert_array_equal(actions, np.float32([[0.2, -1, 0.3]]))
