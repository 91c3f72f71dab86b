"""Segment, one labelled span of one video, and Failure, a segment that could not be used."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from quickstep.types.errors import QuickstepError


@dataclass(frozen=True)
class Segment:
    """A span of a video, in half-open seconds of presentation time: start <= t < end.

    `group` is the dancer or the source video; a split never divides a group. `extra` keeps the other columns of a manifest. The path may
    also be that of a pose file, or of one sequence in it (`set.pkl#jump-07`).
    """

    path: Path
    label: str | None = None
    start: float = 0.0
    end: float | None = None  # None: to the end of the video
    group: str | None = None
    split: str | None = None  # "train", "val" or "test"
    extra: Mapping[str, str] = field(default_factory=dict, hash=False)
    person: int | None = None  # number of the person in it; None: the main person

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))
        if not math.isfinite(self.start) or self.start < 0:
            raise ValueError(f"a segment starts at 0 seconds or later, not at {self.start}")
        if self.end is not None and not (math.isfinite(self.end) and self.end > self.start):
            raise ValueError(f"a segment's end must be after its start ({self.start:g} s) and finite, not {self.end:g}")
        if self.person is not None and self.person < 0:
            raise ValueError(f"the number of a person is 0 or more, not {self.person}")

    @property
    def span(self) -> tuple[Path, float, float | None, int | None]:
        """What is read, without label and group: predictions of two models are paired by it."""
        return (self.path, self.start, self.end, self.person)

    def __str__(self) -> str:
        whole = self.start == 0 and self.end is None
        when = "" if whole else f" @ {self.start:g}-{'end' if self.end is None else f'{self.end:g}'} s"
        return f"{self.path}{when}" if self.person is None else f"{self.path}{when}, person {self.person}"


@dataclass(frozen=True)
class Failure:
    """A segment that could not be used, and why; failures are counted and listed, never replaced by zeros."""

    segment: Segment
    error: QuickstepError

    def __str__(self) -> str:
        return str(self.error)
