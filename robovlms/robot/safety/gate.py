"""Whether an action may be followed at all: how sure it is, and how old what it is based on."""

from typing import Any, NamedTuple

from robovlms.robot.safety.command import Reason
from robovlms.robot.safety.reading import read_number

FUTURE_TOLERANCE_S = 1e-9
"""An observation that is this much younger than now is one of now: differences of times are rounded."""


class Gate(NamedTuple):
    """Thresholds of an action.

    Attributes:
        min_confidence: in (0, 1].
        max_observation_age_s: s.
    """

    min_confidence: float
    max_observation_age_s: float

    def refusals(self, confidence: Any, observation_age_s: Any) -> list[Reason]:
        """Why the action may not be followed; empty if it may.

        >>> [reason.value for reason in Gate(0.3, 0.5).refusals(0.3, 0.51)]
        ['stale']
        """
        reasons = []
        if not self.is_confident(confidence):
            reasons.append(Reason.LOW_CONFIDENCE)
        age_s = read_number(observation_age_s)
        if age_s is not None and age_s < -FUTURE_TOLERANCE_S:
            reasons.append(Reason.FUTURE)
        elif age_s is None or not age_s <= self.max_observation_age_s:  # NaN is not
            reasons.append(Reason.STALE)
        return reasons

    def is_confident(self, confidence: Any) -> bool:
        """It is a number in [min_confidence, 1]; NaN is in no range."""
        number = read_number(confidence)
        return number is not None and self.min_confidence <= number <= 1.0
