"""The promises of shields and validator, each asked 500 times; `scripts/nightly_shield.sh` asks 20 000 times."""

import pytest
from robot.safety.examples import ASKED, FEW
from robot.safety.mutants import copied
from robot.safety.suites import SUITES

from robovlms.robot import safety

PROMISES = [(suite, name) for suite, promises in SUITES.items() for name in promises]


@pytest.fixture(scope="session")
def unchecked(tmp_path_factory):
    """The package without the run-time check of types, which takes most of the time."""
    return copied(tmp_path_factory.mktemp("copy"), "safety_copy")


@pytest.mark.parametrize(("suite", "name"), PROMISES)
def test_promise_is_kept(suite, name, unchecked):
    ASKED(SUITES[suite][name](unchecked))()


@pytest.mark.parametrize("suite", SUITES)
def test_types_are_as_annotated(suite):
    for promise in list(SUITES[suite].values())[:1]:
        FEW(promise(safety))()
