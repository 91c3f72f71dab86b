"""Report: all that an evaluation found, as frozen data that JSON can hold; measures nothing and draws nothing.

The page, the markdown, the pictures, the card and the comparison are made of a Report and of nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quickstep.evaluation.metrics import ClassFigures, Curve, Reliability, RiskCoverage
from quickstep.storage.serialization import from_plain, to_plain
from quickstep.types.confidence_intervals import Difference, Interval, between, percent
from quickstep.types.errors import ModelError

FORMAT = 1


@dataclass(frozen=True)
class Tested:
    """One tested segment: what it is, what was said, and every class's probability."""

    path: str
    start: float
    end: float | None
    group: str | None
    label: str
    said: str
    scores: tuple[float, ...]
    person: int | None = None  # which of the people in it; None: the dancer

    @property
    def right(self) -> bool:
        return self.said == self.label

    @property
    def sure(self) -> float:
        return max(self.scores)

    @property
    def name(self) -> str:
        """The path with, where it is not the whole video, the span."""
        if self.start == 0 and self.end is None:
            return self.path
        return f"{self.path} @ {self.start:g}-{'end' if self.end is None else f'{self.end:g}'} s"


@dataclass(frozen=True)
class Verdict:
    """A sentence in plain words; `level` is "warning", "caution", "note" or "good"."""

    level: str
    about: str  # "chance", "frame", "metadata", "size", "data" ...
    text: str


@dataclass(frozen=True)
class Baseline:
    """Something simpler than the model, fitted on the same part and tested on the same segments."""

    name: str  # "majority", "metadata", "frame"
    about: str
    accuracy: Interval | None  # None: it could not be made; `problem` says why
    difference: Difference | None  # the model's lead over it
    over_majority: Difference | None = None  # its own lead over always saying the commonest label
    note: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Figures:
    """Every measured number that is not a curve."""

    accuracy: Interval
    balanced_accuracy: Interval
    macro_f1: Interval
    top_k: dict[str, float]  # "1", "3", "5"
    chance: float  # the largest class's share of what was tested
    auc_roc: float | None  # means over the classes tested
    auc_pr: float | None
    threshold: float | None  # from so sure on, answers were right 95 times in 100 on validation; None: not known
    answered: float | None  # the share at or above the threshold
    right_when_answered: float | None


@dataclass(frozen=True)
class Curves:
    """The lines behind the charts."""

    roc: tuple[Curve, ...]
    pr: tuple[Curve, ...]
    uncalibrated: Reliability  # before temperature scaling
    calibrated: Reliability
    risk_coverage: RiskCoverage


@dataclass(frozen=True)
class Source:
    """Where segments came from."""

    name: str
    fingerprint: str
    segments: int
    groups: int


@dataclass(frozen=True)
class ModelFacts:
    """What was tested."""

    name: str
    backbone: str
    revision: str
    license: str
    head: str
    temperature: float
    threshold: float | None
    view: dict[str, Any]
    settings: dict[str, Any]
    versions: dict[str, str]
    words: dict[str, tuple[str, ...]] = field(default_factory=dict)  # label -> the sentences that were read for it


@dataclass(frozen=True)
class PartCount:
    """How many segments of one class are in each part."""

    label: str
    train: int
    val: int
    test: int


@dataclass(frozen=True)
class Proof:
    """Why nothing of the test part can have been learnt by heart, line by line."""

    counts: tuple[PartCount, ...]
    lines: tuple[str, ...]  # what was checked and found
    leaks: tuple[str, ...] = ()  # what was tested though it was learnt from
    known: bool = True  # False: there was nothing to compare with

    @property
    def clean(self) -> bool:
        return self.known and not self.leaks


@dataclass(frozen=True)
class Mistake:
    """A segment named wrongly, with some of its moments side by side as a small JPEG (a data URI; empty if unreadable)."""

    tested: Tested
    strip: str

    def __post_init__(self) -> None:
        if self.strip and not re.fullmatch(r"data:image/jpeg;base64,[A-Za-z0-9+/=]*", self.strip):
            raise ValueError("a strip is a JPEG as a data URI")


@dataclass(frozen=True)
class Deciding:
    """A number that has a name, or several that say much the same, and what the model loses without it."""

    name: str
    about: str
    loss: Interval  # of accuracy, where the segments exchange this among each other
    members: tuple[str, ...] = ()  # of several


