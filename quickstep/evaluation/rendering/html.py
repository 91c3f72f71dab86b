"""The report as one html file: no network, no script; for light and dark screens, phones and paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from quickstep.evaluation.metrics import ClassFigures
from quickstep.evaluation.rendering.charts import AccuracyBar, accuracy_bars, learning_charts, line_charts
from quickstep.evaluation.rendering.sentences import (
    LEVEL_NAMES,
    calibration,
    confusions,
    facts,
    importance_rows,
    importance_words,
    mean_area_words,
    risk_words,
    short_path,
    stage_times,
    subtitle,
    threshold_words,
    tiles,
)
from quickstep.evaluation.rendering.svg_charts import heat_map, interval_bar, line_chart, small_bar
from quickstep.evaluation.report import Report
from quickstep.types.confidence_intervals import Interval, between, percent, points

HERE = Path(__file__).parent
MOST_LISTED = 1000  # tested segments written out on the page


@dataclass(frozen=True)
class BarRow:
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
    """Return the whole page; labels, paths and all other free text are escaped."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(percent=lambda value: _unbroken(percent(value)), short_path=short_path, unbroken=_unbroken)
    first, _, second = report.headline.partition(" (95")
    wrong = len(report.tested) - report.correct
    return environment.get_template(
        "page.html.jinja"
    ).render(
        report=report,
        style=Markup((HERE / "page.css").read_text(encoding="utf-8")),  # our own file
        headline=(first, f"(95{second}"),
        subtitle=subtitle(report),
        level_names=LEVEL_NAMES,
        bars=[_bar_row(bar, report.figures.chance) for bar in accuracy_bars(report)],
        tiles=tiles(report),
        confusions=confusions(report),
        importance=importance_words(report) if report.importances else "",
        importance_rows=importance_rows(report),
        units=report.unit,
        unit=report.unit.removesuffix("s"),
        classes=[_class_row(figures) for figures in report.classes],
        wrong=wrong,
        mistakes_shown=_mistakes_shown(wrong, len(report.mistakes)),
        threshold=threshold_words(report),
        calibration=calibration(report),
        risk=risk_words(report),
        areas={"roc": mean_area_words(report.curves.roc, "area"), "pr": mean_area_words(report.curves.pr, "average precision")},
        charts=_charts(report),
        learning=[(chart.title, line_chart(chart)) for chart in learning_charts(report.learning)],
        facts=[*facts(report), ("Time", stage_times(report))],
        listed=report.tested[:MOST_LISTED],
    )


def embedded(report: Report) -> tuple[str, str]:
    """Return the page as (style, content) for an element of another page whose styles it does not share."""
    whole = page(report)
    style = (HERE / "page.css").read_text(encoding="utf-8")
    for own, inside in ((":root{", ":host{"), ("html{", ":host{"), ("body{", "main{")):
        style = style.replace(own, inside)
    begin, end = whole.index("<main>"), whole.index("</main>") + len("</main>")
    return style, whole[begin:end]


def _unbroken(text: str) -> str:
    """Return the text with no line break before a percent sign."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def _bar_row(bar: AccuracyBar, chance: float) -> BarRow:
    if bar.accuracy is None:
        return BarRow(bar.name, bar.about, problem=bar.problem)
    accuracy = bar.accuracy
    svg = interval_bar(accuracy.value, accuracy.low, accuracy.high, strong=bar.is_model, marks=[chance])
    return BarRow(bar.name, bar.about, svg, percent(accuracy.value), between(accuracy), _lead(bar.lead))


def _lead(lead: Interval | None) -> str:
    if lead is None:
        return ""
    start = "the model leads by" if lead.value > 0 else "the model is behind:" if lead.value < 0 else "equal to the model:"
    return f"{start} {points(lead)}"


def _class_row(figures: ClassFigures) -> ClassRow:
    recall, precision, f1 = (percent(value) if value is not None else "–" for value in (figures.recall, figures.precision, figures.f1))
    return ClassRow(figures, recall, precision, f1, small_bar(figures.recall) if figures.recall is not None else Markup(""))


def _mistakes_shown(wrong: int, shown: int) -> str:
    if wrong <= 1:
        return "The only mistake."
    first = "All" if shown == wrong else f"The {shown} most confident of"
    return f"{first} {wrong} mistakes, sorted by confidence. A confident mistake is often a wrong label."


def _charts(report: Report) -> Mapping[str, Markup]:
    charts = {name.replace("-", "_"): line_chart(chart) for name, chart in line_charts(report).items()}
    return charts | {
        "counts": heat_map(report.confusion, report.labels, shares=False, title="Confusion matrix in counts"),
        "shares": heat_map(report.confusion, report.labels, shares=True, title="Confusion matrix in percent of each true class"),
    }
