"""The report as markdown, for an editor, a pull request or a model's page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from quickstep.evaluation.rendering.charts import accuracy_bars
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
    tiles,
)
from quickstep.evaluation.report import Report
from quickstep.types.confidence_intervals import between, percent, points

MOST_LISTED = 50


def markdown(report: Report) -> str:
    """Return everything of the page that text and tables can hold."""
    title = [f"# {escape(report.headline)}", ""]
    lines = [*title, f"Model **{escape(report.model.name)}**, {report.made[:10]}. {escape(subtitle(report))}", ""]
    lines += [f"- **{LEVEL_NAMES[verdict.level]}**: {escape(verdict.text)}" for verdict in report.verdicts]
    lines += section("Compared with baselines", baseline_table(report))
    lines += section("Figures", table(("", "", ""), [(tile.name, tile.value, tile.detail) for tile in tiles(report)]))
    if report.folds:
        lines += section("Folds", fold_table(report))
    lines += section("Confusions", [escape(confusions(report)), "", *class_table(report), "", *confusion_table(report)])
    if report.importances:
        lines += section("Important features", importance_table(report))
    lines += section("Mistakes", mistake_table(report))
    lines += section("Confidence", [f"- {escape(line)}" for line in _confidence_lines(report)])
    lines += section("Is the test set clean?", proof_lines(report))
    for name, rows in [*facts(report), ("Time", stage_times(report))]:
        if rows:
            lines += section(name, table(("", ""), rows))
    return "\n".join(lines) + "\n"


def section(title: str, lines: Iterable[str]) -> list[str]:
    """Return a heading and its content."""
    return ["", f"## {title}", "", *lines]


def baseline_table(report: Report) -> list[str]:
    """Return the accuracies of the model and of the baselines."""
    rows = []
    for bar in accuracy_bars(report):
        if bar.accuracy is None:
            rows.append((bar.name, "–", "–", bar.problem))
        else:
            rows.append((bar.name, percent(bar.accuracy.value), between(bar.accuracy), points(bar.lead) if bar.lead else ""))
    return table(("", "accuracy", "95 % interval", "the model's lead"), rows)


def fold_table(report: Report) -> list[str]:
    """Return the accuracy of each fold of a cross-validation."""
    rows = [
        (str(fold.number), str(fold.segments), str(fold.groups), str(fold.correct), percent(fold.correct / fold.segments))
        for fold in report.folds
    ]
    return table(("fold", "tested", "groups", "correct", "accuracy"), rows)


def class_table(report: Report) -> list[str]:
    """Return every class's precision, recall and F1 with its counts."""
    rows = []
    for figures in report.classes:
        shares = ("–" if value is None else percent(value) for value in (figures.recall, figures.precision, figures.f1))
        rows.append((figures.label, str(figures.count), str(figures.correct), str(figures.predicted), *shares))
    return table(("class", "tested", "correct", "predicted", "recall", "precision", "F1"), rows)


def confusion_table(report: Report) -> list[str]:
    """Return the confusion matrix in counts, where it is narrow enough to be read."""
    if len(report.labels) > 12:
        return []
    rows = [(label, *map(str, line)) for label, line in zip(report.labels, report.confusion)]
    return table(("true \\ predicted", *report.labels), rows)


def importance_table(report: Report) -> list[str]:
    """Return the most important features."""
    return [escape(importance_words(report)), "", *table(("feature", "accuracy drops by", "meaning"), importance_rows(report))]


def mistake_table(report: Report, *, most: int = MOST_LISTED) -> list[str]:
    """Return the most confident mistakes."""
    wrong = sorted((segment for segment in report.tested if not segment.correct), key=lambda segment: -segment.confidence)
    if not wrong:
        return ["None."]
    rows = [(short_path(segment.name), segment.label, segment.predicted, percent(segment.confidence)) for segment in wrong[:most]]
    more = ["", f"and {len(wrong) - most} more in report.json"] if len(wrong) > most else []
    return table(("video", "label", "predicted", "confidence"), rows) + more


def _confidence_lines(report: Report) -> list[str]:
    roc, pr = mean_area_words(report.curves.roc, "area"), mean_area_words(report.curves.pr, "average precision")
    return [calibration(report), risk_words(report), f"ROC: {roc}", f"PR: {pr}"]


def proof_lines(report: Report, *, counted: bool = True) -> list[str]:
    """Return the checks of the split, the counts of its parts, and what was left out."""
    lines = [f"- {escape(line)}" for line in report.proof.lines]
    lines += [f"- **Leak**: {escape(leak)}" for leak in report.proof.leaks]
    if report.proof.counts and counted:
        rows = [(row.label, str(row.train), str(row.val), str(row.test)) for row in report.proof.counts]
        lines += ["", *table(("class", "train", "val", "test"), rows)]
    if report.left_out:
        labels = ", ".join(f"{label} ({count})" for label, count in report.left_out.items())
        lines += ["", escape(f"Left out, because the model was not trained on these labels: {labels}.")]
    if report.failures:
        unread = [f"- {escape(short_path(failure.name))}: {escape(failure.why)}" for failure in report.failures]
        lines += ["", "Could not be read:", "", *unread]
    return lines


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table; its cells may contain anything."""
    lines = ["| " + " | ".join(map(escape, head)) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(map(escape, row)) + " |" for row in rows]


def escape(text: str) -> str:
    """Return the text on one line, with everything that markdown would interpret escaped."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|$~" else c for c in " ".join(text.split()))
