"""Names in the order in which people count."""

import re


def natural(text: str) -> list[tuple[int, str]]:
    """Sort key by which frame_2 comes before frame_10.

    >>> sorted(["frame_10", "frame_2"], key=natural)
    ['frame_2', 'frame_10']
    """
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", text)]
