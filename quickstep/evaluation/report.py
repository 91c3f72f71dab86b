"""Report: the result of an evaluation as frozen data that JSON can hold.

The html page, the markdown, the charts, the model card and the comparison are made from a Report alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from quickstep.evaluation.metrics import ClassFigures, Curve, Reliability, RiskCoverage
from quickstep.storage.files import check_regular
from quickstep.storage.serialization import from_plain, to_plain
from quickstep.types.confidence_intervals import Difference, Interval, between, percent
from quickstep.types.errors import ModelError

FORMAT = 3  # 1 was written by version 0.1; 2 had no folds


@dataclass(frozen=True)
class TestedSegment:
    """One tested segment: its label, the predicted label, and the probability of every class."""

    path: str
    start: float
    end: float | None
    group: str | None
    label: str
    predicted: str
    scores: tuple[float, ...]
    person: int | None = None  # of several people in the segment; None: the dancer

    @property
    def correct(self) -> bool:
        """Whether the predicted label is the true one."""
        return self.predicted == self.label

    @property
    def confidence(self) -> float:
        """The probability of the predicted label."""
        return max(self.scores)

    @property
    def name(self) -> str:
        """The path, with the span where the segment is not the whole video."""
        if self.start == 0 and self.end is None:
            return self.path
        return f"{self.path} @ {self.start:g}-{'end' if self.end is None else f'{self.end:g}'} s"


@dataclass(frozen=True)
class Verdict:
    """One sentence on what a figure means; `level` is "warning", "caution", "note" or "good"."""

    level: str
    about: str  # "chance", "frame", "metadata", "size", "data" ...
    text: str


@dataclass(frozen=True)
class Baseline:
    """A simpler classifier, fitted on the same training part and tested on the same segments."""

    name: str  # "majority", "metadata", "frame" or "pose"
    about: str
    accuracy: Interval | None  # None: it could not be fitted; `problem` says why
    difference: Difference | None  # the model's lead over it
    over_majority: Difference | None = None  # its own lead over the majority class
    note: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Figures:
    """Every measured number that is not a curve."""

    accuracy: Interval
    balanced_accuracy: Interval
    macro_f1: Interval
    top_k: dict[str, float]  # "1", "3", "5"
    chance: float  # the share of the majority class in the tested segments
    auc_roc: float | None  # means over the tested classes
    auc_pr: float | None
    threshold: float | None  # from this confidence on, 95 of 100 predictions were correct on validation; None: unknown
    coverage: float | None  # the share of segments at or above the threshold
    selective_accuracy: float | None  # the accuracy on those


@dataclass(frozen=True)
class Curves:
    """The data of the line charts."""

    roc: tuple[Curve, ...]
    pr: tuple[Curve, ...]
    uncalibrated: Reliability  # before temperature scaling
    calibrated: Reliability
    risk_coverage: RiskCoverage


@dataclass(frozen=True)
class Source:
    """The manifest that segments came from."""

    name: str
    fingerprint: str
    segments: int
    groups: int


@dataclass(frozen=True)
class ModelFacts:
    """The model that was tested."""

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
    words: dict[str, tuple[str, ...]] = field(default_factory=dict)  # label -> its class descriptions


@dataclass(frozen=True)
class PartCount:
    """The number of segments of one class in each part."""

    label: str
    train: int
    val: int
    test: int


@dataclass(frozen=True)
class Proof:
    """The checks that the test part is separate from the training part."""

    counts: tuple[PartCount, ...]
    lines: tuple[str, ...]  # what was compared, with the result
    leaks: tuple[str, ...] = ()  # tested segments that the model was trained on
    known: bool = True  # False: there was nothing to compare with
    grouped: bool = True  # False: nobody said who is in the videos, so the same person may be in both parts

    @property
    def clean(self) -> bool:
        """Whether the comparison was possible and found no leak."""
        return self.known and self.grouped and not self.leaks


@dataclass(frozen=True)
class Mistake:
    """A misclassified segment, with some of its frames as one small JPEG (a data URI; empty if the video is unreadable)."""

    tested: TestedSegment
    strip: str

    def __post_init__(self) -> None:
        if self.strip and not re.fullmatch(r"data:image/jpeg;base64,[A-Za-z0-9+/=]*", self.strip):
            raise ValueError("a strip is a JPEG as a data URI")


@dataclass(frozen=True)
class FeatureImportance:
    """A named feature, or a family of correlated features, and the accuracy that the model loses without it."""

    name: str
    about: str
    loss: Interval  # of accuracy, when the segments' values are permuted
    members: tuple[str, ...] = ()  # of a family


@dataclass(frozen=True)
class HardSegment:
    """A segment that was often misclassified while the head was fitted."""

    name: str
    label: str
    part: str
    wrong: int
    epochs: int


@dataclass(frozen=True)
class Learning:
    """The fit, epoch by epoch: name of the curve -> values."""

    curves: dict[str, tuple[float, ...]]
    best_epoch: int
    hardest: tuple[HardSegment, ...]


@dataclass(frozen=True)
class FoldFigures:
    """How many segments of one fold were classified correctly by the model that was fitted without it."""

    number: int  # from 1
    segments: int
    groups: int
    correct: int


@dataclass(frozen=True)
class UnreadSegment:
    """A segment that could not be tested, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class Report:
    """The result of one evaluation."""

    quickstep: str
    made: str  # ISO 8601, UTC
    split: str
    labels: tuple[str, ...]
    model: ModelFacts
    trained_on: Source
    tested_on: Source
    tested: tuple[TestedSegment, ...]
    figures: Figures
    classes: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...]
    curves: Curves
    baselines: tuple[Baseline, ...]
    verdicts: tuple[Verdict, ...]
    proof: Proof
    learning: Learning | None = None
    mistakes: tuple[Mistake, ...] = ()
    failures: tuple[UnreadSegment, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)  # label that the model was not trained on -> segments
    seconds: dict[str, float] = field(default_factory=dict)  # stage -> time
    importances: tuple[FeatureImportance, ...] = ()  # where the backbone's features have names; families first
    folds: tuple[FoldFigures, ...] = ()  # of a cross-validation: the tested segments are those of all folds
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
    def correct(self) -> int:
        """The number of correctly classified segments."""
        return sum(segment.correct for segment in self.tested)

    @property
    def unit(self) -> str:
        """What the tested segments are called: "videos" where all are whole videos, else "segments"."""
        whole = all(segment.start == 0 and segment.end is None for segment in self.tested)
        return ("video" if whole else "segment") + ("" if len(self.tested) == 1 else "s")

    @property
    def headline(self) -> str:
        """The first sentence of the page, the card and the command's output."""
        accuracy = self.figures.accuracy
        tested = f"{self.unit} correct in {len(self.folds)} folds" if self.folds else f"test {self.unit} correct"
        return f"{self.correct} of {len(self.tested)} {tested}: {percent(accuracy.value)} (95 % interval {between(accuracy)})"

    def named(self, name: str) -> Report:
        """Return the report under the name of the folder where the model is saved."""
        return replace(self, model=replace(self.model, name=name))

    @property
    def summary(self) -> tuple[str, ...]:
        """The headline and the verdicts, one sentence each."""
        return (f"{self.headline}.", *(verdict.text for verdict in self.verdicts))

    def to_json(self) -> str:
        """Return the whole report as JSON; `from_json` gives an equal one."""
        return json.dumps(to_plain(self), allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes, *, where: str | Path = "report.json") -> Report:
        """Return the report that `to_json` wrote, also in version 0.1; raise ModelError for anything else."""
        try:
            plain = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise ModelError(where, f"is not JSON ({error}); evaluate the model again") from error
        version = plain.get("format") if isinstance(plain, Mapping) else None
        if not isinstance(version, int):
            raise ModelError(where, "is not a report of quickstep; evaluate the model to get one")
        if version > FORMAT:
            raise ModelError(where, f"was written by a newer quickstep (format {version}, this one reads up to {FORMAT}); update quickstep")
        try:
            return from_plain(cls, _upgraded(plain) if version == 1 else plain, where="report")
        except ValueError as error:
            raise ModelError(where, f"{error}; evaluate the model again") from error

    @classmethod
    def load(cls, path: str | Path) -> Report:
        """Read report.json, or the one in a model folder."""
        path = Path(path)
        file = path / "report.json" if path.is_dir() else path
        try:
            check_regular(file)
            return cls.from_json(file.read_bytes(), where=file)
        except (OSError, UnicodeDecodeError) as error:
            why = "there is no report here; evaluate the model first" if isinstance(error, FileNotFoundError) else str(error)
            raise ModelError(file, why) from error


_RENAMED_IN_FORMAT_2: dict[str, dict[str, str]] = {  # path of the objects -> their old and new field names
    "": {"deciding": "importances"},
    "tested": {"said": "predicted"},
    "mistakes.tested": {"said": "predicted"},
    "classes": {"said": "predicted", "right": "correct"},
    "figures": {"answered": "coverage", "right_when_answered": "selective_accuracy"},
    "curves.uncalibrated": {"sure": "confidence", "right": "accuracy"},
    "curves.calibrated": {"sure": "confidence", "right": "accuracy"},
    "curves.risk_coverage": {"sure": "confidence"},
}


def _upgraded(value: Any, path: str = "") -> Any:
    """Return the plain data of format 1 under the field names of format 2; data of another shape is left as it is."""
    if isinstance(value, list):
        return [_upgraded(element, path) for element in value]
    if not isinstance(value, dict):
        return value
    names = _RENAMED_IN_FORMAT_2.get(path, {})
    upgraded = {names.get(name, name): _upgraded(inner, f"{path}.{name}".lstrip(".")) for name, inner in value.items()}
    return upgraded | {"format": FORMAT} if not path else upgraded


def _refuse_constant(word: str) -> None:
    raise ValueError(f"it contains {word}")
