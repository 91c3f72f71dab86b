"""StopSignal: ends a computation from another thread, or at a deadline; long loops call `check_stop` once a step."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import partial
from typing import TypeVar

T = TypeVar("T")


class Stopped(BaseException):
    """The computation was stopped; like KeyboardInterrupt, it is no error of an item that a loop may collect and go on."""


class StopSignal:
    """Says whether a computation has to end: somebody called `stop`, or its seconds are over."""

    def __init__(self, seconds: float = float("inf")) -> None:
        self._end = time.monotonic() + seconds
        self._stopped = threading.Event()

    @property
    def remaining(self) -> float:
        """Seconds until the deadline, at least 0."""
        return max(0.0, self._end - time.monotonic())

    @property
    def is_set(self) -> bool:
        """Whether the computation has to end."""
        return self._stopped.is_set() or time.monotonic() >= self._end

    def stop(self) -> None:
        """Let the computation end at its next step."""
        self._stopped.set()

    def clear(self) -> None:
        """Take `stop` back."""
        self._stopped.clear()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Let `check_stop` obey this signal, here and in the threads that this block starts through `in_this_context`."""
        before = _current.set(self)
        try:
            yield
        finally:
            _current.reset(before)


EVERYTHING = StopSignal()  # of the whole process: set when a person or the system ends the program
_current: ContextVar[StopSignal | None] = ContextVar("stop_signal", default=None)


def check_stop() -> None:
    """Raise Stopped if the current computation has to end."""
    signal = _current.get()
    if EVERYTHING.is_set or (signal is not None and signal.is_set):
        raise Stopped


def in_this_context(work: Callable[..., T]) -> Callable[..., T]:
    """Return the function so that, called once in another thread, it obeys the StopSignal of this one."""
    return partial(copy_context().run, work)
