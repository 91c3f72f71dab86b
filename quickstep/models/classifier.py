"""Classifier: what a Model and an Ensemble have in common, and the Predictions that they answer with, calibrated on validation segments."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from quickstep.datasets.inputs import Inputs, gather
from quickstep.heads import log_softmax, softmax
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Failure, Segment

if TYPE_CHECKING:
    from quickstep.models.array_features import Signals
    from quickstep.models.model import Model
    from quickstep.storage.cache import Cache

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.02, 50.0
RELIABLE_ACCURACY = 0.95  # the accuracy that "sure" promises
PRIOR = 4.0  # weight of the prior on the logarithm of the temperature, of deviation 0.35: 12 correct predictions keep it above one half
MIN_PREDICTIONS = 10  # fewer correct predictions in a row may be luck

Array = NDArray[np.float64]


def probabilities(logits: Array, temperature: float = 1.0) -> Array:
    """Return probabilities (N, C), each row summing to 1."""
    return softmax(logits / temperature, axis=-1)


def fit_temperature(logits: Array, labels: NDArray[np.int64]) -> float:
    """Return the temperature under which the true labels are most likely.

    A prior at 1, which some dozens of segments outweigh, keeps a few correct predictions from claiming certainty.
    """
    if len(labels) == 0:
        return 1.0
    from scipy.optimize import minimize_scalar  # slow to import, and only fitting needs it

    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        log_likelihoods = log_softmax(logits / math.exp(log_temperature), axis=1)[rows, labels]
        return float(-log_likelihoods.sum() + PRIOR * log_temperature**2)

    bounds = (math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE))
    return float(math.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6}).x))


def fit_threshold(scores: Array, labels: NDArray[np.int64]) -> float | None:
    """Return the lowest top score from which on at least 95 % of the predictions are correct; None with too few predictions."""
    top, correct = scores.max(axis=1, initial=0.0), scores.argmax(axis=1) == labels
    for threshold in np.unique(top):
        above = top >= threshold
        if above.sum() < MIN_PREDICTIONS:
            break
        if correct[above].mean() >= RELIABLE_ACCURACY:
            return float(threshold)
    return None


CONFIDENCES = ("sure", "not sure", "uncalibrated")
_CONFIDENCE = dict(zip((True, False, None), CONFIDENCES, strict=True))


def confidence_of(sure: bool | None) -> str:
    """Return "sure", "not sure" or, for None, "uncalibrated"."""
    return _CONFIDENCE[sure]


@dataclass(frozen=True, eq=False)
class Prediction:
    """The probability of each label for one segment, in the order of the labels."""

    segment: Segment
    scores: NDArray[np.float64]  # (C,), summing to 1
    labels: tuple[str, ...]
    threshold: float | None = None
    damaged: float = 0.0  # share of the timestamps that could not be read, so that a neighbouring frame was used

    @property
    def label(self) -> str:
        """Return the most likely label."""
        return self.labels[int(self.scores.argmax())]

    @property
    def score(self) -> float:
        """Return the probability of the most likely label."""
        return float(self.scores.max())

    @property
    def sure(self) -> bool | None:
        """Whether at least 95 % of the predictions with such a score were correct on validation; None for an uncalibrated model."""
        return None if self.threshold is None else self.score >= self.threshold

    @property
    def confidence(self) -> str:
        """Return "sure", "not sure" or "uncalibrated"."""
        return confidence_of(self.sure)

    def top(self, k: int) -> list[tuple[str, float]]:
        """Return the k most likely labels with their probabilities, or all labels where there are fewer."""
        order = np.argsort(-self.scores, kind="stable")[: max(0, k)]
        return [(self.labels[i], float(self.scores[i])) for i in order]

    def __repr__(self) -> str:
        return f"Prediction({str(self.segment)!r}: {self.label!r} {self.score:.2f}, {self.confidence})"


@dataclass(frozen=True, eq=False)
class Predictions:
    """The predictions for several segments, in the given order, and the failures of segments that could not be read."""

    predictions: tuple[Prediction, ...]
    failures: tuple[Failure, ...] = ()
    seconds: float = 0.0  # spent on reading videos and computing features; next to none where the cache had them

    def __repr__(self) -> str:
        return f"Predictions({len(self.predictions)} predictions, {len(self.failures)} failures)"


class Classifier(ABC):
    """Classifies files with `predict` and arrays in memory with `score`."""

    def predict(self, inputs: Inputs, *, cache: Cache | None = None, progress: Progress = silent, strict: bool = False) -> Predictions:
        """Classify one video, several, a folder, a csv or Segments.

        A segment that cannot be read becomes a failure; with `strict` its error is raised.
        """
        segments, failures = _segments_of(inputs)
        if strict and failures:
            raise failures[0].error
        predictions = self._predict(segments, cache, progress, strict)
        return replace(predictions, failures=(*failures, *predictions.failures))

    @abstractmethod
    def score(self, signals: Signals) -> Predictions:
        """Classify signals in memory: frames, optical flow or poses.

        A signal is one `Frames` (decoded pictures of any size, to which the model applies its view), one `Poses`, or a list of windows
        (`Frames` or `Flow`) that already are as the model's view gives them. No file is read or written.
        """

    @property
    @abstractmethod
    def lead(self) -> Model:
        """Return the member with the largest weight, which stands for an ensemble where a single view or backbone is needed."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """Return a hash of everything that decides the scores; two models with the same digest give the same scores."""

    @abstractmethod
    def _predict(self, segments: Sequence[Segment], cache: Cache | None, progress: Progress, strict: bool) -> Predictions:
        """Classify segments in the given order."""


def _segments_of(inputs: Inputs) -> tuple[list[Segment], list[Failure]]:
    """List the segments; Segments stay as they are, also when one is given twice."""
    if isinstance(inputs, Sequence) and all(isinstance(item, Segment) for item in inputs):
        return [item for item in inputs if isinstance(item, Segment)], []
    return gather(inputs)
