"""suspects: which segments to look at first: labels that a head which has not learnt from them does not believe, then close calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from quickstep.datasets.manifest import Manifest, group_of
from quickstep.heads import Examples, Head, open_head
from quickstep.models.calibration import probabilities
from quickstep.models.ensemble import AnyModel, Ensemble
from quickstep.models.feature_extraction import Extraction, extract
from quickstep.models.model import Model
from quickstep.models.pose_input import Settled
from quickstep.storage.cache import Cache
from quickstep.training.refit import fit_config, head_name
from quickstep.types.errors import QuickstepError
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Failure, Segment

FOLDS = 4

Scores = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Suspect:
    """A segment, what it is called and what the model says of it."""

    segment: Segment
    labels: tuple[str, ...]
    scores: Scores  # (C,), summing to 1
    apart: bool  # said by a head that has not learnt from this segment

    @property
    def said(self) -> str:
        """The likeliest label."""
        return self.labels[int(self.scores.argmax())]

    @property
    def believed(self) -> float:
        """How likely the given label is; 0 for one that the model does not know."""
        label = self.segment.label
        return float(self.scores[self.labels.index(label)]) if label in self.labels else 0.0

    @property
    def margin(self) -> float:
        """How far the likeliest label is ahead of the next."""
        first, second = np.sort(self.scores)[::-1][:2]
        return float(first - second)

    @property
    def disagrees(self) -> bool:
        """Whether the model would call it otherwise."""
        return self.segment.label is not None and self.said != self.segment.label

    @property
    def doubt(self) -> float:
        """From 0 (nothing to look at) to 2: labels that are not believed first, then what is a close call."""
        if self.segment.label is None:
            return 1.0 - self.margin
        return 1.0 + (1.0 - self.believed) if self.disagrees else 1.0 - self.margin

    @property
    def reason(self) -> str:
        """Why it is worth a look, in a sentence."""
        says = "A second opinion that has never seen this segment says" if self.apart else "The model says"
        if self.segment.label is None:
            return f"{says} {self.said!r}; it has no label yet."
        if self.disagrees:
            return f"{says} {self.said!r} ({100 * self.scores.max():.0f} %), its label says {self.segment.label!r}."
        if self.margin < 0.5:
            return f"{says} {self.said!r} as well, but it is a close call ({100 * self.scores.max():.0f} %)."
        return f"{says} {self.said!r} as well ({100 * self.scores.max():.0f} %)."


@dataclass(frozen=True, eq=False)
class Suspects:
    """Every segment that could be looked at, the most suspicious first."""

    suspects: tuple[Suspect, ...]
    failures: tuple[Failure, ...] = ()


def suspects(model: AnyModel, manifest: Manifest, *, cache: Cache | None = None, progress: Progress = silent, seed: int = 0) -> Suspects:
    """Ask about every segment; those that the head was fitted to are judged by heads like it, each fitted without them."""
    own = model.predict(manifest.segments, cache=cache, progress=progress)
    scores = {prediction.segment: prediction.scores for prediction in own.predictions}
    apart = _held_out(model, manifest, cache=cache, progress=progress, seed=seed)
    found = [Suspect(segment, model.labels, apart.get(segment, row), segment in apart) for segment, row in scores.items()]
    return Suspects(tuple(sorted(found, key=lambda one: (-one.doubt, str(one.segment)))), own.failures)


def _held_out(model: AnyModel, manifest: Manifest, *, cache: Cache | None, progress: Progress, seed: int) -> dict[Segment, Scores]:
    """The scores of learnt segments, each by a head fitted to the other folds; none where a head cannot be fitted so."""
    learnt = [each for each in manifest.segments if each.split == "train" and each.label in model.labels]
    if isinstance(model, Ensemble) or not learnt or model.words_alone or model.head.capabilities.reads_texts:
        return {}
    seen = extract(learnt, model.backbone, view=model.view, cache=cache, progress=progress)
    learnt = [each for each in learnt if each in seen.features]
    fold_of = _folds([group_of(each) for each in learnt], seed)
    scores: dict[Segment, Scores] = {}
    for fold in range(FOLDS):
        progress("second opinion", fold, FOLDS)
        rest, held = [[s for s, f in zip(learnt, fold_of, strict=True) if (f == fold) is out] for out in (False, True)]
        if held and {each.label for each in rest} == set(model.labels):
            scores |= _opinion(model, seen, rest, held)
    progress("second opinion", FOLDS, FOLDS)
    return scores


def _opinion(model: Model, seen: Extraction, rest: Sequence[Segment], held: Sequence[Segment]) -> dict[Segment, Scores]:
    head: Head = open_head(head_name(model.head), asdict(model.head.config))
    number = {label: place for place, label in enumerate(model.labels)}
    classes = np.array([number[str(each.label)] for each in rest], dtype=np.int64)
    examples = Examples([seen.features[each] for each in rest], classes, tuple(rest), None, Settled(model.backbone).skeleton)
    try:
        head.fit(examples, None, classes=len(model.labels), fitting=fit_config(model))
    except QuickstepError:  # too few to be divided: then its own word has to do
        return {}
    rows = probabilities(head.scores([seen.features[each] for each in held]), model.temperature)
    return dict(zip(held, rows, strict=True))


def _folds(groups: Sequence[str], seed: int) -> list[int]:
    """A fold for each segment; a group is in one alone."""
    names = sorted(set(groups))
    order = np.random.default_rng(seed).permutation(len(names))
    fold: dict[str, int] = {names[place]: rank % FOLDS for rank, place in enumerate(order.tolist())}
    return [fold[group] for group in groups]
