"""Fit a model's kind of head again, under the settings that the model was made with."""

from __future__ import annotations

from dataclasses import asdict, fields, replace

from quickstep.heads import HEADS, FitConfig, Head, History, open_head
from quickstep.models.feature_extraction import Extraction
from quickstep.models.model import Model
from quickstep.models.pose_input import Settled
from quickstep.training.train import Parts, calibrate
from quickstep.types.progress import Progress
from quickstep.types.signals import Texts


def refit_head(grown: Model, found: Extraction, texts: Texts | None, *, progress: Progress) -> tuple[Model, tuple[str, ...]]:
    """The same kind of head under the same settings, fitted to everything and calibrated as train does."""
    assert grown.manifest is not None
    parts = Parts.of(grown.manifest, _learnt(found), texts=texts, skeleton=Settled(grown.backbone).skeleton)
    head = open_head(head_name(grown.head), asdict(grown.head.config))
    history: History = head.fit(parts.train, parts.val, classes=len(parts.labels), fitting=fit_config(grown), progress=progress)
    temperature, threshold = calibrate(head, parts.val)
    absent = [label for label in parts.labels if parts.val is None or parts.labels.index(label) not in parts.val.labels]
    notes = []
    if absent:
        notes.append(f"how sure it may be is read off validation segments, and there are none of {', '.join(map(repr, absent))}")
    missing = tuple(f for f in found.failures if f.segment.split in ("train", "val"))
    if missing:
        notes.append(f"{len(missing)} segments that it learnt from could not be used this time")
    facts = replace(
        grown.facts,
        failures=tuple(f"{failure.segment}: {failure.error}" for failure in missing),
        fitting=grown.facts.fitting | {"shrinkage": history.shrinkage},
    )
    fitted = replace(grown, head=head, history=history, temperature=temperature, threshold=threshold, facts=facts)
    return fitted, tuple(notes)


def _learnt(found: Extraction) -> Extraction:
    """Only what belongs to train and val."""
    return replace(found, features={s: f for s, f in found.features.items() if s.split in ("train", "val")})


def head_name(head: Head) -> str:
    return head.name if head.name in HEADS else f"{type(head).__module__}:{type(head).__qualname__}"


def fit_config(model: Model) -> FitConfig:
    """The loop's settings under which the model was fitted."""
    known = {field.name for field in fields(FitConfig)}
    return FitConfig(**{name: value for name, value in model.facts.fitting.items() if name in known})
