"""The last stage before the joints of an arm: as `shield`, with positions in place of velocities.

::

    command, confidence, age of its observation, now, measured positions
      │  1 read, 2 confidence, 3 freshness, 4 clock   refused: hold, each joint brakes to rest where that ends
      │  5 start      the first positions asked for are near to where the joints are, or refused
      │  6 range      position_low to position_high
      │  7 motion     max_velocity, max_acceleration, braking before the target and the end of the range
      v
    JointCommand(positions, gripper, reasons)          estop(): the positions sent last, latched

The gripper is "open" or "close", nothing between. It changes with a command that was not refused, after
`gripper_repeats` equal ones, and stays as it is otherwise: to open it may drop what it holds.
"""

from typing import Any

from robovlms.robot.safety.clock import StepClock, Tick
from robovlms.robot.safety.command import JointCommand, Reason
from robovlms.robot.safety.gate import Gate
from robovlms.robot.safety.joint_limits import JointLimits
from robovlms.robot.safety.joint_motion import approach, brake, is_there
from robovlms.robot.safety.joint_reading import JointReading, read_joint_command
from robovlms.robot.safety.latch import StopLatch
from robovlms.robot.safety.reading import read_number, read_numbers

Joints = tuple[float, ...]


class JointShield:
    """Turns what is wanted of an arm into what may be sent, one call per tick of a fixed-rate loop.

    The same calls give the same commands bit for bit: nothing but the arguments and the state below is used, and no
    clock is read. `step`, `hold` and `reset` belong to one thread; `estop` may be called from any.

    State: positions and velocities sent last, whether motion has started, gripper and how often another state of it was
    asked for, time of the last step, latch of the emergency stop, counters. A new run is a new shield.

    Args:
        limits: of the arm.
        measured: where the joints are, one per joint, rad or m; None if `step` is told.
    """

    def __init__(self, limits: JointLimits, measured: Any = None) -> None:
        self.limits = limits
        self._gate = Gate(limits.min_confidence, limits.max_observation_age_s)
        self._clock = StepClock(limits.max_step_s)
        self._latch = StopLatch()
        self._velocities: Joints = (0.0,) * limits.num_joints
        self._is_started = False
        self._asked: tuple[str | None, int] = (None, 0)
        self.last = JointCommand(self._read_measured(measured) or ())
        """What was sent last, or where the joints are if nothing was."""
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
        """Freeze from the next step on, or from the one under way, until `reset` and a fresh command."""
        self._latch.press(reason)

    def reset(self, now: Any = None) -> None:
        """Release the emergency stop; the arm moves when a step was made at rest and a fresh command comes.

        Fresh is a command whose observation is younger than the reset; it has to start near where the joints are.
        Nothing happens if the stop is not latched.

        Args:
            now: on the clock of `step`, s; None for the time of the last step.
        """
        self._latch.reset(self._clock.read(now))

    def step(
        self, command: Any, confidence: Any, observation_age_s: Any, now: Any, measured: Any = None
    ) -> JointCommand:
        """The command to send now. Never raises, whatever the arguments are.

        Args:
            command: positions and gripper that are wanted, see `joint_reading`; rad or m.
            confidence: of the command, in [0, 1].
            observation_age_s: age of the observation that led to it, s; negative is the future.
            now: on a monotonic clock, s.
            measured: where the joints are, one per joint, rad or m; used as long as motion has not started.
        """
        tick, wanted = self._clock.tick(now), read_joint_command(command, self.limits.num_joints)
        refusals = [wanted.reason] if wanted.reason else []
        if wanted.positions is not None:
            refusals += self._gate.refusals(confidence, observation_age_s)
        refusals += [Reason.CLOCK] if tick.is_broken else []
        if self._latch.is_waiting:
            self._is_started = False
        found = None if self._is_started else self._find_joints(measured)
        if found is not None and not _is_near(wanted.positions, found, self.limits.start_tolerance):
            refusals.append(Reason.START)
        may_move = not refusals and wanted.positions is not None
        if self._latch.is_waiting and not (may_move and self._is_released(tick, observation_age_s)):
            return self._freeze([*refusals, Reason.WAITING])
        return self._follow(wanted, tick) if may_move else self._rest(tick, refusals)

    def hold(self, now: Any, reason: Reason = Reason.HOLD) -> JointCommand:
        """The command to send now when there is none to follow: come to rest within the limits.

        Args:
            now: on the clock of `step`, s.
            reason: why.
        """
        tick = self._clock.tick(now)
        reasons = [reason, Reason.CLOCK] if tick.is_broken else [reason]
        return self._freeze([*reasons, Reason.WAITING]) if self._latch.is_waiting else self._rest(tick, reasons)

    def _read_measured(self, measured: Any) -> Joints | None:
        """Where the joints are, if that is known and not far out of their range."""
        limits = self.limits
        numbers = read_numbers(measured, limits.num_joints)
        if numbers is None:
            return None
        tolerance, ranges = limits.start_tolerance, zip(numbers, limits.position_low, limits.position_high, strict=True)
        return tuple(numbers) if all(low - tolerance <= p <= high + tolerance for p, low, high in ranges) else None

    def _find_joints(self, measured: Any) -> Joints:
        """Where the joints are before motion starts; empty if unknown.

        What is sent stays what it was as long as the joints are near: to follow them would let an arm sag.
        """
        found = self._read_measured(measured)
        if found is None:
            return self.last.positions
        if not self.last.positions or not _is_near(found, self.last.positions, self.limits.start_tolerance):
            self.last = JointCommand(found, self.last.gripper, self.last.reasons)
        return found

    def _is_released(self, tick: Tick, observation_age_s: Any) -> bool:
        """The stop was obeyed, and the command is younger than the reset; both numbers were found sound before."""
        return not any(self._velocities) and self._latch.admit(tick.now, read_number(observation_age_s))

    def _follow(self, wanted: JointReading, tick: Tick) -> JointCommand:
        limits = self.limits
        self._is_started = True
        targets = tuple(
            max(low, min(high, target))
            for target, low, high in zip(wanted.positions, limits.position_low, limits.position_high, strict=True)
        )
        reasons = [] if targets == wanted.positions else [Reason.POSITION]
        if tick.step_s > 0.0:
            moved = [self._moved(joint, target, tick.step_s) for joint, target in enumerate(targets)]
            positions, velocities = tuple(p for p, _ in moved), tuple(v for _, v in moved)
        else:
            positions, velocities = self.last.positions, self._velocities
        if positions != targets:
            reasons.append(Reason.RATE_LIMITED)
        return self._send(positions, velocities, self._gripper(wanted.gripper), reasons)

    def _moved(self, joint: int, target: float, step_s: float) -> tuple[float, float]:
        """Position and velocity of one joint after a step."""
        limits, position, velocity = self.limits, self.last.positions[joint], self._velocities[joint]
        acceleration = limits.max_acceleration[joint]
        if is_there(position, velocity, target, acceleration * step_s):
            return target, 0.0
        velocity = approach(position, velocity, target, limits.max_velocity[joint], acceleration, step_s)
        return self._shifted(joint, velocity, step_s), velocity

    def _shifted(self, joint: int, velocity: float, step_s: float) -> float:
        """Position after a step; one out of its range, as it may be found, moves no further out."""
        position = self.last.positions[joint]
        low = min(position, self.limits.position_low[joint])
        high = max(position, self.limits.position_high[joint])
        return max(low, min(high, position + velocity * step_s))

    def _rest(self, tick: Tick, reasons: list[Reason]) -> JointCommand:
        """Brake every joint."""
        if not self.last.positions or not any(self._velocities):
            return self._freeze(reasons)
        step_s = tick.brake_s
        velocities = tuple(
            brake(velocity, most, step_s)
            for velocity, most in zip(self._velocities, self.limits.max_acceleration, strict=True)
        )
        positions = tuple(self._shifted(joint, velocity, step_s) for joint, velocity in enumerate(velocities))
        if any(velocities):
            reasons = [*reasons, Reason.RATE_LIMITED]
        return self._send(positions, velocities, self.last.gripper, reasons)

    def _freeze(self, reasons: list[Reason]) -> JointCommand:
        return self._send(self.last.positions, (0.0,) * self.limits.num_joints, self.last.gripper, reasons)

    def _gripper(self, asked: str | None) -> str | None:
        """State of the gripper after a command that was not refused."""
        if asked is None or asked == self.last.gripper:
            self._asked = (None, 0)
            return self.last.gripper
        count = self._asked[1] + 1 if self._asked[0] == asked else 1
        self._asked = (asked, count)
        return asked if count >= self.limits.gripper_repeats else self.last.gripper

    def _send(self, positions: Joints, velocities: Joints, gripper: str | None, reasons: list[Reason]) -> JointCommand:
        if self._latch.is_latched:  # asked last, so that a stop pressed during this step is obeyed by it
            positions, gripper, reasons = self.last.positions, self.last.gripper, [Reason.ESTOP]
            velocities = (0.0,) * self.limits.num_joints
        for reason in reasons:
            self.counters[reason] += 1
        self._velocities = velocities
        self.last = JointCommand(positions, gripper, tuple(reasons))
        return self.last


def _is_near(wanted: Joints | None, found: Joints, tolerance: float) -> bool:
    """The joints were found, and every one near to where it is wanted; no wish is near everywhere."""
    pairs = zip(wanted or found, found, strict=True)
    return bool(found) and all(abs(there - here) <= tolerance for there, here in pairs)
