"""A scheme for each dimension, tensors, the mu-law of the action codec, and all of it through the contract's JSON."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robovlms.actions.contract import PolicyContract
from robovlms.actions.normalize import ActionCodec, FeatureStatistics, Normalizer
from robovlms.actions.space import ActionDimension, ActionSpace
from robovlms.errors import ConfigError

SCHEMES = ("min_max", "quantile", "mean_std", "none")
STATISTICS = FeatureStatistics(
    min=(-2.0,) * 4, max=(6.0,) * 4, mean=(1.0,) * 4, std=(2.0,) * 4, q01=(0.0,) * 4, q99=(4.0,) * 4, count=5
)
VALUES = arrays(np.float32, (2, 3, 4), elements=st.floats(-9, 9, width=32))


def codec(mu: float | None, schemes: tuple[str, ...] | str = "min_max") -> ActionCodec:
    arm = [ActionDimension(name=name, unit="m", low=-9, high=9) for name in "xyz"]
    gripper = ActionDimension(name="g", unit="1", low=-1, high=1, kind="gripper")
    space = ActionSpace(
        dimensions=(gripper, *arm), frame="world", is_delta=True, gripper_opens="positive", control_hz=10.0
    )
    return ActionCodec(space=space, normalizer=Normalizer.from_statistics(schemes, STATISTICS), mu=mu)


@given(VALUES, st.permutations(SCHEMES))
def test_each_dimension_follows_its_scheme(values: np.ndarray, schemes: list[str]) -> None:
    mixed = Normalizer.from_statistics(schemes, STATISTICS)
    for i, scheme in enumerate(schemes):
        alone = Normalizer.from_statistics(scheme, STATISTICS)
        np.testing.assert_array_equal(mixed.normalize(values)[..., i], alone.normalize(values)[..., i])
        np.testing.assert_array_equal(mixed.unnormalize(values)[..., i], alone.unnormalize(values)[..., i])


def test_numbers_by_hand() -> None:
    mixed = Normalizer.from_statistics(SCHEMES, STATISTICS)
    np.testing.assert_array_equal(mixed.normalize(np.full(4, 5.0)), [0.75, 1, 2, 5])
    np.testing.assert_array_equal(mixed.unnormalize(np.float32([0.75, 1, 2, 5])), [5, 4, 5, 5])


@given(VALUES, st.permutations(SCHEMES), st.booleans())
def test_tensors_as_arrays(values: np.ndarray, schemes: list[str], is_one: bool) -> None:
    normalizer = Normalizer.from_statistics(schemes[0] if is_one else schemes, STATISTICS)
    for function in (normalizer.normalize, normalizer.unnormalize):
        found = function(torch.from_numpy(values))
        assert found.dtype == torch.float32
        np.testing.assert_array_equal(found.numpy(), function(values), strict=True)


def test_gradients_flow_where_nothing_is_clipped() -> None:
    values = torch.tensor([5.0, 5.0, 5.0, 5.0], requires_grad=True)
    (slope,) = torch.autograd.grad(Normalizer.from_statistics(SCHEMES, STATISTICS).normalize(values).sum(), values)
    assert slope.tolist() == [0.25, 0, 0.5, 1]


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match="a normalisation for each of 4 dimensions, got 2"):
        Normalizer.from_statistics(("min_max", "none"), STATISTICS)
    for scheme in ("min_mx", ("min_max", "min_mx", "none", "none")):
        with pytest.raises(ConfigError, match="unknown normalisation 'min_mx'; did you mean 'min_max'"):
            Normalizer.from_statistics(scheme, STATISTICS)
    for mu in (0, -1.0, float("nan")):
        with pytest.raises(ConfigError, match="mu must be positive"):
            codec(mu)
    with pytest.raises(ConfigError, match="by min_max or quantile"):
        codec(255, ("none", "min_max", "mean_std", "quantile"))
    codec(255, ("none", "min_max", "min_max", "quantile"))  # the gripper is not normalised, so its scheme is free


@given(arrays(np.float32, (5, 4), elements=st.floats(-1, 1, width=32)), st.sampled_from([1.0, 5.0, 255.0]))
def test_companded_codec_round_trip(learned: np.ndarray, mu: float) -> None:
    one = codec(mu)
    actions = one.decode(learned)
    again = one.encode(actions)
    np.testing.assert_allclose(one.decode(again), actions, atol=2e-6)
    np.testing.assert_array_equal(again[:, 0], learned[:, 0] > 0.5)
    assert again.dtype == np.float32
    # the curve is steepest at 0: an action rounded to float32 there comes back mu / ln(1 + mu) = 46 times as coarse
    np.testing.assert_allclose(again[:, 1:], learned[:, 1:], atol=3e-5)


def test_the_mu_law_spreads_small_actions() -> None:
    middle = np.float32([[1, 2, 2, 2 + 4 / 85]])  # min_max gives 0, 0 and 1 / 85
    np.testing.assert_allclose(codec(255).encode(middle), [[1, 0, 0, 0.25]], atol=1e-6)
    np.testing.assert_allclose(codec(None).encode(middle), [[1, 0, 0, 1 / 85]], atol=1e-6)
    np.testing.assert_allclose(codec(255).decode(np.float32([[0, 0, -1, 0.25]])), [[-1, 2, -2, 2 + 4 / 85]], atol=1e-6)
    wild = codec(255).decode(np.float32([[0.9, 50, -50, 1]]))
    np.testing.assert_array_equal(wild, [[1, 6, -2, 6]])


def test_schemes_go_through_the_contract() -> None:
    space = codec(None).space
    contract = PolicyContract(
        action_space=space,
        action_scheme=("none", "min_max", "quantile", "quantile"),
        action_statistics=STATISTICS,
        proprio_names=("a", "b", "c", "d"),
        proprio_scheme=SCHEMES,
        proprio_statistics=STATISTICS,
        cameras=(),
        prompt_template="{instruction}",
        tokenizer_fingerprint="f" * 64,
        window_size=1,
        fwd_pred_next_n=1,
    )
    again = PolicyContract.from_json(contract.to_json())
    assert again == contract
    assert again.fingerprint == contract.fingerprint
    np.testing.assert_array_equal(again.action_codec.encode(np.full((1, 4), 1.0)), [[1, -0.25, -0.5, -0.5]])
    np.testing.assert_array_equal(again.proprio_normalizer.normalize(np.full(4, 5.0)), [0.75, 1, 2, 5])
    other = dataclasses.replace(contract, proprio_scheme=("min_max", "quantile", "mean_std", "min_max"))
    assert contract.differences(other) == ["contract.proprio_scheme[3]: checkpoint 'none', here 'min_max'"]
    assert json.loads(contract.to_json())["proprio_scheme"] == list(SCHEMES)
