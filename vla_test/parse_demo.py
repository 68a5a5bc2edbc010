"""What twelve texts become, before and behind the validator: run `python vla_test/parse_demo.py`. Nothing moves."""

from rich.console import Console

from robovlms.robot.boxes import parse_boxes
from robovlms.robot.parse_command import actions_table, add_actions
from robovlms.robot.parser import VLAActionParser
from robovlms.robot.safety.validator import ActionValidator

PROMPT = "You can move, turn or stop. What should the robot do?"
TEXTS = (
    # What is forbidden is not done; two actions in one sentence; a language whose vocabulary is one file.
    "don't turn right, turn left by 90 degrees",
    "앞으로 2미터 가서 멈춰 주세요",
    "gira a la derecha despacio",
    # What models generate: an echoed prompt, markdown, reasons, JSON (too fast: the validator slows it down).
    f"USER: <image> {PROMPT} ASSISTANT: **Turn left**, because the way ahead is blocked.",
    '```json\n{"action_type": "move", "linear_x": 2.0, "confidence": 0.9}\n```',
    "Reasoning: I could go forward or turn. Final answer: stop",
    # Words that look like directions.
    "put the right shoe next to the goal",
    # Refused: doubt, a refusal, no number.
    "I would go forward or turn left",
    "I cannot see the path.",
    '{"action": "move", "linear_x": NaN}',
)
# Location tokens and the thing that is wanted: one on the left, one upside down, which is refused.
BOXES = (
    ("<loc0410><loc0179><loc0614><loc0333> cup", "cup"),
    ("<loc0600><loc0400><loc0300><loc0700> cup", "cup"),
)


def main() -> None:
    parser, validator, table = VLAActionParser(), ActionValidator(), actions_table()
    rows = [(text, parser.parse_sequence(text, PROMPT)) for text in TEXTS]
    rows += [(text, [parse_boxes(text, 640, 480, query)]) for text, query in BOXES]
    for text, actions in rows:
        add_actions(table, text, actions, [validator.validate_action(action) for action in actions])
    Console().print(table)


if __name__ == "__main__":
    main()
