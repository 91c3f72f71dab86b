"""timeline: one long video -> spans of what is danced when; and timelines, the same of many, each as it is ready."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from quickstep.backbones import reads_poses
from quickstep.datasets.inputs import gather
from quickstep.inference.timelines.config import TimelineConfig
from quickstep.inference.timelines.score_accumulator import Asked, Looked
from quickstep.inference.timelines.smoothing import Smoothing, spans_of
from quickstep.inference.timelines.spans import Array, Moments, Span, Timeline
from quickstep.inference.timelines.window_scores import look
from quickstep.models.ensemble import AnyModel, Ensemble
from quickstep.signals.poses.config import PoseConfig
from quickstep.storage.cache import Cache
from quickstep.types.errors import ConfigError, MediaError
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Failure, Segment

MORE_WRONG = 0.5  # a probability below which a label is more likely wrong than right


def timeline(
    model: AnyModel,
    video: str | Path,
    config: TimelineConfig | None = None,
    *,
    person: str | None = None,
    cache: Cache | None = None,
    progress: Progress = silent,
) -> Timeline:
    """What is danced from when until when in one video, as the model sees it, window after window.

    `person`, for models that look at people: "auto" for the dancer of each window, a number, or "all" for spans a person.
    """
    began = time.perf_counter()
    config, cache, video = config or TimelineConfig(), cache or Cache(), Path(video)
    person = _checked(model, person)
    said = [look(Asked(member, video, config, cache, progress, person)) for member in model.members]
    moments = mixed(model, said, video) if isinstance(model, Ensemble) else said[0].moments
    duration = max(each.duration for each in said)
    spans: list[Span] = []
    for each in moments:
        spans += spans_of(each, model.labels, duration, _smoothing(model, config, each))
    return Timeline(
        video=video,
        duration=duration,
        labels=tuple(model.labels),
        spans=tuple(spans),
        moments=tuple(moments),
        failures=tuple(dict.fromkeys(failure for each in said for failure in each.failures)),
        damaged=max(each.damaged for each in said),
        seconds=time.perf_counter() - began,
    )


def timelines(
    model: AnyModel,
    inputs: Iterable[Segment | str | Path],
    config: TimelineConfig | None = None,
    *,
    person: str | None = None,
    cache: Cache | None = None,
    progress: Progress = silent,
    stdin: IO[str] | None = None,
) -> Iterator[Timeline | Failure]:
    """The timeline of each video that `inputs` stand for (files, folders, globs, lists), one after the other; what fails is told."""
    person = _checked(model, person)
    segments, failures = gather(inputs, stdin=stdin)
    yield from failures
    for path in dict.fromkeys(segment.path for segment in segments):
        try:
            yield timeline(model, path, config, person=person, cache=cache, progress=progress)
        except MediaError as error:
            yield Failure(Segment(path), error)


def respanned(found: Timeline, model: AnyModel, config: TimelineConfig) -> Timeline:
    """The same scores as spans under other settings; no video is looked at."""
    spans = [span for each in found.moments for span in spans_of(each, found.labels, found.duration, _smoothing(model, config, each))]
    return replace(found, spans=tuple(spans))


def _smoothing(model: AnyModel, config: TimelineConfig, moments: Moments) -> Smoothing:
    shortest = moments.window / 2 if config.min_duration is None else config.min_duration
    usual = None if model.threshold is None else min(model.threshold, MORE_WRONG)
    return Smoothing(config.smoothing, shortest, usual if config.min_confidence is None else config.min_confidence, model.threshold)


def _checked(model: AnyModel, person: str | None) -> str | None:
    """The person as it is meant; refused where nobody looks at people."""
    if person is None:
        return None
    if not any(reads_poses(member.backbone) for member in model.members):
        name = model.lead.backbone.name
        raise ConfigError("person", f"the backbone {name!r} looks at whole pictures, not at people; leave it out")
    return PoseConfig(person=person).person


def mixed(model: Ensemble, said: Sequence[Looked], video: Path) -> tuple[Moments, ...]:
    """What all members say together, at the moments of the one with the shortest hops; its windows may be others than theirs."""
    named = dict.fromkeys(each.person for looked in said for each in looked.moments if each.person is not None)
    people: list[int | None] = [*named] or [None]
    made = []
    for person in people:
        of_person = [_of(looked, person) for looked in said]
        if any(each is None for each in of_person):
            continue
        own = [each for each in of_person if each is not None]
        finest = min(own, key=lambda each: each.hop)
        window = max(each.window for each in own)
        rows = [_at(each, finest.times, member.labels, model.labels) for each, member in zip(own, model.members, strict=True)]
        seen = np.all([np.isfinite(each).all(axis=1) for each in rows], axis=0)
        scores = np.full_like(rows[0], np.nan)
        if seen.any():
            scores[seen] = model.mixed([each[seen] for each in rows])
            made.append(Moments(finest.times, scores, window, finest.hop, person))
    if not made:
        raise MediaError(video, "no moment of it can be looked at by all members of the ensemble")
    return tuple(made)


def _of(looked: Looked, person: int | None) -> Moments | None:
    """What a member says of a person; one that looks at whole pictures says the same of everybody."""
    return next((each for each in looked.moments if each.person in (person, None)), None)


def _at(moments: Moments, times: Array, own: Sequence[str], labels: Sequence[str]) -> Array:
    """Scores (T, C) at other times, between two windows on the line between them; NaN where either is unknown."""
    after = np.clip(np.searchsorted(moments.times, times), 1, max(1, len(moments.times) - 1)) if len(moments.times) > 1 else None
    ordered: NDArray[np.float64] = moments.scores[:, [list(own).index(label) for label in labels]]
    if after is None:
        return np.repeat(ordered, len(times), axis=0)
    share = np.clip((times - moments.times[after - 1]) / (moments.times[after] - moments.times[after - 1]), 0.0, 1.0)[:, None]
    before, then = ordered[after - 1], ordered[after]
    return np.where(share == 0, before, np.where(share == 1, then, before * (1 - share) + then * share))
