"""The 50 Meta-World tasks: what the robot is told, in words of our own, and the difficulty group.

Groups as in the Meta-World evaluation of SmolVLA (https://arxiv.org/abs/2506.01844) and LeRobot: 28 easy, 11 medium,
6 hard, 5 very hard. Instructions are short because the built-in tokenizer makes a token of every byte.
"""

from typing import Literal

Difficulty = Literal["easy", "medium", "hard", "very_hard"]

INSTRUCTIONS: dict[str, str] = {
    "assembly-v3": "put the ring on the peg",
    "basketball-v3": "throw the ball in the hoop",
    "bin-picking-v3": "move the puck to the other bin",
    "box-close-v3": "put the lid on the box",
    "button-press-topdown-v3": "press the button down",
    "button-press-topdown-wall-v3": "reach over the wall and press the button down",
    "button-press-v3": "press the button",
    "button-press-wall-v3": "go around the wall and press the button",
    "coffee-button-v3": "start the coffee machine",
    "coffee-pull-v3": "pull the mug away",
    "coffee-push-v3": "push the mug under the machine",
    "dial-turn-v3": "turn the dial",
    "disassemble-v3": "take the ring off the peg",
    "door-close-v3": "close the door",
    "door-lock-v3": "lock the door",
    "door-open-v3": "open the door",
    "door-unlock-v3": "unlock the door",
    "drawer-close-v3": "close the drawer",
    "drawer-open-v3": "open the drawer",
    "faucet-close-v3": "close the faucet",
    "faucet-open-v3": "open the faucet",
    "hammer-v3": "hammer the nail in",
    "hand-insert-v3": "put the gripper in the hole",
    "handle-press-side-v3": "press the handle down from the side",
    "handle-press-v3": "press the handle down",
    "handle-pull-side-v3": "pull the handle up from the side",
    "handle-pull-v3": "pull the handle up",
    "lever-pull-v3": "pull the lever up",
    "peg-insert-side-v3": "put the peg in the side hole",
    "peg-unplug-side-v3": "pull the peg out of the side hole",
    "pick-out-of-hole-v3": "take the puck out of the hole",
    "pick-place-v3": "lift the puck to the target",
    "pick-place-wall-v3": "lift the puck over the wall to the target",
    "plate-slide-back-side-v3": "slide the plate out sideways",
    "plate-slide-back-v3": "slide the plate out",
    "plate-slide-side-v3": "slide the plate in sideways",
    "plate-slide-v3": "slide the plate in",
    "push-back-v3": "pull the puck back to the target",
    "push-v3": "push the puck to the target",
    "push-wall-v3": "push the puck around the wall to the target",
    "reach-v3": "reach the target",
    "reach-wall-v3": "reach the target behind the wall",
    "shelf-place-v3": "put the puck on the shelf",
    "soccer-v3": "shoot the ball in the goal",
    "stick-pull-v3": "pull the box with the stick",
    "stick-push-v3": "push the box with the stick",
    "sweep-into-v3": "sweep the puck into the hole",
    "sweep-v3": "sweep the puck off the table",
    "window-close-v3": "close the window",
    "window-open-v3": "open the window",
}

_HARDER: dict[Difficulty, tuple[str, ...]] = {
    "medium": (
        "basketball-v3", "bin-picking-v3", "box-close-v3", "coffee-pull-v3", "coffee-push-v3", "hammer-v3",
        "peg-insert-side-v3", "push-wall-v3", "soccer-v3", "sweep-into-v3", "sweep-v3",
    ),
    "hard": ("assembly-v3", "hand-insert-v3", "pick-out-of-hole-v3", "pick-place-v3", "push-back-v3", "push-v3"),
    "very_hard": ("disassemble-v3", "pick-place-wall-v3", "shelf-place-v3", "stick-pull-v3", "stick-push-v3"),
}  # fmt: skip

DIFFICULTY: dict[str, Difficulty] = dict.fromkeys(INSTRUCTIONS, "easy") | {
    task: group for group, tasks in _HARDER.items() for task in tasks
}
