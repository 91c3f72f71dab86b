"""A StopSignal ends what runs in other threads: `prefetch`, `map_ahead`, `run_parallel`, and the reading of a video."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from library_sets import draw

from quickstep.signals.video import VideoReader
from quickstep.signals.video.prefetch import Finished, map_ahead, prefetch, prefetch_many
from quickstep.types.parallel import run_parallel
from quickstep.types.progress import Stopped, StopSignal, check_stop


def endless() -> Iterator[int]:
    while True:
        check_stop()
        yield 1
        time.sleep(0.001)


def stop_soon(signal: StopSignal) -> None:
    threading.Timer(0.1, signal.stop).start()


def test_without_a_signal_nothing_stops() -> None:
    check_stop()
    with StopSignal(seconds=100).active():
        check_stop()
    assert 99 < StopSignal(seconds=100).remaining <= 100


def test_a_deadline_and_a_call_both_stop_until_the_block_ends() -> None:
    with StopSignal(seconds=0).active(), pytest.raises(Stopped):
        check_stop()
    called = StopSignal()
    called.stop()
    with called.active(), pytest.raises(Stopped):
        check_stop()
    check_stop()


def run(kind: str, pool: ThreadPoolExecutor) -> None:
    """Compute without end in the threads of one of our helpers."""

    def work(_item: int) -> int:
        return sum(endless())

    if kind == "prefetch":
        sum(prefetch(endless()))
    elif kind == "prefetch_many":
        for _, item in prefetch_many([endless, endless], workers=2, size=4):
            if isinstance(item, Finished) and item.error is not None:
                raise item.error
    elif kind == "map_ahead":
        list(map_ahead(work, [1, 2, 3], pool=pool, size=2))
    else:
        list(run_parallel(work, [1, 2, 3], "work", workers=2))


@pytest.mark.parametrize("kind", ["prefetch", "prefetch_many", "map_ahead", "run_parallel"])
def test_threads_that_a_computation_starts_obey_its_signal(kind: str) -> None:
    signal, threads = StopSignal(), threading.active_count()
    stop_soon(signal)
    with ThreadPoolExecutor(2) as pool, signal.active(), pytest.raises(Stopped):
        run(kind, pool)
    assert threading.active_count() <= threads + 1  # the timer may be there still


def test_reading_a_video_stops(tmp_path: Path) -> None:
    video = draw(tmp_path / "a.mp4", ("red", 4))
    with VideoReader(video) as reader, StopSignal(seconds=0).active(), pytest.raises(Stopped):
        reader.frames([0.0, 1.0, 2.0, 3.0])
