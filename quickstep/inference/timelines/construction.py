"""Build the timeline of one long video, or of several, each as soon as it is ready."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from quickstep.backbones import reads_poses
from quickstep.datasets.inputs import Inputs, gather
from quickstep.inference.timelines.score_accumulator import TimelineRequest, VideoScores
from quickstep.inference.timelines.smoothing import Smoothing, spans_of
from quickstep.inference.timelines.spans import Array, Span, Timeline, WindowScores
from quickstep.inference.timelines.window_scores import score_video
from quickstep.inference.timelines.windows import TimelineConfig
from quickstep.models.ensemble import AnyModel, Ensemble, load_model
from quickstep.signals.poses.config import PoseConfig
from quickstep.storage.cache import Cache
from quickstep.types.errors import ConfigError, MediaError
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Failure, Segment

MAX_UNSURE = 0.5  # default of min_confidence: a label with a lower probability is more likely wrong than correct


def timeline(
    model: AnyModel | str | Path,
    video: str | Path,
    config: TimelineConfig | None = None,
    *,
    person: str | None = None,
    cache: Cache | None = None,
    progress: Progress = silent,
) -> Timeline:
    """Return the labelled spans of one video, from the scores of its windows.

    `model` is a model or its folder. `person`, for models that read poses: "auto" for the main person of each window, a number, or "all"
    for spans of each person.
    """
    started = time.perf_counter()
    model = load_model(model, cache=cache)
    config, cache, video = config or TimelineConfig(), cache or Cache(), Path(video)
    person = _check_person(model, person)
    answers = [score_video(TimelineRequest(member, video, config, cache, progress, person)) for member in model.members]
    scores = average_scores(model, answers, video) if isinstance(model, Ensemble) else answers[0].scores
    duration = max(answer.duration for answer in answers)
    return Timeline(
        video=video,
        duration=duration,
        labels=tuple(model.labels),
        spans=_spans(scores, model.labels, duration, model, config),
        scores=tuple(scores),
        failures=tuple(dict.fromkeys(failure for answer in answers for failure in answer.failures)),
        damaged=max(answer.damaged for answer in answers),
        seconds=time.perf_counter() - started,
    )


def timelines(
    model: AnyModel | str | Path,
    inputs: Inputs,
    config: TimelineConfig | None = None,
    *,
    person: str | None = None,
    cache: Cache | None = None,
    progress: Progress = silent,
    stdin: IO[str] | None = None,
) -> Iterator[Timeline | Failure]:
    """Yield the timeline of each video that the inputs name, or its failure, one after the other."""
    model = load_model(model, cache=cache)
    person = _check_person(model, person)
    segments, failures = gather(inputs, stdin=stdin)
    yield from failures
    for path in dict.fromkeys(segment.path for segment in segments):
        try:
            yield timeline(model, path, config, person=person, cache=cache, progress=progress)
        except MediaError as error:
            yield Failure(Segment(path), error)


def resmooth(result: Timeline, model: AnyModel, config: TimelineConfig) -> Timeline:
    """Return the spans of the same scores under other settings; the video is not read."""
    return replace(result, spans=_spans(result.scores, result.labels, result.duration, model, config))


def _spans(
    scores: Sequence[WindowScores], labels: tuple[str, ...], duration: float, model: AnyModel, config: TimelineConfig
) -> tuple[Span, ...]:
    return tuple(span for one in scores for span in spans_of(one, labels, duration, _smoothing(model, config, one)))


def _smoothing(model: AnyModel, config: TimelineConfig, scores: WindowScores) -> Smoothing:
    min_duration = scores.window / 2 if config.min_duration is None else config.min_duration
    default = None if model.threshold is None else min(model.threshold, MAX_UNSURE)
    min_confidence = default if config.min_confidence is None else config.min_confidence
    return Smoothing(config.smoothing, min_duration, min_confidence, model.threshold)


def _check_person(model: AnyModel, person: str | None) -> str | None:
    """Return the person in its standard spelling; refuse one for a model that reads whole frames."""
    if person is None:
        return None
    if not any(reads_poses(member.backbone) for member in model.members):
        raise ConfigError("person", f"the backbone {model.lead.backbone.name!r} reads whole frames, not people; leave it out")
    return PoseConfig(person=person).person


def average_scores(model: Ensemble, answers: Sequence[VideoScores], video: Path) -> tuple[WindowScores, ...]:
    """Average the members' scores at the windows of the member with the shortest stride; windows of members may differ."""
    numbers = dict.fromkeys(scores.person for answer in answers for scores in answer.scores if scores.person is not None)
    people: list[int | None] = [*numbers] or [None]
    averaged = []
    for person in people:
        of_members = [scores for answer in answers if (scores := _of_person(answer, person)) is not None]
        if len(of_members) < len(answers):
            continue
        finest = min(of_members, key=lambda scores: scores.stride)
        rows = [_interpolate(scores, finest.times, member.labels, model.labels) for scores, member in zip(of_members, model.members)]
        scored = np.all([np.isfinite(row).all(axis=1) for row in rows], axis=0)
        if scored.any():
            mean = np.full_like(rows[0], np.nan)
            mean[scored] = model.mixed([row[scored] for row in rows])
            averaged.append(WindowScores(finest.times, mean, max(scores.window for scores in of_members), finest.stride, person))
    if not averaged:
        raise MediaError(video, "has no window that all members of the ensemble can read")
    return tuple(averaged)


def _of_person(answer: VideoScores, person: int | None) -> WindowScores | None:
    """Return a member's scores for a person; a member that reads whole frames has the same for everybody."""
    return next((scores for scores in answer.scores if scores.person in (person, None)), None)


def _interpolate(scores: WindowScores, times: Array, own: Sequence[str], labels: Sequence[str]) -> Array:
    """Return scores (T, C) at other times, linear between two windows; NaN where either has no scores."""
    ordered: NDArray[np.float64] = scores.scores[:, [list(own).index(label) for label in labels]]
    if len(scores.times) < 2:
        return np.repeat(ordered, len(times), axis=0)
    after = np.clip(np.searchsorted(scores.times, times), 1, max(1, len(scores.times) - 1))
    share = np.clip((times - scores.times[after - 1]) / (scores.times[after] - scores.times[after - 1]), 0.0, 1.0)[:, None]
    left, right = ordered[after - 1], ordered[after]
    return np.where(share == 0, left, np.where(share == 1, right, left * (1 - share) + right * share))
