"""Settings of the suite."""

import warnings

import pytest

from robovlms.testing.policies import POLICIES, Inputs, make_inputs

warnings.filterwarnings("ignore", message=".*torchvision.*")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test that takes `vlm` runs for the chosen VLMs, or for all registered ones."""
    if "vlm" in metafunc.fixturenames:
        metafunc.parametrize("vlm", metafunc.config.getoption("--backbone", None) or sorted(POLICIES))


@pytest.fixture
def inputs(request: pytest.FixtureRequest) -> Inputs:
    """Inputs for a window of `request.param` frames; 1 without a parameter."""
    return make_inputs(getattr(request, "param", 1))
