"""Prediction and Predictions: what a model answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quickstep.types.segment import Failure, Segment

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
