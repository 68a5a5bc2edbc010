"""The six free functions: the original's numbers, inverses, NumPy against torch, protected dimensions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from robovlms.actions.normalize import (
    inverse_mu_law_companding,
    mu_law_companding,
    normalize_action,
    regularize_action,
    unnormalize_action,
    unregularize_action,
)
from robovlms.errors import ConfigError

GOLDENS = Path(__file__).parents[3] / "shared" / "reference" / "goldens"
needs_goldens = pytest.mark.skipif(
    not GOLDENS.is_dir(), reason="the original's reference numbers are not beside the project"
)
FUNCTIONS = {
    "normalize_action": normalize_action,
    "unnoramalize_action": unnormalize_action,  # the original's spelling
    "regularize_action": regularize_action,
    "unregularize_action": unregularize_action,
    "mu_law_companding": mu_law_companding,
    "inverse_mu_law_companding": inverse_mu_law_companding,
}
PAIRS = {
    "normalize": (lambda x, **k: normalize_action(x, -2.0, 3.0, **k), lambda x, **k: unnormalize_action(x, -2, 3, **k)),
    "regularize": (
        lambda x, **k: regularize_action(x, 0.3, 0.7, **k),
        lambda x, **k: unregularize_action(x, 0.3, 0.7, **k),
    ),
    "mu_law": (mu_law_companding, inverse_mu_law_companding),
}
VALUES = arrays(np.float64, array_shapes(min_dims=1, max_dims=3, max_side=4), elements=st.floats(-1, 1))


def _rows() -> list[dict[str, Any]]:
    return json.loads((GOLDENS / "b_normalization.json").read_text()) if GOLDENS.is_dir() else []


def _golden(row: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Input, the original's output and ours."""
    golden = np.load(GOLDENS / "b_normalization.npz")
    kwargs = {key: golden[value] if isinstance(value, str) else value for key, value in row["kwargs"].items()}
    values = golden[row["input"]].copy()
    found = FUNCTIONS[row["fn"]](values, **kwargs)
    np.testing.assert_array_equal(values, golden[row["input"]])  # the input is left alone
    assert found.dtype == values.dtype
    return values, golden[row["key"]], found


def _keeps_a_row(row: dict[str, Any]) -> bool:
    """Known bug of the original: here it keeps the last row of x where it means the last dimension."""
    is_right = row["fn"] in ("normalize_action", "unnoramalize_action") or row["input"] == "x_1d"
    return row["kwargs"]["maintain_last"] and not is_right


@needs_goldens
@pytest.mark.parametrize("row", [row for row in _rows() if not _keeps_a_row(row)], ids=lambda row: row["key"])
def test_equals_the_original(row: dict[str, Any]) -> None:
    """At 1e-12 in float64. The original turns float32 into float64 in places, where ours stays float32."""
    values, expected, found = _golden(row)
    np.testing.assert_allclose(found, expected, rtol=1e-12 if expected.dtype == values.dtype else 1e-6, atol=1e-15)


@needs_goldens
@pytest.mark.parametrize("row", [row for row in _rows() if _keeps_a_row(row)], ids=lambda row: row["key"])
def test_keeps_the_last_dimension_where_the_original_keeps_the_last_row(row: dict[str, Any]) -> None:
    values, expected, found = _golden(row)
    np.testing.assert_array_equal(expected[-1], values[-1])  # the bug
    np.testing.assert_array_equal(found[..., -1], values[..., -1])
    rest = (slice(None, -1), ..., slice(None, -1))  # what neither keeps
    rtol = 1e-12 if expected.dtype == values.dtype else 1e-6
    np.testing.assert_allclose(found[rest], expected[rest], rtol=rtol, atol=1e-15)


@pytest.mark.parametrize("name", PAIRS)
@given(values=VALUES)
def test_inverse_gives_back_what_went_in(name: str, values: np.ndarray) -> None:
    forward, backward = PAIRS[name]
    found = backward(forward(values))
    np.testing.assert_allclose(found, values, rtol=1e-11, atol=1e-14)
    assert found.shape == values.shape
    assert found.dtype == np.float64


@given(arrays(np.float64, (2, 3), elements=st.floats(-9, 9)))
def test_outside_the_range_the_bound_comes_back(values: np.ndarray) -> None:
    low, high = np.array([-1.0, 0, 2]), np.array([1.0, 0.5, 8])
    found = unnormalize_action(normalize_action(values, low, high), low, high)
    np.testing.assert_allclose(found, np.clip(values, low, high), atol=1e-14)


@pytest.mark.parametrize("function", [f for pair in PAIRS.values() for f in pair])
@given(values=arrays(np.float64, 20, elements=st.floats(-2, 2)))
def test_order_is_kept(function: Callable[..., Any], values: np.ndarray) -> None:
    assert (np.diff(function(np.sort(values))) >= 0).all()


