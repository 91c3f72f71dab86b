"""Produce items in threads while the caller uses the items before them.

`prefetch` reads one iterable ahead, `prefetch_many` reads several side by side, `map_ahead` applies a function in a thread pool and keeps
the order. In all three the number of waiting items is bounded, and an error reaches the caller.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from quickstep.types.progress import in_this_context

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Finished:
    """The end of a source, with the error that ended it, if there was one."""

    error: BaseException | None = None


def prefetch(items: Iterable[Item], *, size: int = 4, name: str = "prefetch") -> Generator[Item]:
    """Yield the items in their order; a thread produces up to `size` of them before they are asked for.

    An error in `items` is raised in its place. Closing the generator ends the thread, and closes `items` if it is a generator.
    """
    produced = prefetch_many([lambda: items], workers=1, size=size, name=name)
    try:
        for _, item in produced:
            if not isinstance(item, Finished):
                yield item
            elif item.error is not None:
                raise item.error
    finally:
        produced.close()


def prefetch_many(
    sources: Sequence[Callable[[], Iterable[Item]]], *, workers: int, size: int, name: str = "prefetch"
) -> Generator[tuple[int, Item | Finished]]:
    """Yield (number of the source, item) as the items are ready; `workers` threads read one source each, and at most `size` items wait.

    The items of one source come in their order, and a `Finished` follows the last one. Closing the generator ends the threads and
    closes the sources.
    """
    buffer: _Buffer[tuple[int, Item | Finished]] = _Buffer(size)
    numbers = iter(range(len(sources)))

    def work() -> None:
        for number in numbers:  # next() on a range iterator is atomic, so each source is read once
            if not _produce(sources[number], number, buffer):
                return

    count = min(workers, len(sources))
    names = [name] if count == 1 else [f"{name}-{i}" for i in range(count)]
    threads = [threading.Thread(target=in_this_context(work), name=one, daemon=True) for one in names]
    for thread in threads:
        thread.start()
    try:
        finished = 0
        while finished < len(sources):
            number, item = buffer.take()
            finished += isinstance(item, Finished)
            yield number, item
    finally:
        buffer.stop()
        for thread in threads:
            thread.join()


def map_ahead(work: Callable[[Item], Result], items: Iterable[Item], *, pool: Executor, size: int) -> Generator[Result]:
    """Return `work(item)` of each item, in order; the pool starts on the first `size` items at once, and stays `size` items ahead.

    An error is raised in its place. When the caller stops early, what has not started is cancelled; the pool stays open.
    """
    remaining = iter(items)
    started = deque(pool.submit(in_this_context(work), item) for item in islice(remaining, size))

    def results(started: deque[Future[Result]]) -> Generator[Result]:
        try:
            while started:
                future = started.popleft()
                started.extend(pool.submit(in_this_context(work), item) for item in islice(remaining, 1))
                yield future.result()
        finally:
            for future in started:
                future.cancel()

    return results(started)


def _produce(source: Callable[[], Iterable[Item]], number: int, buffer: _Buffer[tuple[int, Item | Finished]]) -> bool:
    """Put all items of a source into the buffer; return False when the reader has stopped."""
    error: BaseException | None = None
    try:
        items = source()
        try:
            for item in items:
                if not buffer.put((number, item)):
                    return False
        finally:
            if isinstance(items, Generator):
                items.close()
    except BaseException as raised:  # the caller decides what to do with any error: it must not die with its thread
        error = raised
    return buffer.put((number, Finished(error)))


class _Buffer(Generic[Item]):
    """A bounded queue that its reader can stop: waiting writers then return at once."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: deque[Item] = deque()
        self._changed = threading.Condition()
        self._stopped = False

    def put(self, item: Item) -> bool:
        """Wait for a free place and add the item; return False when the reader has stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or len(self._items) < self._size)
            if self._stopped:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def take(self) -> Item:
        """Wait for an item and remove it."""
        with self._changed:
            self._changed.wait_for(lambda: self._items)
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def stop(self) -> None:
        """Discard the items and let every writer return."""
        with self._changed:
            self._stopped = True
            self._items.clear()
            self._changed.notify_all()
