"""Span and Timeline: what is danced from when until when in one video, and the scores over time behind it. Knows no model and no file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.types.segment import Failure

UNSURE = "unsure"  # what people read where no label is given
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Span:
    """A stretch of a video under one label, in half-open seconds. `label` is None where the model is not sure of any."""

    start: float
    end: float
    label: str | None
    score: float  # the mean probability of `likeliest` over the span
    person: int | None = None
    likeliest: str = ""  # the label; of an unsure span, what it would have been
    sure: bool | None = None  # whether answers this sure were right at least 95 times in 100 on validation; None: not known

    @property
    def name(self) -> str:
        """The label in people's words."""
        return UNSURE if self.label is None else self.label

    @property
    def confidence(self) -> str:
        """Return "sure", "fairly sure", "unsure" or "uncalibrated"."""
        return UNSURE if self.label is None else {True: "sure", False: "fairly sure", None: "uncalibrated"}[self.sure]

    @property
    def length(self) -> float:
        """Seconds."""
        return self.end - self.start


@dataclass(frozen=True, eq=False)
class Moments:
    """The probability of each label in windows over time, of the whole picture or of one person."""

    times: Array  # (T,) the windows' middles, in seconds, ascending
    scores: Array  # (T, C), each row summing to 1; a row of NaN where there was nothing to look at
    window: float  # seconds
    hop: float  # seconds
    person: int | None = None

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Which windows have scores, (T,)."""
        return np.asarray(np.isfinite(self.scores).all(axis=1))


@dataclass(frozen=True, eq=False)
class Timeline:
    """What is danced when in one video. Where nothing could be seen (or nobody was there) no span stands."""

    video: Path
    duration: float
    labels: tuple[str, ...]
    spans: tuple[Span, ...]  # by person, then by time; those of one person do not overlap
    moments: tuple[Moments, ...]  # one a person
    failures: tuple[Failure, ...] = ()  # stretches that could not be read
    damaged: float = 0.0  # the share of moments looked at that could not be read, so that their neighbours stand in
    seconds: float = 0.0  # spent on it

    @property
    def people(self) -> tuple[int | None, ...]:
        """Whose spans there are; (None,) where the model looks at the whole picture."""
        return tuple(moments.person for moments in self.moments)

    def of(self, person: int | None) -> tuple[Span, ...]:
        """The spans of one person."""
        return tuple(span for span in self.spans if span.person == person)

    def __repr__(self) -> str:
        return f"Timeline({str(self.video)!r}, {self.duration:.1f} s: {len(self.spans)} spans)"

    def to_json(self) -> dict[str, Any]:
        """Plain data; where a moment has no scores they are null."""
        return {
            "video": str(self.video),
            "duration": self.duration,
            "labels": list(self.labels),
            "spans": [span_to_json(span) for span in self.spans],
            "moments": [_moments_to_json(moments) for moments in self.moments],
            "failures": [str(failure) for failure in self.failures],
            "damaged": self.damaged,
        }


def span_to_json(span: Span) -> dict[str, Any]:
    """Plain data; without `person` where the whole picture is meant."""
    data = {"start": span.start, "end": span.end, "label": span.label, "score": span.score, "likeliest": span.likeliest, "sure": span.sure}
    return data if span.person is None else {**data, "person": span.person}


def _moments_to_json(moments: Moments) -> dict[str, Any]:
    rows = [row.tolist() if seen else None for row, seen in zip(moments.scores, moments.seen, strict=True)]
    told = {"window": moments.window, "hop": moments.hop, "times": moments.times.tolist(), "scores": rows}
    return told if moments.person is None else {"person": moments.person, **told}


def joined(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Spans in order of time; neighbours that touch and have one label are one."""
    made: list[Span] = []
    for span in sorted(spans, key=lambda span: span.start):
        last = made[-1] if made else None
        if last is not None and last.label == span.label and span.start - last.end < 1e-6:
            whole = last.length + span.length
            score = (last.score * last.length + span.score * span.length) / whole if whole > 0 else span.score
            made[-1] = Span(last.start, max(last.end, span.end), span.label, score, span.person, last.likeliest, last.sure)
        else:
            made.append(span)
    return tuple(made)
