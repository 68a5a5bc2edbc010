"""Location tokens of PaliGemma: text to boxes to a motion that brings the robot in front of the thing.

One detection is four location tokens, the 16 tokens of a mask or none, and a label; " ; " stands between detections::

    <loc0410><loc0179><loc0614><loc0333> cup ; <loc0051><loc0026><loc0973><loc0589> table
       y_min    x_min    y_max    x_max

A token counts 1/1023 of the picture's height or width, since the model's training data were written as
``round(fraction * 1023)``. What the robot does with the box::

                        centre in the middle ± 5 %    centre left or right of it
    area <= 30 %        move forward                  turn towards it
    area >  30 %        stop                          turn towards it

Source: Beyer et al., "PaliGemma: A versatile 3B VLM for transfer", 2024, section 3.2.1, https://arxiv.org/abs/2407.07726;
https://github.com/google-research/big_vision, big_vision/pp/proj/paligemma/segmentation.py (order and 1023).
"""

import re
from dataclasses import dataclass
from numbers import Integral

from robovlms.errors import ConfigError
from robovlms.robot.action import ActionType, RobotAction

GRID = 1023  # the last of 1024 bins
ALIGNED = 0.05  # of the width, how far from the middle still is in front
NEAR = 0.30  # of the picture's area, from where on the thing is close enough
FORWARD_MPS = 0.2
TURN_GAIN = 1.0  # rad/s per width between the box and the middle; with a lens of 60 degrees about 1/s
MAX_TURN_RADPS = 0.5
MAX_CHARACTERS = 16_384
_PROMPT = re.compile(r"\s*(?:detect|segment)\b[^<>]*(?=<loc)")
_SPECIAL = re.compile(r"<(?:bos|eos|pad|image|s|/s)>")
_DETECTION = re.compile(r"\s*((?:<loc[0-9]{4}>\s*){4})((?:<seg[0-9]{3}>\s*){16})?([^<>]*)")
_TOKEN = re.compile(r"<loc([0-9]{4})>")
_CODE = re.compile(r"<seg([0-9]{3})>")
_NUM_CODES = 128


@dataclass(frozen=True)
class Detection:
    """A thing in a picture.

    Attributes:
        y_min, x_min, y_max, x_max: of its box, in location tokens, 0 to 1023 from the top left corner.
        label: lower case, spaces collapsed; None if there is none.
        mask: the 16 tokens of its mask, each below 128; empty if there is none.
    """

    y_min: int
    x_min: int
    y_max: int
    x_max: int
    label: str | None = None
    mask: tuple[int, ...] = ()

    @property
    def box(self) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) as fractions of the picture, in [0, 1]."""
        return self.x_min / GRID, self.y_min / GRID, self.x_max / GRID, self.y_max / GRID

    @property
    def offset(self) -> float:
        """How far its centre is right (+) or left (−) of the middle, as a fraction of the width, in [-0.5, 0.5]."""
        return (self.x_min + self.x_max - GRID) / (2 * GRID)

    @property
    def area(self) -> float:
        """Share of the picture that the box covers, in (0, 1]."""
        return (self.x_max - self.x_min) * (self.y_max - self.y_min) / (GRID * GRID)

    def pixels(self, image_width: int, image_height: int) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) in pixels, to draw it.

        Raises:
            ConfigError: if a size is not a positive whole number.
        """
        if problem := _size_problem(image_width, image_height):
            raise ConfigError(problem)
        left, top, right, bottom = self.box
        return (
            round(left * image_width),
            round(top * image_height),
            round(right * image_width),
            round(bottom * image_height),
        )


def parse_detections(text: str) -> list[Detection]:
    """Return the well-formed detections of a text, in order; malformed ones are left out.

    A prompt "detect …" or "segment …" in front is skipped. Never raises for any text.

    >>> parse_detections("<loc0100><loc0200><loc0300><loc0400> Red cup ; <loc0100><loc0200><loc0300> plate")
    [Detection(y_min=100, x_min=200, y_max=300, x_max=400, label='red cup', mask=())]
    """
    return [detection for piece in _pieces(text) if (detection := _detection(piece)) is not None]


