"""Numbers from labels and probabilities: how often right, for which class, how honest the certainty is; knows no videos.

Labels are whole numbers (N,) below C, probabilities float64 (N, C). A class that never occurs has no recall: None, not 0.
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
    """The three shares that sum up how often a model is right."""

    accuracy: Interval
    balanced_accuracy: Interval  # every class counts alike
    macro_f1: Interval


@dataclass(frozen=True)
class ClassFigures:
    """How one class fares: of `count` true segments `right` were named; `said` is how often the name was given."""

    label: str
    count: int
    said: int
    right: int
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
    """For each band of certainty: how sure the model was, how often it was right, and over how many segments."""

    sure: tuple[float, ...]
    right: tuple[float, ...]
    counts: tuple[int, ...]
    ece: float  # the expected calibration error: the mean gap, weighted by counts
    log_loss: float
    brier: float


@dataclass(frozen=True)
class RiskCoverage:
    """How often the model is wrong on the share of segments it is surest of."""

    coverage: tuple[float, ...]
    risk: tuple[float, ...]
    sure: tuple[float, ...]  # the certainty at which that share is reached
    area: float  # AURC: 0 is best
    best_area: float  # what perfect ordering of the same mistakes would reach


def check(labels: Ints, probabilities: Floats) -> None:
    """Refuse what is no set of labels and probabilities, saying what is wrong with it."""
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(f"probabilities are (N, C) and labels (N,), not {probabilities.shape} and {labels.shape}")
    if len(labels) == 0 or probabilities.shape[1] == 0:
        raise ValueError("there is nothing to measure: no segments or no classes")
    if not np.isfinite(probabilities).all():
        raise ValueError(f"{int((~np.isfinite(probabilities)).any(axis=1).sum())} of {len(labels)} segments have a score that is no number")
    if (probabilities < 0).any() or (np.abs(probabilities.sum(axis=1) - 1) > 1e-3).any():
        raise ValueError("probabilities are from 0 on and add up to 1 for each segment")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        raise ValueError(f"labels are whole numbers from 0 to {probabilities.shape[1] - 1}")


def confusion(labels: Ints, said: Ints, *, classes: int) -> Ints:
    """(C, C) counts: the row is the truth, the column what was said."""
    return np.bincount(labels * classes + said, minlength=classes * classes).reshape(classes, classes)


def summarise(labels: Ints, said: Ints, groups: Sequence[Hashable], *, classes: int, seed: int = 0) -> Summary:
    """Accuracy, balanced accuracy and macro F1, each with its interval over groups."""
    true, named = np.eye(classes)[labels], np.eye(classes)[said]  # (N, C)
    units = units_of(groups)
    sums = add_up(np.hstack([true * named, true, named]), units)  # (U, 3C)
    value = shares(sums.sum(axis=0, keepdims=True))[0]
    low, high = bootstrap(sums, shares, seed=seed)
    intervals = [
        widened(float(v), float(least), float(most), units=units, segments=len(labels)) for v, least, most in zip(value, low, high)
    ]
    return Summary(*intervals)


def plain_shares(labels: Ints, said: Ints, *, classes: int) -> tuple[float, float, float]:
    """Accuracy, balanced accuracy and macro F1, without their intervals."""
    true, named = np.eye(classes)[labels], np.eye(classes)[said]  # (N, C)
    accuracy, balanced, f1 = shares(np.hstack([true * named, true, named]).sum(axis=0, keepdims=True))[0]
    return float(accuracy), float(balanced), float(f1)


def shares(sums: Floats) -> Floats:
    """(B, 3C) right, true and named counts -> (B, 3) accuracy, balanced accuracy, macro F1."""
    right, true, named = np.split(sums, 3, axis=1)
    either = true + named
    recall = np.divide(right, true, out=np.zeros_like(right), where=true > 0)
    f1 = np.divide(2 * right, either, out=np.zeros_like(right), where=either > 0)
    return np.column_stack(
        [
            right.sum(axis=1) / true.sum(axis=1),
            recall.sum(axis=1) / (true > 0).sum(axis=1),
            f1.sum(axis=1) / (either > 0).sum(axis=1),
        ]
    )


def per_class(matrix: Ints, labels: Sequence[str]) -> tuple[ClassFigures, ...]:
    """Precision, recall and F1 of every class from the confusion counts."""
    figures = []
    for index, label in enumerate(labels):
        right, count, said = int(matrix[index, index]), int(matrix[index].sum()), int(matrix[:, index].sum())
        figures.append(
            ClassFigures(
                label=label,
                count=count,
                said=said,
                right=right,
                precision=right / said if said else None,
                recall=right / count if count else None,
                f1=2 * right / (count + said) if count + said else None,
            )
        )
    return tuple(figures)


def top_k(labels: Ints, probabilities: Floats, *, k: int) -> float:
    """The share of segments whose label is among the k most probable; of equally probable ones the first named counts."""
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, : max(1, k)]
    return float((order == labels[:, None]).any(axis=1).mean())


def log_loss(labels: Ints, probabilities: Floats) -> float:
    """The mean of -log(probability of the truth), never below the smallest step a float can take."""
    given = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(given, np.finfo(np.float64).eps, 1.0)).mean())


def reliability(labels: Ints, probabilities: Floats, *, bins: int = BINS) -> Reliability:
    """How certainty and truth go together, in equally wide bands of certainty; empty bands are left out."""
    sure = probabilities.max(axis=1)
    right = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    band = np.clip(np.ceil(sure * bins).astype(np.int64) - 1, 0, bins - 1)
    counts = np.bincount(band, minlength=bins)
    filled = counts > 0
    mean_sure = np.bincount(band, sure, bins)[filled] / counts[filled]
    mean_right = np.bincount(band, right, bins)[filled] / counts[filled]
    truth = np.eye(probabilities.shape[1])[labels]
    return Reliability(
        sure=tuple(mean_sure.tolist()),
        right=tuple(mean_right.tolist()),
        counts=tuple(counts[filled].tolist()),
        ece=float(np.abs(mean_sure - mean_right) @ counts[filled] / len(labels)),
        log_loss=log_loss(labels, probabilities),
        brier=float(((probabilities - truth) ** 2).sum(axis=1).mean()),
    )


def at_temperature(probabilities: Floats, temperature: float) -> Floats:
    """The probabilities as they were before being divided by `temperature` in the logits (softmax is undone exactly)."""
    logits = temperature * np.log(np.clip(probabilities, np.finfo(np.float64).tiny, None))
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Floats = powers / powers.sum(axis=1, keepdims=True)
    return result


def risk_coverage(labels: Ints, probabilities: Floats) -> RiskCoverage:
    """The share wrong among the n surest, for n = 1..N; equally sure segments count as in a random order, on average."""
    sure = probabilities.max(axis=1)
    wrong = (probabilities.argmax(axis=1) != labels).astype(np.float64)
    order = np.argsort(-sure, kind="stable")
    sure, wrong = sure[order], wrong[order]
    starts = np.flatnonzero(np.diff(sure, prepend=np.inf))
    tied = np.repeat(np.add.reduceat(wrong, starts) / np.diff(np.append(starts, len(sure))), np.diff(np.append(starts, len(sure))))
    seen = np.arange(1, len(sure) + 1)
    risk = np.cumsum(tied) / seen
    ideal = np.cumsum(np.sort(wrong)) / seen
    keep = _thin(len(seen), 200)
    return RiskCoverage(
        coverage=_tuple(seen[keep] / len(seen)),
        risk=_tuple(risk[keep]),
        sure=_tuple(sure[keep]),
        area=float(risk.mean()),
        best_area=float(ideal.mean()),
    )


def roc(truth: NDArray[np.bool_], scores: Floats, *, label: str = "", points: int = 200) -> Curve:
    """False-positive rate against true-positive rate, equal scores taken together."""
    hits, alarms = _steps(truth, scores)
    if hits[-1] == 0 or alarms[-1] == 0:
        return Curve(label, (), (), None)
    x, y = np.append(0.0, alarms / alarms[-1]), np.append(0.0, hits / hits[-1])
    keep = _thin(len(x), points)
    return Curve(label, _tuple(x[keep]), _tuple(y[keep]), float(np.trapezoid(y, x)))


def precision_recall(truth: NDArray[np.bool_], scores: Floats, *, label: str = "", points: int = 200) -> Curve:
    """Recall against precision; the area is the average precision."""
    hits, alarms = _steps(truth, scores)
    if hits[-1] == 0:
        return Curve(label, (), (), None)
    recall, precision = hits / hits[-1], hits / (hits + alarms)
    area = float(np.sum(np.diff(recall, prepend=0.0) * precision))
    x, y = np.append(0.0, recall), np.append(precision[0], precision)
    keep = _thin(len(x), points)
    return Curve(label, _tuple(x[keep]), _tuple(y[keep]), area)


def one_against_rest(labels: Ints, probabilities: Floats, names: Sequence[str]) -> tuple[tuple[Curve, ...], tuple[Curve, ...]]:
    """The ROC curves and the precision-recall curves of every class."""
    points = int(np.clip(20_000 // len(names), 20, 200))
    columns = [(labels == index, probabilities[:, index], name) for index, name in enumerate(names)]
    rocs = tuple(roc(truth, scores, label=name, points=points) for truth, scores, name in columns)
    return rocs, tuple(precision_recall(truth, scores, label=name, points=points) for truth, scores, name in columns)


def mean_area(curves: Sequence[Curve]) -> float | None:
    """The mean area over the classes that have one."""
    areas = [curve.area for curve in curves if curve.area is not None]
    return float(np.mean(areas)) if areas else None


def _steps(truth: NDArray[np.bool_], scores: Floats) -> tuple[Floats, Floats]:
    """True and false positives counted down the scores, at the last of each run of equal ones."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(truth[order])[last].astype(np.float64)
    return hits, last + 1.0 - hits


def _thin(count: int, most: int) -> Ints:
    """Indices that keep the first, the last and at most `most` points evenly between."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _tuple(values: Floats) -> tuple[float, ...]:
    return tuple(np.round(values, 6).tolist())
