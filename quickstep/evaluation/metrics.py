"""Metrics from labels and probabilities: accuracy, per-class figures, curves and calibration.

Labels are integers (N,) below C, probabilities float64 (N, C). A class without segments has recall None, not 0.
scikit-learn computes curves and losses; it is imported when they are asked for.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quickstep.types.confidence_intervals import Interval, add_up, bootstrap, units_of, widened

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BINS = 10


@dataclass(frozen=True)
class Summary:
    """Accuracy, balanced accuracy and macro F1 with their intervals."""

    accuracy: Interval
    balanced_accuracy: Interval  # the mean recall of the classes
    macro_f1: Interval


@dataclass(frozen=True)
class ClassFigures:
    """The figures of one class: of `count` segments `correct` were recognized; `predicted` segments got the label."""

    label: str
    count: int
    predicted: int
    correct: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class Curve:
    """One line of a chart; `area` is None, and there are no points, where the class is in no segment or in every one."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    area: float | None


@dataclass(frozen=True)
class Reliability:
    """For each bin of confidence: mean confidence, accuracy and number of segments."""

    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]
    counts: tuple[int, ...]
    ece: float  # expected calibration error: the mean gap, weighted by counts
    log_loss: float
    brier: float


@dataclass(frozen=True)
class RiskCoverage:
    """The error rate on the share of segments with the highest confidence."""

    coverage: tuple[float, ...]
    risk: tuple[float, ...]
    confidence: tuple[float, ...]  # at which that coverage is reached
    area: float  # AURC: 0 is best
    best_area: float  # the area with the same errors in the best order


def check(labels: Ints, probabilities: Floats) -> None:
    """Raise ValueError where labels and probabilities cannot be measured."""
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(f"probabilities are (N, C) and labels (N,), not {probabilities.shape} and {labels.shape}")
    if len(labels) == 0 or probabilities.shape[1] == 0:
        raise ValueError("there is nothing to measure: no segments or no classes")
    if not np.isfinite(probabilities).all():
        raise ValueError(
            f"{int((~np.isfinite(probabilities)).any(axis=1).sum())} of {len(labels)} segments have a score that is not finite"
        )
    if (probabilities < 0).any() or (np.abs(probabilities.sum(axis=1) - 1) > 1e-3).any():
        raise ValueError("probabilities must be at least 0 and sum to 1 for each segment")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        raise ValueError(f"labels must be integers from 0 to {probabilities.shape[1] - 1}")


def confusion(labels: Ints, predicted: Ints, *, classes: int) -> Ints:
    """Return counts (C, C): rows are true classes, columns predicted ones."""
    return np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def summarize(labels: Ints, predicted: Ints, groups: Sequence[Hashable], *, classes: int, seed: int = 0) -> Summary:
    """Return accuracy, balanced accuracy and macro F1, each with its bootstrap interval over groups."""
    units = units_of(groups)
    sums = add_up(_one_hot_counts(labels, predicted, classes), units)  # (U, 3C)
    values = _shares(sums.sum(axis=0, keepdims=True))[0]
    lows, highs = bootstrap(sums, _shares, seed=seed)
    intervals = [
        widened(float(value), float(low), float(high), units=units, segments=len(labels)) for value, low, high in zip(values, lows, highs)
    ]
    return Summary(*intervals)


def plain_shares(labels: Ints, predicted: Ints, *, classes: int) -> tuple[float, float, float]:
    """Return accuracy, balanced accuracy and macro F1 without intervals."""
    accuracy, balanced, f1 = _shares(_one_hot_counts(labels, predicted, classes).sum(axis=0, keepdims=True))[0]
    return float(accuracy), float(balanced), float(f1)


def _one_hot_counts(labels: Ints, predicted: Ints, classes: int) -> Floats:
    """Return for each segment (N, 3C) whether it is a correct, a true and a predicted one of each class."""
    true, named = np.eye(classes)[labels], np.eye(classes)[predicted]
    return np.hstack([true * named, true, named])


def _shares(sums: Floats) -> Floats:
    """Return accuracy, balanced accuracy and macro F1 of counts: (B, 3C) correct, true and predicted -> (B, 3)."""
    correct, true, predicted = np.split(sums, 3, axis=1)
    either = true + predicted
    recall = np.divide(correct, true, out=np.zeros_like(correct), where=true > 0)
    f1 = np.divide(2 * correct, either, out=np.zeros_like(correct), where=either > 0)
    return np.column_stack(
        [
            correct.sum(axis=1) / true.sum(axis=1),
            recall.sum(axis=1) / (true > 0).sum(axis=1),
            f1.sum(axis=1) / (either > 0).sum(axis=1),
        ]
    )


def per_class(matrix: Ints, labels: Sequence[str]) -> tuple[ClassFigures, ...]:
    """Return precision, recall and F1 of every class from the confusion counts."""
    figures = []
    for index, label in enumerate(labels):
        correct, count, predicted = int(matrix[index, index]), int(matrix[index].sum()), int(matrix[:, index].sum())
        figures.append(
            ClassFigures(
                label=label,
                count=count,
                predicted=predicted,
                correct=correct,
                precision=correct / predicted if predicted else None,
                recall=correct / count if count else None,
                f1=2 * correct / (count + predicted) if count + predicted else None,
            )
        )
    return tuple(figures)


