"""The camera of the simulated robot."""

import socket
from typing import Any

from robovlms.errors import ConfigError, SafetyError
from robovlms.robot.cameras.base import Camera, Frame
from robovlms.robot.messages import read_message

_TIMEOUT_S = 10.0


class SimulatorCamera(Camera):
    """Asks the simulator for one picture after the other.

    Args:
        port: `SimulatedRobot.picture_port`.

    Attributes:
        last: all that came with the last picture: map, pose, velocity, number of bumps.

    Raises:
        ConfigError: if nobody listens there.
    """

    def __init__(self, port: int) -> None:
        try:
            self._socket = socket.create_connection(("127.0.0.1", port), _TIMEOUT_S)
        except (OSError, OverflowError) as error:  # the latter for a port beyond 65535
            raise ConfigError(f"camera 'simulator': nobody gives pictures on port {port}: {error}") from error
        self._stream = self._socket.makefile("rb")
        self.last: dict[str, Any] = {}

    def read(self) -> Frame:
        try:
            self._socket.sendall(b"?")
            message = read_message(self._stream)
        except OSError as error:
            raise SafetyError(f"camera 'simulator': {error}") from error
        if message is None:
            raise SafetyError("camera 'simulator': the simulator has ended")
        try:
            frame = Frame(image=message["image"], captured_at=message["captured_at"], number=message["number"])
        except KeyError as error:
            raise SafetyError(f"camera 'simulator': what came is no picture: no {error}") from error
        self.last = message
        return frame

    def close(self) -> None:
        self._stream.close()
        self._socket.close()
