"""Evaluate a timeline: compare its spans with true ones, by time and by span, and with the majority class all the time.

Time without a true label is not evaluated.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from quickstep.inference.timelines.spans import Span, Timeline, joined
from quickstep.storage.files import check_regular
from quickstep.types.errors import ManifestError
from quickstep.types.escaping import from_csv

OVERLAPS = (0.10, 0.25, 0.50)


@dataclass(frozen=True)
class TimelineMetrics:
    """How well spans match true ones; each metric is from 0 to 1."""

    accuracy: float  # share of the time with the correct label
    f1: tuple[float, float, float]  # of spans with an intersection over union of 10, 25, 50 %
    edit: float  # similarity of the sequences of labels, without their lengths
    spans: int


@dataclass(frozen=True)
class TimelineReport:
    """The metrics of a timeline, and those of the majority class."""

    metrics: TimelineMetrics
    baseline: TimelineMetrics  # the majority class all the time
    majority_class: str
    answered: float  # share of the evaluated time with a predicted label
    accuracy_answered: float | None  # of the time with a predicted label; None without any
    evaluated: float  # seconds with a true label
    true_spans: int
    boundary_error: float | None  # median seconds from a true change to the nearest predicted one; None without changes
    unknown: tuple[str, ...] = ()  # true labels that the model does not have: never correct

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """Return the name of each metric, its value for the timeline, and for the baseline."""
        names = ("accuracy by time", *(f"F1 @ {overlap:.0%} overlap" for overlap in OVERLAPS), "edit score")
        values = [(metrics.accuracy, *metrics.f1, metrics.edit) for metrics in (self.metrics, self.baseline)]
        rows = [(name, f"{ours:.3f}", f"{baseline:.3f}") for name, ours, baseline in zip(names, *values, strict=True)]
        return [*rows, ("spans", str(self.metrics.spans), str(self.baseline.spans))]

    @property
    def sentences(self) -> list[str]:
        """Return sentences about what the metrics do not show."""
        sentences = [f"{self.true_spans} true spans, {self.evaluated:.1f} s evaluated; the majority class is {self.majority_class!r}."]
        if self.answered < 1 and self.accuracy_answered is not None:
            sentences.append(f"{self.answered:.0%} of the time has a label, which is correct for {self.accuracy_answered:.0%} of it.")
        if self.boundary_error is not None:
            sentences.append(f"The nearest predicted change is {self.boundary_error:.2f} s (median) from a true one.")
        if self.unknown:
            sentences.append(f"The model does not have {', '.join(map(repr, self.unknown))}, so it cannot be correct there.")
        return sentences


def evaluate_timeline(timeline: Timeline, truth: Sequence[Span]) -> TimelineReport:
    """Compare a timeline with the true spans of the same video; spans are matched by person if both name people."""
    if not truth:
        raise ManifestError(timeline.video, "has no true spans to compare with")
    people = _paired(timeline, truth)
    majority = _majority_class(truth)
    constant = {person: ((Span(0.0, math.inf, majority, 1.0, person),), true) for person, (_, true) in people.items()}
    evaluated = sum(span.length for _, true in people.values() for span in true)
    answered = sum(_overlap(span, other) for spans, true in people.values() for span in spans if span.label for other in true)
    metrics = _metrics(people)
    return TimelineReport(
        metrics=metrics,
        baseline=_metrics(constant),
        majority_class=majority,
        answered=answered / evaluated,
        accuracy_answered=metrics.accuracy * evaluated / answered if answered else None,
        evaluated=evaluated,
        true_spans=sum(len(true) for _, true in people.values()),
        boundary_error=_boundary_error(people),
        unknown=tuple(sorted({str(span.label) for span in truth} - set(timeline.labels))),
    )


Pairs = Mapping[int | None, tuple[Sequence[Span], Sequence[Span]]]  # person -> predicted spans, true spans


def _paired(timeline: Timeline, truth: Sequence[Span]) -> Pairs:
    """Pair spans with the true ones of the same person; if only one side names people, all spans are the video's."""
    names_people = any(span.person is not None for span in truth)
    if names_people and timeline.people != (None,):
        people: list[int | None] = list(dict.fromkeys(span.person for span in truth))
        return {person: (timeline.of(person), joined([span for span in truth if span.person == person])) for person in people}
    return {None: (joined(timeline.of(timeline.people[0])), joined(truth))}


def _majority_class(truth: Sequence[Span]) -> str:
    seconds: Counter[str] = Counter()
    for span in truth:
        seconds[str(span.label)] += span.length  # type: ignore[assignment]
    return seconds.most_common(1)[0][0]


def _metrics(people: Pairs) -> TimelineMetrics:
    evaluated = sum(span.length for _, true in people.values() for span in true)
    correct = sum(_overlap(a, b) for spans, true in people.values() for a in spans for b in true if a.label == b.label)
    inside = {person: (_in_evaluated(spans, true), true) for person, (spans, true) in people.items()}
    edits = [_edit([str(s.label) for s in spans], [str(s.label) for s in true]) for spans, true in inside.values()]
    first, second, third = (_f1(inside, overlap) for overlap in OVERLAPS)
    count = sum(len(spans) for spans, _ in inside.values())
    return TimelineMetrics(min(1.0, correct / evaluated), (first, second, third), float(np.mean(edits)), count)


