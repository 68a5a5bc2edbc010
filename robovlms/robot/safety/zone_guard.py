"""How fast a robot may go where it is, so that it can always stop before a border.

::

        velocity v, angle a to the normal n         n points from the robot p to the nearest point q of a border;
               ╱ ╲ turning while it stops           the way to the border until the robot stands is at most
              ╱   ╲                                 (v·t + v²/2d)·cos(a'), with a' the smallest angle that its
      p ●────────────────> n    |q border           turning can bring about, t the time until the next step and d
        distance - margin                           the deceleration; it must not exceed the distance

An edge of a polygon is convex, so the bound holds for it whatever way the robot bends [S. Boyd, L. Vandenberghe, Convex
Optimization, §2.5.2, https://web.stanford.edu/~boyd/cvxbook/: a supporting plane at q has the whole edge behind it].
Motion along a border or away from it is not slowed. The velocity is scaled as a whole: the path stays what it was.
"""

import math
from typing import Any, NamedTuple

from robovlms.robot.safety.gate import FUTURE_TOLERANCE_S
from robovlms.robot.safety.limits import ShieldLimits, Triple
from robovlms.robot.safety.reading import read_number, read_triple
from robovlms.robot.safety.zones import MAX_COORDINATE_M, Point, Polygon, Zones

Edge = tuple[Point, Point]

CREEP = 1e-3
"""A robot that may only go slower, m/s, stands."""
_ALONG = 1e-9  # a cosine that is no more is that of a right angle, but for rounding


class Place(NamedTuple):
    """Where the robot is, in the frame of the zones.

    Attributes:
        x: m.
        y: m.
        yaw: rad.
        age_s: how old the estimate is, s.
    """

    x: float
    y: float
    yaw: float
    age_s: float


class ZoneGuard:
    """Zones with the limits of a robot.

    Args:
        zones: where it may be.
        limits: of the base; its deceleration and its longest step count.
    """

    def __init__(self, zones: Zones, limits: ShieldLimits) -> None:
        self._zones = zones
        self._step_s = limits.max_step_s
        self._deceleration = min(limits.max_deceleration[:2])
        self._turn_deceleration = limits.max_deceleration[2]
        self._inside = [Area(zones.workspace)] if zones.workspace else []
        self._outside = [Area(corners) for corners in zones.keep_out]
        self._slow = [(Area(zone.area), zone.max_speed) for zone in zones.slow]

    def read_place(self, pose: Any, pose_age_s: Any) -> Place | None:
        """The pose, if it is one to trust: three finite numbers, young enough, not from the future."""
        age_s, numbers = read_number(pose_age_s), read_triple(pose)
        if numbers is None or age_s is None or not -FUTURE_TOLERANCE_S <= age_s <= self._zones.max_pose_age_s:
            return None
        x, y, yaw = numbers
        return Place(x, y, yaw, max(0.0, age_s)) if max(abs(x), abs(y)) <= 10.0 * MAX_COORDINATE_M else None

    def factor(self, velocity: Triple, place: Place, before: Triple) -> float:
        """By how much to scale `velocity`, in [0, 1], so that the robot can stop before every border.

        Args:
            velocity: m/s, m/s, rad/s in the robot's frame.
            place: where it is; outside the workspace and inside an area to keep out of, the factor is 0.
            before: velocity sent last. Since the pose was taken, it has gone no further than from that velocity and
                the deceleration that may have led to it.
        """
        if not self._is_allowed(place[:2]):
            return 0.0
        speed = math.hypot(velocity[0], velocity[1])
        if speed == 0.0:
            return 1.0
        heading = place.yaw + math.atan2(velocity[1], velocity[0])
        age_s, stop_s = place.age_s, self._step_s + speed / self._deceleration
        drift = age_s * (math.hypot(before[0], before[1]) + self._deceleration * age_s / 2.0)
        turned = age_s * (abs(before[2]) + self._turn_deceleration * age_s / 2.0)
        motion = _Motion(
            place=place[:2],
            heading=heading,
            speed=speed,
            spread=turned + abs(velocity[2]) * stop_s,
            margin=self._zones.margin_m + drift,
            reach=speed * (self._step_s + speed / self._deceleration / 2.0),
        )
        edges = [edge for area in (*self._inside, *self._outside) for edge in area.near(motion)]
        factors = [self._before(edge, motion) for edge in edges]
        factors += [self._slow_down(area, most, motion) for area, most in self._slow]
        return min(factors, default=1.0)

    def _is_allowed(self, place: Point) -> bool:
        inside, outside = self._inside, self._outside
        return all(area.contains(place) for area in inside) and not any(area.contains(place) for area in outside)

    def _before(self, edge: Edge, motion: "_Motion") -> float:
        towards, distance = self._approach(edge, motion)
        return self._scale(distance / towards, motion) if towards > _ALONG else 1.0

    def _slow_down(self, area: "Area", max_speed: float, motion: "_Motion") -> float:
        """As fast as the zone allows at its border, and before it as fast as braking to that allows."""
        if area.contains(motion.place):
            return min(1.0, max_speed / motion.speed)
        approaches = [self._approach(edge, motion) for edge in area.near(motion)]
        distances = [distance for towards, distance in approaches if towards > _ALONG]
        if not distances:
            return 1.0
        rest = max_speed * self._step_s + max_speed**2 / (2.0 * self._deceleration)
        return self._scale(min(distances) + rest, motion)

    def _approach(self, edge: Edge, motion: "_Motion") -> tuple[float, float]:
        """Cosine of the smallest angle between motion and edge; distance less margin, m."""
        x, y = nearest(motion.place, edge)
        way_x, way_y = x - motion.place[0], y - motion.place[1]
        distance = math.hypot(way_x, way_y)
        angle = abs(math.remainder(motion.heading - math.atan2(way_y, way_x), math.tau)) if distance > 0.0 else 0.0
        return math.cos(max(0.0, angle - motion.spread)), max(0.0, distance - motion.margin)

    def _scale(self, way: float, motion: "_Motion") -> float:
        """Largest k <= 1 with u·t + u²/2d <= way, where u = k·speed."""
        step_s = self._step_s
        allowed = 2.0 * way / (step_s + math.sqrt(step_s**2 + 2.0 * way / self._deceleration))
        return min(1.0, allowed / motion.speed) if allowed >= CREEP else 0.0


