"""The effect of a new class: how often held-out segments are recognized before and after, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quickstep.datasets.manifest import group_of
from quickstep.models.model import Model
from quickstep.types.confidence_intervals import Difference, Interval, between, difference, percent, points, share
from quickstep.types.segment import Segment
from quickstep.types.signals import Features


@dataclass(frozen=True)
class Recall:
    """How often one of the older classes is recognized, before and after."""

    label: str
    count: int
    before: float
    after: float
    taken: int  # segments of it that are now predicted as the new class


@dataclass(frozen=True)
class Effects:
    """What the new class changed for the older ones, and how well it is recognized itself."""

    part: str  # the part of the model's manifest that was scored
    segments: int
    groups: int
    before: Interval | None
    after: Interval | None
    change: Difference | None  # after less before, on the same segments
    taken: int  # segments of older classes that are now predicted as the new one
    recalls: tuple[Recall, ...]
    new: Interval | None  # the recall of the new class on its held-out segments
    new_segments: int


def measure_effects(
    before: Model,
    after: Model,
    name: str,
    *,
    old: Sequence[Segment],
    new: Sequence[Segment],
    features: Mapping[Segment, Features],
    part: str,
) -> Effects:
    """Score the same segments with both models; segments without features are left out."""
    old = [segment for segment in old if segment in features]
    new = [segment for segment in new if segment in features]
    accuracy_before = accuracy_after = change = new_recall = None
    taken, recalls = 0, tuple[Recall, ...]()
    if old:
        labels = np.array([str(segment.label) for segment in old])
        groups = [group_of(segment) for segment in old]
        predicted = _predicted(after, old, features)
        right_before, right_after = _predicted(before, old, features) == labels, predicted == labels
        accuracy_before, accuracy_after = share(right_before, groups), share(right_after, groups)
        change = difference(right_after, right_before, groups)
        taken = int((predicted == name).sum())
        recalls = tuple(
            Recall(label, int(mine.sum()), _mean(right_before[mine]), _mean(right_after[mine]), int((predicted[mine] == name).sum()))
            for label in before.labels
            if (mine := labels == label).any()
        )
    if new:
        new_recall = share(_predicted(after, new, features) == name, [group_of(segment) for segment in new])
    old_groups = len({group_of(segment) for segment in old})
    return Effects(part, len(old), old_groups, accuracy_before, accuracy_after, change, taken, recalls, new_recall, len(new))


def _predicted(model: Model, segments: Sequence[Segment], features: Mapping[Segment, Features]) -> NDArray[np.str_]:
    scores = model.scores([features[segment] for segment in segments])
    return np.array([model.labels[place] for place in scores.argmax(axis=1)])


def _mean(right: NDArray[np.bool_]) -> float:
    return float(right.mean())


def describe_effects(effects: Effects, name: str) -> tuple[str, ...]:
    """Describe the effects in sentences."""
    if effects.new is not None:
        recall = f"{percent(effects.new.value)} ({between(effects.new)}) of {effects.new_segments} held-out segments"
        sentences = [f"{name!r} is recognized in {recall}."]
    else:
        sentences = [f"How well {name!r} is recognized is unknown: none of its segments were held out."]
    if effects.before is None or effects.after is None or effects.change is None:
        sentences.append("The effect on the other classes is unknown: none of their held-out segments are available.")
        return tuple(sentences)
    sentences.append(
        f"The other classes, on {effects.segments} segments of the {effects.part} part: {percent(effects.before.value)} correct before, "
        f"{percent(effects.after.value)} after, {points(effects.change.interval)}; {effects.taken} are now predicted as {name!r}."
    )
    worse = sorted((recall for recall in effects.recalls if recall.after < recall.before), key=lambda recall: recall.after - recall.before)
    if worse:
        examples = "; ".join(
            f"{recall.label!r} {percent(recall.before)} -> {percent(recall.after)} of {recall.count}" for recall in worse[:3]
        )
        sentences.append(f"Recognized less often than before: {examples}.")
    return tuple(sentences)
