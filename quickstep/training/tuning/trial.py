"""Trier: fits and judges one set of settings, step by step, so that a hopeless one can be stopped; never shown a test segment.

A step is a fold of train and val; or, where data are many, first a quarter of the epochs and then all of them.
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
from quickstep.types.segment import Segment

SHORT = 10  # epochs of a fine-tuning trial, where no number was said: it goes once over each picture an epoch


@dataclass(frozen=True)
class Fit:
    """What a fit leaves."""

    model: Model
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """One set of settings."""

    train: TrainConfig
    finetune: FinetuneConfig | None = None  # where the network is opened: then these are what counts
    augment: Augment | None = None

    @classmethod
    def opened(cls, base: TrainConfig, **more: Any) -> Recipe:
        """One that fine-tunes, with what was said of `train` taken over where fine-tuning has the same setting."""
        augment = more.pop("augment", None)
        usual = TrainConfig()
        known = {field.name for field in fields(FinetuneConfig)}
        said = {
            f.name: getattr(base, f.name)
            for f in fields(TrainConfig)
            if f.name in known and getattr(base, f.name) != getattr(usual, f.name)
        }
        config = FinetuneConfig(**{"epochs": SHORT, **said, **more})
        return cls(base, config, Augment(augment=augment) if augment is not None else Augment())

    def fit(self, manifest: Manifest, *, cache: Cache, progress: Progress = silent) -> Fit:
        """A model of its settings."""
        if self.finetune is None:
            trained = train(manifest, self.train, cache=cache, progress=progress)
            return Fit(trained.model, trained.warnings)
        from quickstep.training.finetuning import finetune

        tuned = finetune(manifest, self.finetune, augment=self.augment, cache=cache, progress=progress)
        return Fit(tuned.model, tuned.warnings)

    def shortened(self, share: float, segments: int) -> Recipe:
        """The same with a share of its epochs."""
        if share == 1.0:
            return self
        if self.finetune is not None:
            return replace(self, finetune=replace(self.finetune, epochs=max(1, round(share * self.finetune.epochs))))
        whole = self.train.fitting().passes(segments)
        return replace(self, train=replace(self.train, epochs=max(1, round(share * whole))))

    @property
    def told(self) -> dict[str, Any]:
        """What it says that would not be done by itself, and always the backbone, and the head where there is a choice."""
        config: Any = self.train if self.finetune is None else self.finetune
        always = ("backbone", "head") if self.finetune is None else ("backbone", "epochs")
        usual = type(config)()
        named = {field.name: getattr(config, field.name) for field in fields(config)}
        told = {name: value for name, value in named.items() if name in always or value != getattr(usual, name)}
        if self.finetune is not None and self.augment is not None:
            told = {"fine-tuned": True, **told, "augment": self.augment.augment}
        return told

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        data: dict[str, Any] = to_plain(self)
        return data

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Recipe:
        """The reverse of `to_json`."""
        return from_plain(cls, dict(data), where="a trial")


FEW = 150  # validation segments: with fewer, one split's score is mostly luck, so folds are scored
FOLDS = 5
FIRST = 0.25  # share of the epochs of the first step where there are no folds
LEAST = 1e-12


@dataclass(frozen=True)
class Step:
    """One fit and its score: on the val part of a manifest that has no test part."""

    manifest: Manifest
    epochs: float = 1.0  # share of those that were asked for
    counts: bool = True  # whether its score is part of the trial's


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of one set of settings."""

    value: float  # the measure, the higher the better
    accuracy: Interval
    log_loss: float
    right: str  # "1" or "0" for each judged segment, in the order of the steps
    seconds: float
    numbers: int  # that were fitted

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        interval = {name: getattr(self.accuracy, name) for name in ("value", "low", "high", "over", "units", "note")}
        known = {name: getattr(self, name) for name in ("value", "log_loss", "right", "seconds", "numbers")}
        return {**known, "accuracy": interval}


class Hopeless(Exception):
    """Raised by `report` to stop a trial; not an error."""


