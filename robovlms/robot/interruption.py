"""What SIGINT (Ctrl-C) and SIGTERM do to a run, from its first moment to its last.

::

    nothing drives yet ── signal ─▶ KeyboardInterrupt: what was made is closed
    the run ───────────── first ──▶ the robot comes to rest by the ramp, the run ends, all is closed
                          second ─▶ emergency stop
    all is being closed ─ any ────▶ emergency stop if it is the second; else nothing, closing takes seconds at most
"""

import contextlib
import signal
import threading

from robovlms.errors import SafetyError
from robovlms.robot.guard import GuardClient
from robovlms.robot.runtime import RobotRuntime

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Hears signals from `__enter__` to `__exit__`; for the main thread."""

    def __init__(self) -> None:
        self._run: tuple[RobotRuntime, GuardClient] | None = None
        self._num_heard = 0

    def __enter__(self) -> "Interruption":
        self._before = {number: signal.signal(number, self._hear) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def ends(self, runtime: RobotRuntime, guard: GuardClient) -> None:
        """From now on a signal ends this run, also before its guard has started."""
        self._run = runtime, guard

    def _hear(self, number: int, frame: object) -> None:
        del frame
        if self._run is None:
            raise KeyboardInterrupt
        self._num_heard += 1
        runtime, guard = self._run
        runtime.stop(f"ended by {signal.Signals(number).name}")
        if self._num_heard == 2:  # in a thread: the handler may have interrupted the very lock that it would wait for
            threading.Thread(target=_estop, args=(guard,), daemon=True).start()


def _estop(guard: GuardClient) -> None:
    with contextlib.suppress(SafetyError, AttributeError):  # the guard is gone or not there yet: nothing drives
        guard.estop("second signal")
