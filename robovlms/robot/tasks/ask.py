"""Ask a VLM in words what to do, picture by picture, and do what its answer says while the picture is young."""

from robovlms.errors import SafetyError
from robovlms.robot.action import ActionType
from robovlms.robot.parser import VLAActionParser
from robovlms.robot.tasks.base import Decision, Task, standing
from robovlms.robot.view import View
from robovlms.robot.worker.client import Answer, Question

PROMPT = "<image>\nYou drive a small robot. Task: {instruction}\nAnswer with one short command.\nAnswer:"


class Ask(Task):
    """Let a VLM command the robot.

    Args:
        instruction: what the robot is to do.
        prompt: what the VLM is asked, with the field `{instruction}`.
        parser: understands the answers; None for all languages.

    Raises:
        SafetyError: if there is no instruction, or no place for it in the prompt.
    """

    needs = "text"
    has_end = False

    def __init__(self, instruction: str = "", prompt: str = PROMPT, parser: VLAActionParser | None = None) -> None:
        if not instruction.strip():
            raise SafetyError("task ask: expected an instruction, got none; set task.options.instruction")
        if "{instruction}" not in prompt:
            raise SafetyError(f"task ask: the prompt has no field {{instruction}}: {prompt!r}")
        self._prompt = prompt.replace("{instruction}", instruction)
        self._parser = parser or VLAActionParser()
        self._decision: Decision | None = None

    def question(self, view: View, now: float) -> Question:
        return Question(prompt=self._prompt, images={"image": view.image}, observed_at=view.observed_at)

    def take(self, answer: Answer, now: float) -> None:
        if answer.text is None:
            self._decision = None
            return
        action = self._parser.parse_text_output(answer.text, self._prompt)
        self._decision = Decision(action=action, observed_at=answer.question.observed_at)

    def decide(self, view: View, now: float) -> Decision:
        if self._decision is None or self._decision.action.action_type is ActionType.UNKNOWN:
            return standing(view, "no answer that is understood")
        return self._decision
