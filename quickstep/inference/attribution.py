"""weigh: which moments of a segment decided: each part of it judged by itself, by the same model in the same way."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from quickstep.models.ensemble import AnyModel
from quickstep.signals.poses.formats import is_pose_name
from quickstep.signals.video import probe
from quickstep.storage.cache import Cache
from quickstep.types.segment import Segment

SHORTEST = 0.3  # seconds: in less there is no movement to see
MOST = 8


@dataclass(frozen=True)
class Part:
    """A part of a segment and how likely the segment's label is when only this part is seen."""

    start: float  # seconds of the video
    end: float
    score: float
    label: str  # what the part would be called by itself


@dataclass(frozen=True)
class Weighed:
    """The parts of a segment in the order of time; those that could not be read are left out."""

    label: str
    parts: tuple[Part, ...]

    @property
    def strongest(self) -> Part | None:
        """The part that says it most clearly."""
        return max(self.parts, key=lambda part: part.score, default=None)


def weigh(model: AnyModel, segment: Segment, label: str, *, parts: int = MOST, cache: Cache | None = None) -> Weighed:
    """How much each part of a segment speaks for `label` when the model sees nothing else of it."""
    if is_pose_name(segment.path):
        return Weighed(label, ())
    end = probe(segment.path).duration if segment.end is None else segment.end
    count = int(min(parts, (end - segment.start) // SHORTEST))
    if count < 2:
        return Weighed(label, ())
    edges = np.linspace(segment.start, end, count + 1).tolist()
    pieces = [Segment(segment.path, start=start, end=stop, person=segment.person) for start, stop in pairwise(edges)]
    place = model.labels.index(label)
    said = model.predict(pieces, cache=cache)
    found = [Part(each.segment.start, each.segment.end or end, float(each.scores[place]), each.label) for each in said.predictions]
    return Weighed(label, tuple(found))
