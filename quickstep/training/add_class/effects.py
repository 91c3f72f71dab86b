"""What a new class did: on segments that were held out all along, what was recognised before and after, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from quickstep.datasets.manifest import group_of
from quickstep.models.model import Model
from quickstep.types.confidence_intervals import Difference, Interval, between, difference, percent, points, share
from quickstep.types.segment import Segment
from quickstep.types.signals import Features


@dataclass(frozen=True)
class Recall:
    """How often one of the older classes is recognised, before and after."""

    label: str
    count: int
    before: float
    after: float
    taken: int  # segments of it that are now called the new class


@dataclass(frozen=True)
class Effects:
    """On the older classes, and on the new one."""

    part: str  # of the model's manifest that was looked at
    segments: int
    groups: int
    before: Interval | None
    after: Interval | None
    change: Difference | None  # after less before, on the same segments
    taken: int  # segments of older classes that are now called the new one
    recalls: tuple[Recall, ...]
    new: Interval | None  # how often the new class is recognised on its held-out segments
    new_segments: int


def effects_of(
    before: Model, after: Model, name: str, *, old: Sequence[Segment], new: Sequence[Segment], seen: dict[Segment, Features], part: str
) -> Effects:
    """Ask both models about the same segments."""
    told = [segment for segment in old if segment in seen]
    fresh = [segment for segment in new if segment in seen]
    recalls: tuple[Recall, ...] = ()
    first = second = change = None
    taken = 0
    if told:
        labels = np.array([str(segment.label) for segment in told])
        said = [np.array(model.labels)[model.scores([seen[s] for s in told]).argmax(axis=1)] for model in (before, after)]
        right, groups = [each == labels for each in said], [group_of(segment) for segment in told]
        first, second, change = share(right[0], groups), share(right[1], groups), difference(right[1], right[0], groups)
        taken = int((said[1] == name).sum())
        recalls = tuple(
            Recall(label, int(mine.sum()), float(right[0][mine].mean()), float(right[1][mine].mean()), int((said[1][mine] == name).sum()))
            for label in before.labels
            if (mine := labels == label).any()
        )
    recognised = None
    if fresh:
        answers = np.array(after.labels)[after.scores([seen[s] for s in fresh]).argmax(axis=1)]
        recognised = share(answers == name, [group_of(segment) for segment in fresh])
    groups_seen = len({group_of(segment) for segment in told})
    return Effects(part, len(told), groups_seen, first, second, change, taken, recalls, recognised, len(fresh))


def sentences(effects: Effects, name: str) -> tuple[str, ...]:
    """The effects in plain words."""
    told = []
    if effects.new is not None:
        told.append(
            f"{name!r} is recognised in {percent(effects.new.value)} ({between(effects.new)}) of {effects.new_segments} held-out segments."
        )
    else:
        told.append(f"How well {name!r} is recognised is not known: none of it was held out.")
    if effects.before is None or effects.after is None or effects.change is None:
        told.append("What it did to the other classes is not known: no held-out segment of theirs is here.")
        return tuple(told)
    told.append(
        f"The other classes, on {effects.segments} segments of the {effects.part} part: right on {percent(effects.before.value)} before, "
        f"{percent(effects.after.value)} after, {points(effects.change.interval)}; {effects.taken} of them are now called {name!r}."
    )
    lost = sorted((one for one in effects.recalls if one.after < one.before), key=lambda one: one.after - one.before)[:3]
    if lost:
        each = "; ".join(f"{one.label!r} {percent(one.before)} -> {percent(one.after)} of {one.count}" for one in lost)
        told.append(f"Recognised less often than before: {each}.")
    return tuple(told)
