"""The model card: the README.md of a model's folder, for people and (with YAML front matter and a model index) for model hubs.

Everything in it comes from the model or its report; figures that were not measured are marked as such.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from quickstep.evaluation.provenance import model_facts, part_counts, trained_on
from quickstep.evaluation.rendering.markdown import (
    baseline_table,
    class_table,
    confusion_table,
    escape,
    importance_table,
    mistake_table,
    proof_lines,
    section,
    table,
)
from quickstep.evaluation.rendering.sentences import calibration, facts_of, risk_words, setting_text, subtitle, tiles, with_interval
from quickstep.evaluation.report import ModelFacts, PartCount, Report, Source
from quickstep.models.ensemble import AnyModel

TASK = "video-classification"


@dataclass(frozen=True)
class CardFacts:
    """The facts of a model for its card, evaluated or not."""

    model: ModelFacts
    labels: tuple[str, ...]
    trained_on: Source
    counts: tuple[PartCount, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: AnyModel) -> CardFacts:
        """Return the facts of a model."""
        return cls(model_facts(model), model.labels, trained_on(model), part_counts(model), model.facts.notes)

    @classmethod
    def of_report(cls, report: Report) -> CardFacts:
        """Return the facts of the model that a report is about."""
        return cls(report.model, report.labels, report.trained_on, report.proof.counts)


def model_card(about: AnyModel | Report | CardFacts, report: Report | None = None, *, license: str | None = None) -> str:
    """Return the card as text; with a report every metric is filled in, without one the card says that none was measured.

    `license` is the model's own licence, where it differs from that of the backbone's weights.
    """
    if isinstance(about, Report):
        return model_card(CardFacts.of_report(about), about, license=license)
    facts = about if isinstance(about, CardFacts) else CardFacts.of(about)
    return f"---\n{_front_matter(facts, report, license)}\n---\n\n" + "\n".join(_body(facts, report, license)) + "\n"


def _front_matter(about: CardFacts, report: Report | None, given: str | None) -> str:
    name = re.sub(r"[^\w. -]", "-", about.model.name.rpartition("/")[2]) or "model"
    metadata: dict[str, Any] = {"model_name": name, "eval_results": _results(report)} if report else {}
    license, license_name = _license(given or about.model.license)
    if license_name:
        metadata["license_name"] = license_name
    data = ModelCardData(
        library_name="quickstep",
        pipeline_tag=TASK,
        license=license,
        tags=["quickstep", TASK, f"backbone:{about.model.backbone}", f"head:{about.model.head}"],
        metrics=["accuracy", "f1"],
        **metadata,
    )
    return str(data.to_yaml())


def _license(license: str) -> tuple[str, str]:
    """Return the hub's identifier of a licence; where there is none, "other" and the name as it is."""
    short = license.strip().lower()
    if re.fullmatch(r"[a-z0-9.-]{2,30}", short) and short not in ("unknown", "none"):
        return short, ""
    return "other", license.strip() or "not stated"


def _results(report: Report) -> list[EvalResult]:
    figures, curves = report.figures, report.curves
    measured: list[tuple[str, str, float, dict[str, Any] | None]] = []
    for kind, name, interval in (
        ("accuracy", "Accuracy", figures.accuracy),
        ("balanced_accuracy", "Balanced accuracy", figures.balanced_accuracy),
        ("f1", "Macro F1", figures.macro_f1),
    ):
        measured.append((kind, name, interval.value, {"interval_95": [round(interval.low, 4), round(interval.high, 4)]}))
    measured += [
        (f"top_{k}_accuracy", f"Top-{k} accuracy", value, None) for k, value in figures.top_k.items() if 1 < int(k) < len(report.labels)
    ]
    after, risk = curves.calibrated, curves.risk_coverage
    loose = (
        ("log_loss", "Log loss", after.log_loss),
        ("expected_calibration_error", "Expected calibration error", after.ece),
        ("brier_score", "Brier score", after.brier),
        ("aurc", "Area under the risk-coverage curve", risk.area),
        ("roc_auc", "Mean area under ROC, one class against the rest", figures.auc_roc),
        ("average_precision", "Mean average precision, one class against the rest", figures.auc_pr),
    )
    measured += [(kind, name, value, None) for kind, name, value in loose if value is not None]
    return [
        EvalResult(
            task_type=TASK,
            task_name="Video classification",
            dataset_type="quickstep-manifest",
            dataset_name=report.tested_on.name,
            dataset_split=report.split,
            dataset_revision=report.tested_on.fingerprint,
            metric_type=kind,
            metric_name=name,
            metric_value=round(value, 6),
            metric_args=arguments,
        )
        for kind, name, value, arguments in measured
    ]


