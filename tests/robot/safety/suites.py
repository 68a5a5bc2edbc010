"""All promises, by what makes them."""

from robot.safety import base_invariants, joint_invariants, validator_invariants, zone_invariants

SUITES = {
    "base": base_invariants.INVARIANTS,
    "joint": joint_invariants.INVARIANTS,
    "validator": validator_invariants.INVARIANTS,
    "zone": zone_invariants.INVARIANTS,
}
