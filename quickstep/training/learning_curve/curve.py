"""LearningCurve: all that was found, as frozen data that JSON can hold, and what it says in plain sentences; measures nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass

from quickstep.storage.serialization import to_plain
from quickstep.types.confidence_intervals import Interval, between, percent, points

Row = tuple[str, ...]


@dataclass(frozen=True)
class Point:
    """How good a head is that learnt from so many segments a class."""

    shots: int
    accuracy: Interval
    balanced_accuracy: Interval
    draws: tuple[float, ...]  # the accuracy of each draw
    recalls: tuple[float | None, ...]  # of each class; None: none was held out
    fewer: dict[str, int]  # classes that have not so many, and how many they have


@dataclass(frozen=True)
class Beside:
    """Something simpler, on the same held-out segments: "majority", or "words" alone."""

    name: str
    about: str
    accuracy: Interval
    balanced_accuracy: Interval


@dataclass(frozen=True)
class Help:
    """By how much balanced accuracy rises with more labels of one class alone."""

    label: str
    have: int  # segments to learn from
    gain: Interval
    measured_at: int | None  # segments of every class to begin with; None: it could not be tried, only extrapolated


@dataclass(frozen=True)
class Advice:
    """For which class more labels would help most: the classes, the largest gain first, and what that comes to."""

    more: int
    helps: tuple[Help, ...]
    best: str | None  # the class whose gain is above all others'; None: that cannot be told
    verdict: str


@dataclass(frozen=True)
class LearningCurve:
    """Accuracy against the number of labelled segments a class."""

    source: str
    fingerprint: str  # of the manifest with the parts it was measured under
    labels: tuple[str, ...]
    backbone: str
    head: str
    learnt_from: dict[str, int]  # label -> segments in the pool
    held_out: dict[str, int]  # label -> segments
    groups: int  # held out
    repeats: int
    seed: int
    points: tuple[Point, ...]
    beside: tuple[Beside, ...]
    last_step: Interval | None  # how much accuracy the last point gained over the one before
    advice: Advice | None
    notes: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def tested(self) -> int:
        """How many segments were held out."""
        return sum(self.held_out.values())

    @property
    def sentences(self) -> tuple[str, ...]:
        """What it comes to."""
        told = [self._at_the_end(), *self._step(), *([self.advice.verdict] if self.advice else [])]
        return tuple(told)

    @property
    def columns(self) -> Row:
        """The names of what stands in a row."""
        return ("segments a class", "right", "95 % interval", "every class alike", "95 % interval", "draws from-to")

    @property
    def rows(self) -> list[Row]:
        """The points as a table for people, then what they stand beside."""
        rows = [(str(p.shots) + ("*" if p.fewer else ""), *_shares(p.accuracy, p.balanced_accuracy), _range(p.draws)) for p in self.points]
        return [*rows, *((each.about, *_shares(each.accuracy, each.balanced_accuracy), "") for each in self.beside)]

    def to_json(self) -> str:
        """Everything, for programs."""
        plain = {**to_plain(self), "sentences": list(self.sentences)}
        return json.dumps(plain, ensure_ascii=False, allow_nan=False, indent=1)

    def _at_the_end(self) -> str:
        last = self.points[-1]
        over = f" in {self.groups} groups" if self.groups < self.tested else ""
        beside = "; ".join(f"{each.about}: {percent(each.accuracy.value)}" for each in self.beside)
        return (
            f"With {_segments(last.shots)} a class, {self.head} on {self.backbone} is right on {percent(last.accuracy.value)} "
            f"({between(last.accuracy)}) of {self.tested} held-out segments{over}; {beside}."
        )

    def _step(self) -> list[str]:
        if self.last_step is None:
            return []
        before, last = self.points[-2].shots, self.points[-1].shots
        gain = f"From {before} to {_segments(last)} a class it gains {points(self.last_step)}"
        if self.last_step.low > 0:
            return [f"{gain}: it was still rising, so more of every class would likely help."]
        if self.last_step.high < 0:
            return [f"{gain}: it fell, so look at what the added segments are."]
        return [f"{gain}: whether it still rises cannot be told from this."]


def _shares(accuracy: Interval, balanced: Interval) -> Row:
    return percent(accuracy.value), between(accuracy), percent(balanced.value), between(balanced)


def _range(draws: tuple[float, ...]) -> str:
    return f"{percent(min(draws))}-{percent(max(draws))}" if len(draws) > 1 else ""


def _segments(count: int) -> str:
    return f"{count} segment{'' if count == 1 else 's'}"
