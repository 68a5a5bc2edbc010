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
from robovlms.robot.safety.ramp import clamp, ramp, scaled
from robovlms.robot.safety.reading import ZERO, read_command, read_number
from robovlms.robot.safety.zone_guard import Place, ZoneGuard

_ALL_BUT_ONE = 1.0 - 1e-9  # of a factor that rounding keeps from being 1


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
        self._guard = ZoneGuard(limits.zones, limits) if limits.zones else None
        self.last = VelocityCommand()
        """What was sent last."""
        self.counters = dict.fromkeys(Reason, 0)
        """How many steps had each reason."""

    @property
    def is_stopped(self) -> bool:
        """The emergency stop is latched."""
        return self._latch.is_latched

    @property
    def estop_reason(self) -> str:
        """What `estop` was called with; empty if it is not latched."""
        return self._latch.text

    def estop(self, reason: str = "") -> None:
        """Send zero from the next step on, or from the one under way, until `reset` and a fresh command."""
        self._latch.press(reason)

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
        tick, wanted = self._clock.tick(now), read_command(command)
        place = self._guard.read_place(pose, pose_age_s) if self._guard else None
        refusals = [wanted.reason] if wanted.reason else []
        if not wanted.is_stop:
            refusals += self._gate.refusals(confidence, observation_age_s)
            refusals += [Reason.ZONE] if self._guard and place is None else []
        refusals += [Reason.CLOCK] if tick.is_broken else []
        may_move = not refusals and not wanted.is_stop
        if self._latch.is_waiting and not (may_move and self._is_released(tick, observation_age_s)):
            return self._send(ZERO, [*refusals, Reason.WAITING])
        if not may_move:
            return self._send(*self._ramped(ZERO, tick, refusals))
        return self._send(*self._limited(wanted.velocity, tick, place))

    def hold(self, now: Any, reason: Reason = Reason.HOLD) -> VelocityCommand:
        """The command to send now when there is none to follow: come to rest at the deceleration limit.

        Args:
            now: on the clock of `step`, s.
            reason: why.
        """
        tick = self._clock.tick(now)
        reasons = [reason, Reason.CLOCK] if tick.is_broken else [reason]
        if self._latch.is_waiting:
            return self._send(ZERO, [*reasons, Reason.WAITING])
        return self._send(*self._ramped(ZERO, tick, reasons))

    def _is_released(self, tick: Tick, observation_age_s: Any) -> bool:
        """The stop was obeyed, and the command is younger than the reset; both numbers were found sound before."""
        return self.last.velocity == ZERO and self._latch.admit(tick.now, read_number(observation_age_s))

    def _limited(self, velocity: Triple, tick: Tick, place: Place | None) -> tuple[Triple, list[Reason]]:
        """Clamp, zones and ramp for a command to follow."""
        reasons = []
        target = clamp(velocity, self.limits.max_velocity, self.limits.keep_direction)
        if target != velocity:
            reasons.append(Reason.CLAMPED)
        if self._guard is None or place is None:
            return self._ramped(target, tick, reasons)
        factor = self._guard.factor(target, place, self.last.velocity)
        if factor < 1.0:
            target, reasons = scaled(target, factor), [*reasons, Reason.ZONE]
        sent, reached = self._ramped(target, tick, reasons)
        if sent == target or self._guard.factor(sent, place, self.last.velocity) >= _ALL_BUT_ONE:
            return sent, reached
        # On the way from the velocity so far to the target it could not stop in time: brake, which it still can.
        return self._ramped(ZERO, tick, reasons if Reason.ZONE in reasons else [*reasons, Reason.ZONE])

    def _ramped(self, target: Triple, tick: Tick, reasons: list[Reason]) -> tuple[Triple, list[Reason]]:
        limits = self.limits
        velocity = ramp(
            self.last.velocity,
            target,
            limits.max_acceleration,
            limits.max_deceleration,
            tick.step_s if any(target) else tick.brake_s,
            limits.keep_direction,
        )
        return velocity, reasons if velocity == target else [*reasons, Reason.RATE_LIMITED]

    def _send(self, velocity: Triple, reasons: list[Reason]) -> VelocityCommand:
        if self._latch.is_latched:  # asked last, so that a stop pressed during this step is obeyed by it
            velocity, reasons = ZERO, [Reason.ESTOP]
        for reason in reasons:
            self.counters[reason] += 1
        self.last = VelocityCommand(*velocity, tuple(reasons))
        return self.last
