"""Engine: one thread that works, and the queue before it; work of one kind that waits is done together. Knows no video and no HTTP."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from quickstep.apps.server.metrics import Metrics

GATHER = 0.005  # seconds in which an idle engine waits for company: nothing beside the work itself
LAST = 2.0  # seconds

Work = Callable[[Sequence[Any]], Sequence[Any]]  # asks -> an answer for each, or the exception that stands for it


@dataclass(frozen=True)
class Kind:
    """A kind of work; what is asked of one kind may be done together."""

    name: str
    work: Work
    together: bool = True


@dataclass(frozen=True)
class _Job:
    kind: Kind
    ask: Any
    future: Future[Any] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)


class Engine:
    """Does what is submitted, in order; jobs of the first one's kind are taken along, up to `batch`."""

    def __init__(self, name: str, *, batch: int, metrics: Metrics) -> None:
        self.name, self.batch, self.metrics = name, batch, metrics
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._usual = 1.0  # seconds that a job takes, as it went lately
        self._thread = threading.Thread(target=self._run, name=f"engine-{name}", daemon=True)
        self._thread.start()
        metrics.watch_queue(name, self.__len__)

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def delay(self) -> float:
        """Seconds after which somebody who comes now would have an answer, about."""
        return (len(self._jobs) + 1) * self._usual

    def submit(self, kind: Kind, ask: Any) -> Future[Any]:
        """The answer to come; cancel it, and it is not worked on if that has not begun."""
        job = _Job(kind, ask)
        with self._changed:
            if self._closed:
                raise RuntimeError(f"the engine {self.name} is closed")
            self._jobs.append(job)
            self._changed.notify()
        return job.future

    def close(self, *, wait: float = LAST) -> None:
        """What waits is cancelled, what runs has a moment to end; a process that ends does not wait for it longer."""
        with self._changed:
            self._closed = True
            waiting, self._jobs = list(self._jobs), deque()
            self._changed.notify()
        for job in waiting:
            job.future.cancel()
        self._thread.join(wait)

    def _run(self) -> None:
        while batch := self._next():
            running = [job for job in batch if job.future.set_running_or_notify_cancel()]
            if running:
                self._work(running)

    def _next(self) -> list[_Job]:
        """The jobs to do now; none when the engine is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed)
            if self._closed:
                return []
            if self._jobs[0].kind.together:
                self._changed.wait_for(lambda: self._closed or len(self._jobs) >= self.batch, timeout=GATHER)
            return self._take() if self._jobs else []

    def _take(self) -> list[_Job]:
        kind = self._jobs[0].kind
        most = self.batch if kind.together else 1
        taken = [job for job in self._jobs if job.kind is kind][:most]
        chosen = set(map(id, taken))
        self._jobs = deque(job for job in self._jobs if id(job) not in chosen)
        return taken

    def _work(self, jobs: list[_Job]) -> None:
        began = time.monotonic()
        for job in jobs:
            self.metrics.waited.observe(began - job.since)
        if jobs[0].kind.together:
            self.metrics.batches.observe(len(jobs))
        for job, answer in zip(jobs, _answers(jobs), strict=True):
            if isinstance(answer, BaseException):
                job.future.set_exception(answer)
            else:
                job.future.set_result(answer)
        seconds = time.monotonic() - began
        self.metrics.worked.labels(self.name).observe(seconds)
        self._usual = 0.8 * self._usual + 0.2 * seconds / len(jobs)


def _answers(jobs: Sequence[_Job]) -> Sequence[Any]:
    """An answer for each; where work on all goes wrong each is done by itself, so that nobody suffers from somebody else's video."""
    try:
        return jobs[0].kind.work([job.ask for job in jobs])
    except BaseException as error:  # whatever it is, whoever asked decides: it must not die with the thread
        if len(jobs) == 1:
            return [error]
    return [answer for job in jobs for answer in _answers([job])]
