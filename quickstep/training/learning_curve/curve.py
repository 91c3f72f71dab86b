"""LearningCurve: a measured learning curve as frozen data for JSON, and the sentences that describe it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from quickstep.storage.serialization import to_plain
from quickstep.types.confidence_intervals import Interval, between, percent, points

Row = tuple[str, ...]


@dataclass(frozen=True)
class CurvePoint:
    """How good a head is that was fitted to this many segments of each class."""

    shots: int
    accuracy: Interval
    balanced_accuracy: Interval
    draws: tuple[float, ...]  # the accuracy of each draw
    recalls: tuple[float | None, ...]  # of each class; None where no segment of it was held out
    fewer: dict[str, int]  # label -> segments, for the classes that have fewer than `shots`


@dataclass(frozen=True)
class CurveBaseline:
    """A baseline on the same held-out segments: "majority", or "words" for zero-shot."""

    name: str
    about: str
    accuracy: Interval
    balanced_accuracy: Interval


@dataclass(frozen=True)
class LabelGain:
    """How much balanced accuracy rises with more labels of one class."""

    label: str
    have: int  # segments in the train part
    gain: Interval
    measured_at: int | None  # segments of every class before more were added; None where the gain is extrapolated


@dataclass(frozen=True)
class Advice:
    """For which class more labels would help most: the gain of each class, largest first, and the verdict in a sentence."""

    more: int
    gains: tuple[LabelGain, ...] = field(metadata={"written_as": "helps"})
    best: str | None  # the class whose gain is significantly above all others; None where there is no such class
    verdict: str


@dataclass(frozen=True)
class LearningCurve:
    """Accuracy against the number of labelled segments a class."""

    source: str
    fingerprint: str  # of the manifest with the split that was used
    labels: tuple[str, ...]
    backbone: str
    head: str
    learnt_from: dict[str, int]  # label -> segments in the train part
    held_out: dict[str, int]  # label -> segments
    groups: int  # held out
    repeats: int
    seed: int
    points: tuple[CurvePoint, ...]
    baselines: tuple[CurveBaseline, ...] = field(metadata={"written_as": "beside"})
    last_step: Interval | None  # how much accuracy rises from the last point but one to the last
    advice: Advice | None
    notes: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def tested(self) -> int:
        """The number of held-out segments."""
        return sum(self.held_out.values())

    @property
    def sentences(self) -> tuple[str, ...]:
        """The result in sentences."""
        return (self._final_accuracy(), *self._last_gain(), *([self.advice.verdict] if self.advice else []))

    @property
    def columns(self) -> Row:
        """The column names of `rows`."""
        return ("segments a class", "accuracy", "95 % interval", "balanced accuracy", "95 % interval", "range of draws")

    @property
    def rows(self) -> list[Row]:
        """The points as a table for people, then the baselines."""
        rows = [
            (
                f"{point.shots}{'*' if point.fewer else ''}",
                *_percentages(point.accuracy, point.balanced_accuracy),
                _range(point.draws),
            )
            for point in self.points
        ]
        baselines = ((baseline.about, *_percentages(baseline.accuracy, baseline.balanced_accuracy), "") for baseline in self.baselines)
        return [*rows, *baselines]

    def to_json(self) -> str:
        """Return everything as JSON, with the sentences."""
        plain = {**to_plain(self), "sentences": list(self.sentences)}
        return json.dumps(plain, ensure_ascii=False, allow_nan=False, indent=1)

    def _final_accuracy(self) -> str:
        last = self.points[-1]
        groups = f" in {self.groups} groups" if self.groups < self.tested else ""
        baselines = "; ".join(f"{baseline.about}: {percent(baseline.accuracy.value)}" for baseline in self.baselines)
        return (
            f"With {_segments(last.shots)} a class, {self.head} on {self.backbone} is {percent(last.accuracy.value)} accurate "
            f"({between(last.accuracy)}) on {self.tested} held-out segments{groups}; {baselines}."
        )

    def _last_gain(self) -> list[str]:
        if self.last_step is None:
            return []
        before, last = self.points[-2].shots, self.points[-1].shots
        gain = f"From {before} to {_segments(last)} a class, accuracy changes by {points(self.last_step)}"
        if self.last_step.low > 0:
            return [f"{gain}: it is still rising, so more labels of every class would probably help."]
        if self.last_step.high < 0:
            return [f"{gain}: it fell, so check the added segments."]
        return [f"{gain}: this does not show whether it is still rising."]


def _percentages(accuracy: Interval, balanced: Interval) -> Row:
    return percent(accuracy.value), between(accuracy), percent(balanced.value), between(balanced)


def _range(draws: tuple[float, ...]) -> str:
    return f"{percent(min(draws))}-{percent(max(draws))}" if len(draws) > 1 else ""


def _segments(count: int) -> str:
    return f"{count} segment{'' if count == 1 else 's'}"
