"""Worker processes that keep something costly (a simulator, a policy) between jobs.

::

    submit(job) ──▶ pending, by group ──▶ worker 0: factory() once, then worker(job) for each job ──▶ next_result()
                                      └─▶ worker 1: …

A worker stays with a group (a task, say) as long as that has jobs, so it need not build another simulator.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import signal
import traceback
from collections import Counter, deque
from collections.abc import Callable, Hashable
from types import TracebackType
from typing import Any, Generic, TypeVar

from robovlms.errors import RoboVLMsError, SimulatorError

Job, Result = TypeVar("Job"), TypeVar("Result")
_NO_GROUP = object()  # of a worker that had no job yet


class WorkerPool(Generic[Job, Result]):
    """Runs jobs in spawned processes; used as a context manager, which ends them.

    Args:
        factory: called once in each process; what it returns is called with each job. Must be picklable.
        num_workers: processes.
        group: jobs of equal group go to the same worker while others have something else to do.
    """

    def __init__(
        self,
        factory: Callable[[], Callable[[Job], Result]],
        num_workers: int,
        *,
        group: Callable[[Job], Hashable] = lambda job: None,
    ) -> None:
        self._group = group
        self._pending: dict[Hashable, deque[Job]] = {}
        self._workers = [_Worker(factory) for _ in range(num_workers)]

    def __enter__(self) -> "WorkerPool[Job, Result]":
        for worker in self._workers:
            worker.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()

    def submit(self, job: Job) -> None:
        """Put a job at the end of its group."""
        self._pending.setdefault(self._group(job), deque()).append(job)

    def next_result(self) -> tuple[Job, Result]:
        """Wait for the next finished job.

        Raises:
            RoboVLMsError: what the job raised, if it was one of ours.
            SimulatorError: names the job whose worker failed otherwise, or died.
        """
        self._dispatch()  # not in `submit`: with one group known, every worker would go for it
        connections = {worker.connection: worker for worker in self._workers}
        worker = connections[multiprocessing.connection.wait(list(connections))[0]]
        job, result, error = worker.receive()
        if isinstance(error, RoboVLMsError):
            raise error
        if error is not None:
            raise SimulatorError(f"worker failed at {job}:\n{error}")
        return job, result

    def _dispatch(self) -> None:
        for worker in self._workers:
            if worker.job is None and any(self._pending.values()):
                group = self._choose(worker)
                worker.send(group, self._pending[group].popleft())

    def _choose(self, worker: "_Worker") -> Hashable:
        """The worker's own group if it has jobs, else, of those with the fewest workers, the first."""
        waiting = [group for group, jobs in self._pending.items() if jobs]
        if worker.job_group in waiting:
            return worker.job_group
        taken = Counter(other.job_group for other in self._workers if other is not worker)
        return min(waiting, key=lambda group: taken[group])


class _Worker:
    """One process, the pipe to it, and the job it is at."""

    def __init__(self, factory: Callable[[], Callable[[Any], Any]]) -> None:
        context = multiprocessing.get_context("spawn")  # OpenGL contexts and threads do not survive a fork
        self.connection, self._far_end = context.Pipe()
        self.process = context.Process(target=_work, args=(factory, self._far_end), daemon=True)
        self.job: Any = None
        self.job_group: Hashable = _NO_GROUP

    def start(self) -> None:
        self.process.start()
        self._far_end.close()  # the process holds the only one: its death ends the pipe, and ours too

    def send(self, group: Hashable, job: Any) -> None:
        self.job_group, self.job = group, job
        with contextlib.suppress(OSError):  # it died; `receive` tells
            self.connection.send(job)

    def receive(self) -> tuple[Any, Any, Any]:
        try:
            result, error = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            at = "" if self.job is None else f" at {self.job}"
            raise SimulatorError(
                f"a worker process died (exit code {self.process.exitcode}){at}; out of memory?"
            ) from None
        job, self.job = self.job, None
        return job, result, error


def _work(factory: Callable[[], Callable[[Any], Any]], connection: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which ends the workers
    worker, error = _outcome(factory)
    with contextlib.suppress(EOFError, OSError):  # the parent is gone, so are we
        if error is not None:
            connection.send((None, error))
            return
        while True:
            job = connection.recv()
            connection.send(_outcome(lambda job=job: worker(job)))


def _outcome(call: Callable[[], Any]) -> tuple[Any, Any]:
    """Return (result, None), or (None, what the parent has to know)."""
    try:
        return call(), None
    except RoboVLMsError as error:
        return None, error
    except Exception:
        return None, traceback.format_exc()
