"""Provenance: where the model and the tested segments come from, and the check that training and test part are separate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quickstep.datasets.duplicates.same_footage import compare_footage
from quickstep.datasets.manifest import PARTS, Manifest
from quickstep.datasets.splits import check_leakage
from quickstep.evaluation.report import HardSegment, Learning, ModelFacts, PartCount, Proof, Source
from quickstep.models.ensemble import AnyModel, Ensemble
from quickstep.models.model import Model
from quickstep.storage.cache import Cache
from quickstep.storage.serialization import to_plain
from quickstep.types.progress import Progress
from quickstep.types.segment import Segment
from quickstep.types.view import View

HARDEST = 20
MOST_LEAKS = 20  # written to the report


def model_facts(model: AnyModel) -> ModelFacts:
    """Describe a model in plain data; of an ensemble, its members."""
    facts, members = model.facts, model.members
    return ModelFacts(
        name=_model_name(model),
        backbone=" + ".join(member.backbone.name for member in members),
        revision=" + ".join(filter(None, (member.backbone.revision for member in members))),
        license=" + ".join(dict.fromkeys(member.backbone.license for member in members)),
        head=" + ".join(member.head.name for member in members),
        temperature=model.temperature,
        threshold=model.threshold,
        view=to_plain(model.view) if isinstance(model, Model) else _member_views(model),
        settings={**facts.training, **facts.fitting},
        versions=dict(facts.versions),
        words=dict(facts.words),
    )


def _member_views(model: Ensemble) -> dict[str, Any]:
    """Describe each member's view in one line."""
    return dict(zip(model.names, (_view_line(member.view) for member in model.members), strict=True))


def _view_line(view: View) -> str:
    pace = f" at {view.fps:g} a second" if view.fps else ""
    return f"{view.frames} frames of {view.size} x {view.size}{pace}, {view.description}"


def _model_name(model: AnyModel) -> str:
    if model.folder is not None:
        return model.folder.resolve().name
    return " + ".join(f"{member.backbone.name} + {member.head.name}" for member in model.members)


def trained_on(model: AnyModel) -> Source:
    """Return the source of the segments that a model was fitted and validated on."""
    facts, own = model.facts, model.manifest
    segments = sum(sum(model.facts.splits.get(part, {}).values()) for part in ("train", "val"))
    groups = len(set(own.part("train").groups) | set(own.part("val").groups)) if own is not None else 0
    return Source(_source_name(Path(facts.source)) if facts.source else "segments", facts.fingerprint, segments, groups)


def name_of(manifest: Manifest) -> str:
    """Return a short name of a manifest's source."""
    return _source_name(manifest.source) if manifest.source is not None else "segments"


def _source_name(source: Path) -> str:
    """Return a folder's name; for a file also its folder's, because many files are called index.csv."""
    absolute = source.absolute()
    return f"{absolute.parent.name}/{absolute.name}" if absolute.suffix and not absolute.is_dir() else absolute.name


def learning(model: AnyModel) -> Learning | None:
    """Return the fit's curves and its hardest segments; None for an ensemble, whose members have reports of their own."""
    history = model.history if isinstance(model, Model) else None
    if history is None:
        return None
    hard = [
        HardSegment(str(segment), segment.label or "", part, wrong, history.epochs)
        for part in ("train", "val")
        for segment, wrong in history.most_wrong(part, HARDEST)
    ]
    curves = {
        "train_loss": history.train_loss,
        "val_loss": history.val_loss,
        "train_accuracy": history.train_accuracy,
        "val_accuracy": history.val_accuracy,
    }
    return Learning(curves, history.best_epoch, tuple(sorted(hard, key=lambda segment: -segment.wrong)[:HARDEST]))


def part_counts(model: AnyModel, manifest: Manifest | None = None) -> tuple[PartCount, ...]:
    """Return the number of segments of each label in each part: of a manifest, or as saved with the model."""
    counts = {part: manifest.part(part).counts if manifest else model.facts.splits.get(part, {}) for part in PARTS}
    return tuple(PartCount(label, *(counts[part].get(label, 0) for part in PARTS)) for label in model.labels)


def without_groups(sentences: Sequence[str]) -> tuple[str, ...]:
    """Return the sentences of a check with the first one, about groups, replaced: none are known."""
    return ("groups: not known, so the same person may be in several parts", *sentences[1:])


def prove_separation(model: AnyModel, tested: Sequence[Segment], *, cache: Cache, progress: Progress) -> Proof:
    """Compare the tested segments with the model's training segments: groups, files and footage."""
    learned = _training_segments(model)
    spans = {segment.span for segment in tested}
    together = Manifest(tuple(segment for segment in learned if segment.span not in spans) + _as_test(tested))
    counts = part_counts(model, together)
    if model.is_zero_shot:
        return Proof(counts, ("the model was made from class descriptions alone, so it was not trained on any video",))
    if not learned:
        return Proof(counts, ("the model's training videos are missing, so nothing could be compared",), known=False)
    proof = check_leakage(together, compare_footage(together.paths, cache, progress=progress))
    leaks = [str(leak) for leak in proof.leaks if "test" in leak.parts]
    repeated = [segment for segment in learned if segment.span in spans]
    if repeated:
        parts = " and ".join(part for part in PARTS if any(segment.split == part for segment in repeated))
        leaks.insert(0, f"{len(repeated)} of {len(tested)} tested segments are in the model's own {parts} part")
    grouped = any(segment.group is not None for segment in together.segments)
    return Proof(counts, proof.sentences if grouped else without_groups(proof.sentences), tuple(leaks[:MOST_LEAKS]), grouped=grouped)


def _training_segments(model: AnyModel) -> list[Segment]:
    """Return the segments that any member was fitted or validated on; none where a member's are unknown."""
    if model.manifest is not None:
        return [segment for segment in model.manifest.segments if segment.split in ("train", "val")]
    manifests = [member.manifest for member in model.members if not member.is_zero_shot]
    available = [manifest for manifest in manifests if manifest is not None]
    if len(available) < len(manifests):
        return []
    learned = {segment.span: segment for manifest in available for segment in manifest.segments if segment.split in ("train", "val")}
    return list(learned.values())


def _as_test(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    return tuple(Segment(s.path, s.label, s.start, s.end, s.group, "test", person=s.person) for s in segments)
