"""The reference for the machine's lateness runs as long as the tests of a file."""

from collections.abc import Iterator

import pytest
from robot.guard.fake_robot import Lateness


@pytest.fixture(scope="module")
def lateness() -> Iterator[Lateness]:
    """Two processes that do nothing but sleep."""
    reference = Lateness()
    yield reference
    reference.close()
