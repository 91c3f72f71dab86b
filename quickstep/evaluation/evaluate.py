"""evaluate: a model and segments it has not learnt from -> a Report; the baselines, the proof and the sentences with it.

The scores are `Model.predict`'s own. Validation is not touched: what was fitted on it is in the model already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from quickstep.backbones import reads_poses
from quickstep.datasets.audit.metadata_shortcuts import Shortcut
from quickstep.datasets.label_matching import label_key
from quickstep.datasets.manifest import Manifest
from quickstep.evaluation import verdicts
from quickstep.evaluation.baselines import Task, beside, shortcut, still_of
from quickstep.evaluation.feature_importance import decided
from quickstep.evaluation.provenance import held_apart, learning, model_facts, name_of, trained_on
from quickstep.evaluation.report import Baseline, Mistake, Proof, Report, Source, Tested, Unread, Verdict
from quickstep.evaluation.report_figures import Measured, clusters, measure
from quickstep.evaluation.thumbnails import strip
from quickstep.models.ensemble import AnyModel
from quickstep.models.model import Model
from quickstep.models.predictions import Prediction
from quickstep.storage.cache import Cache
from quickstep.types.errors import ConfigError, ManifestError, MediaError
from quickstep.types.progress import Clock, Progress, silent
from quickstep.types.segment import Failure, Segment
from quickstep.types.skeleton import Skeleton

__all__ = ["Report", "evaluate"]

SHOWN = 48  # mistakes with pictures


@dataclass(frozen=True)
class _Chosen:
    """What is tested, and what had to be left out of it."""

    manifest: Manifest
    segments: tuple[Segment, ...]
    left_out: dict[str, int]
    name: str
    notes: tuple[str, ...] = ()
    view: str = ""  # what was looked at instead of what the model itself looks at


def evaluate(
    model: AnyModel,
    manifest: Manifest | None = None,
    *,
    split: str = "test",
    cache: Cache | None = None,
    progress: Progress = silent,
    baselines: bool = True,
    strict: bool = False,
    seed: int = 0,
) -> Report:
    """Measure a model on one part of a manifest: by default the test part of the one it was trained under."""
    cache, clock = cache or Cache(), Clock()
    chosen = _choose(model, manifest, split)
    if model.view_note:
        chosen = replace(chosen, view=model.view_note)
    found = model.predict(chosen.segments, cache=cache, progress=progress, strict=strict)
    clock.mark("predicting")
    if not found.predictions:
        raise MediaError(
            found.failures[0].segment.path, f"none of the {len(found.failures)} test segments can be read; the first: {found.failures[0]}"
        )
    tested = tuple(_tested(prediction) for prediction in found.predictions)
    measured = measure(tested, model.labels, temperature=model.temperature, threshold=model.threshold, seed=seed)
    clock.mark("measuring")
    beaten = _beside(model, found.predictions, cache=cache, progress=progress, seed=seed) if baselines else _Beside()
    clock.mark("baselines")
    proof = held_apart(model, chosen.segments, cache=cache, progress=progress)
    clock.mark("proof")
    named = decided(model, found.predictions, cache=cache, progress=progress, seed=seed) if isinstance(model, Model) else ()
    clock.mark("numbers")
    lead = model.lead.backbone
    mistakes = _mistakes(found.predictions, tested, progress, skeleton=lead.skeleton if reads_poses(lead) else None)
    clock.mark("pictures")
    return Report(
        quickstep=_version("quickstep"),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        split=split,
        labels=model.labels,
        model=model_facts(model),
        trained_on=trained_on(model),
        tested_on=Source(chosen.name, chosen.manifest.fingerprint, len(tested), len(set(clusters(tested)))),
        tested=tested,
        figures=measured.figures,
        classes=measured.classes,
        confusion=measured.confusion,
        curves=measured.curves,
        baselines=beaten.baselines,
        verdicts=_verdicts(measured, tested, beaten, chosen=chosen, proof=proof, failures=found.failures),
        proof=proof,
        learning=learning(model),
        deciding=named,
        mistakes=mistakes,
        failures=tuple(Unread(str(failure.segment), _why(failure)) for failure in found.failures),
        left_out=chosen.left_out,
        seconds={**{f"training: {stage}": spent for stage, spent in model.facts.seconds.items()}, **clock.seconds},
    )


def _choose(model: AnyModel, manifest: Manifest | None, split: str) -> _Chosen:
    """The labelled segments of the part asked for whose labels the model knows."""
    base = manifest if manifest is not None else model.manifest
    if base is None:
        raise ConfigError("manifest", "the videos that the model was trained with are not where they were; name a folder or csv to test on")
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
    labelled = [_spelt(segment, model.labels) for segment in labelled]
    known = [segment for segment in labelled if segment.label in model.labels]
    unknown = Counter(str(segment.label) for segment in labelled if segment.label not in model.labels)
    if not known:
        named = ", ".join(sorted(unknown)[:5]) or "none"
        why = f"has no segment with a label that the model knows ({', '.join(model.labels[:5])}); its labels: {named}"
        raise ManifestError(base.source or "manifest", why)
    name = trained_on(model).name if base.fingerprint == model.facts.fingerprint else name_of(base)
    return _Chosen(base, tuple(known), dict(sorted(unknown.items())), name, tuple(notes))


def _spelt(segment: Segment, labels: tuple[str, ...]) -> Segment:
    """The segment, its label as the model spells it: a folder head_spin is the label "head spin"."""
    if segment.label in labels:
        return segment
    alike = [label for label in labels if label_key(label) == label_key(str(segment.label))]
    return replace(segment, label=alike[0]) if len(alike) == 1 else segment


def _tested(prediction: Prediction) -> Tested:
    segment = prediction.segment
    return Tested(
        path=str(segment.path),
        start=segment.start,
        end=segment.end,
        group=segment.group,
        label=str(segment.label),
        said=prediction.label,
        scores=tuple(prediction.scores.tolist()),
        person=segment.person,
    )


@dataclass(frozen=True)
class _Beside:
    """What the model was held against, and what metadata does over all segments."""

    baselines: tuple[Baseline, ...] = ()
    shortcut: Shortcut | None = None


def _beside(model: AnyModel, predictions: Sequence[Prediction], *, cache: Cache, progress: Progress, seed: int) -> _Beside:
    learnt = model.manifest.segments if model.manifest is not None else ()
    train = tuple(segment for segment in learnt if segment.split == "train")
    if not train and not model.is_zero_shot:
        why = "the videos that the model learnt from are not where they were"
        return _Beside(tuple(Baseline(name, "", None, None, problem=why) for name in (still_of(model.lead), "metadata", "majority")))
    validation = tuple(segment for segment in learnt if segment.split == "val")
    said = tuple(prediction.label for prediction in predictions)
    task = Task(train, validation, tuple(prediction.segment for prediction in predictions), said)
    made = beside(model.lead, task, cache=cache, progress=progress, seed=seed)
    return _Beside(made, shortcut(task, cache=cache, seed=seed) if train else None)


def _mistakes(
    predictions: Sequence[Prediction], tested: Sequence[Tested], progress: Progress, *, skeleton: Skeleton | None
) -> tuple[Mistake, ...]:
    """The surest mistakes with some of their moments."""
    wrong = [(one, prediction.segment) for one, prediction in zip(tested, predictions) if not one.right]
    wrong = sorted(wrong, key=lambda pair: -pair[0].sure)[:SHOWN]
    made = []
    for place, (one, segment) in enumerate(wrong):
        progress("pictures", place, len(wrong))
        made.append(Mistake(one, strip(segment, skeleton=skeleton)))
    progress("pictures", len(wrong), len(wrong))
    return tuple(made)


def _verdicts(
    measured: Measured,
    tested: Sequence[Tested],
    beaten: _Beside,
    *,
    chosen: _Chosen,
    proof: Proof,
    failures: Sequence[Failure],
) -> tuple[Verdict, ...]:
    figures = measured.figures
    by_name = {baseline.name: baseline for baseline in beaten.baselines}
    found = verdicts.on_proof(proof) + verdicts.on_size(figures.accuracy, len(tested))
    if "majority" in by_name:
        found += verdicts.on_chance(figures, by_name["majority"], len(measured.classes))
        found += verdicts.on_pose(figures, by_name["pose"]) if "pose" in by_name else verdicts.on_frame(figures, by_name["frame"])
        found += verdicts.on_metadata(figures, by_name["metadata"], beaten.shortcut)
    for baseline in beaten.baselines:
        found += verdicts.on_problem(baseline)
    found += verdicts.on_classes(measured.classes)
    found += verdicts.on_certainty(measured.curves.calibrated, figures, len(tested))
    found += verdicts.on_left_out(chosen.left_out, len(tested)) + verdicts.on_failures(len(failures), len(tested))
    found += verdicts.on_interval(figures.accuracy, grouped=any(one.group is not None for one in tested))
    found += [Verdict("note", "view", chosen.view)] if chosen.view else []
    return verdicts.in_order([*found, *(Verdict("note", "data", note) for note in chosen.notes)])


def _why(failure: Failure) -> str:
    """The reason without the path, which stands beside it."""
    return failure.error.why if isinstance(failure.error, MediaError) else str(failure.error)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
