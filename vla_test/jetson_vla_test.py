"""Camera (or a picture) → VLM → goal → shield, step by step, with nothing hidden. Nothing drives.

    python vla_test/jetson_vla_test.py --image docs/room.png --goal find_object --target "red box"
    python vla_test/jetson_vla_test.py --camera 0 --goal navigate_to --target "red cup" \\
        --model vlm --options '{"name": "paligemma", "pretrained": "google/paligemma2-3b-mix-224"}'

To drive a robot with the same parts: robovlms robot run --config configs/robot/jetson.yaml
"""

import json
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

import numpy as np

from robovlms.errors import DataError, RoboVLMsError
from robovlms.robot.cameras import open_camera
from robovlms.robot.goals import Goal, GoalResult, execute_action, get_vlm_prompt
from robovlms.robot.prompts import TWO_STAGE_GOALS
from robovlms.robot.safety import ActionValidator, SafetyShield, ShieldLimits
from robovlms.robot.worker.models import TextModel, make_model

LIMITS = ShieldLimits((0.3, 0.0, 0.6), (0.3, 0.3, 1.0), (0.8, 0.8, 2.5), max_observation_age_s=5.0)
TICK_S = 0.02


def picture_of(path: str) -> np.ndarray:
    """A picture of a file, uint8 [h, w, 3]."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return np.array(picture.convert("RGB"))
    except OSError as error:
        raise DataError(f"{path} is no picture: {error}") from error


def pictures(flags: Namespace) -> Iterator[tuple[np.ndarray, float]]:
    """Pictures and the times they were taken."""
    if flags.image:
        yield picture_of(flags.image), time.monotonic()
        return
    with open_camera("opencv", {"device": flags.camera}) as camera:
        for _ in range(flags.pictures):
            frame = camera.read()
            yield frame.image, frame.captured_at


def ask(model: TextModel, flags: Namespace, image: np.ndarray) -> GoalResult:
    """One goal on one picture: one question, or two."""
    stages = ("presence", "locate") if Goal(flags.goal) in TWO_STAGE_GOALS else ("presence",)
    for stage in stages:
        prompt = get_vlm_prompt(flags.goal, flags.prompt, flags.target, stage=stage)
        start = time.monotonic()
        answer = model.generate(prompt, image)
        print(f"  {prompt!r} → {answer!r} ({time.monotonic() - start:.2f} s)")
        result = execute_action(flags.goal, answer, image, flags.target, original_prompt=prompt, stage=stage)
        if not result.needs_next_stage:
            break
    return result


def show(result: GoalResult, taken_at: float) -> None:
    """What follows from a result, through validator and shield, for half a second."""
    action = ActionValidator(max_linear_speed=0.3, max_angular_speed=0.6).validate_action(result.action)
    shield = SafetyShield(LIMITS)
    start = time.monotonic()
    for tick in range(25):
        sent = shield.step(action, action.confidence, start - taken_at, start + tick * TICK_S)
    print(f"  {result.message}")
    print(f"  action: {action.action_type.value}, asked for {action.velocity}")
    reasons = ", ".join(reason.value for reason in sent.reasons) or "nothing changed"
    print(f"  after 0.5 s the shield sends ({sent.linear_x:.3f} m/s, {sent.angular_z:.3f} rad/s): {reasons}")


def main() -> int:
    """Ask about each picture and show what the robot would do."""
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--goal", default="describe_scene", choices=[goal.value for goal in Goal])
    parser.add_argument("--target", help="the thing, for find_object, navigate_to and follow")
    parser.add_argument("--prompt", help="a question of your own")
    parser.add_argument("--image", help="a picture in place of the camera")
    parser.add_argument("--camera", type=int, default=0, help="number of the camera; default: %(default)s")
    parser.add_argument("--pictures", type=int, default=10, help="how many; default: %(default)s")
    parser.add_argument("--model", default="colour", help="colour finds colours without weights, vlm is any VLM")
    parser.add_argument("--options", type=json.loads, default={}, help="of the model, as JSON")
    flags = parser.parse_args()
    try:
        model = make_model(flags.model, flags.options)
        for image, taken_at in pictures(flags):
            print(f"picture {image.shape[1]} × {image.shape[0]}")
            show(ask(model, flags, image), taken_at)
    except RoboVLMsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
