"""Finds a coloured thing in a picture and answers as a VLM would: yes, no, or location tokens. NumPy only, no weights.

It knows colours, not shapes: asked for "red box" it looks for the largest red spot. So the demo in the simulated room
drives by what its camera shows, and nothing in it recognises things as a VLM does.

::

    "Is there a red box in the image? Answer yes or no."  ─▶ "yes" | "no"
    "detect red box"                                      ─▶ "<loc0410><loc0435><loc0614><loc0589> red box" | ""
    anything else                                         ─▶ the coloured things from left to right
"""

import re
from collections import deque

import numpy as np
from jaxtyping import Bool, Float, UInt8

# colour -> (from, to) on the circle of hues, in [0, 1); red lies across its seam
_HUES = {
    "red": (0.96, 0.04),
    "yellow": (0.11, 0.20),
    "green": (0.25, 0.45),
    "blue": (0.60, 0.70),
    "purple": (0.71, 0.83),
}
_NAMES = {"빨간": "red", "노란": "yellow", "초록": "green", "파란": "blue", "보라": "purple"}
_LEAST_SATURATION, _LEAST_VALUE = 0.55, 0.35
_CELL_PX, _FULL_CELL = 4, 0.5  # a cell counts if half of it has the colour: noise does not
_LEAST_CELLS = 3
_GRID = 1024
_NAME_AFTER = re.compile(r"(?:detect|is there(?: an?| the)?)\s+(.+?)(?:\s+in the image)?\s*(?:[?.\n]|$)", re.IGNORECASE)


class ColourDetector:
    """A `robovlms.robot.worker.TextModel` for scenes with one thing of each colour."""

    def generate(self, prompt: str, image: UInt8[np.ndarray, "h w 3"]) -> str:
        """What is seen, in words or location tokens."""
        asked = _NAME_AFTER.search(prompt)
        name = asked[1].strip() if asked else ""
        colour = _colour_in(name or prompt)
        if colour is None:
            return self._describe(image)
        box = find_colour(image, colour)
        if "detect" not in prompt.lower():
            return "no" if box is None else "yes"
        if box is None:
            return ""
        tokens = "".join(f"<loc{min(_GRID - 1, int(side * _GRID)):04d}>" for side in box)
        return f"{tokens} {name}"

    def _describe(self, image: np.ndarray) -> str:
        boxes = {colour: box for colour in _HUES if (box := find_colour(image, colour)) is not None}
        found = sorted(boxes, key=lambda colour: boxes[colour][1])
        return "things from left to right: " + ", ".join(found) if found else "nothing coloured"


def find_colour(image: UInt8[np.ndarray, "h w 3"], colour: str) -> tuple[float, float, float, float] | None:
    """(y_min, x_min, y_max, x_max) of the largest spot of a colour, as shares of the picture; None if there is none."""
    height, width = image.shape[:2]
    hue, saturation, value = _hsv(image)
    low, high = _HUES[colour]
    is_hue = (hue >= low) & (hue <= high) if low < high else (hue >= low) | (hue <= high)
    has_colour = is_hue & (saturation >= _LEAST_SATURATION) & (value >= _LEAST_VALUE)
    spot = _largest_spot(_cells(has_colour))
    if len(spot) < _LEAST_CELLS:
        return None
    rows, columns = np.array(spot).T * _CELL_PX
    bottom, right = min(height, rows.max() + _CELL_PX), min(width, columns.max() + _CELL_PX)
    return float(rows.min() / height), float(columns.min() / width), float(bottom / height), float(right / width)


def _colour_in(text: str) -> str | None:
    words = text.lower()
    found = [colour for name, colour in {**{one: one for one in _HUES}, **_NAMES}.items() if name in words]
    return found[0] if found else None


def _hsv(image: np.ndarray) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """Hue in [0, 1), saturation and value in [0, 1]."""
    rgb = image.astype(np.float32) / 255
    red, green, blue = np.moveaxis(rgb, -1, 0)
    value, chroma = rgb.max(-1), np.ptp(rgb, axis=-1)
    safe = np.where(chroma == 0, 1, chroma)
    sixths = np.where(
        value == red, (green - blue) / safe, np.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe)
    )
    return (sixths / 6) % 1.0, chroma / np.where(value == 0, 1, value), value


def _cells(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "y x"]:
    """Which cells are mostly of the colour."""
    height, width = (size // _CELL_PX * _CELL_PX for size in mask.shape)
    cells = mask[:height, :width].reshape(height // _CELL_PX, _CELL_PX, width // _CELL_PX, _CELL_PX)
    return cells.mean((1, 3)) >= _FULL_CELL


def _largest_spot(cells: Bool[np.ndarray, "y x"]) -> list[tuple[int, int]]:
    """The cells of the largest connected spot, neighbours by an edge."""
    left = {(int(y), int(x)) for y, x in np.argwhere(cells)}
    largest: list[tuple[int, int]] = []
    while left:
        spot, waiting = [], deque([left.pop()])
        while waiting:
            y, x = waiting.popleft()
            spot.append((y, x))
            near = {(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)} & left
            left -= near
            waiting.extend(sorted(near))
        largest = max(largest, spot, key=len)
    return largest
