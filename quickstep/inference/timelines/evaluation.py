"""evaluate_timeline: spans held against true ones, by time and by span, beside the baseline that always says the commonest label.

Time that the truth leaves blank is not judged: nobody knows what was danced there.
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
from quickstep.types.errors import ManifestError

OVERLAPS = (0.10, 0.25, 0.50)


@dataclass(frozen=True)
class Figures:
    """How well spans match true ones, each from 0 to 1."""

    accuracy: float  # the share of the time under its true label
    f1: tuple[float, float, float]  # of spans that overlap a true one by 10, 25, 50 % (intersection over union)
    edit: float  # how alike the orders of labels are, whatever their lengths
    spans: int


@dataclass(frozen=True)
class TimelineReport:
    """A timeline held against the truth."""

    figures: Figures
    baseline: Figures  # the commonest label all the time
    commonest: str
    answered: float  # the share of the judged time that has a label
    accuracy_answered: float | None  # of the time that has one; None where none has
    judged: float  # seconds
    true_spans: int
    boundary_error: float | None  # median seconds between a true change and the nearest one found; None without changes
    unknown: tuple[str, ...] = ()  # true labels that the model does not have: never right

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """Name, the timeline's figure, the baseline's."""
        names = ("accuracy by time", *(f"F1 @ {overlap:.0%} overlap" for overlap in OVERLAPS), "edit score")
        ours, plain = ((each.accuracy, *each.f1, each.edit) for each in (self.figures, self.baseline))
        rows = [(name, f"{a:.3f}", f"{b:.3f}") for name, a, b in zip(names, ours, plain, strict=True)]
        return [*rows, ("spans", str(self.figures.spans), str(self.baseline.spans))]

    @property
    def sentences(self) -> list[str]:
        """What else is to be said."""
        told = [f"{self.true_spans} true spans, {self.judged:.1f} s judged; the commonest label is {self.commonest!r}."]
        if self.answered < 1 and self.accuracy_answered is not None:
            told.append(f"A label is given for {self.answered:.0%} of the time, and is right for {self.accuracy_answered:.0%} of that.")
        if self.boundary_error is not None:
            told.append(f"A true change lies {self.boundary_error:.2f} s (median) from the nearest one found.")
        if self.unknown:
            told.append(f"The model does not know {', '.join(map(repr, self.unknown))}, so that it cannot be right there.")
        return told


def evaluate_timeline(found: Timeline, truth: Sequence[Span]) -> TimelineReport:
    """Hold a timeline against true spans of the same video; where people have timelines of their own, spans are matched by person."""
    if not truth:
        raise ManifestError(found.video, "has no true spans to be held against")
    people = _paired(found, truth)
    commonest = _commonest(truth)
    plain = {person: ((Span(0.0, math.inf, commonest, 1.0, person),), true) for person, (_, true) in people.items()}
    judged = sum(span.length for _, true in people.values() for span in true)
    answered = sum(_overlap(span, each) for spans, true in people.values() for span in spans if span.label for each in true)
    figures = _figures(people)
    return TimelineReport(
        figures=figures,
        baseline=_figures(plain),
        commonest=commonest,
        answered=answered / judged,
        accuracy_answered=figures.accuracy * judged / answered if answered else None,
        judged=judged,
        true_spans=sum(len(true) for _, true in people.values()),
        boundary_error=_boundary_error(people),
        unknown=tuple(sorted({str(span.label) for span in truth} - set(found.labels))),
    )


Pairs = Mapping[int | None, tuple[Sequence[Span], Sequence[Span]]]  # whose -> what was found, what is true


def _paired(found: Timeline, truth: Sequence[Span]) -> Pairs:
    """Spans beside the true ones of the same person; where only one side tells people apart, all are the video's."""
    told_apart = any(span.person is not None for span in truth)
    if told_apart and found.people != (None,):
        people: list[int | None] = list(dict.fromkeys(span.person for span in truth))
        return {person: (found.of(person), joined([span for span in truth if span.person == person])) for person in people}
    return {None: (joined(found.of(found.people[0])), joined(truth))}


def _commonest(truth: Sequence[Span]) -> str:
    seconds: Counter[str] = Counter()
    for span in truth:
        seconds[str(span.label)] += span.length  # type: ignore[assignment]  # a counter of seconds
    return seconds.most_common(1)[0][0]


def _figures(people: Pairs) -> Figures:
    judged = sum(span.length for _, true in people.values() for span in true)
    right = sum(_overlap(a, b) for spans, true in people.values() for a in spans for b in true if a.label == b.label)
    kept = {person: (_in_judged(spans, true), true) for person, (spans, true) in people.items()}
    edits = [_edit([str(s.label) for s in spans], [str(s.label) for s in true]) for spans, true in kept.values()]
    first, second, third = (_f1(kept, overlap) for overlap in OVERLAPS)
    count = sum(len(spans) for spans, _ in kept.values())
    return Figures(min(1.0, right / judged), (first, second, third), float(np.mean(edits)), count)


