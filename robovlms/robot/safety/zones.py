"""Where a robot may be: a workspace, areas to keep out of, areas to be slow in.

An area is a simple polygon, given by its corners in turn, or a rectangle, given by two opposite corners; metres, in the
frame of the pose that the shield is given.
"""

from dataclasses import dataclass
from typing import Any

from robovlms.errors import SafetyError
from robovlms.robot.safety.checks import check_keys, finite, listed, positive

Point = tuple[float, float]
Polygon = tuple[Point, ...]

MAX_COORDINATE_M = 1e6
"""Beyond it, coordinates are wrong, and squares of distances lose too much."""


@dataclass(frozen=True)
class SlowZone:
    """An area to be slow in.

    Attributes:
        area: polygon or rectangle, m.
        max_speed: of translation, m/s, positive.
    """

    area: Polygon | Any
    max_speed: float | Any

    def __post_init__(self) -> None:
        object.__setattr__(self, "area", polygon("slow, area", self.area))
        object.__setattr__(self, "max_speed", positive("slow, max_speed", self.max_speed))

    @classmethod
    def from_dict(cls, values: Any) -> "SlowZone":
        """Inverse of `dataclasses.asdict`.

        Raises:
            SafetyError: if a key is missing, unknown or wrong.
        """
        check_keys("key of a slow zone", values, cls)
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class Zones:
    """Areas, and how well the robot knows where it is.

    Attributes:
        margin_m: least distance of the centre of the robot from any border: its radius and the error of its pose, >= 0.
        workspace: area to stay in; None if there is none.
        keep_out: areas to stay out of.
        slow: areas to be slow in.
        max_pose_age_s: the robot holds if the pose is older, s, positive.

    Raises:
        SafetyError: if a value is wrong.
    """

    margin_m: float | Any
    workspace: Polygon | Any = None
    keep_out: tuple[Polygon, ...] | Any = ()
    slow: tuple[SlowZone, ...] | Any = ()
    max_pose_age_s: float | Any = 0.2

    def __post_init__(self) -> None:
        object.__setattr__(self, "margin_m", positive("margin_m", self.margin_m, allow_zero=True))
        object.__setattr__(self, "max_pose_age_s", positive("max_pose_age_s", self.max_pose_age_s))
        if self.workspace is not None:
            object.__setattr__(self, "workspace", polygon("workspace", self.workspace))
        keep_out = tuple(polygon(f"keep_out {i}", area) for i, area in enumerate(_several("keep_out", self.keep_out)))
        object.__setattr__(self, "keep_out", keep_out)
        slow = (one if isinstance(one, SlowZone) else SlowZone.from_dict(one) for one in _several("slow", self.slow))
        object.__setattr__(self, "slow", tuple(slow))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for YAML and logs; inverse of `from_dict`."""
        return {
            "margin_m": self.margin_m,
            "workspace": None if self.workspace is None else _plain(self.workspace),
            "keep_out": [_plain(area) for area in self.keep_out],
            "slow": [{"area": _plain(zone.area), "max_speed": zone.max_speed} for zone in self.slow],
            "max_pose_age_s": self.max_pose_age_s,
        }

    @classmethod
    def from_dict(cls, values: Any) -> "Zones":
        """Inverse of `to_dict`.

        Raises:
            SafetyError: if a key is missing, unknown or wrong.
        """
        check_keys("key of the zones", values, cls)
        return cls(**values)


def polygon(name: str, value: Any) -> Polygon:
    """The corners of an area, m; those of a rectangle from two opposite ones.

    Raises:
        SafetyError: if they are fewer than two, no numbers in ±1e6 m, or span nothing.

    >>> polygon("workspace", [[0, 0], [2, 1]])
    ((0.0, 0.0), (2.0, 0.0), (2.0, 1.0), (0.0, 1.0))
    """
    entries = listed(value)
    if entries is None or len(entries) < 2:
        raise SafetyError(f"{name}: expected corners [[x, y], …], got {value!r}")
    corners = tuple(_point(f"{name}, corner {i}", entry) for i, entry in enumerate(entries))
    if len(corners) == 2:
        (left, bottom), (right, top) = corners
        corners = ((left, bottom), (right, bottom), (right, top), (left, top))
    doubled = sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(corners, (*corners[1:], corners[0]), strict=True))
    if not abs(doubled) > 1e-6:
        raise SafetyError(f"{name}: expected corners around an area, got {value!r}")
    return corners


def _point(name: str, value: Any) -> Point:
    entries = listed(value)
    if entries is None or len(entries) != 2:
        raise SafetyError(f"{name}: expected [x, y], got {value!r}")
    x, y = finite(name, entries[0]), finite(name, entries[1])
    if max(abs(x), abs(y)) > MAX_COORDINATE_M:
        raise SafetyError(f"{name}: expected metres within ±{MAX_COORDINATE_M:g}, got {value!r}")
    return x, y


def _several(name: str, value: Any) -> list[Any]:
    entries = listed(value)
    if entries is None:
        raise SafetyError(f"{name}: expected a list of areas, got {value!r}")
    return entries


def _plain(area: Polygon) -> list[list[float]]:
    return [list(corner) for corner in area]
