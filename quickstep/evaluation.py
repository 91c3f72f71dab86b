"""evaluate: a model and segments it has not learnt from -> a Report; the baselines, the proof and the sentences with it.

The scores are `Model.predict`'s own. Validation is not touched: what was fitted on it is in the model already.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from quickstep import verdicts
from quickstep.baselines import Task, beside
from quickstep.errors import ConfigError, ManifestError, MediaError
from quickstep.footage import survey
from quickstep.manifest import PARTS, Manifest
from quickstep.measuring import Measured, clusters, measure
from quickstep.model import Model, Prediction
from quickstep.progress import Progress, silent
from quickstep.report import (
    Baseline,
    Hard,
    Learning,
    Mistake,
    ModelFacts,
    PartCount,
    Proof,
    Report,
    Source,
    Tested,
    Unread,
    Verdict,
)
from quickstep.segment import Failure, Segment
from quickstep.splits import prove
from quickstep.store import Store
from quickstep.thumbnails import strip

__all__ = ["Report", "evaluate"]

SHOWN = 48  # mistakes with pictures
HARDEST = 20


@dataclass(frozen=True)
class _Chosen:
    """What is tested, and what had to be left out of it."""

    manifest: Manifest
    segments: tuple[Segment, ...]
    left_out: dict[str, int]
    name: str
    notes: tuple[str, ...] = ()


def evaluate(
    model: Model,
    manifest: Manifest | None = None,
    *,
    split: str = "test",
    store: Store | None = None,
    progress: Progress = silent,
    baselines: bool = True,
    strict: bool = False,
    seed: int = 0,
) -> Report:
    """Measure a model on one part of a manifest: by default the test part of the one it was trained under."""
    store, clock = store or Store(), _Clock()
    chosen = _choose(model, manifest, split)
    found = model.predict(chosen.segments, store=store, progress=progress, strict=strict)
    clock.mark("predicting")
    if not found.predictions:
        raise MediaError(
            found.failures[0].segment.path, f"none of the {len(found.failures)} test segments can be read; the first: {found.failures[0]}"
        )
    tested = tuple(_tested(prediction) for prediction in found.predictions)
    measured = measure(tested, model.labels, temperature=model.temperature, threshold=model.threshold, seed=seed)
    clock.mark("measuring")
    beaten = _beside(model, found.predictions, store=store, progress=progress, seed=seed) if baselines else ()
    clock.mark("baselines")
    proof = _prove(model, chosen, store, progress)
    clock.mark("proof")
    mistakes = _mistakes(found.predictions, tested, progress)
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
        baselines=beaten,
        verdicts=_verdicts(measured, tested, beaten, chosen=chosen, proof=proof, failures=found.failures),
        proof=proof,
        learning=_learning(model),
        mistakes=mistakes,
        failures=tuple(Unread(str(failure.segment), str(failure.error)) for failure in found.failures),
        left_out=chosen.left_out,
        seconds={**{f"training: {stage}": spent for stage, spent in model.facts.seconds.items()}, **clock.seconds},
    )


def _choose(model: Model, manifest: Manifest | None, split: str) -> _Chosen:
    """The labelled segments of the part asked for whose labels the model knows."""
    base = manifest if manifest is not None else model.manifest
    if base is None:
        raise ConfigError("manifest", "the videos that the model was trained with are not where they were; name a folder or csv to test on")
    notes = []
    part = base.segments
    if split != "all" and base.splits:
        part = base.part(split).segments
        if not part:
            raise ConfigError("split", f"{_name(base)} has no {split!r} part; it has: {', '.join(base.splits)} (or all)")
    elif split != "all":
        notes.append(f"{_name(base)} is not divided into parts, so all of it was tested.")
    labelled = [segment for segment in part if segment.label is not None]
    if len(labelled) < len(part):
        notes.append(f"{len(part) - len(labelled)} segments have no label and were left out.")
    known = [segment for segment in labelled if segment.label in model.labels]
    unknown = Counter(str(segment.label) for segment in labelled if segment.label not in model.labels)
    if not known:
        named = ", ".join(sorted(unknown)[:5]) or "none"
        why = f"has no segment with a label that the model knows ({', '.join(model.labels[:5])}); its labels: {named}"
        raise ManifestError(base.source or "manifest", why)
    name = trained_on(model).name if base.fingerprint == model.facts.fingerprint else _name(base)
    return _Chosen(base, tuple(known), dict(sorted(unknown.items())), name, tuple(notes))


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
    )


def _beside(model: Model, predictions: Sequence[Prediction], *, store: Store, progress: Progress, seed: int) -> tuple[Baseline, ...]:
    learnt = model.manifest.segments if model.manifest is not None else ()
    train = tuple(segment for segment in learnt if segment.split == "train")
    if not train:
        why = "the videos that the model learnt from are not where they were"
        return tuple(Baseline(name, "", None, None, problem=why) for name in ("frame", "metadata", "majority"))
    validation = tuple(segment for segment in learnt if segment.split == "val")
    said = tuple(prediction.label for prediction in predictions)
    task = Task(train, validation, tuple(prediction.segment for prediction in predictions), said)
    return beside(model, task, store=store, progress=progress, seed=seed)


def _prove(model: Model, chosen: _Chosen, store: Store, progress: Progress) -> Proof:
    """Hold what was tested against what was learnt from: groups, bytes and footage."""
    learnt = [segment for segment in (model.manifest.segments if model.manifest else ()) if segment.split in ("train", "val")]
    spans = {segment.span for segment in chosen.segments}
    together = Manifest(tuple(segment for segment in learnt if segment.span not in spans) + _as_test(chosen.segments))
    counts = part_counts(model, together)
    if not learnt:
        return Proof(counts, ("what the model learnt from is not here, so nothing could be compared",), False)
    again = [segment for segment in learnt if segment.span in spans]
    found = prove(together, survey(together.paths, store, progress=progress))
    lines = [*found.sentences, *(str(leak) for leak in found.leaks[:10])]
    if again:
        parts = " and ".join(part for part in PARTS if any(segment.split == part for segment in again))
        lines.insert(0, f"{len(again)} of {len(chosen.segments)} tested segments are of the model's own {parts} part")
    return Proof(counts, tuple(lines), found.clean and not again)


def _as_test(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    return tuple(Segment(s.path, s.label, s.start, s.end, s.group, "test") for s in segments)


def part_counts(model: Model, manifest: Manifest | None = None) -> tuple[PartCount, ...]:
    """How many segments of each label are in each part: of a manifest, or as the model remembers them."""
    counts = {part: manifest.part(part).counts if manifest else model.facts.splits.get(part, {}) for part in PARTS}
    return tuple(PartCount(label, *(counts[part].get(label, 0) for part in PARTS)) for label in model.labels)


def _mistakes(predictions: Sequence[Prediction], tested: Sequence[Tested], progress: Progress) -> tuple[Mistake, ...]:
    """The surest mistakes with some of their moments."""
    wrong = [(one, prediction.segment) for one, prediction in zip(tested, predictions) if not one.right]
    wrong = sorted(wrong, key=lambda pair: -pair[0].sure)[:SHOWN]
    made = []
    for place, (one, segment) in enumerate(wrong):
        progress("pictures", place, len(wrong))
        made.append(Mistake(one, strip(segment)))
    progress("pictures", len(wrong), len(wrong))
    return tuple(made)


def _verdicts(
    measured: Measured,
    tested: Sequence[Tested],
    baselines: Sequence[Baseline],
    *,
    chosen: _Chosen,
    proof: Proof,
    failures: Sequence[Failure],
) -> tuple[Verdict, ...]:
    figures = measured.figures
    by_name = {baseline.name: baseline for baseline in baselines}
    found = verdicts.on_proof(proof) + verdicts.on_size(figures.accuracy, len(tested))
    if "majority" in by_name:
        found += verdicts.on_chance(figures, by_name["majority"], len(measured.classes))
        found += verdicts.on_frame(figures, by_name["frame"])
        found += verdicts.on_metadata(figures, by_name["metadata"])
    for baseline in baselines:
        found += verdicts.on_problem(baseline)
    found += verdicts.on_classes(measured.classes)
    found += verdicts.on_certainty(measured.curves.calibrated, figures, len(tested))
    found += verdicts.on_left_out(chosen.left_out, len(tested)) + verdicts.on_failures(len(failures), len(tested))
    found += verdicts.on_interval(figures.accuracy, grouped=any(one.group is not None for one in tested))
    return verdicts.in_order([*found, *(Verdict("note", "data", note) for note in chosen.notes)])


def model_facts(model: Model) -> ModelFacts:
    """What a model is, in plain data."""
    facts = model.facts
    return ModelFacts(
        name=_model_name(model),
        backbone=model.backbone.name,
        revision=model.backbone.revision or "",
        license=model.backbone.license,
        head=model.head.name,
        temperature=model.temperature,
        threshold=model.threshold,
        view=asdict(model.view),
        settings={**facts.training, **facts.fitting},
        versions=dict(facts.versions),
    )


def _model_name(model: Model) -> str:
    return model.folder.resolve().name if model.folder is not None else f"{model.backbone.name} + {model.head.name}"


def trained_on(model: Model) -> Source:
    """What a model was fitted and chosen on."""
    facts, own = model.facts, model.manifest
    segments = sum(sum(model.facts.splits.get(part, {}).values()) for part in ("train", "val"))
    groups = len(set(own.part("train").groups) | set(own.part("val").groups)) if own is not None else 0
    return Source(_called(Path(facts.source)) if facts.source else "segments", facts.fingerprint, segments, groups)


def _name(manifest: Manifest) -> str:
    return _called(manifest.source) if manifest.source is not None else "segments"


def _called(source: Path) -> str:
    """A folder's name; of a file also its folder's, because many are called index.csv."""
    place = source.absolute()
    return f"{place.parent.name}/{place.name}" if place.suffix and not place.is_dir() else place.name


def _learning(model: Model) -> Learning | None:
    history = model.history
    if history is None:
        return None
    hard = [
        Hard(str(segment), segment.label or "", part, wrong, history.epochs)
        for part in ("train", "val")
        for segment, wrong in history.most_wrong(part, HARDEST)
    ]
    curves = {
        "train_loss": history.train_loss,
        "val_loss": history.val_loss,
        "train_accuracy": history.train_accuracy,
        "val_accuracy": history.val_accuracy,
    }
    return Learning(curves, history.best_epoch, tuple(sorted(hard, key=lambda one: -one.wrong)[:HARDEST]))


class _Clock:
    """Time per stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def mark(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = round(now - self._since, 3)
        self._since = now


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
