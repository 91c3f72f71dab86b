"""Classifier: what a Model and an Ensemble have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from quickstep.datasets.inputs import Inputs, gather
from quickstep.models.predictions import Predictions
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Failure, Segment

if TYPE_CHECKING:
    from quickstep.models.array_features import Signals
    from quickstep.models.model import Model
    from quickstep.storage.cache import Cache


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
