"""Where a model came from and what it was tested on, in a report's plain data; and the proof that the two do not overlap."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quickstep.datasets.duplicates.same_footage import compare_footage
from quickstep.datasets.manifest import PARTS, Manifest
from quickstep.datasets.splits import check_leakage
from quickstep.evaluation.report import Hard, Learning, ModelFacts, PartCount, Proof, Source
from quickstep.models.ensemble import AnyModel, Ensemble
from quickstep.models.model import Model
from quickstep.storage.cache import Cache
from quickstep.storage.serialization import to_plain
from quickstep.types.progress import Progress
from quickstep.types.segment import Segment
from quickstep.types.view import View

HARDEST = 20
LEAKS = 20  # written out


def model_facts(model: AnyModel) -> ModelFacts:
    """What a model is, in plain data; of an ensemble, what its members are."""
    facts, members = model.facts, model.members
    return ModelFacts(
        name=_model_name(model),
        backbone=" + ".join(member.backbone.name for member in members),
        revision=" + ".join(filter(None, (member.backbone.revision for member in members))),
        license=" + ".join(dict.fromkeys(member.backbone.license for member in members)),
        head=" + ".join(member.head.name for member in members),
        temperature=model.temperature,
        threshold=model.threshold,
        view=to_plain(model.view) if isinstance(model, Model) else _views(model),
        settings={**facts.training, **facts.fitting},
        versions=dict(facts.versions),
        words=dict(facts.words),
    )


def _views(model: Ensemble) -> dict[str, Any]:
    """How each member looks, in a line."""
    told = [_look(member.view) for member in model.members]
    return dict(zip(model.names, told, strict=True))


def _look(view: View) -> str:
    pace = f" at {view.fps:g} a second" if view.fps else ""
    return f"{view.frames} frames of {view.size} x {view.size}{pace}, {view.description}"


def _model_name(model: AnyModel) -> str:
    if model.folder is not None:
        return model.folder.resolve().name
    return " + ".join(f"{member.backbone.name} + {member.head.name}" for member in model.members)


def trained_on(model: AnyModel) -> Source:
    """What a model was fitted and chosen on."""
    facts, own = model.facts, model.manifest
    segments = sum(sum(model.facts.splits.get(part, {}).values()) for part in ("train", "val"))
    groups = len(set(own.part("train").groups) | set(own.part("val").groups)) if own is not None else 0
    return Source(_called(Path(facts.source)) if facts.source else "segments", facts.fingerprint, segments, groups)


def name_of(manifest: Manifest) -> str:
    """What to call where segments came from."""
    return _called(manifest.source) if manifest.source is not None else "segments"


def _called(source: Path) -> str:
    """A folder's name; of a file also its folder's, because many are called index.csv."""
    place = source.absolute()
    return f"{place.parent.name}/{place.name}" if place.suffix and not place.is_dir() else place.name


def learning(model: AnyModel) -> Learning | None:
    """How fitting went, and which segments were wrong most often meanwhile; of an ensemble each member's report tells."""
    history = model.history if isinstance(model, Model) else None
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


def part_counts(model: AnyModel, manifest: Manifest | None = None) -> tuple[PartCount, ...]:
    """How many segments of each label are in each part: of a manifest, or as the model remembers them."""
    counts = {part: manifest.part(part).counts if manifest else model.facts.splits.get(part, {}) for part in PARTS}
    return tuple(PartCount(label, *(counts[part].get(label, 0) for part in PARTS)) for label in model.labels)


def held_apart(model: AnyModel, tested: Sequence[Segment], *, cache: Cache, progress: Progress) -> Proof:
    """Hold what was tested against what was learnt from: groups, bytes and footage."""
    learnt = _learnt(model)
    spans = {segment.span for segment in tested}
    together = Manifest(tuple(segment for segment in learnt if segment.span not in spans) + _as_test(tested))
    counts = part_counts(model, together)
    if model.is_zero_shot:
        return Proof(counts, ("the model was made of words alone, so it has seen none of the tested videos",))
    if not learnt:
        return Proof(counts, ("what the model learnt from is not here, so nothing could be compared",), known=False)
    found = check_leakage(together, compare_footage(together.paths, cache, progress=progress))
    leaks = [str(leak) for leak in found.leaks if "test" in leak.parts]
    again = [segment for segment in learnt if segment.span in spans]
    if again:
        parts = " and ".join(part for part in PARTS if any(segment.split == part for segment in again))
        leaks.insert(0, f"{len(again)} of {len(tested)} tested segments are of the model's own {parts} part")
    return Proof(counts, found.sentences, tuple(leaks[:LEAKS]))


def _learnt(model: AnyModel) -> list[Segment]:
    """What any of its members learnt from or was chosen on; nothing where one of them cannot tell."""
    if model.manifest is not None:
        return [segment for segment in model.manifest.segments if segment.split in ("train", "val")]
    manifests = [member.manifest for member in model.members if not member.is_zero_shot]
    known = [manifest for manifest in manifests if manifest is not None]
    if len(known) < len(manifests):
        return []
    learnt = {segment.span: segment for manifest in known for segment in manifest.segments if segment.split in ("train", "val")}
    return list(learnt.values())


def _as_test(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    return tuple(Segment(s.path, s.label, s.start, s.end, s.group, "test", person=s.person) for s in segments)
