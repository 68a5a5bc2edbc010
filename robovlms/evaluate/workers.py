"""Worker processes that keep something costly (a simulator, a policy) between jobs.

::

    submit(job) ──▶ queue ──▶ worker 0: factory() once, then worker(job) for each job ──▶ queue ──▶ next_result()
                          └─▶ worker 1: …
"""

import contextlib
import multiprocessing
import queue
import signal
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, TypeVar

from robovlms.errors import RoboVLMsError, SimulatorError

Job, Result = TypeVar("Job"), TypeVar("Result")
_POLL_S = 1.0


class WorkerPool(Generic[Job, Result]):
    """Runs jobs in spawned processes; used as a context manager, which ends them.

    Args:
        factory: called once in each process; what it returns is called with each job. Must be picklable.
        num_workers: processes.
    """

    def __init__(self, factory: Callable[[], Callable[[Job], Result]], num_workers: int) -> None:
        context = multiprocessing.get_context("spawn")  # OpenGL contexts and threads do not survive a fork
        self._jobs, self._results = context.Queue(), context.Queue()
        arguments = (factory, self._jobs, self._results)
        self._processes = [context.Process(target=_work, args=arguments, daemon=True) for _ in range(num_workers)]

    def __enter__(self) -> "WorkerPool[Job, Result]":
        for process in self._processes:
            process.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()
        for one in (self._jobs, self._results):
            one.cancel_join_thread()
            one.close()

    def submit(self, job: Job) -> None:
        """Put a job at the end of the queue."""
        self._jobs.put(job)

    def next_result(self) -> tuple[Job, Result]:
        """Wait for the next finished job.

        Raises:
            RoboVLMsError: what the job raised, if it was one of ours.
            SimulatorError: names the job whose worker failed otherwise, or died.
        """
        while True:
            try:
                job, result, error = self._results.get(timeout=_POLL_S)
            except queue.Empty:
                self._check_alive()
                continue
            if error is None:
                return job, result
            if isinstance(error, RoboVLMsError):
                raise error
            raise SimulatorError(f"worker failed at {job}:\n{error}")

    def _check_alive(self) -> None:
        for process in self._processes:
            if process.exitcode is not None:
                raise SimulatorError(f"a worker process died (exit code {process.exitcode}); out of memory?")


def _work(factory: Callable[[], Callable[[Any], Any]], jobs: Any, results: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the parent, which ends the workers
    parent, job = multiprocessing.parent_process(), None
    try:
        worker = factory()
        while parent.is_alive():  # a killed parent cannot end us
            with contextlib.suppress(queue.Empty):
                job = jobs.get(timeout=_POLL_S)
                results.put((job, worker(job), None))
        results.cancel_join_thread()
    except RoboVLMsError as error:
        results.put((job, None, error))
    except Exception:  # whatever it is, the parent has to know
        results.put((job, None, traceback.format_exc()))
