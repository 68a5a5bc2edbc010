"""What the board of the simulated base does with messages, as any base must: see `robovlms.robot.drivers.wire`.

::

    bytes ─▶ damaged?         dropped, as if it had not come
             stop?            at once, whoever says it
             old?             dropped
             no velocity?     stop: somebody speaks, but not to this robot
             a velocity ─────▶ limited to what the motors can do, held for 0.5 s at most
"""

import math
from typing import Any

from robovlms.errors import DataError
from robovlms.robot.drivers.wire import decode

WATCHDOG_S = 0.5
MAX_LINEAR_MPS, MAX_ANGULAR_RADPS = 1.0, 2.0  # what its motors can do
_STILL = (0.0, 0.0, 0.0)
_NOT_A_MESSAGE = (DataError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class Firmware:
    """Holds the last velocity that was asked for, no longer than the watchdog allows.

    Attributes:
        num_refused: messages that were damaged, old, or asked for no velocity.
    """

    def __init__(self) -> None:
        self._velocity, self._heard_at = _STILL, -math.inf
        self._session, self._sequence = "", -1
        self.num_refused = 0

    def velocity(self, now: float) -> tuple[float, float, float]:
        """(x, y, yaw) that the motors turn with at `now`, m/s, m/s, rad/s; zero if nothing came for too long."""
        return self._velocity if now - self._heard_at <= WATCHDOG_S else _STILL

    def hear(self, message: bytes, now: float) -> None:
        """Take one message, whatever it holds.

        Args:
            message: as it came over the line.
            now: when it came, s on the clock of `velocity`.
        """
        try:
            fields = decode(message)
            stop, session, sequence = fields["stop"], str(fields["session"]), int(fields["seq"])
        except _NOT_A_MESSAGE:
            self.num_refused += 1
            return
        is_new = session != self._session or sequence > self._sequence
        if is_new:
            self._session, self._sequence = session, sequence
        if stop is not False:
            self._velocity, self._heard_at = _STILL, now
        elif is_new:
            velocity = _velocity_of(fields)
            self.num_refused += velocity is None
            self._velocity, self._heard_at = velocity or _STILL, now
        else:
            self.num_refused += 1


def _velocity_of(fields: dict[str, Any]) -> tuple[float, float, float] | None:
    linear = fields.get("linear")
    if not isinstance(linear, list) or len(linear) != 2:
        return None
    values = (*linear, fields.get("angular"))
    if not all(type(value) in (int, float) and abs(value) < math.inf for value in values):  # NaN is not less
        return None
    x, y, yaw = values
    return _limited(x, MAX_LINEAR_MPS), _limited(y, MAX_LINEAR_MPS), _limited(yaw, MAX_ANGULAR_RADPS)


def _limited(value: float, limit: float) -> float:
    return float(max(-limit, min(limit, value)))
