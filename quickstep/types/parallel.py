"""Run work on many items in threads, with progress; an item that fails does not stop the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from quickstep.types.errors import CacheError, QuickstepError
from quickstep.types.progress import Progress, in_this_context, silent

_WAITING = 32  # items handed to the threads at a time
Result = TypeVar("Result")
Item = TypeVar("Item")


def run_parallel(
    work: Callable[[Item], Result], items: Sequence[Item], stage: str, *, workers: int | None = None, progress: Progress = silent
) -> Iterator[tuple[Item, Result | QuickstepError]]:
    """Yield each item, as soon as it is done, with the result of the work or the QuickstepError that it raised.

    Other errors, and an unusable cache, would meet every item: they are raised and end the run.
    """
    total, done = len(items), 0
    progress(stage, 0, total)
    queue = iter(items)
    pool = ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1), thread_name_prefix=f"quickstep-{stage}")
    try:
        running: dict[Future[Result], Item] = {}
        while done < total:
            while len(running) < _WAITING and (item := next(queue, None)) is not None:
                running[pool.submit(in_this_context(work), item)] = item
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                item = running.pop(future)
                done += 1
                progress(stage, done, total)
                error = future.exception()
                if error is not None and (isinstance(error, CacheError) or not isinstance(error, QuickstepError)):
                    raise error
                yield item, error if isinstance(error, QuickstepError) else future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