@dataclass(frozen=True, eq=False)
class Trier:
    """The steps by which every set of settings is judged, all by the same."""

    steps: tuple[Step, ...]
    metric: str
    cache: Cache

    @classmethod
    def of(cls, manifest: Manifest, *, metric: str, folds: int | None, seed: int, cache: Cache) -> Trier:
        """Without the test part, which nobody here is shown."""
        known = manifest.with_segments(segment for segment in manifest.segments if segment.split in ("train", "val"))
        watched = len(known.part("val"))
        wanted = folds if folds is not None else (FOLDS if watched < FEW else 0)
        steps = _folds(known, wanted, seed=seed, cache=cache, must=folds is not None) if wanted else ()
        return cls(steps or (Step(known, FIRST, counts=False), Step(known)), metric, cache)

    @property
    def folds(self) -> int:
        """How many folds are scored; 0 where there is one split."""
        return len(self.steps) if all(step.counts for step in self.steps) else 0

    @property
    def judged(self) -> tuple[Segment, ...]:
        """The segments that are scored, in the order of `Outcome.right`."""
        return tuple(segment for step in self.steps if step.counts for segment in step.manifest.part("val").segments)

    def run(self, recipe: Recipe, report: Callable[[int, float], None], progress: Progress = silent) -> Outcome:
        """Fits and judges; `report` is told the score so far after each step and may raise Hopeless."""
        started = time.perf_counter()
        told: list[NDArray[np.float64]] = []  # a step: (N,) what the truth was given
        right: list[NDArray[np.bool_]] = []
        values: list[float] = []
        numbers = 0
        for place, step in enumerate(self.steps):
            progress("trial", place, len(self.steps))
            fitted = recipe.shortened(step.epochs, len(step.manifest.part("train"))).fit(step.manifest, cache=self.cache)
            numbers = 0 if recipe.finetune else sum(int(array.size) for array in fitted.model.head.weights().values())
            truth, hits = self._judge(fitted.model, step.manifest.part("val").segments)
            value = self._value(truth, hits, step.manifest.part("val").segments)
            if step.counts:
                told.append(truth)
                right.append(hits)
                values.append(value)
            report(place, float(np.mean(values)) if values else value)
        progress("trial", len(self.steps), len(self.steps))
        hits = np.concatenate(right)
        surprise = float(-np.log(np.maximum(np.concatenate(told), LEAST)).mean())
        groups = [group_of(segment) for segment in self.judged]
        bits = "".join("1" if hit else "0" for hit in hits)
        return Outcome(float(np.mean(values)), share(hits, groups), surprise, bits, time.perf_counter() - started, numbers)

    def _judge(self, model: Any, segments: tuple[Segment, ...]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """What the best epoch gives the truth of each segment, and whether it is right; one that it cannot see, it has wrong."""
        said = {one.segment: one for one in model.predict(segments, cache=self.cache).predictions}
        truth = np.full(len(segments), 1 / len(model.labels))
        right = np.zeros(len(segments), dtype=bool)
        for place, segment in enumerate(segments):
            if segment in said and segment.label in model.labels:
                truth[place] = said[segment].scores[model.labels.index(segment.label)]
                right[place] = said[segment].label == segment.label
        return truth, right

    def _value(self, truth: NDArray[np.float64], right: NDArray[np.bool_], segments: tuple[Segment, ...]) -> float:
        if self.metric == "log-loss":
            return float(np.log(np.maximum(truth, LEAST)).mean())
        if self.metric == "accuracy":
            return float(right.mean())
        labels = np.array([str(segment.label) for segment in segments])
        return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))


def _folds(known: Manifest, count: int, *, seed: int, cache: Cache, must: bool) -> tuple[Step, ...]:
    """Folds of train and val alone, each judged once by what was fitted to the others; fewer where classes are too few for so many."""
    for folds in range(count, 1, -1):
        try:
            drawn = split(known, SplitConfig(val=0.0, folds=folds, seed=seed), cache=cache).folds
        except (ConfigError, ManifestError):
            continue
        steps = tuple(
            Step(fold.with_splits(["val" if segment.split == "test" else segment.split for segment in fold.segments])) for fold in drawn
        )
        if all(set(step.manifest.part("train").labels) == set(known.labels) and len(step.manifest.part("val")) for step in steps):
            return steps
        if must:
            break
    if must:
        raise ConfigError("folds", f"{count} folds leave some class without a segment to learn from; take fewer, or 0 for the one split")
    return ()