def parse_boxes(text: str, image_width: int, image_height: int, query: str | None = None) -> RobotAction:
    """Return the motion that brings a detected thing before the robot and near; stop if there is none. Never raises.

    Of several things the largest counts. The confidence is the share of the detections that are well-formed: it says
    how far the text can be trusted, not how sure the model is.

    Args:
        text: what the model generated.
        image_width, image_height: of the picture that the model saw, pixels, positive.
        query: label of the thing that is wanted; None takes any.
    """
    if problem := _size_problem(image_width, image_height):
        return _stop(problem)
    pieces = _pieces(text)
    found = [detection for piece in pieces if (detection := _detection(piece)) is not None]
    detection = choose_detection(found, query)
    if detection is None:
        return _stop(_why_nothing(text, found, query))
    return action_towards(detection, confidence=len(found) / len(pieces))


def choose_detection(found: list[Detection], query: str | None = None) -> Detection | None:
    """Return the largest of the detections with the label that is wanted; the first of equal ones."""
    wanted = [one for one in found if query is None or (one.label is not None and one.label == _folded(query))]
    return max(wanted, key=lambda one: one.area, default=None)


def action_towards(detection: Detection, confidence: float = 1.0) -> RobotAction:
    """Return the motion for one detection, see the module's table."""
    thing = detection.label or "the thing"
    if abs(detection.offset) > ALIGNED:
        yaw = max(-MAX_TURN_RADPS, min(MAX_TURN_RADPS, -TURN_GAIN * detection.offset))
        side = "left" if yaw > 0 else "right"
        kind, motion, words = ActionType.TURN, {"angular_z": yaw}, f"turn {side} to {thing}"
    elif detection.area > NEAR:
        kind, motion, words = ActionType.STOP, {}, f"stop, {thing} is near"
    else:
        kind, motion, words = ActionType.MOVE, {"linear_x": FORWARD_MPS}, f"move forward to {thing}"
    return RobotAction(kind, **motion, target_object=detection.label, confidence=confidence, description=words)


def has_location_tokens(text: str) -> bool:
    """Whether a text is meant as boxes, well-formed or not."""
    return "<loc" in text


def _pieces(text: str) -> list[str]:
    """One text per detection; none of a text that is too long or holds no location token."""
    if len(text) > MAX_CHARACTERS or not has_location_tokens(text):
        return []
    text = _SPECIAL.sub(" ", text)
    if prompt := _PROMPT.match(text):
        text = text[prompt.end() :]
    return [piece for piece in text.split(";") if piece.strip()]


def _detection(piece: str) -> Detection | None:
    match = _DETECTION.fullmatch(piece)
    if match is None:
        return None
    y_min, x_min, y_max, x_max = (int(number) for number in _TOKEN.findall(match[1]))
    mask = tuple(int(number) for number in _CODE.findall(match[2] or ""))
    is_box = y_min < y_max <= GRID and x_min < x_max <= GRID
    is_mask = all(code < _NUM_CODES for code in mask)
    return Detection(y_min, x_min, y_max, x_max, _folded(match[3]), mask) if is_box and is_mask else None


def _folded(label: str) -> str | None:
    """Lower case, spaces collapsed, no article; None if nothing is left."""
    words = label.lower().split()
    if len(words) > 1 and words[0] in ("the", "a", "an"):
        words = words[1:]
    return " ".join(words) or None


def _size_problem(width: object, height: object) -> str:
    """What is wrong with the size of a picture; "" if nothing."""
    for name, size in (("image_width", width), ("image_height", height)):
        if isinstance(size, bool) or not isinstance(size, Integral) or size <= 0:
            return f"{name} must be a positive whole number of pixels, got {size!r}"
    return ""


def _why_nothing(text: str, found: list[Detection], query: str | None) -> str:
    if len(text) > MAX_CHARACTERS:
        return f"text is longer than {MAX_CHARACTERS} characters"
    if not has_location_tokens(text):
        return "no location tokens"
    if not found:
        return "location tokens are malformed: expected four from 0 to 1023 with min < max"
    return f"no box is labelled {query!r}; labels: {sorted({one.label or '' for one in found})}"[:200]


def _stop(why: str) -> RobotAction:
    return RobotAction(ActionType.STOP, description=why)
