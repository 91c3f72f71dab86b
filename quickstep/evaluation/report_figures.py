"""measure: tested segments -> every figure and curve of a report; knows no model and opens no video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quickstep.evaluation import metrics
from quickstep.evaluation.metrics import ClassFigures
from quickstep.evaluation.report import Curves, Figures, Tested

TOP = (1, 3, 5)


@dataclass(frozen=True)
class Measured:
    """What the predictions of one model on one set of segments come to."""

    figures: Figures
    classes: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, ...], ...]
    curves: Curves


def measure(
    tested: Sequence[Tested], labels: Sequence[str], *, temperature: float = 1.0, threshold: float | None = None, seed: int = 0
) -> Measured:
    """Every number that follows from what was said about these segments."""
    place = {label: index for index, label in enumerate(labels)}
    truth = np.array([place[one.label] for one in tested], dtype=np.int64)
    said = np.array([place[one.said] for one in tested], dtype=np.int64)
    scores = np.array([one.scores for one in tested], dtype=np.float64).reshape(len(tested), -1)
    metrics.check(truth, scores)
    summary = metrics.summarise(truth, said, clusters(tested), classes=len(labels), seed=seed)
    matrix = metrics.confusion(truth, said, classes=len(labels))
    roc, pr = metrics.one_against_rest(truth, scores, labels)
    sure = scores.max(axis=1) >= (2.0 if threshold is None else threshold)
    figures = Figures(
        accuracy=summary.accuracy,
        balanced_accuracy=summary.balanced_accuracy,
        macro_f1=summary.macro_f1,
        top_k={str(k): metrics.top_k(truth, scores, k=k) for k in TOP},
        chance=float(matrix.sum(axis=1).max() / len(truth)),
        auc_roc=metrics.mean_area(roc),
        auc_pr=metrics.mean_area(pr),
        threshold=threshold,
        answered=None if threshold is None else float(sure.mean()),
        right_when_answered=float((truth == said)[sure].mean()) if sure.any() else None,
    )
    curves = Curves(
        roc=roc,
        pr=pr,
        uncalibrated=metrics.reliability(truth, metrics.at_temperature(scores, temperature)),
        calibrated=metrics.reliability(truth, scores),
        risk_coverage=metrics.risk_coverage(truth, scores),
    )
    return Measured(figures, metrics.per_class(matrix, labels), tuple(tuple(map(int, row)) for row in matrix), curves)


def clusters(tested: Sequence[Tested]) -> list[str]:
    """What is right or wrong together: the group, or without one the video."""
    return [one.group if one.group is not None else one.path for one in tested]
