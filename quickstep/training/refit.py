"""Fit a model's kind of head again, with the settings that the model was made with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path

from quickstep.datasets.class_prompts import ClassPrompts, read_class_prompts
from quickstep.heads import HEADS, FitConfig, Head, History, open_head
from quickstep.models.ensemble import AnyModel, Ensemble, load_model
from quickstep.models.feature_extraction import Extraction
from quickstep.models.model import Model
from quickstep.models.pose_input import SkeletonChoice
from quickstep.models.text_features import apply_templates, encode_prompts
from quickstep.storage.cache import Cache
from quickstep.training.train import Parts, calibrate
from quickstep.types.errors import ModelError
from quickstep.types.progress import Progress
from quickstep.types.signals import Texts


def refit_head(model: Model, extraction: Extraction, texts: Texts | None, *, progress: Progress) -> tuple[Model, tuple[str, ...]]:
    """Fit a new head to the model's manifest and calibrate it as `train` does; return the model with it, and notes."""
    assert model.manifest is not None
    features = {segment: values for segment, values in extraction.features.items() if segment.split in ("train", "val")}
    parts = Parts.of(model.manifest, replace(extraction, features=features), texts=texts, skeleton=SkeletonChoice(model.backbone).skeleton)
    head = new_head(model)
    history: History = head.fit(parts.train, parts.val, classes=len(parts.labels), fitting=fit_config(model), progress=progress)
    temperature, threshold = calibrate(head, parts.val)
    notes = []
    absent = [label for place, label in enumerate(parts.labels) if parts.val is None or place not in parts.val.labels]
    if absent:
        notes.append(f"the confidence is not calibrated for {', '.join(map(repr, absent))}: there are no validation segments")
    missing = tuple(failure for failure in extraction.failures if failure.segment.split in ("train", "val"))
    if missing:
        notes.append(f"{len(missing)} segments that the model was trained with could not be used this time")
    facts = replace(
        model.facts,
        failures=tuple(f"{failure.segment}: {failure.error}" for failure in missing),
        fitting=model.facts.fitting | {"shrinkage": history.shrinkage},
    )
    fitted = replace(model, head=head, history=history, temperature=temperature, threshold=threshold, facts=facts)
    return fitted, tuple(notes)


def new_head(model: Model) -> Head:
    """Open an unfitted head of the model's kind, with its settings."""
    head = model.head
    name = head.name if head.name in HEADS else f"{type(head).__module__}:{type(head).__qualname__}"
    return open_head(name, asdict(head.config))


def fit_config(model: Model) -> FitConfig:
    """Return the settings that the model's head was fitted with."""
    names = {field.name for field in fields(FitConfig)}
    return FitConfig(**{name: value for name, value in model.facts.fitting.items() if name in names})


def class_prompts_of(model: Model, labels: Sequence[str], own: Mapping[str, tuple[str, ...]] | None = None) -> ClassPrompts | None:
    """Return the sentences of all labels: `own`, else the model's, else templates; None where the head reads no text."""
    if not model.head.capabilities.reads_texts:
        return None
    templates = tuple(model.facts.training.get("template") or ())
    default = apply_templates(read_class_prompts(list(labels), templates=templates), model.backbone, templates=templates).by_label
    sentences = {**default, **model.facts.words, **(own or {})}
    return ClassPrompts(tuple(labels), tuple(sentences[label] for label in labels))


def embed_prompts(model: Model, prompts: ClassPrompts | None, cache: Cache) -> Texts | None:
    """Embed the sentences with the model's backbone."""
    return encode_prompts(model.backbone, prompts, cache=cache) if prompts else None


def single_model(model: AnyModel | str | Path, verb: str, *, cache: Cache) -> Model:
    """Open a model; refuse an ensemble, whose members have a head each."""
    opened = load_model(model, cache=cache)
    if isinstance(opened, Ensemble):
        raise ModelError(opened.folder or "the model", f"is an ensemble: {verb} each of its members, then make the ensemble again")
    return opened
