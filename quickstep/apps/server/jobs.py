"""run_job: run the work of a request on a worker, until it is done, its time is over, or its client leaves; then it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from fastapi import Request

from quickstep.apps.server.admission import RETRY_SECONDS
from quickstep.apps.server.batch_worker import BatchWorker, JobKind
from quickstep.apps.server.error_responses import Problem, busy
from quickstep.apps.server.multipart import ClientLeft
from quickstep.types.errors import MediaError
from quickstep.types.progress import Stopped, StopSignal

T = TypeVar("T")


def _call_all(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    return [call() for call in calls]


CALL = JobKind("call", _call_all, together=False)


async def run_job(request: Request, worker: BatchWorker, work: Callable[[], T], stop: StopSignal, late: Problem | None = None) -> T:
    """Return what the work returns. At the signal's deadline, answer `late` (a 503); the work ends at its next step."""

    def stoppable() -> T:
        with stop.active():
            return work()

    result: asyncio.Future[T] = asyncio.wrap_future(worker.submit(CALL, stoppable))
    client_left = asyncio.ensure_future(_wait_for_disconnect(request))
    late = late or busy("the time of the request is over", worker.delay)
    try:
        waited: set[asyncio.Future[Any]] = {result, client_left}
        await asyncio.wait(waited, timeout=stop.remaining, return_when=asyncio.FIRST_COMPLETED)
        if result.done():
            return _checked(result, late, worker)
        if client_left.done():
            worker.metrics.failures.labels("left").inc()
            raise ClientLeft
        raise late
    finally:
        if not result.done():
            stop.stop()
        client_left.cancel()
        result.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await client_left


def _checked(result: asyncio.Future[T], late: Problem, worker: BatchWorker) -> T:
    """Return the result; raise and count its error."""
    if result.cancelled():
        raise busy("the service is stopping", RETRY_SECONDS)
    error = result.exception()
    if isinstance(error, Stopped):
        raise late
    if error is not None:
        if not isinstance(error, Problem):
            worker.metrics.failures.labels("video" if isinstance(error, MediaError) else "work").inc()
        raise error
    return result.result()


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
