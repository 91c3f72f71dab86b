"""The sentences and small tables that page, markdown and card share; made of a Report alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from quickstep.evaluation.metrics import Curve, mean_area
from quickstep.evaluation.report import ModelFacts, Report
from quickstep.types.confidence_intervals import Interval, between, percent

WORDS = {"warning": "Warning", "caution": "Careful", "note": "Note", "good": "Good"}
NAMES = {"majority": "Always the commonest", "metadata": "File metadata alone", "frame": "One middle frame", "pose": "One middle pose"}

Rows = list[tuple[str, str]]


@dataclass(frozen=True)
class Tile:
    """A number with its name and what qualifies it."""

    name: str
    value: str
    fine: str


def under(report: Report) -> str:
    """The sentence under the headline: what was tested, of whom, and against what chance."""
    groups = report.tested_on.groups
    moves = f"{len(report.labels)} moves" if len(report.labels) != 1 else "1 move"
    whose = f" from {groups} groups" if 1 < groups < len(report.tested) else " of one group" if groups == 1 < len(report.tested) else ""
    other = report.tested_on.fingerprint != report.trained_on.fingerprint
    where = f"Trained on {report.trained_on.name}, tested on {report.tested_on.name}: " if other else ""
    text = f"{moves}, {len(report.tested)} {report.things}{whose} that it did not learn from. "
    text += f"The commonest of them makes up {percent(report.figures.chance)}."
    return where + text


def tiles(report: Report) -> list[Tile]:
    """The measured numbers beside the headline."""
    figures, curves = report.figures, report.curves
    shown = [
        Tile("Balanced accuracy", percent(figures.balanced_accuracy.value), f"95 % interval {between(figures.balanced_accuracy)}"),
        Tile("Macro F1", percent(figures.macro_f1.value), f"95 % interval {between(figures.macro_f1)}"),
    ]
    for k, value in figures.top_k.items():
        if 1 < int(k) < len(report.labels):
            shown.append(Tile(f"Top {k}", percent(value), f"the truth is among the first {k}"))
    before, after = curves.uncalibrated, curves.calibrated
    shown.append(Tile("Log-loss", f"{after.log_loss:.2f}", f"{before.log_loss:.2f} before scaling"))
    shown.append(Tile("Calibration error", percent(after.ece), f"{percent(before.ece)} before scaling"))
    if figures.auc_roc is not None:
        shown.append(Tile("Area under ROC", f"{figures.auc_roc:.2f}", "mean of the moves; 0.5 is chance"))
    if figures.auc_pr is not None:
        shown.append(Tile("Average precision", f"{figures.auc_pr:.2f}", "mean of the moves"))
    return shown


def mixed_up(report: Report) -> str:
    """The commonest confusions, in words."""
    pairs = [
        (count, row, column)
        for row, line in enumerate(report.confusion)
        for column, count in enumerate(line)
        if row != column and count > 0
    ]
    pairs.sort(key=lambda pair: -pair[0])
    said = [
        f"{report.labels[row]} taken for {report.labels[column]} ({count} of {sum(report.confusion[row])})"
        for count, row, column in pairs[:3]
    ]
    return f"Most often: {'; '.join(said)}." if said else ""


def believe(report: Report) -> str:
    """How a user can trade answers for certainty."""
    figures = report.figures
    if figures.threshold is None or figures.answered is None:
        return "On validation there were too few right answers to find a certainty from which on they can be relied on."
    start = f"It counts as sure from {percent(figures.threshold)} on, where 95 in 100 answers were right on validation."
    if figures.right_when_answered is None:
        return f"{start} On the test it never was."
    of_those = f"right on {percent(figures.right_when_answered)} of those"
    return f"{start} On the test it was for {percent(figures.answered)} of the {report.things}, and {of_those}."


def decisive(report: Report) -> str:
    """Which numbers made the difference, in words."""
    families = [each for each in report.deciding if each.members]
    sure = [each for each in report.deciding if not each.members and each.loss.low > 0]
    first = max(families, key=lambda each: each.loss.value)
    text = f"Most of it is {first.name}: without that, accuracy falls by {_fall(first.loss)}." if first.loss.low > 0 else ""
    if sure:
        named = ", ".join(f"{each.name} ({_fall(each.loss)})" for each in sorted(sure, key=lambda each: -each.loss.value)[:5])
        return f"{text} Of single numbers surely: {named}.".strip()
    return f"{text} No single number is surely needed: others say much the same, or the test is too small to tell.".strip()


def decisive_rows(report: Report, *, most: int = 8) -> list[tuple[str, str, str]]:
    """The families, and the single numbers that count most: name, what accuracy falls by, meaning."""
    families = sorted((each for each in report.deciding if each.members), key=lambda each: -each.loss.value)
    single = sorted((each for each in report.deciding if not each.members and each.loss.value > 0), key=lambda each: -each.loss.value)[
        :most
    ]
    return [(each.name, _fall(each.loss), ", ".join(each.members) or each.about) for each in (*families, *single)]


def _fall(loss: Interval) -> str:
    value, low, high = (str(round(100 * share)).replace("-", "−") for share in (loss.value, loss.low, loss.high))
    return f"{value} points, {low} to {high}"


def calibration(report: Report) -> str:
    """How far certainty and truth are apart, before and after temperature scaling."""
    before, after = report.curves.uncalibrated, report.curves.calibrated
    if report.model.temperature == 1:
        return f"Mean gap (ECE) {percent(after.ece)}; no temperature was fitted."
    return (
        f"Mean gap (ECE) {percent(before.ece)} before and {percent(after.ece)} after temperature scaling "
        f"by {report.model.temperature:.2f}, fitted on validation."
    )


def risk_words(report: Report) -> str:
    """What the risk-coverage curve says at half of the segments."""
    curve = report.curves.risk_coverage
    at = min(range(len(curve.coverage)), key=lambda index: abs(curve.coverage[index] - 0.5))
    areas = f"Area under the line (AURC) {curve.area:.3f}; the best possible with so many mistakes is {curve.best_area:.3f}."
    return (
        f"Of the surest {percent(curve.coverage[at])} it has {percent(1 - curve.risk[at])} right "
        f"(at least {percent(curve.sure[at])} sure). {areas}"
    )


def mean_area_words(report: Report, kind: str) -> str:
    """The mean area under a set of curves, and what could not be drawn."""
    curves: tuple[Curve, ...] = getattr(report.curves, kind)
    mean = mean_area(curves)
    absent = sum(curve.area is None for curve in curves)
    name = "area" if kind == "roc" else "average precision"
    text = f"Mean {name} {mean:.2f}." if mean is not None else "It takes segments of two moves to draw this."
    return text + (f" {absent} of {len(curves)} moves have no curve, because the test has none or nothing else." if absent and mean else "")


def facts(report: Report) -> list[tuple[str, Rows]]:
    """What the model is, what it was fitted with and on what."""
    trained, tested = report.trained_on, report.tested_on
    data: Rows = [
        ("Trained on", f"{trained.name}, {trained.segments} segments, {trained.groups} groups"),
        ("its fingerprint", trained.fingerprint[:16]),
        ("Tested on", f"{tested.name}, {report.split}: {tested.segments} segments, {tested.groups} groups"),
        ("its fingerprint", tested.fingerprint[:16]),
    ]
    model, words, settings, versions = facts_of(report.model)
    return [model, settings, ("Data", data), versions, *([words] if words[1] else [])]


def facts_of(model: ModelFacts) -> list[tuple[str, Rows]]:
    """What a model is, the words it reads, the settings it was fitted with, and the versions of what fitted it."""
    about: Rows = [
        ("Model", model.name),
        ("Backbone", f"{model.backbone} {model.revision}".strip()),
        ("Licence of its weights", model.license or "not stated"),
        ("Head", model.head),
        ("Temperature", f"{model.temperature:.3f}"),
        ("Sure from", "not known" if model.threshold is None else percent(model.threshold)),
        *((f"View: {name}", "as needed" if value is None else say(value)) for name, value in model.view.items()),
    ]
    settings: Rows = [(name.replace("_", " "), say(value)) for name, value in flat(model.settings)]
    versions: Rows = sorted((name, number or "not installed") for name, number in model.versions.items())
    words: Rows = [(label, "; ".join(sentences)) for label, sentences in model.words.items()]
    return [("Model", about), ("Words", words), ("Settings", settings), ("Versions", versions)]


def flat(settings: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    """Nested settings as one list with dotted names."""
    rows: list[tuple[str, Any]] = []
    for name, value in settings.items():
        rows += flat(value, f"{before}{name}.") if isinstance(value, Mapping) else [(before + name, value)]
    return rows


def say(value: Any) -> str:
    """A setting's value as people write it."""
    if value is None:
        return "by default"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def stage_words(report: Report) -> Rows:
    """How long each stage took."""
    return [(stage, duration(seconds)) for stage, seconds in report.seconds.items()]


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def short_path(path: str) -> str:
    """The end of a path, which tells files apart: the folder and the name."""
    parts = PurePath(path).parts
    return "/".join(parts[-2:]) if len(parts) > 2 else path


def spoken(interval: Interval) -> str:
    """A share with its interval."""
    return f"{percent(interval.value)} ({between(interval)})"
