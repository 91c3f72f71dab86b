"""The names that a model gives to windows: the likeliest few of each, with their probabilities.

Where the model looks at the very frames that the library looked at, their vectors are taken as they are; else it looks itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quickstep.library.windows import Slicing, Spans
from quickstep.models.model import Model
from quickstep.storage.cache import Cache, canonical
from quickstep.storage.serialization import to_plain
from quickstep.types.segment import Segment
from quickstep.types.signals import Features
from quickstep.types.view import View

MOST = 5  # names a window
LEAST = 0.01  # probability of a name that is kept


@dataclass(frozen=True)
class Names:
    """What each window of a video may be called, best first."""

    names: tuple[tuple[str, ...], ...]
    scores: tuple[tuple[float, ...], ...]


def identity_of(model: Model) -> str:
    """The same for two models that name everything alike."""
    digest = hashlib.sha256(canonical([model.labels, dict(model.backbone.identity), to_plain(model.view), model.temperature]).encode())
    for name, array in sorted(model.head.weights().items()):
        digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def name_windows(model: Model, path: str, spans: Spans, *, features: Features | None, slicing: Slicing, cache: Cache) -> Names:
    """Names each window of one video; `features` are the library's own of the whole video, where the model can use them."""
    segments = [Segment(Path(path), start=float(start), end=float(end)) for start, end in spans]
    scores: list[np.ndarray[tuple[int, ...], np.dtype[np.float64]] | None] = [None] * len(segments)
    if features is not None:
        for number, (start, end) in enumerate(spans):
            seen = _same_frames(model.view, features, slicing, (float(start), float(end)), duration=float(spans[-1, 1]))
            scores[number] = None if seen is None else model.scores([seen])[0]
    rest = [number for number, found in enumerate(scores) if found is None]
    if rest:
        found = model.predict([segments[number] for number in rest], cache=cache)
        of = {prediction.segment: prediction.scores for prediction in found.predictions}
        for number in rest:
            scores[number] = of.get(segments[number])
    ranked = [_ranked(model.labels, found) if found is not None else [] for found in scores]
    return Names(tuple(tuple(name for name, _ in row) for row in ranked), tuple(tuple(score for _, score in row) for row in ranked))


def shares_frames(model: Model, slicing: Slicing, identity: dict[str, object]) -> bool:
    """Whether the model's backbone and pictures are those of the library, so that vectors of frames may serve both."""
    mine, theirs = model.view, slicing.view
    same = [(view.size, view.fit, view.edge, view.resample) for view in (mine, theirs)]
    return slicing.single_frames and dict(model.backbone.identity) == identity and same[0] == same[1]


def _same_frames(view: View, features: Features, slicing: Slicing, span: tuple[float, float], *, duration: float) -> Features | None:
    """The library's vectors at the moments at which the model looks, if it has all of them."""
    asked, there = view.moments(*span).reshape(-1), slicing.moments(duration)
    if len(there) != len(features):
        return None
    order = np.argsort(there, kind="stable")
    place = np.clip(np.searchsorted(there[order], asked - 1e-6), 0, len(order) - 1)
    found = order[place]
    if np.abs(there[found] - asked).max() > 1e-6:
        return None
    return Features(features.values[found], features.times[found])


def _ranked(labels: Sequence[str], scores: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> list[tuple[str, float]]:
    order = np.argsort(-scores, kind="stable")[:MOST]
    return [(labels[i], float(scores[i])) for i in order if scores[i] >= LEAST]
