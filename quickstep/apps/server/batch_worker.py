"""BatchWorker: a queue and its threads; waiting jobs of the same kind are done together."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from quickstep.apps.server.metrics import Metrics

BATCH_WAIT = 0.005  # seconds that an idle worker waits for more jobs; short compared with the work itself
CLOSE_WAIT = 2.0  # seconds

Work = Callable[[Sequence[Any]], Sequence[Any]]  # inputs -> a result for each, or the exception of that input

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobKind:
    """A kind of work; with `together`, jobs of this kind may be done in one batch."""

    name: str
    work: Work
    together: bool = True


@dataclass(frozen=True)
class _Job:
    kind: JobKind
    input: Any
    future: Future[Any] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)


class BatchWorker:
    """Does submitted jobs in order; each batch takes the jobs of the first one's kind, up to `batch`."""

    def __init__(self, name: str, *, batch: int = 1, threads: int = 1, metrics: Metrics) -> None:
        self.name, self.batch, self.metrics = name, batch, metrics
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._job_seconds = 1.0  # moving average
        self._threads = [threading.Thread(target=self._run, name=f"worker-{name}-{i}", daemon=True) for i in range(threads)]
        for thread in self._threads:
            thread.start()
        metrics.watch_queue(name, self.__len__)

    def __len__(self) -> int:
        """Return the number of waiting jobs."""
        return len(self._jobs)

    @property
    def delay(self) -> float:
        """Seconds that a job submitted now would take, estimated."""
        return (len(self._jobs) // len(self._threads) + 1) * self._job_seconds

    def submit(self, kind: JobKind, input: Any) -> Future[Any]:
        """Add a job and return its future; a job that is cancelled before it begins is not done."""
        job = _Job(kind, input)
        with self._changed:
            if self._closed:
                raise RuntimeError(f"the worker {self.name} is closed")
            self._jobs.append(job)
            self._changed.notify()
        return job.future

    def close(self, *, wait: float = CLOSE_WAIT) -> None:
        """Cancel the waiting jobs and wait a moment for the running ones."""
        with self._changed:
            self._closed = True
            waiting, self._jobs = list(self._jobs), deque()
            self._changed.notify_all()
        for job in waiting:
            job.future.cancel()
        end = time.monotonic() + wait
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _run(self) -> None:
        while batch := self._next_batch():
            running = [job for job in batch if job.future.set_running_or_notify_cancel()]
            if running:
                self._work(running)

    def _next_batch(self) -> list[_Job]:
        """Wait for jobs and return some; none when the worker is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            if self._closed:
                return []
            if self._jobs[0].kind.together:
                self._changed.wait_for(lambda: self._closed or len(self._jobs) >= self.batch, timeout=BATCH_WAIT)
            return self._take_batch() if self._jobs else []

    def _take_batch(self) -> list[_Job]:
        kind = self._jobs[0].kind
        limit = self.batch if kind.together else 1
        batch = [job for job in self._jobs if job.kind is kind][:limit]
        chosen = set(map(id, batch))
        self._jobs = deque(job for job in self._jobs if id(job) not in chosen)
        return batch

    def _work(self, jobs: list[_Job]) -> None:
        began = time.monotonic()
        for job in jobs:
            self.metrics.waited.observe(began - job.since)
        if jobs[0].kind.together:
            self.metrics.batches.observe(len(jobs))
        for job, result in zip(jobs, _results(jobs), strict=True):
            if isinstance(result, BaseException):
                job.future.set_exception(result)
            else:
                job.future.set_result(result)
        seconds = time.monotonic() - began
        self.metrics.worked.labels(self.name).observe(seconds)
        self._job_seconds = 0.8 * self._job_seconds + 0.2 * seconds / len(jobs)


def _results(jobs: Sequence[_Job]) -> Sequence[Any]:
    """Return a result for each job; if the batch fails, do each job alone, so that one bad video does not fail the others."""
    try:
        return jobs[0].kind.work([job.input for job in jobs])
    except BaseException as error:  # the client gets it through the future; it must not end the thread
        if len(jobs) == 1:
            return [error]
        _log.warning("a batch of %d jobs (%s) failed and is repeated one by one: %s", len(jobs), jobs[0].kind.name, type(error).__name__)
    return [result for job in jobs for result in _results([job])]
