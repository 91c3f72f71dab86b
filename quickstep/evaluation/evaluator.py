"""evaluate: test a model on segments that it was not trained on, and return the report.

The scores are those of `Model.predict`. The validation part is not used: the model was already chosen and calibrated on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from quickstep.backbones import reads_poses
from quickstep.datasets.audit.metadata_shortcuts import Shortcut
from quickstep.datasets.inputs import ManifestSource, as_manifest
from quickstep.datasets.label_matching import label_key
from quickstep.datasets.manifest import Manifest
from quickstep.evaluation import verdicts
from quickstep.evaluation.baselines import Task, compute_baselines, shortcut, still_of
from quickstep.evaluation.feature_importance import permutation_importance
from quickstep.evaluation.provenance import learning, model_facts, name_of, prove_separation, trained_on
from quickstep.evaluation.report import Baseline, Mistake, Proof, Report, Source, TestedSegment, UnreadSegment, Verdict
from quickstep.evaluation.report_figures import Measured, groups_of, measure
from quickstep.evaluation.thumbnails import frame_strip
from quickstep.models.classifier import Prediction
from quickstep.models.ensemble import AnyModel, load_model
from quickstep.models.model import Model
from quickstep.storage.cache import Cache
from quickstep.storage.serialization import library_version
from quickstep.types.errors import ConfigError, ManifestError, MediaError
from quickstep.types.progress import Clock, Progress, silent
from quickstep.types.segment import Failure, Segment
from quickstep.types.skeleton import Skeleton

MOST_MISTAKES = 48  # shown with frames


@dataclass(frozen=True)
class Selection:
    """The segments to test, and what had to be left out."""

    manifest: Manifest
    segments: tuple[Segment, ...]
    left_out: dict[str, int]
    name: str
    notes: tuple[str, ...] = ()


def evaluate(
    model: AnyModel | str | Path,
    manifest: ManifestSource | None = None,
    *,
    split: str = "test",
    cache: Cache | None = None,
    progress: Progress = silent,
    baselines: bool = True,
    strict: bool = False,
    seed: int = 0,
) -> Report:
    """Test a model (or a model folder) on one part of a manifest; by default on the test part of its own."""
    cache, clock = cache or Cache(), Clock()
    model = load_model(model, cache=cache)
    if manifest is None and split == "test" and "folds" in model.facts.training:
        return _report_of_folds(model)
    selection = _select(model, None if manifest is None else as_manifest(manifest), split)
    answered = model.predict(selection.segments, cache=cache, progress=progress, strict=strict)
    clock.mark("predicting")
    if not answered.predictions:
        first = answered.failures[0]
        raise MediaError(first.segment.path, f"none of the {len(answered.failures)} test segments can be read; the first: {first}")
    tested = tuple(map(tested_segment, answered.predictions))
    measured = measure(tested, model.labels, temperature=model.temperature, threshold=model.threshold, seed=seed)
    clock.mark("measuring")
    compared = _compare(model, answered.predictions, cache=cache, progress=progress, seed=seed) if baselines else Compared()
    clock.mark("baselines")
    proof = prove_separation(model, selection.segments, cache=cache, progress=progress)
    clock.mark("proof")
    evidence = Evidence(selection, answered.predictions, tested, measured, compared, proof, answered.failures)
    report = report_on(model, evidence, clock, split=split, progress=progress)
    if not isinstance(model, Model):
        return report
    importances = permutation_importance(model, answered.predictions, cache=cache, progress=progress, seed=seed)
    clock.mark("numbers")
    return replace(report, importances=importances, seconds={**report.seconds, **clock.seconds})


@dataclass(frozen=True)
class Compared:
    """The baselines, and how well metadata does over all segments."""

    baselines: tuple[Baseline, ...] = ()
    shortcut: Shortcut | None = None


@dataclass(frozen=True)
class Evidence:
    """Everything that was found out about a model on the tested segments."""

    selection: Selection
    predictions: tuple[Prediction, ...]
    tested: tuple[TestedSegment, ...]  # the same segments, as the report holds them
    measured: Measured
    compared: Compared
    proof: Proof
    failures: tuple[Failure, ...]


def report_on(model: AnyModel, evidence: Evidence, clock: Clock, *, split: str, progress: Progress) -> Report:
    """Return the report of the evidence, with its verdicts and the frames of its mistakes."""
    selection, tested, measured = evidence.selection, evidence.tested, evidence.measured
    mistakes = _mistakes(evidence.predictions, tested, progress, skeleton=_skeleton(model))
    clock.mark("pictures")
    return Report(
        quickstep=library_version("quickstep"),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        split=split,
        labels=model.labels,
        model=model_facts(model),
        trained_on=trained_on(model),
        tested_on=Source(selection.name, selection.manifest.fingerprint, len(tested), len(set(groups_of(tested)))),
        tested=tested,
        figures=measured.figures,
        classes=measured.classes,
        confusion=measured.confusion,
        curves=measured.curves,
        baselines=evidence.compared.baselines,
        verdicts=_verdicts(model, evidence),
        proof=evidence.proof,
        learning=learning(model),
        mistakes=mistakes,
        failures=tuple(UnreadSegment(str(failure.segment), _reason(failure)) for failure in evidence.failures),
        left_out=selection.left_out,
        seconds={**{f"training: {stage}": spent for stage, spent in model.facts.seconds.items()}, **clock.seconds},
    )


def _report_of_folds(model: AnyModel) -> Report:
    """Return the report that was made when the model was trained with folds: it was fitted on all of its own videos."""
    report = Report.load(model.folder) if model.folder is not None and (model.folder / "report.json").is_file() else None
    if report is None or not report.folds:
        raise ConfigError(
            "data", "the model was fitted on all of its videos, and the report of its folds is missing: name other videos to test it on"
        )
    return report


def _select(model: AnyModel, manifest: Manifest | None, split: str) -> Selection:
    """Return the labelled segments of a part whose labels the model was trained on."""
    base = manifest if manifest is not None else model.manifest
    if base is None:
        raise ConfigError("manifest", "the model's own videos are missing; give a folder or csv to test on")
    notes = []
    part = base.segments
    if split != "all" and base.splits:
        part = base.part(split).segments
        if not part:
            raise ConfigError("split", f"{name_of(base)} has no {split!r} part; it has: {', '.join(base.splits)} (or all)")
    elif split != "all":
        notes.append(f"{name_of(base)} is not divided into parts, so all of it was tested.")
    labelled = [segment for segment in part if segment.label is not None]
    if len(labelled) < len(part):
        notes.append(f"{len(part) - len(labelled)} segments have no label and were left out.")
    labelled = [_with_model_spelling(segment, model.labels) for segment in labelled]
    tested = [segment for segment in labelled if segment.label in model.labels]
    unknown = Counter(str(segment.label) for segment in labelled if segment.label not in model.labels)
    if not tested:
        named = ", ".join(sorted(unknown)[:5]) or "none"
        why = f"has no segment with a label of the model ({', '.join(model.labels[:5])}); its labels: {named}"
        raise ManifestError(base.source or "manifest", why)
    name = trained_on(model).name if base.fingerprint == model.facts.fingerprint else name_of(base)
    return Selection(base, tuple(tested), dict(sorted(unknown.items())), name, tuple(notes))


def _with_model_spelling(segment: Segment, labels: tuple[str, ...]) -> Segment:
    """Return the segment with its label as the model spells it: a folder head_spin is the label "head spin"."""
    if segment.label in labels:
        return segment
    alike = [label for label in labels if label_key(label) == label_key(str(segment.label))]
    return replace(segment, label=alike[0]) if len(alike) == 1 else segment


def tested_segment(prediction: Prediction) -> TestedSegment:
    """Describe a tested segment and its scores."""
    segment = prediction.segment
    return TestedSegment(
        path=str(segment.path),
        start=segment.start,
        end=segment.end,
        group=segment.group,
        label=str(segment.label),
        predicted=prediction.label,
        scores=tuple(prediction.scores.tolist()),
        person=segment.person,
    )


def _compare(model: AnyModel, predictions: Sequence[Prediction], *, cache: Cache, progress: Progress, seed: int) -> Compared:
    segments = model.manifest.segments if model.manifest is not None else ()
    train = tuple(segment for segment in segments if segment.split == "train")
    if not train and not model.is_zero_shot:
        why = "the model's training videos are missing"
        return Compared(tuple(Baseline(name, "", None, None, problem=why) for name in (still_of(model.lead), "metadata", "majority")))
    validation = tuple(segment for segment in segments if segment.split == "val")
    predicted = tuple(prediction.label for prediction in predictions)
    task = Task(train, validation, tuple(prediction.segment for prediction in predictions), predicted)
    baselines = compute_baselines(model.lead, task, cache=cache, progress=progress, seed=seed)
    return Compared(baselines, shortcut(task, cache=cache, seed=seed) if train else None)


def _skeleton(model: AnyModel) -> Skeleton | None:
    backbone = model.lead.backbone
    return backbone.skeleton if reads_poses(backbone) else None


def _mistakes(
    predictions: Sequence[Prediction], tested: Sequence[TestedSegment], progress: Progress, *, skeleton: Skeleton | None
) -> tuple[Mistake, ...]:
    """Return the most confident mistakes with some of their frames."""
    wrong = [(segment, prediction.segment) for segment, prediction in zip(tested, predictions) if not segment.correct]
    wrong = sorted(wrong, key=lambda pair: -pair[0].confidence)[:MOST_MISTAKES]
    mistakes = []
    for number, (segment, source) in enumerate(wrong):
        progress("pictures", number, len(wrong))
        mistakes.append(Mistake(segment, frame_strip(source, skeleton=skeleton)))
    progress("pictures", len(wrong), len(wrong))
    return tuple(mistakes)


def _verdicts(model: AnyModel, evidence: Evidence) -> tuple[Verdict, ...]:
    """Return all verdicts on the figures, the most severe first."""
    selection, tested, measured, compared = evidence.selection, evidence.tested, evidence.measured, evidence.compared
    figures = measured.figures
    by_name = {baseline.name: baseline for baseline in compared.baselines}
    result = verdicts.on_proof(evidence.proof) + verdicts.on_size(figures.accuracy, len(tested))
    if "majority" in by_name:
        majority = by_name["majority"]
        result += verdicts.on_chance(figures, majority, len(measured.classes))
        still = verdicts.on_pose if "pose" in by_name else verdicts.on_frame
        result += still(figures, by_name["pose" if "pose" in by_name else "frame"], majority)
        result += verdicts.on_metadata(figures, by_name["metadata"], compared.shortcut)
    for baseline in compared.baselines:
        result += verdicts.on_problem(baseline)
    result += verdicts.on_classes(measured.classes)
    result += verdicts.on_calibration(measured.curves.calibrated, figures, len(tested))
    result += verdicts.on_left_out(selection.left_out, len(tested)) + verdicts.on_failures(len(evidence.failures), len(tested))
    result += verdicts.on_interval(figures.accuracy, grouped=any(segment.group is not None for segment in tested))
    if model.view_note:
        result.append(Verdict("note", "view", model.view_note))
    result = verdicts.consistent(result)
    return verdicts.by_severity([*result, *(Verdict("note", "data", note) for note in selection.notes)])


def _reason(failure: Failure) -> str:
    """Return the reason without the path, which the report shows beside it."""
    return failure.error.why if isinstance(failure.error, MediaError) else str(failure.error)
