"""What a robot is asked to do. A task is one file and one line in `TASKS`.

::

    frames ──▶ question() ──▶ model, in its own process ──▶ take(answer)
       └─────▶ decide(), 20 times a second ──▶ validator ──▶ shield ──▶ driver ──▶ feel(what was sent)

`decide` answers at once from what the task knows; how old that knowledge is stands in the decision, and the shield
refuses what is too old.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from robovlms.errors import ConfigError
from robovlms.robot.action import ActionType, RobotAction
from robovlms.robot.safety.command import VelocityCommand
from robovlms.robot.safety.limits import ShieldLimits
from robovlms.robot.view import View
from robovlms.robot.worker.client import Answer, Question


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do now.

    Attributes:
        action: what to do.
        observed_at: capture time of the view that it follows from, s on the monotonic clock.
    """

    action: RobotAction
    observed_at: float


def standing(view: View, why: str) -> Decision:
    """Stand still."""
    action = RobotAction(ActionType.STOP, confidence=1.0, description=why)
    return Decision(action=action, observed_at=view.observed_at)


class Task(ABC):
    """One thing to do, with all that is known about it so far. Options are keywords.

    Attributes:
        needs: which kind of model; None for none.
        has_end: it can be done; False for what goes on until it is stopped.
        is_done: nothing is left to do.
        outcome: how it went, for people.
    """

    needs: Literal["text", "chunk"] | None = None
    has_end: bool = True
    is_done: bool = False
    outcome: str = "not finished"

    def prepare(self, limits: ShieldLimits, contract_json: str | None) -> None:
        """Check that this robot and this model can do it; called once, before the first view.

        Args:
            limits: of the robot.
            contract_json: of the policy; None for other models.

        Raises:
            SafetyError: if they cannot.
        """
        del limits, contract_json

    def question(self, view: View, now: float) -> Question | None:
        """What to ask the model, which is idle; None for nothing."""
        del view, now
        return None

    def take(self, answer: Answer, now: float) -> None:
        """Hear what the model said, or why it said nothing."""
        raise ConfigError(f"{type(self).__name__} asks nothing, but heard {answer} at {now}")

    @abstractmethod
    def decide(self, view: View, now: float) -> Decision:
        """What to do now; returns at once."""

    def feel(self, command: VelocityCommand, seconds: float) -> None:
        """Learn what was really sent, and for how long."""
        del command, seconds
