"""Report the progress of a long computation: the function that it calls, one that does nothing, and a clock for its stages."""

from __future__ import annotations

import time
from typing import Protocol


class Progress(Protocol):
    """A function that is called often, from the working thread; it must be quick and must not raise."""

    def __call__(self, stage: str, done: int, total: int) -> None: ...


def silent(stage: str, done: int, total: int) -> None:
    """Report nothing; the default."""


class Clock:
    """Measures the seconds that each stage takes."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def mark(self, stage: str) -> None:
        """End the stage that began at the previous mark."""
        now = time.perf_counter()
        self.seconds[stage] = round(now - self._since, 3)
        self._since = now
