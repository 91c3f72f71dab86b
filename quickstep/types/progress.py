"""How long work tells what it is doing: a function that is called, the one that stays silent, and a clock for its stages."""

from __future__ import annotations

import time
from typing import Protocol


class Progress(Protocol):
    """Called from the working thread, often; must be quick and must not raise."""

    def __call__(self, stage: str, done: int, total: int) -> None: ...


def silent(stage: str, done: int, total: int) -> None:
    """The default: says nothing."""


class Clock:
    """Time per stage, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def mark(self, stage: str) -> None:
        """The stage that began at the mark before ends here."""
        now = time.perf_counter()
        self.seconds[stage] = round(now - self._since, 3)
        self._since = now
