"""The promises of the shield of a base, for anything that it may be fed."""

import pytest
from robot.safety.base_invariants import INVARIANTS
from robot.safety.examples import ASKED

from robovlms.robot import safety


@pytest.mark.parametrize("name", INVARIANTS)
def test_the_shield_keeps_its_promise(name):
    ASKED(INVARIANTS[name](safety))()