def _body(about: CardFacts, report: Report | None, given: str | None) -> list[str]:
    model = about.model
    lines = [f"# {escape(model.name)}", "", _summary(about), ""]
    lines += (
        [f"**{escape(report.headline)}.** {escape(subtitle(report))}"]
        if report
        else ["Not evaluated yet: `quickstep evaluate` adds the figures to this card."]
    )
    lines += section("Use", _use(model.name))
    if report:
        lines += section("Results", _measured(report))
    lines += section("Training data", _training(about))
    if report:
        lines += section("Is the test set clean?", proof_lines(report, counted=False))
    lines += section("Limits", [f"- {escape(line)}" for line in _limits(about, report)])
    own = [f"The licence of this model: {escape(given)}.", ""] if given else []
    theirs = escape(f"The licence of the backbone {model.backbone}: {model.license or 'not stated by its weights'}.")
    lines += section("Licence", [*own, theirs])
    for title, rows in facts_of(model):
        if rows:
            lines += section(title, table(("", ""), rows))
    return lines


def _summary(about: CardFacts) -> str:
    labels = ", ".join(about.labels[:30]) + (f" and {len(about.labels) - 30} more" if len(about.labels) > 30 else "")
    head = f"a {about.model.head} head, fitted on labelled videos, turns these into probabilities"
    if _without_videos(about):
        head = "class descriptions, embedded by the same network, turn these into probabilities; no labelled video was needed"
    return escape(
        f"Classifies the move in a video as one of {len(about.labels)}: {labels}. The backbone {about.model.backbone} extracts features, "
        f"{head}."
    )


def _without_videos(about: CardFacts) -> bool:
    return bool(about.model.words) and not about.trained_on.segments


def _use(name: str) -> list[str]:
    folder = name if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) else "MODEL"
    return [
        "```sh",
        f"quickstep predict {folder} new.mp4",
        "```",
        "",
        "```python",
        "from quickstep import load_model",
        "",
        f'load_model("{folder}").predict(["new.mp4"]).predictions[0].label',
        "```",
    ]


def _measured(report: Report) -> list[str]:
    accuracy = report.figures.accuracy
    over = f"95 % interval, over {accuracy.units} {accuracy.over}"
    rows = [("Accuracy", with_interval(accuracy), over), *((tile.name, tile.value, tile.detail) for tile in tiles(report))]
    pictures = ["", "![Baselines](baselines.png)", "", "![Confusion](confusion.png)", ""]
    lines = [*table(("", "", ""), rows), *section("Compared with baselines", baseline_table(report))]
    lines += [*pictures, *section("Classes", class_table(report)), "", *confusion_table(report)]
    if report.importances:
        lines += section("Important features", importance_table(report))
    lines += section("Confidence", [f"- {escape(line)}" for line in (calibration(report), risk_words(report))])
    return lines + section("Most confident mistakes", mistake_table(report, most=10))


def _training(about: CardFacts) -> list[str]:
    source = about.trained_on
    if _without_videos(about):
        return ["None: the model was made from class descriptions."]
    groups = f" from {source.groups} groups" if source.groups else ""
    many = f"{source.segments} segments{groups} for training and validation"
    lines = [escape(f"{source.name}: {many}; fingerprint {source.fingerprint[:16]}.")]
    if not about.counts:
        return lines
    rows = [(row.label, str(row.train), str(row.val), str(row.test)) for row in about.counts]
    return [*lines, "", *table(("class", "train", "val", "test"), rows)]


def _limits(about: CardFacts, report: Report | None) -> list[str]:
    view = about.model.view
    lines = [verdict.text for verdict in report.verdicts if verdict.level != "good"] if report else list(about.notes)
    pace = f" at {setting_text(view['fps'])} a second" if view.get("fps") else ", spread evenly over the segment"
    if "frames" in view:  # an ensemble's members have views of their own
        lines.append(f"It reads windows of {view.get('frames')} frames{pace}; it misses movement between those frames.")
    lines.append(f"It always predicts one of its {len(about.labels)} classes, also where a video shows none of them.")
    if about.model.threshold is None:
        lines.append("The confidence from which on its predictions are reliable is unknown.")
    if not _without_videos(about):
        lines.append("It was tested on people, places and cameras like those of its own videos; its accuracy elsewhere may be lower.")
    return lines
