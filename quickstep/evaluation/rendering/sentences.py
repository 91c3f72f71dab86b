"""The sentences and small tables that the page, the markdown and the model card share, all from a Report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from quickstep.evaluation.metrics import Curve, mean_area
from quickstep.evaluation.report import ModelFacts, Report
from quickstep.types.confidence_intervals import Interval, between, percent

LEVEL_NAMES = {"warning": "Warning", "caution": "Caution", "note": "Note", "good": "Good"}
BASELINE_NAMES = {
    "majority": "Majority class",
    "metadata": "File metadata alone",
    "frame": "One middle frame",
    "pose": "One middle pose",
}

Rows = list[tuple[str, str]]


@dataclass(frozen=True)
class Tile:
    """A figure with its name and a short qualification."""

    name: str
    value: str
    detail: str


def subtitle(report: Report) -> str:
    """Return the sentence under the headline: what was tested, and the share of the majority class."""
    groups = report.tested_on.groups
    classes = f"{len(report.labels)} classes" if len(report.labels) != 1 else "1 class"
    source = f" from {groups} groups" if 1 < groups < len(report.tested) else " of one group" if groups == 1 < len(report.tested) else ""
    other = report.tested_on.fingerprint != report.trained_on.fingerprint
    where = f"Trained on {report.trained_on.name}, tested on {report.tested_on.name}: " if other else ""
    unseen = ", each tested by a model that was not trained on its group" if report.folds else " that the model was not trained on"
    text = f"{classes}, {len(report.tested)} {report.unit}{source}{unseen}. "
    return where + text + f"The majority class has {percent(report.figures.chance)} of them."


def tiles(report: Report) -> list[Tile]:
    """Return the figures beside the headline."""
    figures, curves = report.figures, report.curves
    result = [
        Tile("Balanced accuracy", percent(figures.balanced_accuracy.value), f"95 % interval {between(figures.balanced_accuracy)}"),
        Tile("Macro F1", percent(figures.macro_f1.value), f"95 % interval {between(figures.macro_f1)}"),
    ]
    for k, value in figures.top_k.items():
        if 1 < int(k) < len(report.labels):
            result.append(Tile(f"Top-{k} accuracy", percent(value), f"the label is among the first {k}"))
    before, after = curves.uncalibrated, curves.calibrated
    result.append(Tile("Log loss", f"{after.log_loss:.2f}", f"{before.log_loss:.2f} before temperature scaling"))
    result.append(Tile("Calibration error", percent(after.ece), f"{percent(before.ece)} before temperature scaling"))
    if figures.auc_roc is not None:
        result.append(Tile("Area under ROC", f"{figures.auc_roc:.2f}", "mean of the classes; 0.5 is chance"))
    if figures.auc_pr is not None:
        result.append(Tile("Average precision", f"{figures.auc_pr:.2f}", "mean of the classes"))
    return result


def confusions(report: Report) -> str:
    """Return the most frequent confusions in a sentence."""
    pairs = [
        (count, row, column)
        for row, line in enumerate(report.confusion)
        for column, count in enumerate(line)
        if row != column and count > 0
    ]
    pairs.sort(key=lambda pair: -pair[0])
    texts = [
        f"{report.labels[row]} as {report.labels[column]} ({count} of {sum(report.confusion[row])})" for count, row, column in pairs[:3]
    ]
    return f"Most frequent confusions: {'; '.join(texts)}." if texts else ""


def threshold_words(report: Report) -> str:
    """Explain the confidence threshold, and what it gives on the test part."""
    figures = report.figures
    if figures.threshold is None or figures.coverage is None:
        return "The validation part has too few correct predictions to choose a confidence threshold."
    start = f"From a confidence of {percent(figures.threshold)} on, 95 of 100 predictions were correct on validation."
    if figures.selective_accuracy is None:
        return f"{start} No test prediction reaches it."
    reached = f"{percent(figures.coverage)} of the test {report.unit} reach it"
    return f"{start} {reached}, with an accuracy of {percent(figures.selective_accuracy)}."


def importance_words(report: Report) -> str:
    """Return the most important features in a sentence."""
    families = [importance for importance in report.importances if importance.members]
    significant = [importance for importance in report.importances if not importance.members and importance.loss.low > 0]
    text = ""
    if families:
        first = max(families, key=lambda family: family.loss.value)
        text = f"Most important: {first.name}; without it, accuracy drops by {_drop(first.loss)}." if first.loss.low > 0 else ""
    if significant:
        ranked = sorted(significant, key=lambda feature: -feature.loss.value)[:5]
        names = ", ".join(f"{feature.name} ({_drop(feature.loss)})" for feature in ranked)
        return f"{text} Significant single features: {names}.".strip()
    return f"{text} No single feature is significant: others are correlated with it, or the test set is too small.".strip()


def importance_rows(report: Report, *, most: int = 8) -> list[tuple[str, str, str]]:
    """Return the families and the most important single features: name, drop in accuracy, meaning."""
    families = [importance for importance in report.importances if importance.members]
    single = [importance for importance in report.importances if not importance.members and importance.loss.value > 0]
    ranked = [
        *sorted(families, key=lambda importance: -importance.loss.value),
        *sorted(single, key=lambda importance: -importance.loss.value)[:most],
    ]
    return [(importance.name, _drop(importance.loss), ", ".join(importance.members) or importance.about) for importance in ranked]


def _drop(loss: Interval) -> str:
    value, low, high = (str(round(100 * share)).replace("-", "−") for share in (loss.value, loss.low, loss.high))
    return f"{value} points, {low} to {high}"


def calibration(report: Report) -> str:
    """Return the calibration error before and after temperature scaling."""
    before, after = report.curves.uncalibrated, report.curves.calibrated
    if report.model.temperature == 1:
        return f"Expected calibration error (ECE): {percent(after.ece)}; no temperature was fitted."
    return (
        f"Expected calibration error (ECE): {percent(before.ece)} before and {percent(after.ece)} after temperature scaling "
        f"by {report.model.temperature:.2f}, fitted on validation."
    )


def risk_words(report: Report) -> str:
    """Return what the risk-coverage curve says at half of the segments."""
    curve = report.curves.risk_coverage
    half = min(range(len(curve.coverage)), key=lambda index: abs(curve.coverage[index] - 0.5))
    areas = f"Area under the line (AURC): {curve.area:.3f}; the best possible with this accuracy is {curve.best_area:.3f}."
    return (
        f"On the most confident {percent(curve.coverage[half])} the accuracy is {percent(1 - curve.risk[half])} "
        f"(confidence at least {percent(curve.confidence[half])}). {areas}"
    )


def mean_area_words(curves: Sequence[Curve], name: str) -> str:
    """Return the mean area under a set of curves, and how many classes have no curve."""
    mean = mean_area(curves)
    if mean is None:
        return "A curve needs tested segments of two classes."
    absent = sum(curve.area is None for curve in curves)
    missing = f" {absent} of {len(curves)} classes have no curve: no test segment, or every one, has the label." if absent else ""
    return f"Mean {name}: {mean:.2f}.{missing}"


def facts(report: Report) -> list[tuple[str, Rows]]:
    """Return what the model is, its settings, its data and the versions, as titled tables."""
    trained, tested = report.trained_on, report.tested_on
    part = f"{len(report.folds)} folds" if report.folds else report.split
    data: Rows = [
        ("Trained on", f"{trained.name}, {trained.segments} segments, {trained.groups} groups"),
        ("Its fingerprint", trained.fingerprint[:16]),
        (
            "Tested on",
            f"{tested.name}, {part}: {tested.segments} segments, {tested.groups} groups",
        ),
        ("Its fingerprint", tested.fingerprint[:16]),
    ]
    model, words, settings, versions = facts_of(report.model)
    return [model, settings, ("Data", data), versions, *([words] if words[1] else [])]


def facts_of(model: ModelFacts) -> list[tuple[str, Rows]]:
    """Return what a model is, its class descriptions, its settings and the versions it was fitted with."""
    about: Rows = [
        ("Model", model.name),
        ("Backbone", f"{model.backbone} {model.revision}".strip()),
        ("Licence of its weights", model.license or "not stated"),
        ("Head", model.head),
        ("Temperature", f"{model.temperature:.3f}"),
        ("Confidence threshold", "unknown" if model.threshold is None else percent(model.threshold)),
        *((f"View: {name}", "automatic" if value is None else setting_text(value)) for name, value in model.view.items()),
    ]
    settings: Rows = [(name.replace("_", " "), setting_text(value)) for name, value in _flat(model.settings)]
    versions: Rows = sorted((name, number or "not installed") for name, number in model.versions.items())
    words: Rows = [(label, "; ".join(sentences)) for label, sentences in model.words.items()]
    return [("Model", about), ("Class descriptions", words), ("Settings", settings), ("Versions", versions)]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return nested settings as one list with dotted names, without those that are empty."""
    rows: list[tuple[str, Any]] = []
    for name, value in settings.items():
        rows += _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(prefix + name, value)]
    return rows


def setting_text(value: Any) -> str:
    """Return a setting's value as text."""
    if value is None:
        return "default"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def stage_times(report: Report) -> Rows:
    """Return the time that each stage took."""
    return [(stage, duration(seconds)) for stage, seconds in report.seconds.items()]


def duration(seconds: float) -> str:
    """Return a duration with a suitable unit."""
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def short_path(path: str) -> str:
    """Return the last folder and the name of a path."""
    parts = PurePath(path).parts
    return "/".join(parts[-2:]) if len(parts) > 2 else path


def with_interval(interval: Interval) -> str:
    """Return a share with its interval."""
    return f"{percent(interval.value)} ({between(interval)})"
