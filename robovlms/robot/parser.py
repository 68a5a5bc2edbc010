"""What a model or a person says, to typed actions.

::

    text ─ extract the answer ─ choose the language ─ analyse ─> clauses ─ interpret ─> RobotActions
    boxes ─────────────────────────────────────────────────────────────────────────────> RobotAction
    action chunk + contract ──────────────────────────────────────────────────────────> RobotActions
"""

from collections.abc import Sequence
from typing import Any

from robovlms.actions.contract import PolicyContract
from robovlms.actions.space import ActionSpace
from robovlms.robot.action import ActionType, RobotAction
from robovlms.robot.boxes import parse_boxes
from robovlms.robot.language.answer import extract_answer, settle
from robovlms.robot.language.interpret import Pace, interpret
from robovlms.robot.language.languages import LANGUAGES, build_analysers, choose_language
from robovlms.robot.policy_output import robot_actions_from_policy

MAX_CHARACTERS = 1000  # a command is a sentence or a few; of longer texts only a stop at the front is heard


class VLAActionParser:
    """Understands commands; refuses what it does not understand. Keeps nothing between calls.

    Confidence is in [0, 1]: 0.95 times the share of the clause's words whose part in it is known, times that share
    over all that was said. So a plain command has 0.95, "turn left at the lamp" less because nothing here sees the
    lamp, an unknown 0 and a stop 1. A further word that is not understood never raises it.

    Velocities: move and turn have the sign that was said. A navigation and an avoidance have zero velocity, because
    a text says neither where the goal is nor what is in the way.

    Args:
        languages: names out of `LANGUAGES`; of several that know a text equally well the first reads it.
        linear_speed_mps: normal speed of a move, m/s.
        angular_speed_radps: normal speed of a turn, rad/s.
        slow_factor: times this when "slowly" was said, in (0, 1].
        fast_factor: times this when "quickly" was said, at least 1.

    Raises:
        ConfigError: if a language is unknown, its vocabulary is not valid, or a speed is not a positive number.
    """

    def __init__(
        self,
        languages: Sequence[str] = tuple(LANGUAGES),
        linear_speed_mps: float = 0.3,
        angular_speed_radps: float = 0.5,
        slow_factor: float = 0.5,
        fast_factor: float = 1.5,
    ) -> None:
        self._analysers = build_analysers(languages)
        self._pace = Pace(
            linear_speed_mps=linear_speed_mps,
            angular_speed_radps=angular_speed_radps,
            slow_factor=slow_factor,
            fast_factor=fast_factor,
        )

    def parse_text_output(self, text: str, original_prompt: str = "") -> RobotAction:
        """Return the first action of a text; unknown with zero motion and confidence 0 if there is none.

        Args:
            text: what a model generated, or a command.
            original_prompt: what the model was asked, which it may have echoed.
        """
        return self.parse_sequence(text, original_prompt)[0]

    def parse_sequence(self, text: str, original_prompt: str = "") -> list[RobotAction]:
        """Return the actions of a compound command in order, at least one. Never raises for any text.

        Args:
            text: what a model generated, or a command.
            original_prompt: what the model was asked, which it may have echoed.
        """
        return settle(extract_answer(text, original_prompt, self._pace), self._read)

    def parse_segmentation_output(
        self, text: str, image_width: int, image_height: int, query: str | None = None
    ) -> RobotAction:
        """Return the motion towards a thing that was detected; stop with confidence 0 if there is none. Never raises.

        Args:
            text: location tokens, see `robovlms.robot.boxes`.
            image_width, image_height: of the picture that the model saw, pixels.
            query: label of the thing that is wanted; None takes any.
        """
        return parse_boxes(text, image_width, image_height, query)

    def parse_policy_output(self, chunk: Any, contract: PolicyContract | ActionSpace) -> list[RobotAction]:
        """Return what a policy's chunk tells the robot to do, one action per step.

        Args:
            chunk: [n, a] in the units of the action space.
            contract: of the policy, or its action space.

        Raises:
            UnsafeActionError: if the chunk has another shape or a number that is not finite.
            SafetyError: if the action space has a dimension that means nothing here.
        """
        return robot_actions_from_policy(chunk, contract)

    def _read(self, text: str) -> list[RobotAction]:
        """Actions of a command without anything around it."""
        is_too_long = len(text) > MAX_CHARACTERS
        text = text[:MAX_CHARACTERS]
        analyser = self._analysers[choose_language(text, self._analysers)]
        actions = interpret(analyser.analyse(text), self._pace)
        if is_too_long and actions[0].action_type != ActionType.STOP:
            return [RobotAction(ActionType.UNKNOWN, description=f"longer than {MAX_CHARACTERS} characters")]
        return actions[:1] if is_too_long else actions
