import os
import signal
import time
from collections.abc import Callable

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