def _in_judged(spans: Sequence[Span], true: Sequence[Span]) -> tuple[Span, ...]:
    """The labelled spans, cut to the judged time; neighbours of one label that only blank time divides stay two."""
    begin, end = min(span.start for span in true), max(span.end for span in true)
    cut = [Span(max(s.start, begin), min(s.end, end), s.label, s.score, s.person, s.likeliest) for s in spans if s.label is not None]
    return joined([span for span in cut if span.length > 0 and sum(_overlap(span, each) for each in true) >= span.length / 2])


def _overlap(one: Span, other: Span) -> float:
    return max(0.0, min(one.end, other.end) - max(one.start, other.start))


def _f1(people: Pairs, least: float) -> float:
    """Spans that overlap a true one of their label by so much of their union, each true one found once."""
    hits, found, wanted = 0, 0, 0
    for spans, true in people.values():
        free = set(range(len(true)))
        for span in spans:
            shares = {n: _overlap(span, true[n]) / (max(span.end, true[n].end) - min(span.start, true[n].start)) for n in free}
            fitting = [n for n in free if true[n].label == span.label and shares[n] >= least]
            if fitting:
                free.remove(max(fitting, key=lambda n: shares[n]))
                hits += 1
        found, wanted = found + len(spans), wanted + len(true)
    return 2 * hits / (found + wanted) if found + wanted else 0.0


def _edit(found: Sequence[str], true: Sequence[str]) -> float:
    """1 less the insertions, deletions and replacements that turn one order of labels into the other, as a share of the longer."""
    row = list(range(len(true) + 1))
    for number, label in enumerate(found, start=1):
        before, row[0] = row[0], number
        for place, wanted in enumerate(true, start=1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (label != wanted))
    return 1 - row[-1] / max(len(found), len(true), 1)


def _boundary_error(people: Pairs) -> float | None:
    distances: list[float] = []
    for spans, true in people.values():
        changes = [(a.end + b.start) / 2 for a, b in pairwise(true) if a.label != b.label]
        found = np.array([a.end for a, b in pairwise(spans)])
        distances += [float(np.abs(found - change).min()) for change in changes if len(found)]
    return float(np.median(distances)) if distances else None


# -- reading -----------------------------------------------------------------------------------------------------------------


def read_spans(path: str | Path, *, video: str | Path | None = None) -> tuple[Span, ...]:
    """The true spans of a csv with the columns start, end, label[, person][, video]; those of one video where it names several."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ManifestError(path, f"cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ManifestError(path, "is no csv in UTF-8") from error
    reader = csv.DictReader(text.splitlines(), skipinitialspace=True)
    lacking = [name for name in ("start", "end", "label") if name not in (reader.fieldnames or ())]
    if lacking:
        raise ManifestError(path, f"has no column {lacking[0]!r}; its first line names the columns start,end,label", line=1)
    spans = [
        span
        for line, row in enumerate(reader, start=2)
        if _about(row.get("video") or row.get("path"), video) and (span := _span_of(path, line, row)) is not None
    ]
    if not spans:
        raise ManifestError(path, "holds no true spans" if video is None else f"holds no true spans of {Path(video).name}")
    for person in {span.person for span in spans}:
        mine = sorted((span for span in spans if span.person == person), key=lambda span: span.start)
        for one, other in pairwise(mine):
            if other.start < one.end - 1e-3:
                raise ManifestError(path, f"{one.label!r} until {one.end:g} s and {other.label!r} from {other.start:g} s overlap")
    return tuple(sorted(spans, key=lambda span: span.start))


def _about(named: str | None, video: str | Path | None) -> bool:
    return not named or video is None or Path(named).name == Path(video).name


def _span_of(path: Path, line: int, row: Mapping[str, str | None]) -> Span | None:
    """One row; None where it has no label, because nothing is claimed there."""
    label = (row.get("label") or "").strip()
    if not label:
        return None
    times = [_seconds(path, line, name, row.get(name)) for name in ("start", "end")]
    if not 0 <= times[0] < times[1]:
        raise ManifestError(path, f"a span ends after its start, not from {times[0]:g} to {times[1]:g} s", line=line)
    person = (row.get("person") or "").strip()
    if person and not person.isdigit():
        raise ManifestError(path, f"a person has a number from 0 on, not {person!r}", line=line)
    return Span(times[0], times[1], label, 1.0, int(person) if person else None, label)


def _seconds(path: Path, line: int, name: str, text: str | None) -> float:
    """Seconds, or 1:02:03.5."""
    try:
        parts = [float(part) for part in reversed((text or "").strip().split(":"))]
    except ValueError:
        parts = [math.nan]
    value = float(np.dot(parts, 60.0 ** np.arange(len(parts))))
    if not math.isfinite(value):
        raise ManifestError(path, f"the {name} is seconds (62.5) or a time (1:02.5), not {text!r}", line=line)
    return value
