"""UDP: what is on the wire, and a robot that does not listen."""

import binascii
import json
import math
import re
import socket
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robovlms.errors import ConfigError, DataError, SafetyError
from robovlms.robot.drivers import open_driver
from robovlms.robot.drivers.udp import UdpDriver
from robovlms.robot.drivers.wire import MAX_BYTES, WireWriter, decode
from robovlms.robot.safety.command import JointCommand, Reason, VelocityCommand


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    """A bound socket that waits two seconds at most."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(2.0)
        yield listener


def test_a_message_to_the_byte():
    writer = WireWriter()
    writer.session = "9f3c21d0"
    text = '{"v":1,"session":"9f3c21d0","seq":0,"t":1.5,"stop":false,"linear":[0.2,0.0],"angular":-0.1'
    crc = binascii.crc32(text.encode())
    assert writer.encode(VelocityCommand(0.2, 0.0, -0.1), 1.5) == f'{text},"crc":"{crc:08x}"}}'.encode()


def test_datagrams_count_and_say_stop(receiver):
    driver = open_driver("udp", {"host": "127.0.0.1", "port": receiver.getsockname()[1]})
    before = time.monotonic()
    for command in (VelocityCommand(0.1), VelocityCommand(reasons=(Reason.ESTOP,))):
        driver.send(command)
    driver.close()
    first, second = (json.loads(receiver.recv(2048)) for _ in range(2))
    assert [first["seq"], second["seq"]] == [0, 1]
    assert first["session"] == second["session"]
    assert [first["stop"], second["stop"]] == [False, True]
    assert second["linear"] == [0.0, 0.0]
    assert before - 1e-5 <= first["t"] <= second["t"] <= time.monotonic() + 1e-5


def test_every_driver_is_another_session():
    assert WireWriter().session != WireWriter().session


def test_joints(receiver):
    driver = UdpDriver("127.0.0.1", receiver.getsockname()[1], body="arm")
    driver.send(JointCommand((0.1, -0.2), "open"))
    driver.close()
    fields = decode(receiver.recv(2048))
    assert (fields["joints"], fields["gripper"], fields["stop"]) == ([0.1, -0.2], "open", False)


def test_a_dead_port_is_counted_and_the_next_listener_gets_every_command():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        address = listener.getsockname()
    driver = UdpDriver(*address)
    for _ in range(5):
        driver.send(VelocityCommand(0.1))
        time.sleep(0.002)
    assert driver.num_refused >= 2
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(2.0)
        driver.send(VelocityCommand(0.2))
        assert decode(listener.recv(2048))["linear"] == [0.2, 0.0]
    driver.close()


def test_what_is_not_finite_is_never_sent(receiver):
    driver = UdpDriver("127.0.0.1", receiver.getsockname()[1])
    for value in (math.nan, math.inf):
        with pytest.raises(SafetyError, match="not finite"):
            driver.send(VelocityCommand(0.0, value))
    with pytest.raises(SafetyError, match=f"may have {MAX_BYTES} bytes"):
        driver.send(JointCommand((-1 / 3,) * 160))
    driver.send(VelocityCommand())
    driver.close()
    assert decode(receiver.recv(2048))["seq"] == 0


def test_a_socket_that_cannot_send_is_an_error():
    driver = UdpDriver("127.0.0.1", 9)
    driver.close()
    with pytest.raises(SafetyError, match="cannot send"):
        driver.send(VelocityCommand())


def test_damage_is_found():
    message = WireWriter().encode(VelocityCommand(0.2), 1.5)
    assert decode(message + b"\r\n")["linear"] == [0.2, 0.0]
    for index in range(len(message)):
        with pytest.raises(DataError):
            decode(message[:index] + bytes([message[index] ^ 1]) + message[index + 1 :])
        with pytest.raises(DataError):
            decode(message[:index])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"host": "127.0.0.1"}, "driver 'udp': option 'port' is missing; required are host, port"),
        ({"host": "127.0.0.1", "prot": 1}, "unknown option of the driver 'udp' 'prot'; did you mean 'port'"),
        ({"host": "127.0.0.1", "port": 70000}, "port must be in"),
        ({"host": "127.0.0.1", "port": True}, "option 'port' must be of type int, got True"),
        ({"host": "", "port": 1}, "host must be a name or an address, it is empty"),
        ({"host": "no such host", "port": 1}, "cannot reach 'no such host'"),
        ({"host": "127.0.0.1", "port": 1, "body": "leg"}, "unknown body of a driver 'leg'"),
    ],
)
def test_wrong_options_are_one_clear_line(options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        open_driver("udp", options)
    assert "\n" not in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(st.floats(-10, 10), st.floats(-1e-3, 1e-3))
def test_no_number_has_an_exponent(large: float, small: float) -> None:
    """A parser that stops at the e of 2.2e-05 drives 2.2 m/s."""
    for command in (VelocityCommand(small, large, -small), JointCommand((large, small))):
        message = WireWriter().encode(command, now=1234.5)
        fields = decode(message)
        numbers = re.findall(rb"-?[0-9.]+e[-+]?[0-9]+", message.partition(b'"t"')[2].rpartition(b',"crc"')[0])
        assert numbers == []
        sent = fields.get("joints") or [*fields["linear"], fields["angular"]]
        asked = command.positions if isinstance(command, JointCommand) else command.velocity
        assert sent == pytest.approx(asked, abs=5.1e-5)
