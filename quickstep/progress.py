"""How long work tells what it is doing: a function that is called, and the one that stays silent."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called from the working thread, often; must be quick and must not raise."""

    def __call__(self, stage: str, done: int, total: int) -> None: ...


def silent(stage: str, done: int, total: int) -> None:
    """The default: says nothing."""
