"""ahead: an iterator whose next items are made in a thread while the last one is used; knows nothing of what they are."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

Item = TypeVar("Item")


def ahead(items: Iterable[Item], *, most: int = 4, name: str = "ahead") -> Generator[Item, None, None]:
    """The same items in the same order, up to `most` of them made before they are asked for; an error arrives in its place.

    Close it when no more are wanted: that ends its thread, and what the thread was working on.
    """
    made: queue.Queue[tuple[Item] | BaseException | None] = queue.Queue(maxsize=most)
    stop = threading.Event()

    def hand_over(item: tuple[Item] | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                made.put(item, timeout=0.2)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        last: BaseException | None = None
        try:
            for item in items:
                if not hand_over((item,)):
                    break
        except BaseException as error:  # whatever it is, the caller decides: it must not die with its thread
            last = error
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()
        hand_over(last)

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    try:
        while (item := made.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item[0]
    finally:
        stop.set()
        thread.join()