class _Motion(NamedTuple):
    """Place [m], heading [rad], speed [m/s], turning until it stands [rad], margin and way until it stands [m]."""

    place: Point
    heading: float
    speed: float
    spread: float
    margin: float
    reach: float


class Area:
    """A polygon, ready to be asked.

    Args:
        corners: in turn, m.
    """

    def __init__(self, corners: Polygon) -> None:
        self._edges = list(zip(corners, (*corners[1:], corners[0]), strict=True))
        self._boxes = [(*map(min, *edge), *map(max, *edge)) for edge in self._edges]

    def contains(self, place: Point) -> bool:
        """The point is inside: a ray from it to the right crosses the border an odd number of times.

        >>> triangle = Area(((0.0, 0.0), (2.0, 0.0), (0.0, 2.0)))
        >>> triangle.contains((0.5, 0.5)), triangle.contains((1.5, 1.0))
        (True, False)
        """
        x, y = place
        inside = False
        for (x1, y1), (x2, y2) in self._edges:
            if (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1):
                inside = not inside
        return inside

    def near(self, motion: _Motion) -> list[Edge]:
        """The edges that the robot could come to before it stands, and perhaps some more."""
        (x, y), reach = motion.place, motion.margin + motion.reach
        return [
            edge
            for edge, (left, bottom, right, top) in zip(self._edges, self._boxes, strict=True)
            if left - reach <= x <= right + reach and bottom - reach <= y <= top + reach
        ]


def nearest(place: Point, edge: Edge) -> Point:
    """Point of `edge` nearest to `place`.

    >>> nearest((1.0, 3.0), ((0.0, 0.0), (4.0, 0.0))), nearest((-2.0, 1.0), ((0.0, 0.0), (4.0, 0.0)))
    ((1.0, 0.0), (0.0, 0.0))
    """
    (x1, y1), (x2, y2) = edge
    long_x, long_y = x2 - x1, y2 - y1
    square = long_x * long_x + long_y * long_y
    part = ((place[0] - x1) * long_x + (place[1] - y1) * long_y) / square if square > 0.0 else 0.0
    part = max(0.0, min(1.0, part))
    return x1 + part * long_x, y1 + part * long_y
