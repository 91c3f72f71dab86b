"""Segment, one labelled span of one video, and Failure, what is left of one that could not be used; opens no file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from quickstep.types.errors import QuickstepError


@dataclass(frozen=True)
class Segment:
    """A span of a video, in half-open seconds of presentation time: start <= t < end.

    `group` is the dancer or the source video: a split never divides one. `extra` keeps a manifest's further columns. Instead of a video the
    path may mean poses: a file of them, or one sequence of a file (`set.pkl#jump-07`).
    """

    path: Path
    label: str | None = None
    start: float = 0.0
    end: float | None = None  # None: to the end of the video
    group: str | None = None
    split: str | None = None  # "train", "val" or "test"
    extra: Mapping[str, str] = field(default_factory=dict, hash=False)
    person: int | None = None  # which of the people in it; None: the dancer

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))
        if not math.isfinite(self.start) or self.start < 0:
            raise ValueError(f"a segment starts at a number of seconds from 0 on, not at {self.start}")
        if self.end is not None and not (math.isfinite(self.end) and self.end > self.start):
            raise ValueError(f"a segment ends after its start ({self.start} s), not at {self.end}")
        if self.person is not None and self.person < 0:
            raise ValueError(f"a person has a number from 0 on, not {self.person}")

    @property
    def span(self) -> tuple[Path, float, float | None, int | None]:
        """What is looked at, whatever it is called: the identity under which scores of two models are paired."""
        return (self.path, self.start, self.end, self.person)

    def __str__(self) -> str:
        whole = self.start == 0 and self.end is None
        when = "" if whole else f" @ {self.start:g}-{'end' if self.end is None else f'{self.end:g}'} s"
        return f"{self.path}{when}" if self.person is None else f"{self.path}{when}, person {self.person}"


@dataclass(frozen=True)
class Failure:
    """A segment that could not be used, and why: counted and listed, never replaced by zeros."""

    segment: Segment
    error: QuickstepError

    def __str__(self) -> str:
        return str(self.error)
