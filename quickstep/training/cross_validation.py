"""Cross-validate: fit one model a fold without the fold, test it there, and fit the final model on everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from quickstep.datasets.inputs import ManifestSource, as_manifest
from quickstep.datasets.manifest import Manifest
from quickstep.datasets.splits import SplitConfig, split
from quickstep.evaluation.pooled_report import TestedFold, pooled_report, widened
from quickstep.evaluation.report import Report
from quickstep.models.classifier import Prediction, fit_temperature, fit_threshold, probabilities
from quickstep.models.model import Model
from quickstep.signals.poses.config import PoseConfig
from quickstep.storage.cache import Cache
from quickstep.training.train import TrainConfig, Trained, check_labels, train
from quickstep.types.errors import ConfigError, ManifestError, MediaError
from quickstep.types.progress import Progress, silent

if TYPE_CHECKING:
    from quickstep.backbones import Backbone

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CrossValidated:
    """The model that was fitted on everything, and the report of the models of its folds."""

    trained: Trained
    report: Report

    @property
    def model(self) -> Model:
        """The model that was fitted on everything, calibrated on the predictions of the folds."""
        return self.trained.model


def cross_validate(
    manifest: ManifestSource,
    config: TrainConfig | None = None,
    *,
    folds: int = 5,
    backbone: Backbone | None = None,
    poses: PoseConfig | None = None,
    cache: Cache | None = None,
    progress: Progress = silent,
    strict: bool = False,
    baselines: bool = True,
) -> CrossValidated:
    """Train as `train` does, on every segment, and test every segment once: by a model that was fitted without its group.

    The splits in the manifest are ignored. Features are computed once, for all folds. Nothing that is fitted, chosen or calibrated for a
    fold sees the fold.
    """
    manifest, config, cache = as_manifest(manifest), config or TrainConfig(), cache or Cache()
    check_labels(manifest)
    drawn = split(manifest, SplitConfig(folds=folds, val=0.0, seed=config.seed), cache=cache, progress=progress)
    everything = drawn.manifest.with_splits(["train"] * len(manifest))
    trained = train(everything, config, backbone=backbone, poses=poses, cache=cache, progress=progress, strict=strict, validation=False)
    labels = trained.model.labels
    predictions: list[tuple[Model, Manifest, tuple[Prediction, ...]]] = []
    for number, fold in enumerate(drawn.folds):
        progress("folds", number, folds)
        model = _fit_without(fold, config, number, backbone=backbone, poses=poses, cache=cache)
        answered = model.predict(fold.part("test").segments, cache=cache).predictions
        predictions.append((model, fold, tuple(widened(one, labels) for one in answered)))
    progress("folds", folds, folds)
    tested, calibrated = _calibrated(trained, [part for part in predictions if part[2]])
    report = pooled_report(
        calibrated, tested, trained.failures, drawn.leakage, cache=cache, progress=progress, baselines=baselines, seed=config.seed
    )
    warnings = (*drawn.warnings, *trained.warnings)
    return CrossValidated(replace(trained, model=calibrated, warnings=warnings, split=drawn), report)


def _fit_without(
    fold: Manifest, config: TrainConfig, number: int, *, backbone: Backbone | None, poses: PoseConfig | None, cache: Cache
) -> Model:
    """Fit a model on the train part of a fold, as the final model is fitted on everything."""
    try:
        return train(fold.part("train"), config, backbone=backbone, poses=poses, cache=cache, validation=False).model
    except ManifestError as error:
        raise ConfigError(
            "folds", f"without fold {number + 1} no model can be fitted ({error.why}); use more folds, or more groups"
        ) from error


def _calibrated(trained: Trained, parts: Sequence[tuple[Model, Manifest, tuple[Prediction, ...]]]) -> tuple[list[TestedFold], Model]:
    """Calibrate the predictions of each fold on those of the others, and the final model on all of them."""
    labels = trained.model.labels
    logits = [np.log([one.scores for one in predictions]) for _, _, predictions in parts]
    truth = [np.array([labels.index(str(one.segment.label)) for one in predictions], dtype=np.int64) for _, _, predictions in parts]
    if not parts:
        raise MediaError(trained.model.facts.source, "none of its videos could be tested")
    folds = []
    for place, (model, fold, predictions) in enumerate(parts):
        others = [number for number in range(len(parts)) if number != place]
        temperature, threshold = _fit_calibration([logits[n] for n in others], [truth[n] for n in others])
        scores = probabilities(logits[place], temperature)
        scaled = tuple(replace(one, scores=row, threshold=threshold) for one, row in zip(predictions, scores, strict=True))
        folds.append(TestedFold(model, fold.part("train").segments, scaled, temperature, threshold))
    temperature, threshold = _fit_calibration(logits, truth)
    facts = replace(trained.model.facts, training={**trained.model.facts.training, "folds": len(parts)})
    return folds, replace(trained.model, temperature=temperature, threshold=threshold, facts=facts)


def _fit_calibration(logits: Sequence[Array], truth: Sequence[Ints]) -> tuple[float, float | None]:
    if not logits:
        return 1.0, None
    pooled, labels = np.concatenate(logits), np.concatenate(truth)
    temperature = fit_temperature(pooled, labels)
    return temperature, fit_threshold(probabilities(pooled, temperature), labels)