@dataclass(frozen=True)
class Hard:
    """A segment that was often wrong while the head was fitted."""

    name: str
    label: str
    part: str
    wrong: int
    epochs: int


@dataclass(frozen=True)
class Learning:
    """How fitting went, epoch by epoch: name of the curve -> values."""

    curves: dict[str, tuple[float, ...]]
    best_epoch: int
    hardest: tuple[Hard, ...]


@dataclass(frozen=True)
class Unread:
    """A segment that could not be tested, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class Report:
    """Everything that one evaluation found."""

    quickstep: str
    made: str  # ISO 8601, UTC
    split: str
    labels: tuple[str, ...]
    model: ModelFacts
    trained_on: Source
    tested_on: Source
    tested: tuple[Tested, ...]
    figures: Figures
    classes: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...]
    curves: Curves
    baselines: tuple[Baseline, ...]
    verdicts: tuple[Verdict, ...]
    proof: Proof
    learning: Learning | None = None
    mistakes: tuple[Mistake, ...] = ()
    failures: tuple[Unread, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)  # label the model never learnt -> segments
    seconds: dict[str, float] = field(default_factory=dict)  # stage -> time
    deciding: tuple[Deciding, ...] = ()  # where the backbone's numbers have names: which made the difference, families first
    format: int = FORMAT

    def __post_init__(self) -> None:
        size = len(self.labels)
        square = len(self.confusion) == size and all(len(row) == size for row in self.confusion)
        if not self.tested or not square or len(self.classes) != size:
            raise ValueError("a report has tested segments and figures for each of its labels")
        if any(len(one.scores) != size for one in (*self.tested, *(mistake.tested for mistake in self.mistakes))):
            raise ValueError(f"every tested segment has {size} scores, one for each label")
        if any(len(curve.x) != len(curve.y) for curve in (*self.curves.roc, *self.curves.pr)):
            raise ValueError("every point of a curve has an x and a y")
        if not self.curves.calibrated.counts or not self.curves.risk_coverage.risk:
            raise ValueError("a report has a reliability and a risk curve")

    @property
    def right(self) -> int:
        return sum(tested.right for tested in self.tested)

    @property
    def things(self) -> str:
        """What to call what was tested: videos where none was cut, segments otherwise."""
        whole = all(tested.start == 0 and tested.end is None for tested in self.tested)
        return ("video" if whole else "segment") + ("" if len(self.tested) == 1 else "s")

    @property
    def headline(self) -> str:
        """The first sentence of everything made of this report."""
        accuracy = self.figures.accuracy
        return (
            f"Right on {self.right} of {len(self.tested)} test {self.things}: {percent(accuracy.value)} (95 % interval {between(accuracy)})"
        )

    @property
    def summary(self) -> tuple[str, ...]:
        """The headline and what it means, one sentence each."""
        return (f"{self.headline}.", *(verdict.text for verdict in self.verdicts))

    def to_json(self) -> str:
        """The whole report as JSON; `from_json` gives an equal one."""
        return json.dumps(to_plain(self), allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes, *, where: str | Path = "report.json") -> Report:
        """The report that `to_json` wrote; anything else is refused in one line."""
        try:
            plain = json.loads(text, parse_constant=_no_number)
        except (ValueError, RecursionError) as error:
            raise ModelError(where, f"is not JSON ({error}); make it anew with quickstep evaluate") from error
        version = plain.get("format") if isinstance(plain, Mapping) else None
        if not isinstance(version, int):
            raise ModelError(where, "is not a report of quickstep; make one with quickstep evaluate")
        if version > FORMAT:
            raise ModelError(where, f"was written by a newer quickstep (format {version}, this one reads up to {FORMAT}); update quickstep")
        try:
            return from_plain(cls, plain, where="report")
        except ValueError as error:
            raise ModelError(where, f"{error}; make it anew with quickstep evaluate") from error

    @classmethod
    def load(cls, path: str | Path) -> Report:
        """Read report.json, or the one in a model folder."""
        path = Path(path)
        file = path / "report.json" if path.is_dir() else path
        try:
            return cls.from_json(file.read_bytes(), where=file)
        except (OSError, UnicodeDecodeError) as error:
            why = "there is no report here; make one with quickstep evaluate" if isinstance(error, FileNotFoundError) else str(error)
            raise ModelError(file, why) from error


def _no_number(word: str) -> None:
    raise ValueError(f"it has a {word}")
