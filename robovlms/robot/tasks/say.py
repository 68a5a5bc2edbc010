"""Do what a sentence says, without a model: its distances and angles are counted from the commands that were sent.

Nothing here sees where the robot really is, so this is for short ways on a free floor. The camera must work all the
same: a robot that sees nothing does not move.
"""

import math
from dataclasses import dataclass

from robovlms.errors import ConfigError, UnsafeActionError
from robovlms.robot.action import ActionType, RobotAction
from robovlms.robot.parser import VLAActionParser
from robovlms.robot.safety.command import VelocityCommand
from robovlms.robot.safety.limits import ShieldLimits
from robovlms.robot.tasks.base import Decision, Task, standing
from robovlms.robot.view import View

_BLIND = frozenset({ActionType.MOVE, ActionType.TURN, ActionType.STOP})


@dataclass
class _Step:
    """One action and how much of it is left.

    Attributes:
        action: what to do.
        left: m of a move, rad of a turn, or s where the sentence does not say how far.
        unit: of `left`.
    """

    action: RobotAction
    left: float
    unit: str


class Say(Task):
    """Execute the actions of a sentence one after the other.

    Args:
        text: the sentence, in any language of the parser.
        seconds: how long to move where the sentence does not say how far, positive.
        parser: understands the sentence; None for all languages.

    Raises:
        ConfigError: if `seconds` is no time.
        UnsafeActionError: if it is not understood, or needs eyes or hands.
    """

    def __init__(self, text: str = "", seconds: float = 2.0, parser: VLAActionParser | None = None) -> None:
        if not 0 < seconds < math.inf:
            raise ConfigError(f"task say: seconds must be positive and finite, got {seconds}")
        self.actions = (parser or VLAActionParser()).parse_sequence(text)
        for action in self.actions:
            if action.action_type is ActionType.UNKNOWN:
                raise UnsafeActionError(f"not understood: {text!r} ({action.description or 'no command'})")
            if action.action_type not in _BLIND:
                raise UnsafeActionError(
                    f"{text!r}: to {action.action_type.value} needs a model that sees (task goal) or a gripper; "
                    "the task say only moves, turns and stops"
                )
        self._steps = [_step(action, seconds) for action in self.actions]
        self._sent = VelocityCommand()

    def prepare(self, limits: ShieldLimits, contract_json: str | None) -> None:
        for action in self.actions:
            if any(v and not limit for v, limit in zip(action.velocity, limits.max_velocity, strict=True)):
                raise UnsafeActionError(
                    f"this robot has no such axis: {action.description or action.action_type.value}"
                )
        self._deceleration = limits.max_deceleration

    def decide(self, view: View, now: float) -> Decision:
        while self._steps and self._is_complete(self._steps[0]):
            if any(self._sent.velocity):
                return standing(view, "coming to rest")
            del self._steps[0]
        if not self._steps:
            self.is_done, self.outcome = True, "did what was said"
            return standing(view, "done")
        return Decision(action=self._steps[0].action, observed_at=view.observed_at)

    def feel(self, command: VelocityCommand, seconds: float) -> None:
        self._sent = command
        if self._steps:
            self._steps[0].left -= _progress(self._steps[0].unit, command) * seconds

    def _is_complete(self, step: _Step) -> bool:
        """Whether braking now ends where the step should end."""
        speed = _progress(step.unit, self._sent)
        braking = {"m": min(self._deceleration[:2]), "rad": self._deceleration[2], "s": math.inf}[step.unit]
        return step.left <= speed * speed / (2 * braking)


def _step(action: RobotAction, seconds: float) -> _Step:
    if action.action_type is ActionType.STOP:
        return _Step(action, 0.0, "s")
    if action.distance_m is not None:
        return _Step(action, action.distance_m, "m")
    if action.angle_deg is not None:
        return _Step(action, math.radians(action.angle_deg), "rad")
    return _Step(action, seconds, "s")


def _progress(unit: str, command: VelocityCommand) -> float:
    """How fast a step gets done, in its unit per second."""
    if unit == "s":
        return 1.0 if any(command.velocity) else 0.0
    return math.hypot(command.linear_x, command.linear_y) if unit == "m" else abs(command.angular_z)
