"""Measure every figure and curve of a report from its tested segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quickstep.evaluation import metrics
from quickstep.evaluation.metrics import ClassFigures
from quickstep.evaluation.report import Curves, Figures, TestedSegment

TOP = (1, 3, 5)


@dataclass(frozen=True)
class Measured:
    """The figures and curves of one model on one set of segments."""

    figures: Figures
    classes: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...]
    curves: Curves


def measure(
    tested: Sequence[TestedSegment],
    labels: Sequence[str],
    *,
    temperature: float | NDArray[np.float64] = 1.0,
    threshold: float | None = None,
    thresholds: NDArray[np.float64] | None = None,
    seed: int = 0,
) -> Measured:
    """Return all figures and curves of these segments; `thresholds` are those of the segments where they are not all the model's."""
    numbers = {label: index for index, label in enumerate(labels)}
    truth = np.array([numbers[segment.label] for segment in tested], dtype=np.int64)
    predicted = np.array([numbers[segment.predicted] for segment in tested], dtype=np.int64)
    scores = np.array([segment.scores for segment in tested], dtype=np.float64).reshape(len(tested), -1)
    metrics.check(truth, scores)
    summary = metrics.summarize(truth, predicted, groups_of(tested), classes=len(labels), seed=seed)
    matrix = metrics.confusion(truth, predicted, classes=len(labels))
    roc, pr = metrics.one_against_rest(truth, scores, labels)
    answered = scores.max(axis=1) >= (thresholds if thresholds is not None else 2.0 if threshold is None else threshold)
    figures = Figures(
        accuracy=summary.accuracy,
        balanced_accuracy=summary.balanced_accuracy,
        macro_f1=summary.macro_f1,
        top_k={str(k): metrics.top_k(truth, scores, k=k) for k in TOP},
        chance=float(matrix.sum(axis=1).max() / len(truth)),
        auc_roc=metrics.mean_area(roc),
        auc_pr=metrics.mean_area(pr),
        threshold=threshold,
        coverage=None if threshold is None else float(answered.mean()),
        selective_accuracy=float((truth == predicted)[answered].mean()) if answered.any() else None,
    )
    curves = Curves(
        roc=roc,
        pr=pr,
        uncalibrated=metrics.reliability(truth, metrics.at_temperature(scores, temperature)),
        calibrated=metrics.reliability(truth, scores),
        risk_coverage=metrics.risk_coverage(truth, scores),
    )
    return Measured(figures, metrics.per_class(matrix, labels), tuple(tuple(map(int, row)) for row in matrix), curves)


def groups_of(tested: Sequence[TestedSegment]) -> list[str]:
    """Return the unit that each segment is resampled with: its group, or without one its video."""
    return [segment.group if segment.group is not None else segment.path for segment in tested]
