"""The emergency stop: latched, released by a reset and a fresh command.

::

    running ──estop()──> latched ──reset()──> waiting ──a step at rest, then a command whose observation is
       ^                    ^                    │          younger than the reset──┐
       │                    └─────estop()────────┘                                  │
       └────────────────────────────────────────────────────────────────────────────┘
"""


class _Stop:
    """One press of the button; two presses are never the same object."""

    def __init__(self, text: str) -> None:
        self.text = text


class StopLatch:
    """State of an emergency stop.

    `press` is one write of an attribute, so any thread and any signal handler may call it. `reset` releases the press
    that it sees; one that comes while it runs stays latched.
    """

    def __init__(self) -> None:
        self._pressed = self._released = _Stop("")
        self._reset_s: float | None = None
        self.is_waiting = False
        """A reset was done, and no fresh command has come yet."""

    @property
    def is_latched(self) -> bool:
        """The button was pressed and not reset."""
        return self._pressed is not self._released

    @property
    def text(self) -> str:
        """Why the button was pressed; empty if it is not latched."""
        pressed = self._pressed
        return "" if pressed is self._released else pressed.text

    def press(self, text: str) -> None:
        """Latch."""
        self._pressed = _Stop(text)

    def reset(self, now: float | None) -> None:
        """Wait for a fresh command, if latched.

        Args:
            now: time of the reset, s; None if no clock was read yet, then it is that of the next step.
        """
        if self.is_latched:
            pressed = self._pressed
            self._reset_s, self.is_waiting = now, True
            self._released = pressed

    def admit(self, now: float, observation_age_s: float) -> bool:
        """Go on if the observation is younger than the reset; tell whether it was.

        Args:
            now: s.
            observation_age_s: s, finite.
        """
        if self._reset_s is None:
            is_fresh = observation_age_s <= 0.0
            self._reset_s = now
        else:
            self._reset_s = min(self._reset_s, now)  # a clock that went back must not block for ever
            is_fresh = now - observation_age_s > self._reset_s
        self.is_waiting = not is_fresh
        return is_fresh
