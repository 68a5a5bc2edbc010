"""The simulated room: MiniWorld draws it and knows what is solid, the base moves in it as its velocities say.

::

    seen from above, as on a map                 MiniWorld
        y                                            ┌────> x
        ^      yaw, counter-clockwise                │
        └──> x                                       v  z = −y,  direction = yaw

Source: MiniWorld (Chevalier-Boisvert et al. 2023, https://arxiv.org/abs/2306.13831).
"""

import math
import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import UInt8

from robovlms.errors import ConfigError, SimulatorError, unknown_name

COLOURS = ("red", "green", "blue", "yellow", "purple")
CAMERA_HEIGHT_M, FIELD_OF_VIEW_DEG, RADIUS_M = 0.6, 60.0, 0.25
_ROOM_M, _WALL_MARGIN_M = 8.0, 1.2
_THINGS = {"red": "box", "green": "ball", "blue": "box", "yellow": "ball", "purple": "box"}
_SIZE_M = 0.6
_VIEW_DEG, _VIEW_M = (-30.0, 30.0), (3.0, 5.3)
_INSTALL = "on Debian or Ubuntu: apt-get install -y libegl1 libopengl0 libgl1 libglu1-mesa libgl1-mesa-dri"
_SMALLEST_PX, _LARGEST_PX = 8, 2048


@dataclass(frozen=True)
class Scene:
    """What stands in a room.

    Attributes:
        colours: of the things, one of each; "box" or "ball" as in `thing_name`.
        start: pose of the base, (x, y, yaw), m, m, rad; None draws one.
        places: (x, y) of each thing, m; empty draws them.
        is_in_view: they are drawn in front of `start`, side by side: all are seen from there, and each can be reached
            straight ahead.
    """

    colours: tuple[str, ...] = COLOURS
    start: tuple[float, float, float] | None = (1.0, 4.0, 0.0)
    places: tuple[tuple[float, float], ...] = ()
    is_in_view: bool = False


SCENES: dict[str, Scene] = {
    "empty": Scene(colours=()),
    "in_view": Scene(is_in_view=True),
    "one_box": Scene(colours=("red",), places=((5.5, 5.0),)),
    "things": Scene(),
}


def scene_of(name: str) -> Scene:
    """Look a scene up.

    Raises:
        ConfigError: names the nearest one.
    """
    if name not in SCENES:
        raise ConfigError(unknown_name("scene", name, SCENES))
    return SCENES[name]


def thing_name(colour: str) -> str:
    """What the thing of a colour is called, for example "red box"."""
    return f"{colour} {_THINGS[colour]}"


class SimulatedRoom:
    """A base in a room.

    Args:
        scene: what stands in it.
        seed: of what the scene leaves open, and of the camera's noise.
        width, height: of the camera, px.
        noise: of the camera, at most so many grey levels up or down; 0 for none.

    Raises:
        ConfigError: if a number is out of range.
        SimulatorError: if nothing can be drawn on this machine.
    """

    def __init__(self, scene: Scene, seed: int, width: int = 320, height: int = 240, noise: int = 2) -> None:
        if seed < 0:
            raise ConfigError(f"simulator: seed must not be negative, got {seed}")
        if not all(_SMALLEST_PX <= side <= _LARGEST_PX for side in (width, height)):
            raise ConfigError(f"simulator: pictures have {_SMALLEST_PX} to {_LARGEST_PX} px, got {width} x {height}")
        self._noise = noise
        self._random = np.random.default_rng([seed, 1])
        if scene.is_in_view:
            scene = replace(scene, places=_side_by_side(scene, np.random.default_rng([seed, 2])))
        self._world = _open_world(scene, seed, width, height)
        self.num_bumps = 0

    @property
    def pose(self) -> tuple[float, float, float]:
        """(x, y, yaw) of the base, m, m, rad; yaw in (−π, π]."""
        agent = self._world.agent
        return float(agent.pos[0]), float(-agent.pos[2]), math.remainder(float(agent.dir), math.tau)

    @property
    def things(self) -> dict[str, tuple[float, float]]:
        """Name of each thing and where it stands, (x, y), m."""
        return {name: (float(one.pos[0]), float(-one.pos[2])) for name, one in self._world.things.items()}

    def move(self, velocity: tuple[float, float, float], seconds: float) -> bool:
        """Move with a constant velocity; False if something solid is in the way, then the base only turns.

        Args:
            velocity: (x, y, yaw) in the frame of the base, m/s, m/s, rad/s.
            seconds: for how long.
        """
        vx, vy, turn = velocity[0], velocity[1], velocity[2] * seconds
        agent = self._world.agent
        # the way of a constant twist: a straight line seen from the middle of the turn, shortened by sinc
        middle, length = agent.dir + turn / 2, seconds * float(np.sinc(turn / math.tau))
        dx = length * (vx * math.cos(middle) - vy * math.sin(middle))
        dy = length * (vx * math.sin(middle) + vy * math.cos(middle))
        agent.dir += turn
        goal = agent.pos + np.array([dx, 0.0, -dy])
        if (dx or dy) and self._world.intersect(agent, goal, agent.radius):
            self.num_bumps += 1
            return False
        agent.pos = goal
        return True

    def picture(self) -> UInt8[np.ndarray, "h w 3"]:
        """What the camera sees now, with its noise."""
        image = self._world.render_obs()
        if not self._noise:
            return np.ascontiguousarray(image)
        noise = self._random.integers(-self._noise, self._noise + 1, image.shape, np.int16)
        return np.clip(image + noise, 0, 255).astype(np.uint8)

    def map(self) -> UInt8[np.ndarray, "h w 3"]:
        """The room from above, x to the right and y up."""
        return np.ascontiguousarray(self._world.render_top_view(self._world.map_buffer))

    def close(self) -> None:
        """Let go of the renderer."""
        self._world.close()


