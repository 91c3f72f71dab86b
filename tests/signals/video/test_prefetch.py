"""Prefetching: the order, the errors, the bound, and threads that end when the reader stops."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from quickstep.signals.video.prefetch import Finished, map_ahead, prefetch, prefetch_many


def count_up(produced: list[object], closed: threading.Event | None = None) -> Iterator[int]:
    """Count without end; record each number, and the close."""
    number = 0
    try:
        while True:
            produced.append(number)
            yield number
            number += 1
    finally:
        if closed is not None:
            closed.set()


def fail_after(*numbers: int) -> Iterator[int]:
    yield from numbers
    raise KeyError("the next one")


def wait_until_still(produced: list[object]) -> int:
    """Wait until nothing is added any more; return the length."""
    length = -1
    while length != len(produced):
        length = len(produced)
        time.sleep(0.05)
    return length


def threads_named(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(name)]


# -- one source --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 200])
def test_items_keep_their_order(size: int) -> None:
    assert list(prefetch(range(100), size=size)) == list(range(100))
    assert list(prefetch([], size=size)) == []


def test_an_item_may_be_none_or_an_exception() -> None:
    error = ValueError("an item, not a failure")
    assert list(prefetch([None, error, ()])) == [None, error, ()]


def test_an_error_is_raised_in_its_place() -> None:
    items = prefetch(fail_after(1, 2))
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(KeyError, match="the next one"):
        next(items)


def test_items_are_produced_before_they_are_asked_for_but_not_without_bound() -> None:
    produced: list[object] = []
    items = prefetch(count_up(produced), size=3)
    assert next(items) == 0
    assert wait_until_still(produced) == 5  # one is used, three wait, one is ready to be put
    items.close()


def test_closing_ends_the_thread_and_closes_the_source() -> None:
    produced: list[object] = []
    closed = threading.Event()
    items = prefetch(count_up(produced, closed), size=2, name="endless")
    assert [next(items), next(items)] == [0, 1]
    assert threads_named("endless")
    began = time.perf_counter()
    items.close()
    assert time.perf_counter() - began < 0.15, "a writer that waits is woken, not polled"
    assert closed.is_set()
    assert not threads_named("endless")
    assert len(produced) < 10


# -- several sources ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 3, 8])
def test_each_source_keeps_its_order_and_finishes_once(workers: int) -> None:
    sources = [lambda start=start: range(start, start + 20) for start in (0, 100, 200, 300)]
    items: dict[int, list[object]] = {number: [] for number in range(4)}
    for number, item in prefetch_many(sources, workers=workers, size=2):
        items[number].append(item)
    assert items == {number: [*range(100 * number, 100 * number + 20), Finished()] for number in range(4)}


def test_an_error_ends_its_source_alone() -> None:
    received = list(prefetch_many([lambda: fail_after(7), lambda: [1, 2]], workers=1, size=4))
    assert [item for item in received if item[0] == 1] == [(1, 1), (1, 2), (1, Finished())]
    (first, (_, end)) = [item for item in received if item[0] == 0]
    assert first == (0, 7)
    assert isinstance(end, Finished)
    assert isinstance(end.error, KeyError)


def test_a_source_that_cannot_be_opened_is_finished_with_its_error() -> None:
    def broken() -> list[int]:
        raise OSError("cannot be opened")

    ((number, end),) = prefetch_many([broken], workers=2, size=1)
    assert number == 0
    assert isinstance(end, Finished)
    assert isinstance(end.error, OSError)


def test_no_source_is_needed() -> None:
    assert list(prefetch_many([], workers=2, size=1)) == []


def test_sources_run_side_by_side() -> None:
    barrier = threading.Barrier(2, timeout=10)

    def meet() -> Iterator[int]:
        yield barrier.wait()

    received = list(prefetch_many([meet, meet], workers=2, size=4))
    assert sum(isinstance(item, Finished) and item.error is None for _, item in received) == 2


def test_closing_ends_every_thread_and_starts_no_further_source() -> None:
    produced: list[object] = []
    closed = [threading.Event() for _ in range(4)]
    items = prefetch_many([lambda event=event: count_up(produced, event) for event in closed], workers=2, size=2, name="several")
    next(items)
    assert len(threads_named("several")) == 2
    items.close()
    assert not threads_named("several")
    assert [event.is_set() for event in closed] == [True, True, False, False]


# -- a function --------------------------------------------------------------------------------------------------------------


def test_results_keep_the_order_of_the_items() -> None:
    def work(number: int) -> int:
        time.sleep(0.002 * (number % 5))
        return number * number

    with ThreadPoolExecutor(4) as pool:
        assert list(map_ahead(work, range(40), pool=pool, size=6)) == [number * number for number in range(40)]


def test_work_starts_at_once_and_stays_a_fixed_number_of_items_ahead() -> None:
    started: list[object] = []
    with ThreadPoolExecutor(2) as pool:
        results = map_ahead(started.append, range(100), pool=pool, size=5)
        assert wait_until_still(started) == 5
        next(results)
        assert wait_until_still(started) == 6
        results.close()


def test_an_error_of_the_function_is_raised_in_its_place_and_cancels_the_rest() -> None:
    started: list[int] = []

    def work(number: int) -> int:
        started.append(number)
        time.sleep(0.01)
        return 1 // (number - 2)

    with ThreadPoolExecutor(1) as pool:
        results = map_ahead(work, range(1000), pool=pool, size=50)
        assert [next(results), next(results)] == [-1, -1]
        with pytest.raises(ZeroDivisionError):
            next(results)
    assert len(started) < 20
