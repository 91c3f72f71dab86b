"""Attribute a prediction to parts of its segment: the same model classifies each part alone."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from quickstep.models.ensemble import AnyModel
from quickstep.signals.poses.formats import is_pose_name
from quickstep.signals.video import probe
from quickstep.storage.cache import Cache
from quickstep.types.segment import Segment

MIN_SECONDS = 0.3  # a shorter part shows no movement
MAX_PARTS = 8


@dataclass(frozen=True)
class Part:
    """A part of a segment, and the probability of the segment's label when the model reads this part only."""

    start: float  # seconds of the video
    end: float
    score: float
    label: str  # the most likely label of this part


@dataclass(frozen=True)
class Attribution:
    """The parts of a segment in time order, without those that could not be read."""

    label: str
    parts: tuple[Part, ...]

    @property
    def strongest(self) -> Part | None:
        """Return the part with the highest probability."""
        return max(self.parts, key=lambda part: part.score, default=None)


def attribute(model: AnyModel, segment: Segment, label: str, *, parts: int = MAX_PARTS, cache: Cache | None = None) -> Attribution:
    """Return how likely `label` is for each part of a segment; no parts for a pose file or a very short segment."""
    if is_pose_name(segment.path):
        return Attribution(label, ())
    end = probe(segment.path).duration if segment.end is None else segment.end
    count = int(min(parts, (end - segment.start) // MIN_SECONDS))
    if count < 2:
        return Attribution(label, ())
    edges = np.linspace(segment.start, end, count + 1).tolist()
    pieces = [Segment(segment.path, start=start, end=stop, person=segment.person) for start, stop in pairwise(edges)]
    column = model.labels.index(label)
    answer = model.predict(pieces, cache=cache)
    scored = [Part(one.segment.start, one.segment.end or end, float(one.scores[column]), one.label) for one in answer.predictions]
    return Attribution(label, tuple(scored))
