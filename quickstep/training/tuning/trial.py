"""Fit and score one set of settings, step by step, so that a trial with low scores can be stopped; the test part is never used.

A step is a fold of the train and val parts or, for larger sets, first a quarter of the epochs and then all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.datasets.manifest import Manifest, group_of
from quickstep.datasets.splits import SplitConfig, split
from quickstep.models.model import Model
from quickstep.storage.cache import Cache
from quickstep.storage.serialization import from_plain, to_plain
from quickstep.training.augmentation.augment import Augment
from quickstep.training.finetuning.config import FinetuneConfig
from quickstep.training.train import TrainConfig, train
from quickstep.types.confidence_intervals import Interval, share
from quickstep.types.errors import ConfigError, ManifestError
from quickstep.types.progress import Progress, silent
from quickstep.types.registry import refuse_code_in
from quickstep.types.segment import Segment

FINETUNE_EPOCHS = 10  # the default of a fine-tuning trial
SMALL = 150  # validation segments: with fewer, the score of a single split varies too much, so folds are used
FOLDS = 5
FIRST_EPOCHS = 0.25  # share of the epochs in the first step where there are no folds
MIN_PROBABILITY = 1e-12


@dataclass(frozen=True)
class Fit:
    """A fitted model and the warnings of its training."""

    model: Model
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """One set of settings, for `train` or for `finetune`."""

    train: TrainConfig
    finetune: FinetuneConfig | None = None  # set for a candidate that fine-tunes
    augment: Augment | None = None

    @classmethod
    def finetuned(cls, base: TrainConfig, **settings: Any) -> Candidate:
        """Make a candidate that fine-tunes, with the changed settings of `base` that `finetune` has too."""
        augment = settings.pop("augment", None)
        shared = {field.name for field in fields(FinetuneConfig)} & {field.name for field in fields(TrainConfig)}
        changed = {name: value for name, value in changed_fields(base).items() if name in shared}
        config = FinetuneConfig(**{"epochs": FINETUNE_EPOCHS, **changed, **settings})
        return cls(base, config, Augment(augment=augment) if augment is not None else Augment())

    def fit(self, manifest: Manifest, *, cache: Cache, progress: Progress = silent) -> Fit:
        """Train or fine-tune a model with these settings."""
        if self.finetune is None:
            trained = train(manifest, self.train, cache=cache, progress=progress)
            return Fit(trained.model, trained.warnings)
        from quickstep.training.finetuning import finetune

        finetuned = finetune(manifest, self.finetune, augment=self.augment, cache=cache, progress=progress)
        return Fit(finetuned.model, finetuned.warnings)

    def shortened(self, share: float, segments: int) -> Candidate:
        """Return the same settings with a share of the epochs."""
        if share == 1.0:
            return self
        if self.finetune is not None:
            return replace(self, finetune=replace(self.finetune, epochs=max(1, round(share * self.finetune.epochs))))
        epochs = self.train.fitting().passes(segments)
        return replace(self, train=replace(self.train, epochs=max(1, round(share * epochs))))

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that differ from the defaults, with the backbone and the head (or the epochs) always."""
        config: Any = self.train if self.finetune is None else self.finetune
        always = ("backbone", "head") if self.finetune is None else ("backbone", "epochs")
        changed = changed_fields(config)
        settings = {field.name: getattr(config, field.name) for field in fields(config) if field.name in always or field.name in changed}
        if self.finetune is not None and self.augment is not None:
            settings = {"fine-tuned": True, **settings, "augment": self.augment.augment}
        return settings

    def to_json(self) -> dict[str, Any]:
        """Return the settings in JSON's own types."""
        data: dict[str, Any] = to_plain(self)
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Candidate:
        """Read what `to_json` returned."""
        refuse_code_in(data)
        return from_plain(cls, dict(data), where="a trial")


def changed_fields(config: Any) -> dict[str, Any]:
    """Return the fields of a config that differ from their defaults."""
    default = type(config)()
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    return {name: value for name, value in values.items() if value != getattr(default, name)}


@dataclass(frozen=True)
class Step:
    """One fit and its score on the val part of a manifest without a test part."""

    manifest: Manifest
    epochs: float = 1.0  # share of the candidate's epochs
    counts: bool = True  # whether its score is part of the trial's score


@dataclass(frozen=True, eq=False)
class TrialScore:
    """How good one set of settings is on validation."""

    value: float  # the metric, higher is better
    accuracy: Interval
    log_loss: float
    right: str  # "1" or "0" for each scored segment, in the order of the steps
    seconds: float
    parameters: int  # numbers that were fitted

    def to_json(self) -> dict[str, Any]:
        """Return the score in JSON's own types."""
        return {
            "value": self.value,
            "log_loss": self.log_loss,
            "right": self.right,
            "seconds": self.seconds,
            "numbers": self.parameters,
            "accuracy": to_plain(self.accuracy),
        }


