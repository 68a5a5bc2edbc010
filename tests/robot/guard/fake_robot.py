"""A robot that watches the wire, a brain in a process of its own, and a clock for the machine's own lateness.

Arrivals carry the kernel's stamp (SO_TIMESTAMPNS, socket(7)), so a late test process does not make the robot look late.
"""

import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from robovlms.errors import SafetyError
from robovlms.robot.drivers.wire import decode
from robovlms.robot.guard import GuardConfig

RATE_HZ, WATCHDOG_S = 50.0, 0.2
TICK_S = 1.0 / RATE_HZ
SLOW, FAST = 0.016, 0.1  # m/s; one tick brakes 0.02 m/s, so SLOW stops in one and FAST in five
NUM_TRIALS = int(os.environ.get("ROBOVLMS_FAULT_TRIALS", "20"))
LIMITS = {
    "max_velocity": (0.5, 0.0, 1.0),
    "max_acceleration": (2.0, 2.0, 2.0),
    "max_deceleration": (1.0, 1.0, 3.0),
    "max_observation_age_s": 0.5,
}
_SO_TIMESTAMPNS = 35  # asm-generic/socket.h; Python has no name for it


class FakeRobot:
    """Listens on a port of its own; `arrivals` are (monotonic s, fields of the message)."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.settimeout(0.05)
        self.port = self._socket.getsockname()[1]
        self.arrivals: list[tuple[float, dict]] = []
        self._is_closing, self._mark = False, threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def __enter__(self) -> "FakeRobot":
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closing = True
        self._thread.join()
        self._socket.close()

    @property
    def config(self) -> GuardConfig:
        """Of a guard that drives this robot."""
        options = {"host": "127.0.0.1", "port": self.port}
        return GuardConfig(driver="udp", driver_options=options, limits=LIMITS, rate_hz=RATE_HZ, watchdog_s=WATCHDOG_S)

    @property
    def speed(self) -> float | None:
        """The last that was asked for, m/s."""
        return self.arrivals[-1][1]["linear"][0] if self.arrivals else None

    def settle(self) -> None:
        """Wait until everything that was sent so far has been read: a mark that is sent now comes after it."""
        self._mark.clear()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"mark", ("127.0.0.1", self.port))
        assert self._mark.wait(10.0)

    def since(self, start: float) -> list[tuple[float, float]]:
        """(time, speed) of each message from `start` on."""
        return [(at, fields["linear"][0]) for at, fields in self.arrivals if at >= start]

    def stopping(self, fault_at: float, speed: float) -> tuple[float, float]:
        """Seconds from the fault until braking began, and until the first zero; it must stay zero."""
        self.settle()
        after = self.since(fault_at)
        began = next((at for at, now in after if now < speed), None)
        zero = next((at for at, now in after if now == 0.0), None)
        assert began is not None, f"no stop came, but {after[-3:]}"
        assert zero is not None, f"no zero came, but {after[-3:]}"
        moved = [(round(at - fault_at, 3), now) for at, now in after if at > zero and now != 0.0]
        assert not moved, f"zero {zero - fault_at:.3f} s after the fault, but then it moved again: {moved[:5]}"
        return began - fault_at, zero - fault_at

    def _listen(self) -> None:
        offset = time.time() - time.monotonic()
        while not self._is_closing:
            with suppress(TimeoutError):
                data, control, _, _ = self._socket.recvmsg(2048, 64)
                if data == b"mark":
                    self._mark.set()
                    continue
                seconds, nanoseconds = struct.unpack("qq", control[0][2])
                self.arrivals.append((seconds + nanoseconds * 1e-9 - offset, decode(data)))


class Brain:
    """`brain.py` in a process of its own, driving a robot."""

    def __init__(self, robot: FakeRobot, deed: str = "drive", environment: dict[str, str] | None = None) -> None:
        script = Path(__file__).with_name("brain.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(robot.port), deed],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
            text=True,
        )
        self.guard_pid = int(self.process.stdout.readline())

    def __enter__(self) -> "Brain":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        wait_for(lambda: not is_alive(self.guard_pid))

    def signal(self, number: int) -> float:
        """Send a signal to the brain; return when."""
        at = time.monotonic()
        self.process.send_signal(number)
        return at


class Pacer:
    """Hands a command over at 50 Hz from a thread of its own, as a brain does, until it is told to hang.

    `stamp` is that of the last command, `last_at` when it had been handed over.
    """

    def __init__(self, submit: Callable[[float], object]) -> None:
        self._submit, self._hangs, self.stamp, self.last_at = submit, threading.Event(), 0.0, 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def hang(self) -> float:
        """Hand over nothing more; return when the last was handed over."""
        self._hangs.set()
        self._thread.join()
        return self.last_at

    def _run(self) -> None:
        with suppress(SafetyError):  # what is driven may be broken on purpose
            while not self._hangs.wait(TICK_S):
                self.stamp = time.monotonic()
                self._submit(self.stamp)
                self.last_at = time.monotonic()


class Lateness:
    """How late this machine lets run who does nothing but sleep for 2 ms: two processes, and a thread of this one.

    A trial may be later than its bound by exactly the time that was withheld from one of them while it ran: the guard
    and the process that makes the fault and looks at the clock are treated no better by the machine.
    """

    SCRIPT = (
        "import time\n"
        "while True:\n"
        "    before = time.monotonic(); time.sleep(0.002); over = time.monotonic() - before - 0.002\n"
        "    if over > 0.0005: print(before, over, flush=True)\n"
    )

    def __init__(self) -> None:
        command = [sys.executable, "-S", "-c", self.SCRIPT]
        self._processes = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
        self._found: list[list[tuple[float, float]]] = [[], []]
        self._rest = [b"", b""]
        self._here: list[tuple[float, float]] = []
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._sleep, daemon=True)
        self._thread.start()

    def between(self, start: float, end: float) -> float:
        """Seconds withheld within a time: from a process in all, or from this one at a stretch."""
        time.sleep(0.01)  # a sleeper that is late reports after it
        self._read()
        sums = [sum(over for at, over in found if at + over + 0.002 > start and at < end) for found in self._found]
        return max(*sums, *(over for at, over in list(self._here) if at + over + 0.002 > start and at < end), 0.0)

    def _sleep(self) -> None:
        while not self._is_closing.is_set():
            before = time.monotonic()
            time.sleep(0.002)
            if (over := time.monotonic() - before - 0.002) > 0.0005:
                self._here.append((before, over))

    def close(self) -> None:
        """End them."""
        self._is_closing.set()
        self._thread.join()
        for process in self._processes:
            process.kill()
            process.wait()
            process.stdout.close()

    def _read(self) -> None:
        for index, process in enumerate(self._processes):
            while select.select([process.stdout], [], [], 0)[0]:
                self._rest[index] += os.read(process.stdout.fileno(), 65536)
            *lines, self._rest[index] = self._rest[index].split(b"\n")
            self._found[index] += [tuple(map(float, line.split())) for line in lines]


@dataclass
class Gate:
    """Collects trials of one fault and judges each against its bound plus the machine's lateness in that trial.

    Where the guard gets no real-time schedule and more than two processes wait for each core, the system lets it wait
    for longer than those that only sleep (seen in /proc/PID/schedstat): a failure there is a skip that says so.
    """

    name: str
    lateness: Lateness
    began: list[float] = field(default_factory=list)
    stopped: list[float] = field(default_factory=list)
    withheld: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def judge(self, fault_at: float, stopping: tuple[float, float], bound_s: float, ramp_s: float = 0.0) -> None:
        """Add a trial."""
        began, stopped = stopping
        with self._lock:
            late = self.lateness.between(fault_at, fault_at + stopped)
            self.began.append(began)
            self.stopped.append(stopped)
            self.withheld.append(late)
            for what, value, most in (("braking", began, bound_s), ("zero", stopped, bound_s + ramp_s)):
                if value > most + late:
                    self.failures.append(
                        f"{what} after {value * 1e3:.0f} ms, allowed {most * 1e3:.0f} + {late * 1e3:.0f} ms (machine)"
                    )

    def report(self) -> None:
        """Print the figures; fail if a trial did."""
        ms = [sorted(round(value * 1e3) for value in values) for values in (self.began, self.stopped, self.withheld)]
        parts = [
            f"{what} p50 {times[len(times) // 2]} max {times[-1]} ms"
            for what, times in zip(("braking", "zero", "machine late"), ms, strict=True)
        ]
        print(f"\n{self.name}: {len(self.began)} trials, {', '.join(parts)}")
        if self.failures and not may_be_realtime() and os.getloadavg()[0] > 2.0 * os.cpu_count():
            pytest.skip(f"load {os.getloadavg()[0]:.0f} and no real-time schedule: {self.failures}")
        assert not self.failures, self.failures


def may_be_realtime() -> bool:
    """Whether a guard started here gets a real-time schedule."""
    code = "import os; os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))"
    return subprocess.run([sys.executable, "-S", "-c", code], stderr=subprocess.DEVNULL, check=False).returncode == 0


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Wait until `condition()` holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.002)


@contextmanager
def killed_at_end(pid: int) -> Iterator[None]:
    """Leave no process behind, also when a test fails."""
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the guard runs on Linux")