def _in_evaluated(spans: Sequence[Span], true: Sequence[Span]) -> tuple[Span, ...]:
    """Return the labelled spans, cut to the evaluated time."""
    begin, end = min(span.start for span in true), max(span.end for span in true)
    cut = [Span(max(s.start, begin), min(s.end, end), s.label, s.score, s.person, s.most_probable) for s in spans if s.label is not None]
    return joined([span for span in cut if span.length > 0 and sum(_overlap(span, other) for other in true) >= span.length / 2])


def _overlap(one: Span, other: Span) -> float:
    return max(0.0, min(one.end, other.end) - max(one.start, other.start))


def _f1(people: Pairs, least: float) -> float:
    """Return the F1 score of spans that overlap a true span of their label by `least`.

    As in the evaluation of MS-TCN, a span counts for the true span that it overlaps most, and only if no earlier span counts for that one.
    """
    hits, predicted, total = 0, 0, 0
    for spans, true in people.values():
        taken: set[int] = set()
        for span in spans:
            shares = [_share(span, other) if other.label == span.label else 0.0 for other in true]
            best = max(range(len(true)), key=shares.__getitem__)
            if shares[best] >= least:
                taken.add(best)
        hits, predicted, total = hits + len(taken), predicted + len(spans), total + len(true)
    return 2 * hits / (predicted + total) if predicted + total else 0.0


def _share(one: Span, other: Span) -> float:
    """Return the intersection over union, rounded: times in seconds must not put an overlap of exactly one half below it."""
    return round(_overlap(one, other) / (max(one.end, other.end) - min(one.start, other.start)), 9)


def _edit(predicted: Sequence[str], true: Sequence[str]) -> float:
    """Return 1 minus the edit distance of two sequences of labels, divided by the longer length."""
    row = list(range(len(true) + 1))
    for number, label in enumerate(predicted, start=1):
        before, row[0] = row[0], number
        for place, true_label in enumerate(true, start=1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (label != true_label))
    return 1 - row[-1] / max(len(predicted), len(true), 1)


def _boundary_error(people: Pairs) -> float | None:
    distances: list[float] = []
    for spans, true in people.values():
        changes = [(a.end + b.start) / 2 for a, b in pairwise(true) if a.label != b.label]
        predicted = np.array([a.end for a, b in pairwise(spans)])
        distances += [float(np.abs(predicted - change).min()) for change in changes if len(predicted)]
    return float(np.median(distances)) if distances else None


# -- reading -----------------------------------------------------------------------------------------------------------------


def read_spans(path: str | Path, *, video: str | Path | None = None) -> tuple[Span, ...]:
    """Read true spans from a csv with the columns start, end, label[, person][, video]; those of `video` if it names several."""
    path = Path(path)
    try:
        check_regular(path)
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ManifestError(path, f"cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ManifestError(path, "is not a csv in UTF-8") from error
    reader = csv.DictReader(text.splitlines(), skipinitialspace=True)
    missing = [name for name in ("start", "end", "label") if name not in (reader.fieldnames or ())]
    if missing:
        raise ManifestError(path, f"has no column {missing[0]!r}; its first line names the columns start,end,label", line=1)
    spans = [
        span
        for line, row in enumerate(reader, start=2)
        if _is_about(row.get("video") or row.get("path"), video) and (span := _span_of(path, line, row)) is not None
    ]
    if not spans:
        raise ManifestError(path, "has no true spans" if video is None else f"has no true spans of {Path(video).name}")
    for person in {span.person for span in spans}:
        of_person = sorted((span for span in spans if span.person == person), key=lambda span: span.start)
        for one, other in pairwise(of_person):
            if other.start < one.end - 1e-3:
                raise ManifestError(path, f"{one.label!r} until {one.end:g} s and {other.label!r} from {other.start:g} s overlap")
    return tuple(sorted(spans, key=lambda span: span.start))


def _is_about(named: str | None, video: str | Path | None) -> bool:
    return not named or video is None or Path(named).name == Path(video).name


def _span_of(path: Path, line: int, row: Mapping[str, str | None]) -> Span | None:
    """Read a row; None if it has no label."""
    label = from_csv((row.get("label") or "").strip())
    if not label:
        return None
    times = [_seconds(path, line, name, row.get(name)) for name in ("start", "end")]
    if not 0 <= times[0] < times[1]:
        raise ManifestError(path, f"a span ends after its start, not from {times[0]:g} to {times[1]:g} s", line=line)
    person = (row.get("person") or "").strip()
    if person and not person.isdigit():
        raise ManifestError(path, f"the number of a person is 0 or more, not {person!r}", line=line)
    return Span(times[0], times[1], label, 1.0, int(person) if person else None, label)


def _seconds(path: Path, line: int, name: str, text: str | None) -> float:
    """Parse seconds, or a time such as 1:02:03.5."""
    try:
        parts = [float(part) for part in reversed((text or "").strip().split(":"))]
    except ValueError:
        parts = [math.nan]
    value = float(np.dot(parts, 60.0 ** np.arange(len(parts))))
    if not math.isfinite(value):
        raise ManifestError(path, f"the {name} is seconds (62.5) or a time (1:02.5), not {text!r}", line=line)
    return value
