import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from robovlms.errors import ConfigError, SimulatorError
from robovlms.evaluate.workers import WorkerPool


def make_worker() -> Callable[[object], object]:
    return work


def make_none() -> Callable[[object], object]:
    raise ConfigError("the factory refuses")


def work(job: object) -> object:
    if job == "ours":
        raise ConfigError("one clear line")
    if job == "bug":
        raise KeyError("lost")
    if job == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid(), job


def test_jobs_are_shared_and_workers_end_with_the_pool() -> None:
    with WorkerPool(make_worker, 2) as pool:
        for job in range(8):
            pool.submit(job)
        results = [pool.next_result() for _ in range(8)]
    assert sorted(job for job, _ in results) == list(range(8))
    assert all(result[1] == job for job, result in results)
    time.sleep(0.1)
    for pid in {result[0] for _, result in results}:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize(
    ("job", "error", "message"),
    [
        ("ours", ConfigError, "^one clear line$"),
        ("bug", SimulatorError, r"(?s)worker failed at bug.*KeyError"),
        ("die", SimulatorError, r"died \(exit code -9\)"),
    ],
)
def test_a_failing_worker_is_told(job: str, error: type[Exception], message: str) -> None:
    with WorkerPool(make_worker, 1) as pool:
        pool.submit(job)
        with pytest.raises(error, match=message):
            pool.next_result()


def test_a_factory_that_fails_is_told() -> None:
    with WorkerPool(make_none, 1) as pool, pytest.raises(ConfigError, match="the factory refuses"):
        pool.next_result()


def test_workers_end_when_their_parent_is_killed() -> None:
    """Nobody is left to end them, so they must see it themselves."""
    script = (
        "import time\n"
        "from tests.evaluate.test_workers import make_worker\n"
        "from robovlms.evaluate.workers import WorkerPool\n"
        "if __name__ == '__main__':\n"
        "    with WorkerPool(make_worker, 1) as pool:\n"
        "        pool.submit(0)\n"
        "        print(pool.next_result()[1][0], flush=True)\n"
        "        time.sleep(60)\n"
    )
    root = Path(__file__).parents[2]
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=root)
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline_s = time.monotonic() + 20
    while _is_running(worker) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert not _is_running(worker)


def _is_running(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    status = Path(f"/proc/{pid}/status")
    return status.is_file() and "State:\tZ" not in status.read_text()


def make_slow_worker() -> Callable[[tuple[str, int]], int]:
    def slow(job: tuple[str, int]) -> int:
        time.sleep(0.05)
        return os.getpid()

    return slow


def test_a_worker_stays_with_its_group() -> None:
    """Two groups, two workers: each group has one process, and more jobs of a group go there too."""
    with WorkerPool(make_slow_worker, 2, group=lambda job: job[0]) as pool:
        for job in [("a", 0), ("a", 1), ("b", 0), ("a", 2), ("b", 1)]:
            pool.submit(job)
        seen = [pool.next_result() for _ in range(3)]
        pool.submit(("b", 2))
        seen += [pool.next_result() for _ in range(3)]
    first = {group: next(pid for (g, _), pid in seen if g == group) for group in ("a", "b")}
    assert len(set(first.values())) == 2
    assert sum(pid != first[group] for (group, _), pid in seen) <= 1  # help with the other's last job is fine


def test_a_group_is_shared_when_nothing_else_is_left() -> None:
    with WorkerPool(make_slow_worker, 2, group=lambda job: job[0]) as pool:
        for number in range(200):
            pool.submit(("a", number))
        pids = {pool.next_result()[1] for _ in range(200)}
    assert len(pids) == 2
