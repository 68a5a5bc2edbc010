"""Curves of an episode as SVG: one panel per number, the declared range shaded, a cursor that the page moves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from jaxtyping import Float, Shaped

from robovlms.actions.space import ActionSpace

WIDTH, HEIGHT = 600, 76
LEFT, RIGHT = 52, 594  # where the first and the last step lie
_TOP, _BOTTOM = 6, 70
_MOST_ZOOM_OUT = 4  # a declared range this many times wider than the data is not shown in full


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One number over an episode.

    Attributes:
        name: of the number.
        values: float [m], one per step; not finite where there is a fault.
        unit: physical unit; empty if it is not known.
        bounds: declared (low, high); None if there are none.
        is_step: whether it jumps between values, as a gripper does.
        note: what else there is to say.
    """

    name: str
    values: Float[np.ndarray, "m"]
    unit: str = ""
    bounds: tuple[float, float] | None = None
    is_step: bool = False
    note: str = ""

    @property
    def finite(self) -> Float[np.ndarray, "k"]:
        """The values that are numbers."""
        return self.values[np.isfinite(self.values)]

    @property
    def num_outside(self) -> int:
        """Steps outside the declared range."""
        if self.bounds is None:
            return 0
        return int(((self.finite < self.bounds[0]) | (self.finite > self.bounds[1])).sum())

    @property
    def num_bad(self) -> int:
        """Steps without a number."""
        return len(self.values) - len(self.finite)


def action_curves(space: ActionSpace, actions: Float[np.ndarray, "m a"]) -> list[Curve]:
    """One curve per action number."""
    opens = {"positive": "high opens", "negative": "low opens", "none": ""}[space.gripper_opens]
    return [
        Curve(
            name=dimension.name,
            values=actions[:, i],
            unit=dimension.unit,
            bounds=(dimension.low, dimension.high),
            is_step=dimension.kind == "gripper",
            note=f"gripper, {opens}" if dimension.kind == "gripper" else dimension.kind,
        )
        for i, dimension in enumerate(space.dimensions)
    ]


def proprio_curves(names: Sequence[str], proprio: Float[np.ndarray, "m p"]) -> list[Curve]:
    """One curve per proprioceptive number."""
    return [Curve(name=name, values=proprio[:, i]) for i, name in enumerate(names)]


def draw_curve(curve: Curve) -> str:
    """Return a figure: caption, curve, cursor, and a place for the value at the cursor."""
    low, high = visible_range(curve)
    scale = (_BOTTOM - _TOP) / (high - low)
    y = np.where(np.isfinite(curve.values), _BOTTOM - (curve.values - low) * scale, np.nan)
    parts = [_band(curve, low, high, scale)]
    for value, at in ((high, _TOP), (low, _BOTTOM)):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{at}" y2="{at}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4}" text-anchor="end">{number(value)}</text>')
    parts.append(f'<path class="curve" d="{path(_x_of(len(y)), y, is_step=curve.is_step)}"/>')
    parts.append(f'<line class="cursor" x1="{LEFT}" x2="{LEFT}" y1="0" y2="{HEIGHT}"/>')
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(curve.name)}">{"".join(parts)}</svg>'
    return f"<figure>{_caption(curve)}{svg}</figure>"


def visible_range(curve: Curve) -> tuple[float, float]:
    """Lowest and highest value of the axis: the data, and the declared range where that leaves the curve readable.

    >>> visible_range(Curve(name="x", values=np.array([0.0, 0.5]), bounds=(-1.0, 1.0)))
    (-1.0, 1.0)
    >>> visible_range(Curve(name="x", values=np.array([0.0, 0.5]), bounds=(-100.0, 100.0)))
    (0.0, 0.5)
    >>> visible_range(Curve(name="x", values=np.array([2.0, 2.0])))
    (1.5, 2.5)
    """
    finite = curve.finite.astype(float)
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    if curve.bounds is not None:
        both = min(low, curve.bounds[0]), max(high, curve.bounds[1])
        if high == low or both[1] - both[0] <= _MOST_ZOOM_OUT * (high - low):
            return both
    if high - low < 1e-9 * max(1.0, abs(high)):
        return low - 0.5, high + 0.5
    return low, high


def path(x: Shaped[np.ndarray, "m"], y: Shaped[np.ndarray, "m"], *, is_step: bool = False) -> str:
    """SVG path through points, broken where y is not finite; with `is_step` a value holds until the next point.

    >>> path(np.array([0.0, 1.0, 2.0, 3.0]), np.array([5.0, 6.5, np.nan, 7.0]))
    'M0,5L1,6.5M3,7h.01'
    >>> path(np.array([0.0, 1.0]), np.array([5.0, 6.0]), is_step=True)
    'M0,5H1V6'
    """
    pieces, is_open = [], False
    for i, (at, value) in enumerate(zip(x.tolist(), y.tolist(), strict=True)):
        if not math.isfinite(value):
            is_open = False
            continue
        joined = f"H{at:.4g}V{value:.4g}" if is_step else f"L{at:.4g},{value:.4g}"
        pieces.append(joined if is_open else f"M{at:.4g},{value:.4g}")
        is_single = not is_open and not (i + 1 < len(y) and math.isfinite(y[i + 1]))
        pieces.append("h.01" if is_single else "")  # else a single point is not drawn
        is_open = True
    return "".join(pieces)


def number(value: float) -> str:
    """
    >>> number(0.123456), number(-0.0), number(12345.6), number(float("nan"))
    ('0.123', '0', '1.23e+04', '–')
    """
    return f"{value + 0.0:.3g}" if math.isfinite(value) else "–"


def _x_of(length: int) -> np.ndarray:
    return np.linspace(LEFT, RIGHT, length) if length > 1 else np.array([float(LEFT)])[:length]


def _band(curve: Curve, low: float, high: float, scale: float) -> str:
    """The declared range, as far as it is visible."""
    if curve.bounds is None:
        return ""
    top, bottom = (_BOTTOM - (min(max(bound, low), high) - low) * scale for bound in reversed(curve.bounds))
    return f'<rect class="range" x="{LEFT}" y="{top:.4g}" width="{RIGHT - LEFT}" height="{max(0, bottom - top):.4g}"/>'


def _caption(curve: Curve) -> str:
    unit = f" [{curve.unit}]" if curve.unit else ""
    facts = [curve.note] if curve.note else []
    if curve.bounds is not None:
        facts.append(f"declared {number(curve.bounds[0])} … {number(curve.bounds[1])}")
    if len(curve.finite):
        finite = curve.finite.astype(float)
        facts.append(f"min {number(finite.min())}, mean {number(finite.mean())}, max {number(finite.max())}")
        facts.append(f"std {number(finite.std())}")
    counts = {"outside": curve.num_outside, "not finite": curve.num_bad}
    faults = [f"{count} {what}" for what, count in counts.items() if count]
    shown = f' <span class="fault">{", ".join(faults)}</span>' if faults else ""
    return (
        f"<figcaption><b>{escape(curve.name)}</b>{escape(unit)} <output></output>"
        f'<span class="soft">{escape(" · ".join(facts))}</span>{shown}</figcaption>'
    )
