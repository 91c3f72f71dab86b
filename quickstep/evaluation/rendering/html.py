"""page: a Report as one html file that needs nothing else: no network, no script, light and dark, phone and paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from quickstep.evaluation.metrics import ClassFigures, Curve
from quickstep.evaluation.rendering.sentences import (
    NAMES,
    WORDS,
    believe,
    calibration,
    decisive,
    decisive_rows,
    facts,
    mean_area_words,
    mixed_up,
    risk_words,
    short_path,
    stage_words,
    tiles,
    under,
)
from quickstep.evaluation.rendering.svg_charts import HUES, Axes, Line, chart, heat_map, interval_bar, small_bar
from quickstep.evaluation.report import Baseline, Report
from quickstep.types.confidence_intervals import Interval, between, percent, points

HERE = Path(__file__).parent
LISTED = 1000  # tested segments written out on the page


@dataclass(frozen=True)
class Bar:
    """One row of the chart of baselines."""

    name: str
    about: str
    svg: Markup | None = None
    value: str = ""
    interval: str = ""
    lead: str = ""
    problem: str = ""


@dataclass(frozen=True)
class ClassRow:
    """One row of the table of classes."""

    figures: ClassFigures
    recall: str
    precision: str
    f1: str
    bar: Markup


def page(report: Report) -> str:
    """The whole page; everything that came from outside is escaped."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(percent=lambda value: _whole(percent(value)), short_path=short_path, whole=_whole)
    first, _, second = report.headline.partition(" (95")
    wrong = len(report.tested) - report.right
    return environment.get_template(
        "page.html.jinja"
    ).render(
        report=report,
        style=Markup((HERE / "page.css").read_text(encoding="utf-8")),  # our own file
        lead=(first, f"(95{second}"),
        under=under(report),
        words=WORDS,
        bars=_bars(report),
        tiles=tiles(report),
        mixed=mixed_up(report),
        decisive=decisive(report) if report.deciding else "",
        deciding=decisive_rows(report),
        many=report.things,
        one=report.things.removesuffix("s"),
        classes=[_class_row(figures) for figures in report.classes],
        wrong=wrong,
        wrong_words=_wrong_words(wrong, len(report.mistakes)),
        believe=believe(report),
        calibration=calibration(report),
        risk=risk_words(report),
        areas={"roc": mean_area_words(report, "roc"), "pr": mean_area_words(report, "pr")},
        charts=_charts(report),
        learning=_learning(report.learning.curves, report.learning.best_epoch) if report.learning else [],
        facts=[*facts(report), ("Time", stage_words(report))],
        listed=report.tested[:LISTED],
    )


