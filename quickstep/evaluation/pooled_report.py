"""pooled_report: one report of a cross-validation, in which every segment was tested once, by the model of its fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from quickstep.datasets.splits import LeakageCheck
from quickstep.evaluation.baselines import Task, compute_pooled_baselines, shortcut
from quickstep.evaluation.evaluator import Compared, Evidence, Selection, report_on, tested_segment
from quickstep.evaluation.provenance import name_of, without_groups
from quickstep.evaluation.report import FoldFigures, Proof, Report, Verdict
from quickstep.evaluation.report_figures import groups_of, measure
from quickstep.models.classifier import Prediction
from quickstep.models.model import Model
from quickstep.storage.cache import Cache
from quickstep.types.confidence_intervals import percent
from quickstep.types.progress import Clock, Progress
from quickstep.types.segment import Failure, Segment

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TestedFold:
    """The model that was fitted without one fold, and its predictions for the fold, calibrated on the other folds."""

    model: Model
    train: tuple[Segment, ...]
    predictions: tuple[Prediction, ...]  # with scores for the labels of all folds
    temperature: float
    threshold: float | None  # None: no score of the other folds was reliable

    @property
    def task(self) -> Task:
        """What a baseline has to do in this fold."""
        tested, predicted = (tuple(item) for item in zip(*((one.segment, one.label) for one in self.predictions), strict=True))
        return Task(self.train, (), tested, predicted)


def pooled_report(
    model: Model,
    folds: Sequence[TestedFold],
    failures: Sequence[Failure],
    leakage: LeakageCheck,
    *,
    cache: Cache,
    progress: Progress,
    baselines: bool = True,
    seed: int = 0,
) -> Report:
    """Report on `model`, which was fitted on all segments, by the predictions of the models of its folds."""
    clock = Clock()
    predictions = tuple(prediction for fold in folds for prediction in fold.predictions)
    tested = tuple(map(tested_segment, predictions))
    counts = [len(fold.predictions) for fold in folds]
    thresholds = np.repeat([2.0 if fold.threshold is None else fold.threshold for fold in folds], counts)
    temperatures = np.repeat([fold.temperature for fold in folds], counts)[:, None]
    measured = measure(tested, model.labels, temperature=temperatures, threshold=model.threshold, thresholds=thresholds, seed=seed)
    clock.mark("measuring")
    tasks = [(fold.model, fold.task) for fold in folds]
    compared = Compared()
    if baselines:
        pooled = compute_pooled_baselines(tasks, cache=cache, progress=progress, seed=seed)
        compared = Compared(pooled, shortcut(tasks[0][1], cache=cache, seed=seed))
    clock.mark("baselines")
    grouped = any(segment.group is not None for segment in tested)
    sentences = leakage.sentences if grouped else without_groups(leakage.sentences)
    proof = Proof((), sentences, tuple(map(str, leakage.leaks)), grouped=grouped)
    assert model.manifest is not None
    selection = Selection(model.manifest, tuple(one.segment for one in predictions), {}, name_of(model.manifest))
    evidence = Evidence(selection, predictions, tested, measured, compared, proof, tuple(failures))
    report = report_on(model, evidence, clock, split="folds", progress=progress)
    figures = tuple(_figures_of(number, fold) for number, fold in enumerate(folds, start=1))
    return replace(report, verdicts=(*report.verdicts, _on_folds(figures)), folds=figures)


def widened(prediction: Prediction, labels: tuple[str, ...], least: float = 1e-6) -> Prediction:
    """Return the prediction with a score for each of these labels; a label that its model was not fitted on has next to none."""
    scores = np.full(len(labels), least)
    scores[[labels.index(label) for label in prediction.labels]] = np.maximum(prediction.scores, 1e-12)
    return replace(prediction, scores=scores / scores.sum(), labels=labels)


def _figures_of(number: int, fold: TestedFold) -> FoldFigures:
    correct = sum(prediction.label == prediction.segment.label for prediction in fold.predictions)
    return FoldFigures(number, len(fold.predictions), len(set(groups_of(list(map(tested_segment, fold.predictions))))), correct)


def _on_folds(folds: Sequence[FoldFigures]) -> Verdict:
    """State which number belongs to which model."""
    shares = sorted(fold.correct / fold.segments for fold in folds)
    return Verdict(
        "note",
        "folds",
        f"Every segment was tested once, by one of {len(folds)} models that were fitted without its group; their accuracy is "
        f"{percent(shares[0])} to {percent(shares[-1])}. The saved model is fitted on all segments, so it was not itself tested: "
        "these figures are those of models that had a little less to learn from.",
    )
