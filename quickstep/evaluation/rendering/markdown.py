"""markdown: a Report as text that reads well in an editor, a pull request or a model's page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from quickstep.evaluation.rendering.sentences import (
    NAMES,
    WORDS,
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
from quickstep.evaluation.report import Report
from quickstep.types.confidence_intervals import between, percent, points

LISTED = 50


def markdown(report: Report) -> str:
    """Everything of the page that words and tables can say."""
    lines = [f"# {escape(report.headline)}", "", f"Model **{escape(report.model.name)}**, {report.made[:10]}. {escape(under(report))}", ""]
    lines += [f"- **{WORDS[verdict.level]}**: {escape(verdict.text)}" for verdict in report.verdicts]
    lines += section("Beside simpler ways", baselines(report))
    lines += section("Figures", table(("", "", ""), [(tile.name, tile.value, tile.fine) for tile in tiles(report)]))
    lines += section("Which moves it mixes up", [escape(mixed_up(report)), "", *per_class(report), "", *confusion(report)])
    if report.deciding:
        lines += section("What made the difference", deciding(report))
    lines += section("What it got wrong", mistakes(report))
    certain = [calibration(report), risk_words(report), f"ROC: {mean_area_words(report, 'roc')}", f"PR: {mean_area_words(report, 'pr')}"]
    lines += section("When to believe it", [f"- {escape(line)}" for line in certain])
    lines += section("Is the test fair?", fairness(report))
    for title, rows in [*facts(report), ("Time", stage_words(report))]:
        if rows:
            lines += section(title, table(("", ""), rows))
    return "\n".join(lines) + "\n"


def section(title: str, lines: Iterable[str]) -> list[str]:
    """A heading and what stands under it."""
    return ["", f"## {title}", "", *lines]


def baselines(report: Report) -> list[str]:
    """The model and what it must beat."""
    rows = [(report.model.name, percent(report.figures.accuracy.value), between(report.figures.accuracy), "")]
    for baseline in report.baselines:
        name = NAMES.get(baseline.name, baseline.name)
        if baseline.accuracy is None:
            rows.append((name, "–", "–", baseline.problem))
        else:
            lead = points(baseline.difference.interval) if baseline.difference else ""
            rows.append((name, percent(baseline.accuracy.value), between(baseline.accuracy), lead))
    return table(("", "right", "95 % interval", "the model's lead"), rows)


def per_class(report: Report) -> list[str]:
    """Every class's precision, recall and F1 with its counts."""
    return table(
        ("move", "tested", "right", "said", "recall", "precision", "F1"),
        [
            (c.label, str(c.count), str(c.right), str(c.said), *("–" if v is None else percent(v) for v in (c.recall, c.precision, c.f1)))
            for c in report.classes
        ],
    )


def confusion(report: Report) -> list[str]:
    """The confusion in counts, where it is narrow enough to be read."""
    if len(report.labels) > 12:
        return []
    rows = [(label, *map(str, line)) for label, line in zip(report.labels, report.confusion)]
    return table(("truth \\ said", *report.labels), rows)


def deciding(report: Report) -> list[str]:
    """Which numbers with names the answers rest on."""
    return [escape(decisive(report)), "", *table(("number", "accuracy falls by", "what it is"), decisive_rows(report))]


def mistakes(report: Report, *, most: int = LISTED) -> list[str]:
    """The surest mistakes."""
    wrong = sorted((tested for tested in report.tested if not tested.right), key=lambda tested: -tested.sure)
    if not wrong:
        return ["Nothing."]
    rows = [(short_path(tested.name), tested.label, tested.said, percent(tested.sure)) for tested in wrong[:most]]
    more = ["", f"and {len(wrong) - most} more in report.json"] if len(wrong) > most else []
    return table(("video", "is", "said", "sure"), rows) + more


def fairness(report: Report, *, counted: bool = True) -> list[str]:
    """The split's proof, the counts, and what was left out."""
    lines = [f"- {escape(line)}" for line in report.proof.lines]
    lines += [f"- **Leak**: {escape(leak)}" for leak in report.proof.leaks]
    if report.proof.counts and counted:
        rows = [(row.label, str(row.train), str(row.val), str(row.test)) for row in report.proof.counts]
        lines += ["", *table(("move", "train", "val", "test"), rows)]
    if report.left_out:
        left = ", ".join(f"{label} ({count})" for label, count in report.left_out.items())
        lines += ["", escape(f"Left out, because the model never learnt these labels: {left}.")]
    if report.failures:
        unread = [f"- {escape(short_path(failure.name))}: {escape(failure.why)}" for failure in report.failures]
        lines += ["", "Could not be read:", "", *unread]
    return lines


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table whose cells may hold anything."""
    lines = ["| " + " | ".join(map(escape, head)) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(map(escape, row)) + " |" for row in rows]


def escape(text: str) -> str:
    """The text as words of one line: nothing in it is markup, and nothing ends a cell."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|$~" else c for c in " ".join(text.split()))