def _whole(text: str) -> str:
    """The text with its percentages held together at line ends."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def _bars(report: Report) -> list[Bar]:
    chance = [report.figures.chance]
    accuracy = report.figures.accuracy
    rows = [_bar(report.model.name, f"{report.model.backbone} + {report.model.head}", accuracy, strong=True, marks=chance)]
    return rows + [_baseline_bar(baseline, chance) for baseline in report.baselines]


def _baseline_bar(baseline: Baseline, chance: Sequence[float]) -> Bar:
    name = NAMES.get(baseline.name, baseline.name)
    if baseline.accuracy is None:
        return Bar(name, baseline.about, problem=baseline.problem)
    lead = ""
    if baseline.difference is not None:
        gain = baseline.difference.interval
        how = "the model leads by" if gain.value > 0 else "the model is behind:" if gain.value < 0 else "level with the model:"
        lead = f"{how} {points(gain)}"
    return _bar(name, baseline.about, baseline.accuracy, strong=False, marks=chance, lead=lead)


def _bar(name: str, about: str, interval: Interval, *, strong: bool, marks: Sequence[float], lead: str = "") -> Bar:
    svg = interval_bar(interval.value, interval.low, interval.high, strong=strong, marks=marks)
    return Bar(name, about, svg, percent(interval.value), between(interval), lead)


def _class_row(figures: ClassFigures) -> ClassRow:
    recall, precision, f1 = (percent(value) if value is not None else "–" for value in (figures.recall, figures.precision, figures.f1))
    return ClassRow(figures, recall, precision, f1, small_bar(figures.recall) if figures.recall is not None else Markup(""))


def _wrong_words(wrong: int, shown: int) -> str:
    all_of = "All" if shown == wrong else f"The {shown} surest of"
    return f"{all_of} {wrong} mistakes, the surest first. A sure mistake is often a wrong label." if wrong > 1 else "The only mistake."


def _charts(report: Report) -> Mapping[str, Markup]:
    curves = report.curves
    return {
        "counts": heat_map(report.confusion, report.labels, shares=False, title="Confusion in counts"),
        "shares": heat_map(report.confusion, report.labels, shares=True, title="Confusion in percent of each true class"),
        "reliability": _reliability(report),
        "risk": _risk(report),
        "roc": _one_against_rest(curves.roc, Axes("said though it is not", "found"), "ROC curves", diagonal=True),
        "pr": _one_against_rest(curves.pr, Axes("found (recall)", "right when said (precision)"), "Precision-recall curves"),
    }


def _reliability(report: Report) -> Markup:
    before, after = report.curves.uncalibrated, report.curves.calibrated
    total = len(report.tested)
    sizes = [3 + 9 * (count / total) ** 0.5 for count in after.counts]
    lines = [
        Line([0, 1], [0, 1], "ideal", hue=0, dashed=True),
        Line(before.sure, before.right, "before temperature scaling", hue=2, dashed=True),
        Line(after.sure, after.right, "as it is", hue=1, dots=sizes),
    ]
    return chart(lines, Axes("how sure it is", "how often right"), title="Reliability")


def _risk(report: Report) -> Markup:
    curve = report.curves.risk_coverage
    worst = 1 - report.figures.accuracy.value
    top = max(0.1, min(1.0, 1.15 * max(max(curve.risk), worst)))
    lines = [
        Line([0, 1], [worst, worst], "whatever its certainty", hue=0, dashed=True),
        Line(curve.coverage, curve.risk, "the surest first", hue=1),
    ]
    return chart(lines, Axes("share answered", "share of those wrong", y_range=(0.0, top)), title="Risk and coverage")


def _one_against_rest(curves: Sequence[Curve], axes: Axes, title: str, *, diagonal: bool = False) -> Markup:
    drawn = [curve for curve in curves if curve.area is not None]
    lines = [Line([0, 1], [0, 1], hue=0, dashed=True)] if diagonal else []
    if len(drawn) <= HUES:
        lines += [Line(c.x, c.y, f"{c.label} {c.area:.2f}", hue=1 + index) for index, c in enumerate(drawn)]
        return chart(lines, axes, title=title)
    by_area = sorted(drawn, key=lambda curve: curve.area or 0.0)
    lines += [Line(curve.x, curve.y, hue=0) for curve in by_area[5:]]
    lines += [Line(curve.x, curve.y, f"{curve.label} {curve.area:.2f}", hue=1 + index) for index, curve in enumerate(by_area[:5])]
    return chart(lines, axes, title=title)


def _learning(curves: Mapping[str, Sequence[float]], best: int) -> list[tuple[str, Markup]]:
    return [
        (title, _learning_chart(title, curves, best, share=kind == "accuracy"))
        for kind, title in (("loss", "Loss"), ("accuracy", "Accuracy"))
        if any(curves.get(f"{part}_{kind}") for part in ("train", "val"))
    ]


def _learning_chart(title: str, curves: Mapping[str, Sequence[float]], best: int, *, share: bool) -> Markup:
    kind = "accuracy" if share else "loss"
    lines, top = [], 1.0 if share else 0.0
    for part, name, hue in (("train", "training", 1), ("val", "validation", 2)):
        values = curves.get(f"{part}_{kind}") or ()
        top = max([top, *values])
        lines.append(Line([1.0 + n for n in range(len(values))], values, name, hue=hue))
    epochs = max(len(line.x) for line in lines)
    lines.append(Line([best, best], [0.0, top], f"kept: epoch {best}", hue=0, dashed=True))
    axes = Axes("epoch", kind, x_range=(1.0, float(max(2, epochs))), y_range=(0.0, top or 1.0), x_share=False, y_share=share)
    return chart([line for line in lines if line.x], axes, title=title)
