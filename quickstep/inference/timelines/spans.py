"""Span and Timeline: the labelled spans of one video, and the scores over time that they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.models.classifier import confidence_of
from quickstep.types.segment import Failure

UNSURE = "unsure"  # shown where a span has no label
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Span:
    """A stretch of a video with one label, in half-open seconds; `label` is None where the model is unsure."""

    start: float
    end: float
    label: str | None
    score: float  # the mean probability of `most_probable` over the span
    person: int | None = None
    most_probable: str = ""  # the label; of an unsure span, the most likely one
    sure: bool | None = None  # whether such scores were correct at least 95 times in 100 on validation; None: uncalibrated

    @property
    def name(self) -> str:
        """Return the label, or "unsure"."""
        return UNSURE if self.label is None else self.label

    @property
    def confidence(self) -> str:
        """Return "sure", "not sure" or "uncalibrated"; a span without a label is "not sure"."""
        return confidence_of(self.sure if self.label is not None else False)

    @property
    def length(self) -> float:
        """Return the length in seconds."""
        return self.end - self.start


@dataclass(frozen=True, eq=False)
class WindowScores:
    """The probability of each label in windows over time, for the whole picture or for one person."""

    times: Array  # (T,) middles of the windows, in seconds, ascending
    scores: Array  # (T, C), each row summing to 1; a row of NaN where nothing could be read
    window: float  # seconds
    stride: float  # seconds
    person: int | None = None

    @property
    def scored(self) -> NDArray[np.bool_]:
        """Return which windows have scores, (T,)."""
        return np.asarray(np.isfinite(self.scores).all(axis=1))


@dataclass(frozen=True, eq=False)
class Timeline:
    """The labelled spans of one video; where nothing could be read, or nobody is visible, there is no span."""

    video: Path
    duration: float
    labels: tuple[str, ...]
    spans: tuple[Span, ...]  # by person, then by time; those of one person do not overlap
    scores: tuple[WindowScores, ...]  # one for each person
    failures: tuple[Failure, ...] = ()  # stretches that could not be read
    damaged: float = 0.0  # share of the timestamps that could not be read, so that neighbouring frames were used
    seconds: float = 0.0  # spent on it

    @property
    def people(self) -> tuple[int | None, ...]:
        """Return whose spans there are; (None,) for a model that reads the whole picture."""
        return tuple(scores.person for scores in self.scores)

    def of(self, person: int | None) -> tuple[Span, ...]:
        """Return the spans of one person."""
        return tuple(span for span in self.spans if span.person == person)

    def __repr__(self) -> str:
        return f"Timeline({str(self.video)!r}, {self.duration:.1f} s: {len(self.spans)} spans)"

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the scores of a window without any are null."""
        return {
            "video": str(self.video),
            "duration": self.duration,
            "labels": list(self.labels),
            "spans": [span_to_json(span) for span in self.spans],
            "moments": [_scores_to_json(scores) for scores in self.scores],
            "failures": [str(failure) for failure in self.failures],
            "damaged": self.damaged,
        }


def span_to_json(span: Span) -> dict[str, Any]:
    """Return plain data; without `person` for the whole picture."""
    data: dict[str, Any] = {
        "start": span.start,
        "end": span.end,
        "label": span.label,
        "score": span.score,
        "most_probable": span.most_probable,
    }
    data["confidence"] = span.confidence
    return data if span.person is None else {**data, "person": span.person}


def _scores_to_json(scores: WindowScores) -> dict[str, Any]:
    rows = [row.tolist() if scored else None for row, scored in zip(scores.scores, scores.scored, strict=True)]
    data = {"window": scores.window, "stride": scores.stride, "times": scores.times.tolist(), "scores": rows}
    return data if scores.person is None else {"person": scores.person, **data}


def joined(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Return spans in time order; neighbours that touch and have the same label become one."""
    joined_spans: list[Span] = []
    for span in sorted(spans, key=lambda span: span.start):
        last = joined_spans[-1] if joined_spans else None
        if last is not None and last.label == span.label and span.start - last.end < 1e-6:
            whole = last.length + span.length
            score = (last.score * last.length + span.score * span.length) / whole if whole > 0 else span.score
            joined_spans[-1] = Span(last.start, max(last.end, span.end), span.label, score, span.person, last.most_probable, last.sure)
        else:
            joined_spans.append(span)
    return tuple(joined_spans)