@pytest.mark.parametrize("function", [f for pair in PAIRS.values() for f in pair])
@given(values=VALUES, is_single=st.booleans(), is_last_kept=st.booleans())
def test_torch_equals_numpy(
    function: Callable[..., Any], values: np.ndarray, is_single: bool, is_last_kept: bool
) -> None:
    values = values.astype(np.float32 if is_single else np.float64)
    expected = function(values, maintain_last=is_last_kept)
    found = function(torch.from_numpy(values), maintain_last=is_last_kept)
    assert isinstance(found, torch.Tensor)
    assert found.numpy().dtype == expected.dtype == values.dtype
    tolerance = 1e-6 if is_single else 1e-14
    np.testing.assert_allclose(found.numpy(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("function", [f for pair in PAIRS.values() for f in pair])
@given(values=arrays(np.float32, (3, 4), elements=st.floats(width=32)))
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
def test_protected_dimensions_are_kept_to_the_bit(function: Callable[..., Any], values: np.ndarray) -> None:
    before = values.copy()
    for found in (
        function(values, protected_dims=(1, -1)),
        function(values, protected_dims=(1,), maintain_last=True),
        function(torch.from_numpy(values), protected_dims=(-3, 3)).numpy(),
    ):
        assert found[:, [1, 3]].tobytes() == before[:, [1, 3]].tobytes()
        np.testing.assert_allclose(found[:, [0, 2]], function(values)[:, [0, 2]], rtol=1e-5, atol=1e-5)
    assert values.tobytes() == before.tobytes()


def test_numbers_by_hand() -> None:
    values = np.array([[-3.0, 0.25], [2.0, 0.75]])
    low, high = [-1.0, 0.0], [3.0, 1.0]
    np.testing.assert_array_equal(normalize_action(values, low, high), [[-1, -0.5], [0.5, 0.5]])
    np.testing.assert_array_equal(unnormalize_action(np.array([-1.0, 3.0]), low, high), [-1, 2])
    np.testing.assert_array_equal(regularize_action(values, [1.0, 0.5], [4.0, 0.5], eps=0), [[-1, -0.5], [0.25, 0.5]])
    np.testing.assert_allclose(mu_law_companding(np.array([-3.0, 0, 1, 15]), mu=1), [-2, 0, 1, 4])
    np.testing.assert_allclose(inverse_mu_law_companding(np.array([-2.0, 0, 1, 4]), mu=1), [-3, 0, 1, 15])


def test_a_range_without_width_is_finite() -> None:
    """What cannot move is learned as 0, and any prediction of it gives the only value there is."""
    for kind in (np.array, torch.tensor):
        found = normalize_action(kind([0.3, 5.0]), [0.0, 2.0], [0.6, 2.0])
        np.testing.assert_allclose(found, [0, 0], atol=1e-7)
        np.testing.assert_allclose(unnormalize_action(kind([0.0, 0.7]), [0.0, 2.0], [0.6, 2.0]), [0.3, 2.0])
    assert np.isfinite(regularize_action(np.zeros(2), 0.0, 0.0)).all()


def test_a_number_that_is_none_stays_visible() -> None:
    assert np.isnan(normalize_action(np.array([np.nan, np.nan]), [0.0, 2.0], [1.0, 2.0])).all()


@pytest.mark.parametrize("function", [f for pair in PAIRS.values() for f in pair])
def test_gradients_flow(function: Callable[..., Any]) -> None:
    """Also at 0, where sign and absolute value have none; the protected dimension has a slope of 1."""
    values = torch.tensor([[-0.4, 0.0, 0.5], [0.9, 0.1, 0.3]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(function(values, maintain_last=True).sum(), values)
    step = 1e-7
    expected = (function(values.detach() + step) - function(values.detach() - step)) / (2 * step)
    torch.testing.assert_close(slope[:, :2], expected[:, :2], rtol=1e-4, atol=0)
    assert (slope[:, 2] == 1).all()


def test_what_goes_in_comes_out() -> None:
    assert normalize_action(np.array([0, 1]), 0, 2).dtype == np.float64
    assert normalize_action(torch.tensor([0, 1]), 0, 2).dtype == torch.float32
    assert mu_law_companding(torch.zeros(2, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert mu_law_companding(np.float16([0.5])).dtype == np.float16
    assert mu_law_companding(np.float32(0.5)).dtype == np.float32
    bounds = torch.tensor([0.0, 0.0], dtype=torch.float64), torch.tensor([1.0, 2.0], dtype=torch.float64)
    assert normalize_action(torch.zeros(3, 2), *bounds).dtype == torch.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: normalize_action(np.zeros(2), 1.0, -1.0), "action_min must not be above action_max, got 1.0 and -1.0"),
        (lambda: unnormalize_action(np.zeros(2), [0.0, 3.0], 1.0), "action_min must not be above action_max"),
        (lambda: normalize_action(np.zeros(2), protected_dims=(2,)), r"dimensions \[2\] of an action with 2 numbers"),
        (lambda: normalize_action(np.float64(1), maintain_last=True), r"dimensions \[-1\] of an action with 0 numbers"),
        (lambda: regularize_action(np.zeros(2), 0.0, -1.0), "x_std must not be negative, got -1.0"),
        (lambda: mu_law_companding(np.zeros(2), 0), "mu must be positive, got 0"),
        (lambda: inverse_mu_law_companding(np.zeros(2), float("nan")), "mu must be positive, got nan"),
    ],
)
def test_nonsense_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()
