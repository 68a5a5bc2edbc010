"""Small policies for the model's tests."""

import pytest

from robovlms.testing.policies import POLICIES, Inputs, make_inputs


@pytest.fixture
def inputs(request: pytest.FixtureRequest) -> Inputs:
    """Inputs for a window of `request.param` frames; 1 without a parameter."""
    return make_inputs(getattr(request, "param", 1))


@pytest.fixture(params=sorted(POLICIES))
def vlm(request: pytest.FixtureRequest) -> str:
    """Every registered VLM."""
    return request.param