class TrialStopped(Exception):
    """Raised by `report` to stop a trial early."""


@dataclass(frozen=True, eq=False)
class TrialRunner:
    """Fits and scores sets of settings, all on the same steps."""

    steps: tuple[Step, ...]
    metric: str
    cache: Cache

    @classmethod
    def of(cls, manifest: Manifest, *, metric: str, folds: int | None, seed: int, cache: Cache) -> TrialRunner:
        """Choose the steps for a manifest; its test part is left out."""
        available = manifest.with_segments(segment for segment in manifest.segments if segment.split in ("train", "val"))
        small = len(available.part("val")) < SMALL
        count = folds if folds is not None else (FOLDS if small else 0)
        steps = _fold_steps(available, count, seed=seed, cache=cache, required=folds is not None) if count else ()
        return cls(steps or (Step(available, FIRST_EPOCHS, counts=False), Step(available)), metric, cache)

    @property
    def folds(self) -> int:
        """The number of folds; 0 for a single split."""
        return len(self.steps) if all(step.counts for step in self.steps) else 0

    @property
    def scored(self) -> tuple[Segment, ...]:
        """The segments that are scored, in the order of `TrialScore.right`."""
        return tuple(segment for step in self.steps if step.counts for segment in step.manifest.part("val").segments)

    def run(self, candidate: Candidate, report: Callable[[int, float], None], progress: Progress = silent) -> TrialScore:
        """Fit and score a candidate; `report` gets the score so far after each step and may raise TrialStopped."""
        started = time.perf_counter()
        probabilities: list[NDArray[np.float64]] = []  # for each step, that of the true label (N,)
        right: list[NDArray[np.bool_]] = []
        values: list[float] = []
        parameters = 0
        for place, step in enumerate(self.steps):
            progress("trial", place, len(self.steps))
            fitted = candidate.shortened(step.epochs, len(step.manifest.part("train"))).fit(step.manifest, cache=self.cache)
            parameters = 0 if candidate.finetune else sum(int(array.size) for array in fitted.model.head.weights().values())
            segments = step.manifest.part("val").segments
            step_probabilities, step_right = self._score(fitted.model, segments)
            value = self._value(step_probabilities, step_right, segments)
            if step.counts:
                probabilities.append(step_probabilities)
                right.append(step_right)
                values.append(value)
            report(place, float(np.mean(values)) if values else value)
        progress("trial", len(self.steps), len(self.steps))
        all_right = np.concatenate(right)
        log_loss = float(-np.log(np.maximum(np.concatenate(probabilities), MIN_PROBABILITY)).mean())
        accuracy = share(all_right, [group_of(segment) for segment in self.scored])
        bits = "".join("1" if correct else "0" for correct in all_right)
        return TrialScore(float(np.mean(values)), accuracy, log_loss, bits, time.perf_counter() - started, parameters)

    def _score(self, model: Model, segments: tuple[Segment, ...]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the probability of each true label and whether it is predicted; an unreadable segment counts as wrong."""
        predictions = {prediction.segment: prediction for prediction in model.predict(segments, cache=self.cache).predictions}
        probabilities = np.full(len(segments), 1 / len(model.labels))
        right = np.zeros(len(segments), dtype=bool)
        for place, segment in enumerate(segments):
            if segment in predictions and segment.label in model.labels:
                probabilities[place] = predictions[segment].scores[model.labels.index(segment.label)]
                right[place] = predictions[segment].label == segment.label
        return probabilities, right

    def _value(self, probabilities: NDArray[np.float64], right: NDArray[np.bool_], segments: tuple[Segment, ...]) -> float:
        if self.metric == "log-loss":
            return float(np.log(np.maximum(probabilities, MIN_PROBABILITY)).mean())
        if self.metric == "accuracy":
            return float(right.mean())
        labels = np.array([str(segment.label) for segment in segments])
        return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))


def _fold_steps(manifest: Manifest, count: int, *, seed: int, cache: Cache, required: bool) -> tuple[Step, ...]:
    """Divide the train and val parts into folds, fewer where a class has too few segments; no group is in two folds."""
    for folds in range(count, 1, -1):
        try:
            drawn = split(manifest, SplitConfig(val=0.0, folds=folds, seed=seed), cache=cache).folds
        except (ConfigError, ManifestError):
            continue
        steps = tuple(
            Step(fold.with_splits(["val" if segment.split == "test" else segment.split for segment in fold.segments])) for fold in drawn
        )
        if all(set(step.manifest.part("train").labels) == set(manifest.labels) and len(step.manifest.part("val")) for step in steps):
            return steps
        if required:
            break
    if required:
        raise ConfigError("folds", f"with {count} folds, some class has no training segment; use fewer, or 0 for a single split")
    return ()