def top_k(labels: Ints, probabilities: Floats, *, k: int) -> float:
    """Return the share of segments whose label is among the k most probable; of equally probable labels the first counts."""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, : max(1, k)]
    return float((order == labels[:, None]).any(axis=1).mean())


def log_loss(labels: Ints, probabilities: Floats) -> float:
    """Return the mean of -log(probability of the true class)."""
    from sklearn import metrics

    classes = probabilities.shape[1]
    return float(metrics.log_loss(labels, probabilities, labels=range(classes))) if classes > 1 else 0.0


def reliability(labels: Ints, probabilities: Floats, *, bins: int = BINS) -> Reliability:
    """Return confidence and accuracy in equally wide bins of confidence; empty bins are left out."""
    confidence = probabilities.max(axis=1)
    correct = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    bin_numbers = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(bin_numbers, minlength=bins)
    filled = counts > 0
    mean_confidence = np.bincount(bin_numbers, confidence, bins)[filled] / counts[filled]
    accuracy = np.bincount(bin_numbers, correct, bins)[filled] / counts[filled]
    truth = np.eye(probabilities.shape[1])[labels]
    return Reliability(
        confidence=tuple(mean_confidence.tolist()),
        accuracy=tuple(accuracy.tolist()),
        counts=tuple(counts[filled].tolist()),
        ece=float(np.abs(mean_confidence - accuracy) @ counts[filled] / len(labels)),
        log_loss=log_loss(labels, probabilities),
        brier=float(((probabilities - truth) ** 2).sum(axis=1).mean()),  # of all classes, which scikit-learn 1.6 does not offer
    )


def at_temperature(probabilities: Floats, temperature: float | Floats) -> Floats:
    """Return the probabilities before temperature scaling: as if the logits had not been divided by `temperature`."""
    logits = temperature * np.log(np.clip(probabilities, np.finfo(np.float64).tiny, None))
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Floats = powers / powers.sum(axis=1, keepdims=True)
    return result


def risk_coverage(labels: Ints, probabilities: Floats) -> RiskCoverage:
    """Return the error rate among the n most confident segments, n = 1..N; ties count as the mean over all their orders."""
    confidence = probabilities.max(axis=1)
    wrong = (probabilities.argmax(axis=1) != labels).astype(np.float64)
    order = np.argsort(-confidence, kind="stable")
    confidence, wrong = confidence[order], wrong[order]
    starts = np.flatnonzero(np.diff(confidence, prepend=np.inf))
    lengths = np.diff(np.append(starts, len(confidence)))
    tied = np.repeat(np.add.reduceat(wrong, starts) / lengths, lengths)
    answered = np.arange(1, len(confidence) + 1)
    risk = np.cumsum(tied) / answered
    best = np.cumsum(np.sort(wrong)) / answered
    chosen = _thinned(len(answered), 200)
    return RiskCoverage(
        coverage=_rounded(answered[chosen] / len(answered)),
        risk=_rounded(risk[chosen]),
        confidence=_rounded(confidence[chosen]),
        area=float(risk.mean()),
        best_area=float(best.mean()),
    )


def roc(truth: NDArray[np.bool_], scores: Floats, *, label: str = "", points: int = 200) -> Curve:
    """Return the ROC curve: false positive rate against true positive rate."""
    from sklearn import metrics

    if truth.all() or not truth.any():
        return Curve(label, (), (), None)
    x, y, _ = metrics.roc_curve(truth, scores, drop_intermediate=False)
    chosen = _thinned(len(x), points)
    return Curve(label, _rounded(x[chosen]), _rounded(y[chosen]), float(metrics.auc(x, y)))


def precision_recall(truth: NDArray[np.bool_], scores: Floats, *, label: str = "", points: int = 200) -> Curve:
    """Return recall against precision; the area is the average precision."""
    from sklearn import metrics

    if not truth.any():
        return Curve(label, (), (), None)
    precision, recall, _ = metrics.precision_recall_curve(truth, scores)
    x, y = recall[::-1], precision[::-1].copy()
    y[0] = y[1]  # where nothing is predicted, scikit-learn sets the precision to 1
    chosen = _thinned(len(x), points)
    return Curve(label, _rounded(x[chosen]), _rounded(y[chosen]), float(metrics.average_precision_score(truth, scores)))


def one_against_rest(labels: Ints, probabilities: Floats, names: Sequence[str]) -> tuple[tuple[Curve, ...], tuple[Curve, ...]]:
    """Return the ROC curves and the precision-recall curves of every class."""
    points = int(np.clip(20_000 // len(names), 20, 200))
    columns = [(labels == index, probabilities[:, index], name) for index, name in enumerate(names)]
    rocs = tuple(roc(truth, scores, label=name, points=points) for truth, scores, name in columns)
    return rocs, tuple(precision_recall(truth, scores, label=name, points=points) for truth, scores, name in columns)


def mean_area(curves: Sequence[Curve]) -> float | None:
    """Return the mean area over the classes that have one."""
    areas = [curve.area for curve in curves if curve.area is not None]
    return float(np.mean(areas)) if areas else None


def _thinned(count: int, most: int) -> Ints:
    """Return indices of the first, the last and at most `most` evenly spaced points."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _rounded(values: Floats) -> tuple[float, ...]:
    return tuple(np.round(values, 6).tolist())
