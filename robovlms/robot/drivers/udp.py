"""Commands as UDP datagrams; `wire` says what is in them and what the receiver must do."""

import contextlib
import socket
import time

from robovlms.errors import ConfigError, SafetyError
from robovlms.robot.drivers.base import Driver
from robovlms.robot.drivers.wire import WireWriter, check_body
from robovlms.robot.safety.command import Command


class UdpDriver(Driver):
    """One datagram per command; nothing comes back, so nothing waits.

    Args:
        host: name or address of the robot.
        port: in [1, 65535].
        body: "base" or "arm".

    Attributes:
        num_refused: how often the robot's machine said that nobody listens on the port.

    Raises:
        ConfigError: if the address is none.
    """

    def __init__(self, host: str, port: int, body: str = "base") -> None:
        self.body = check_body(body)
        if not 1 <= port <= 65535:
            raise ConfigError(f"driver 'udp': port must be in [1, 65535], got {port!r}")
        self._socket = _connect(host, port)
        self._writer = WireWriter()
        self.num_refused = 0

    def send(self, command: Command) -> None:
        """Send one datagram.

        Raises:
            SafetyError: if this machine cannot send it: no network, no route, buffer full.
        """
        message = self._writer.encode(command, time.monotonic())
        try:
            try:
                self._socket.send(message)
            except ConnectionRefusedError:  # about an earlier datagram (ICMP); this one was not sent
                self.num_refused += 1
                with contextlib.suppress(ConnectionRefusedError):
                    self._socket.send(message)
        except OSError as error:
            raise SafetyError(f"driver 'udp': cannot send: {error}") from error

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _connect(host: str, port: int) -> socket.socket:
    """A socket that is bound to one peer, so that the system reports when nobody listens there."""
    if not host:
        raise ConfigError("driver 'udp': host must be a name or an address, it is empty")
    connection = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        connection = socket.socket(family, kind, protocol)
        connection.setblocking(False)
        connection.connect(address)
    except (OSError, UnicodeError) as error:
        if connection is not None:
            connection.close()
        raise ConfigError(f"driver 'udp': cannot reach {host!r}, port {port}: {error}") from error
    return connection
