"""The charts of a report as data: lines, axes, bars and shades, which the html page draws as SVG and the picture files as PNG."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from quickstep.evaluation.metrics import Curve
from quickstep.evaluation.rendering.sentences import BASELINE_NAMES
from quickstep.evaluation.report import Learning, Report
from quickstep.types.confidence_intervals import Interval, percent

GREY, FIRST, SECOND = 0, 1, 2  # colours of a line; up to COLOURS
COLOURS = 8  # line colours beside grey


@dataclass(frozen=True)
class Line:
    """A line of a chart; `colour` 0 is grey, 1 to 8 are colours; `dots` gives the radius of a dot at every point."""

    x: Sequence[float]
    y: Sequence[float]
    name: str = ""
    colour: int = FIRST
    dashed: bool = False
    dots: Sequence[float] = ()


@dataclass(frozen=True)
class Axes:
    """The names and ranges of a chart's axes; shares are written as percentages."""

    x: str
    y: str
    x_range: tuple[float, float] = (0.0, 1.0)
    y_range: tuple[float, float] = (0.0, 1.0)
    x_share: bool = True
    y_share: bool = True
    width: int = 400
    height: int = 270


@dataclass(frozen=True)
class LineChart:
    """Lines over a pair of axes."""

    title: str
    lines: Sequence[Line]
    axes: Axes


@dataclass(frozen=True)
class AccuracyBar:
    """The accuracy of the model or of a baseline; without an accuracy, the problem."""

    name: str
    about: str
    accuracy: Interval | None
    lead: Interval | None = None  # of the model over the baseline
    problem: str = ""
    is_model: bool = field(default=False)


def accuracy_bars(report: Report) -> list[AccuracyBar]:
    """Return the model's accuracy and those of the baselines."""
    model = report.model
    bars = [AccuracyBar(model.name, f"{model.backbone} + {model.head}", report.figures.accuracy, is_model=True)]
    for baseline in report.baselines:
        name = BASELINE_NAMES.get(baseline.name, baseline.name)
        lead = baseline.difference.interval if baseline.difference is not None else None
        bars.append(AccuracyBar(name, baseline.about, baseline.accuracy, lead, baseline.problem))
    return bars


def line_charts(report: Report) -> dict[str, LineChart]:
    """Return the charts of confidence and of the trade-offs by name: reliability, risk-coverage, roc and pr."""
    curves = report.curves
    roc = Axes("false positive rate", "true positive rate")
    return {
        "reliability": _reliability(report),
        "risk-coverage": _risk_coverage(report),
        "roc": _one_against_rest(curves.roc, roc, "ROC curves", diagonal=True),
        "pr": _one_against_rest(curves.pr, Axes("recall", "precision"), "Precision-recall curves"),
    }


def learning_charts(learning: Learning | None) -> list[LineChart]:
    """Return the curves of loss and accuracy over the epochs, as far as they are known."""
    if learning is None:
        return []
    kinds = [kind for kind in ("loss", "accuracy") if any(learning.curves.get(f"{part}_{kind}") for part in ("train", "val"))]
    return [_learning(kind, learning.curves, learning.best_epoch) for kind in kinds]


def _reliability(report: Report) -> LineChart:
    before, after = report.curves.uncalibrated, report.curves.calibrated
    sizes = [3 + 9 * (count / len(report.tested)) ** 0.5 for count in after.counts]
    lines = [
        Line([0, 1], [0, 1], "ideal", GREY, dashed=True),
        Line(before.confidence, before.accuracy, f"before temperature scaling, ECE {percent(before.ece)}", SECOND, dashed=True),
        Line(after.confidence, after.accuracy, f"calibrated, ECE {percent(after.ece)}", FIRST, dots=sizes),
    ]
    return LineChart("Reliability", lines, Axes("confidence", "accuracy"))


def _risk_coverage(report: Report) -> LineChart:
    curve = report.curves.risk_coverage
    error = 1 - report.figures.accuracy.value
    highest = max(0.1, min(1.0, 1.15 * max(max(curve.risk), error)))
    lines = [
        Line([0, 1], [error, error], "without regard to confidence", GREY, dashed=True),
        Line(curve.coverage, curve.risk, f"most confident first, AURC {curve.area:.3f}", FIRST),
    ]
    return LineChart("Risk and coverage", lines, Axes("share of videos answered", "error rate", y_range=(0.0, highest)))


def _one_against_rest(curves: Sequence[Curve], axes: Axes, title: str, *, diagonal: bool = False) -> LineChart:
    """Draw every class in a colour of its own; of many classes only those with the smallest areas are named."""
    drawn = [curve for curve in curves if curve.area is not None]
    lines = [Line([0, 1], [0, 1], colour=GREY, dashed=True)] if diagonal else []
    if len(drawn) > COLOURS:
        drawn = sorted(drawn, key=lambda curve: curve.area or 0.0)
        lines += [Line(curve.x, curve.y, colour=GREY) for curve in drawn[COLOURS:]]
    lines += [
        Line(curve.x, curve.y, f"{shorten(curve.label)} {curve.area:.2f}", FIRST + index) for index, curve in enumerate(drawn[:COLOURS])
    ]
    return LineChart(title, lines, axes)


def _learning(kind: str, curves: Mapping[str, Sequence[float]], best_epoch: int) -> LineChart:
    lines, highest = [], 1.0 if kind == "accuracy" else 0.0
    for part, name, colour in (("train", "training", FIRST), ("val", "validation", SECOND)):
        values = curves.get(f"{part}_{kind}") or ()
        highest = max([highest, *values])
        lines.append(Line([1.0 + number for number in range(len(values))], values, name, colour))
    epochs = max(len(line.x) for line in lines)
    lines.append(Line([best_epoch, best_epoch], [0.0, highest], f"best epoch: {best_epoch}", GREY, dashed=True))
    axes = Axes("epoch", kind, (1.0, float(max(2, epochs))), (0.0, highest or 1.0), x_share=False, y_share=kind == "accuracy")
    return LineChart(kind.capitalize(), [line for line in lines if line.x], axes)


def shade(share: float) -> float:
    """Return the opacity of a cell of the confusion matrix: the share of its row, and visible where it is small."""
    return 0.12 + 0.88 * share if share > 0 else 0.0


def tick_label(value: float, *, share: bool) -> str:
    """Return a value as it is written at an axis."""
    return f"{100 * value:.0f} %" if share else f"{value:g}"


def ticks(low: float, high: float) -> list[float]:
    """Return about five round values from low to high."""
    span = high - low
    if not span > 0:
        return [low]
    step = 10.0 ** int(f"{span:e}".split("e")[1])
    step = next(s for s in (step / 10, step / 5, step / 4, step / 2, step, 2 * step) if span / s <= 5.001)
    first = int(low / step + (0.999999 if low > 0 else 0))
    return [round(n * step, 10) for n in range(first, int(high / step + 1e-6) + 1)]


def shorten(label: str, *, most: int = 20) -> str:
    """Return the label, cut where it would be too wide for a chart."""
    if text_width(label) <= most:
        return label
    start = ""
    for letter in label:
        if text_width(start + letter) > most - 1:
            break
        start += letter
    return start.rstrip() + "…"


def text_width(text: str) -> int:
    """Return the width in letters: wide scripts count double, combining marks not at all."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
