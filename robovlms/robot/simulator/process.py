"""The simulated robot as a process: commands come over UDP as to any base, pictures go out over a local socket.

::

    UDP datagrams of `robovlms.robot.drivers.wire` ─▶ `Firmware`: the velocity, zero after 0.5 s of silence
                                                       50 Hz: move the base, in real time
                                                       fps:   draw the camera and the map
    a connection sends one byte ─▶ gets the next picture it has not had, with pose and time

It ends when its standard input does, so that it does not outlive who started it.
"""

import contextlib
import json
import os
import select
import socket
import sys
import threading
import time
from argparse import ArgumentParser

from robovlms.errors import RoboVLMsError
from robovlms.extras import missing_dependency
from robovlms.robot.messages import write_message
from robovlms.robot.simulator.firmware import WATCHDOG_S, Firmware
from robovlms.robot.simulator.room import SimulatedRoom, scene_of

TICK_S = 0.02
_MOST_TICKS = round(WATCHDOG_S / TICK_S) + 1  # at once; longer than that the base does not move by itself


def main(arguments: list[str]) -> int:
    """Serve a room until standard input ends."""
    parser = ArgumentParser(prog="robovlms.robot.simulator")
    parser.add_argument("--scene", default="things")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--height", type=int, default=240)
    parser.add_argument("--fps", type=float, default=10.0)
    flags = parser.parse_args(arguments)
    greeting = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # libraries print
    try:
        room = SimulatedRoom(scene_of(flags.scene), flags.seed, flags.width, flags.height)
        robot = Robot(room, flags.fps)
    except (RoboVLMsError, ModuleNotFoundError) as error:
        told = missing_dependency(error) if isinstance(error, ModuleNotFoundError) else None
        print(json.dumps({"error": " ".join(str(told or error).split())}), file=greeting, flush=True)
        return 1
    print(json.dumps(robot.greeting()), file=greeting, flush=True)
    robot.run()
    return 0


class Robot:
    """Moves, draws and serves.

    Args:
        room: what it is in.
        fps: pictures per second.
    """

    def __init__(self, room: SimulatedRoom, fps: float) -> None:
        self._room, self._every_s = room, 1 / fps
        self._commands = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._commands.bind(("127.0.0.1", 0))
        self._commands.setblocking(False)
        self._gallery, self._firmware = Gallery(), Firmware()

    def greeting(self) -> dict[str, object]:
        """What who started it must know."""
        return {
            "command_port": self._commands.getsockname()[1],
            "picture_port": self._gallery.port,
            "things": self._room.things,
        }

    def run(self) -> None:
        """Live in real time; a machine that is too slow gets fewer pictures, not a slower world."""
        lived_until = draw_at = time.monotonic()
        number = 0
        while not select.select([sys.stdin], [], [], 0)[0]:  # nobody writes to it: readable means closed
            now = time.monotonic()
            lived_until = self._live(lived_until, now)
            self._hear(now)
            if now >= draw_at:
                self._show(number)
                number, draw_at = number + 1, max(draw_at + self._every_s, now)
            time.sleep(max(0.0, lived_until + TICK_S - time.monotonic()))

    def _live(self, since: float, now: float) -> float:
        """Move in steps of one tick, of which each is checked for what is solid; return until when."""
        ticks = int((now - since) / TICK_S)
        for tick in range(1, min(ticks, _MOST_TICKS) + 1):
            self._room.move(self._firmware.velocity(since + tick * TICK_S), TICK_S)
        return since + ticks * TICK_S

    def _hear(self, now: float) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                self._firmware.hear(self._commands.recv(2048), now)

    def _show(self, number: int) -> None:
        captured_at = time.monotonic()
        self._gallery.show(
            {
                "image": self._room.picture(),
                "map": self._room.map(),
                "pose": list(self._room.pose),
                "velocity": list(self._firmware.velocity(captured_at)),
                "num_bumps": self._room.num_bumps,
                "captured_at": captured_at,
                "number": number,
            }
        )


class Gallery:
    """Hands the newest picture to each connection that asks; one thread per connection."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._newest: dict[str, object] | None = None
        self._has_news = threading.Condition()
        threading.Thread(target=self._accept, daemon=True).start()

    def show(self, picture: dict[str, object]) -> None:
        """Replace the newest picture."""
        with self._has_news:
            self._newest = picture
            self._has_news.notify_all()

    def _accept(self) -> None:
        while True:
            connection, _ = self._server.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        had = -1
        with (
            contextlib.suppress(OSError),
            connection,
            connection.makefile("wb") as stream,
        ):  # it may go away at any time
            while connection.recv(1):
                with self._has_news:
                    while self._newest is None or self._newest["number"] == had:
                        self._has_news.wait()
                    picture = self._newest
                had = picture["number"]
                write_message(stream, picture)
