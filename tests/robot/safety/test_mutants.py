"""The properties notice faults: each one of a kept list is seeded and must be caught.

That a copy without a fault keeps its promises is what `test_invariants` shows.
"""

from pathlib import Path

import pytest
from robot.safety.examples import FEW
from robot.safety.mutants import MUTANTS, copied
from robot.safety.suites import SUITES

from robovlms.robot import safety


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_fault_is_caught(mutant, tmp_path):
    package = copied(tmp_path, f"mutant_{MUTANTS.index(mutant)}", mutant)
    promises = SUITES[mutant.suite]
    for name in [mutant.property, *(name for name in promises if name != mutant.property)]:
        try:
            FEW(promises[name](package))()
        except Exception:  # a promise that is broken, or a package that breaks down
            return
    pytest.fail(f"{mutant.name}: every promise is kept")


def test_the_list_is_long_and_reaches_every_file_that_decides():
    assert len(MUTANTS) >= 24
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    plain = {"__init__.py", "checks.py", "command.py", "joint_limits.py", "limits.py", "stopping.py", "zones.py"}
    files = {file.name for file in Path(safety.__file__).parent.glob("*.py")} - plain
    assert files == {mutant.file for mutant in MUTANTS}
