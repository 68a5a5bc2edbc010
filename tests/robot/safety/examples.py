"""How many examples each promise of a shield is asked for; `scripts/nightly_shield.sh` asks for many more."""

import os

from hypothesis import HealthCheck, Phase, settings

NUM_EXAMPLES = int(os.environ.get("ROBOVLMS_SHIELD_EXAMPLES", "500"))
NIGHTLY = NUM_EXAMPLES > 500
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much, HealthCheck.large_base_example]

# The same examples in every run of the tests; others every night, which then print how to repeat a failure.
ASKED = settings(
    max_examples=NUM_EXAMPLES, derandomize=not NIGHTLY, print_blob=NIGHTLY, deadline=None, suppress_health_check=SLOW
)
FEW = settings(
    max_examples=60,
    derandomize=True,
    phases=[Phase.generate],
    database=None,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=SLOW,
)