def _side_by_side(scene: Scene, random: np.random.Generator) -> tuple[tuple[float, float], ...]:
    """A place for each thing, in directions that are shuffled and far enough from each other to drive between."""
    if scene.start is None:
        raise ConfigError("simulator: a scene with all things in view needs a start")
    x, y, yaw = scene.start
    bearings = random.permutation(np.radians(np.linspace(*_VIEW_DEG, len(scene.colours))))
    distances = random.uniform(*_VIEW_M, len(scene.colours))
    return tuple(
        (float(x + distance * math.cos(yaw + bearing)), float(y + distance * math.sin(yaw + bearing)))
        for bearing, distance in zip(bearings, distances, strict=True)
    )


def _open_world(scene: Scene, seed: int, width: int, height: int) -> Any:
    """Start MiniWorld without a window. The class is made here, since its base is imported only when it is used."""
    import pyglet

    pyglet.options["headless"] = sys.platform == "linux"  # through EGL, which the others do not have
    try:
        from miniworld.entity import Ball, Box
        from miniworld.miniworld import MiniWorldEnv
        from miniworld.opengl import FrameBuffer
        from miniworld.params import DEFAULT_PARAMS
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError):
            raise
        raise SimulatorError(f"MiniWorld cannot draw on this machine ({error}); {_INSTALL}") from error

    class Room(MiniWorldEnv):
        def _gen_world(self) -> None:
            self.add_rect_room(min_x=0, max_x=_ROOM_M, min_z=-_ROOM_M, max_z=0, no_ceiling=True)
            self.agent.radius = RADIUS_M
            self._place_base()
            self.things = {}
            for number, colour in enumerate(scene.colours):
                thing = Box(colour, _SIZE_M) if _THINGS[colour] == "box" else Ball(colour, _SIZE_M)
                self.things[thing_name(colour)] = self._place(thing, number)

        def _place_base(self) -> None:
            if scene.start is None:
                self.place_agent(**_inside())
                return
            x, y, yaw = scene.start
            self.place_entity(self.agent, pos=np.array([x, 0.0, -y]), dir=yaw)

        def _place(self, thing: Any, number: int) -> Any:
            if number < len(scene.places):
                x, y = scene.places[number]
                return self.place_entity(thing, pos=np.array([x, 0.0, -y]), dir=0.0)
            return self.place_entity(thing, **_inside())

    try:
        room = Room(obs_width=width, obs_height=height, params=DEFAULT_PARAMS.no_random())
        room.reset(seed=seed)
    except Exception as error:  # pyglet and OpenGL raise classes of their own, which differ between platforms
        raise SimulatorError(
            f"MiniWorld cannot draw on this machine ({type(error).__name__}: {error}); {_INSTALL}"
        ) from error
    room.agent.cam_height, room.agent.cam_fov_y = CAMERA_HEIGHT_M, FIELD_OF_VIEW_DEG
    room.agent.cam_pitch, room.agent.cam_fwd_disp, room.agent.radius = -5.0, 0.0, RADIUS_M
    room.map_buffer = FrameBuffer(height, height, 4)
    return room


def _inside() -> dict[str, float]:
    """Where something may be placed, away from the walls."""
    low, high = _WALL_MARGIN_M, _ROOM_M - _WALL_MARGIN_M
    return dict(min_x=low, max_x=high, min_z=-high, max_z=-low)
