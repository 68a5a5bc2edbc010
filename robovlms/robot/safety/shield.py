"""The last stage before the wheels: whatever comes in, what goes out is finite, within the limits and never abrupt.

::

    command, confidence, age of its observation, now
      │  1 read         any object; what is no velocity of finite numbers ──────────┐
      │  2 confidence   no number in [min_confidence, 1] ───────────────────────────┤
      │  3 freshness    older than max_observation_age_s, from the future, no number┤
      │  4 clock        no number, going back, standing still ──────────────────────┤
      │  5 clamp        max_velocity, direction kept                                │ hold: the target is zero,
      │  6 zones        workspace, keep-out, slow; no pose ─────────────────────────┤ reached at max_deceleration
      │  7 ramp         max_acceleration, max_deceleration, through zero <──────────┘
      v
    VelocityCommand(linear_x, linear_y, angular_z, reasons)          estop(): zero at once, latched

A command to stand still passes 2 to 4 and 6 whatever they say. A software limit below a hardware emergency stop, not
in place of one.
"""

from typing import Any

from robovlms.robot.safety.clock import StepClock, Tick
from robovlms.robot.safety.command import Reason, VelocityCommand
from robovlms.robot.safety.gate import Gate
from robovlms.robot.safety.latch import StopLatch
from robovlms.robot.safety.limits import ShieldLimits, Triple
from robovlms.robot.safety.ramp import clamp, ramp
from robovlms.robot.safety.reading import ZERO, read_command


class SafetyShield:
    """Turns what is wanted into what may be sent, one call per tick of a fixed-rate loop.

    The same calls give the same commands bit for bit: nothing but the arguments and the state below is used, and no
    clock is read. `step`, `hold` and `reset` belong to one thread; `estop` may be called from any.

    State: velocity sent last, time of the last step, latch of the emergency stop, counters. A new run is a new shield.

    Args:
        limits: of the base.
    """

    def __init__(self, limits: ShieldLimits) -> None:
        self.limits = limits
        self._gate = Gate(limits.min_confidence, limits.max_observation_age_s)
        self._clock = StepClock(limits.max_step_s)
        self._latch = StopLatch()
        self.last = VelocityCommand()
        """What was sent last."""
        self.counters = dict.fromkeys(Reason, 0)
        """How many steps had each reason."""

    @property
    def is_stopped(self) -> bool:
        """The emergency stop is latched."""
        return self._latch.is_latched

    @property
    def estop_text(self) -> str:
        """What `estop` was called with; empty if it is not latched."""
        return self._latch.text

    def estop(self, text: str = "") -> None:
        """Send zero from the next step on, or from the one under way, until `reset` and a fresh command."""
        self._latch.press(text)

    def reset(self, now: Any = None) -> None:
        """Release the emergency stop; the robot moves when a step was made at rest and a fresh command comes.

        Fresh is a command whose observation is younger than the reset. Nothing happens if the stop is not latched.

        Args:
            now: on the clock of `step`, s; None for the time of the last step.
        """
        self._latch.reset(self._clock.read(now))

    def step(
        self,
        command: Any,
        confidence: Any,
        observation_age_s: Any,
        now: Any,
        pose: Any = None,
        pose_age_s: Any = 0.0,
    ) -> VelocityCommand:
        """The command to send now. Never raises, whatever the arguments are.

        Args:
            command: what is wanted, see `reading`; m/s, m/s, rad/s.
            confidence: of the command, in [0, 1].
            observation_age_s: age of the observation that led to it, s; negative is the future.
            now: on a monotonic clock, s.
            pose: (x, y, yaw) in the frame of the zones, m, m, rad; needed only with zones.
            pose_age_s: age of the pose, s.
        """
        tick = self._clock.tick(now)
        wanted = read_command(command)
        refusals = [wanted.reason] if wanted.reason else []
        if not wanted.is_stop:
            refusals += self._gate.refusals(confidence, observation_age_s)
        if tick.is_broken:
            refusals.append(Reason.CLOCK)
        if self._latch.is_waiting and not self._is_released(wanted.is_stop or refusals, tick, observation_age_s):
            return self._stand([*refusals, Reason.WAITING])
        if refusals:
            return self._approach(ZERO, tick, refusals)
        limits, reasons = self.limits, []
        target = clamp(wanted.velocity, limits.max_velocity, limits.keep_direction)
        if target != wanted.velocity:
            reasons.append(Reason.CLAMPED)
        return self._approach(target, tick, reasons)

    def hold(self, now: Any, reason: Reason = Reason.HOLD) -> VelocityCommand:
        """The command to send now when there is none to follow: come to rest at the deceleration limit.

        Args:
            now: on the clock of `step`, s.
            reason: why.
        """
        tick = self._clock.tick(now)
        if self._latch.is_waiting:
            return self._stand([reason, Reason.WAITING])
        return self._approach(ZERO, tick, [reason, Reason.CLOCK] if tick.is_broken else [reason])

    def _is_released(self, is_refused: Any, tick: Tick, observation_age_s: Any) -> bool:
        """A fresh command came, and the stop was obeyed before it."""
        if is_refused or tick.now is None or self.last.velocity != ZERO:
            return False
        return self._latch.admit(tick.now, float(observation_age_s))

    def _approach(self, target: Triple, tick: Tick, reasons: list[Reason]) -> VelocityCommand:
        limits = self.limits
        step_s = tick.step_s if any(target) else tick.brake_s
        velocity = ramp(
            self.last.velocity,
            target,
            limits.max_acceleration,
            limits.max_deceleration,
            step_s,
            limits.keep_direction,
        )
        if velocity != target:
            reasons.append(Reason.RATE_LIMITED)
        return self._send(velocity, reasons)

    def _stand(self, reasons: list[Reason]) -> VelocityCommand:
        return self._send(ZERO, reasons)

    def _send(self, velocity: Triple, reasons: list[Reason]) -> VelocityCommand:
        if self._latch.is_latched:  # asked last, so that a stop pressed during this step is obeyed by it
            velocity, reasons = ZERO, [Reason.ESTOP]
        for reason in reasons:
            self.counters[reason] += 1
        self.last = VelocityCommand(*velocity, tuple(reasons))
        return self.last
