"""Scores over time -> runs of one label: the likeliest course when every change has a price and no run is too short.

Windows that overlap say much the same twice, so each counts by the share of itself that is new. Knows no video and no model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from quickstep.inference.timelines.spans import Moments, Span

FLOOR = 1e-3  # what one window can say against a label at most
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Smoothing:
    """How windows become spans."""

    steadiness: float  # what a change costs, in nats
    shortest: float  # seconds
    bar: float | None  # a score below which no label is given
    threshold: float | None = None  # a score from which on a label is sure


def spans_of(moments: Moments, labels: tuple[str, ...], duration: float, smoothing: Smoothing) -> tuple[Span, ...]:
    """The spans of one person, or of the whole picture; none where there are no scores."""
    spans: list[Span] = []
    for first, last in _runs(moments.seen):
        scores = moments.scores[first:last]
        states = course(scores, moments, smoothing)
        edges = _edges(scores, states, moments.times[first:last])
        begin = 0.0 if first == 0 else max(0.0, float(moments.times[first]) - moments.hop / 2)
        end = duration if last == len(moments.times) else min(duration, float(moments.times[last - 1]) + moments.hop / 2)
        spans += [
            _span(scores[a:b], int(states[a]), Span(start, stop, None, 0.0, moments.person), labels, smoothing.threshold)
            for (a, b), start, stop in zip(_stretches(states), [begin, *edges], [*edges, end], strict=True)
        ]
    return tuple(spans)


def course(scores: Array, moments: Moments, smoothing: Smoothing) -> NDArray[np.int64]:
    """The state of each window, (T,): the number of a label, or C where none is sure enough.

    First the labels compete; then each run of one is held against the bar, so that "unsure" never outbids a label by being steady.
    """
    weight = min(1.0, moments.hop / moments.window) if moments.window > 0 else 1.0
    told = np.log(np.maximum(scores, FLOOR)) * weight  # (T, C)
    least = max(1, round(smoothing.shortest / moments.hop)) if moments.hop > 0 else 1
    states = likeliest(told, cost=smoothing.steadiness, least=least)
    if not smoothing.bar:
        return states
    bar = math.log(max(smoothing.bar, FLOOR)) * weight
    made = states.copy()
    for first, last in _stretches(states):
        mine = told[first:last, int(states[first])]
        low = likeliest(np.stack([mine, np.full_like(mine, bar)], axis=1), cost=smoothing.steadiness, least=least)
        made[first:last] = np.where(low == 1, scores.shape[1], states[first:last])
    return made


def likeliest(told: Array, *, cost: float, least: int = 1) -> NDArray[np.int64]:
    """The course (T,) through states (T, S) that says most in all, less `cost` a change, each run at least `least` long.

    What is too short for two runs is one. Viterbi's recursion, in which entering a state takes `least` steps at once.
    """
    steps, states = told.shape
    if steps < 2 * least:
        return np.full(steps, int(told.sum(axis=0).argmax()))
    sums = np.concatenate([np.zeros((1, states)), np.cumsum(told, axis=0)])  # (T + 1, S)
    best = np.full((steps + 1, states), -np.inf)  # the best course of the first t windows that ends in s, its last run long enough
    came = np.full((steps + 1, states), -1, dtype=np.int32)  # -1: from the same state; else the state before the last run
    best[least] = sums[least]
    for t in range(least + 1, steps + 1):
        stay = best[t - 1] + told[t - 1]
        other, second = _two_best(best[t - least])
        before = np.full(states, other)
        before[other] = second
        enter = best[t - least][before] - cost + sums[t] - sums[t - least]
        switches = enter > stay
        best[t] = np.where(switches, enter, stay)
        came[t] = np.where(switches, before, -1)
    course = np.empty(steps, dtype=np.int64)
    t, state = steps, int(best[steps].argmax())
    while t > 0:
        before_run = int(came[t, state])
        taken = least if before_run >= 0 else (t if t <= least else 1)
        course[t - taken : t] = state
        t, state = t - taken, (before_run if before_run >= 0 else state)
    return course


def _two_best(values: Array) -> tuple[int, int]:
    """The places of the largest value and of the second largest; of one value, twice its own."""
    first = int(values.argmax())
    if len(values) == 1:
        return first, first
    others = values.copy()
    others[first] = -np.inf
    return first, int(others.argmax())


def _runs(seen: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """The half-open stretches of windows that have scores."""
    yield from ((a, b) for a, b in _stretches(seen) if seen[a])


def _stretches(states: NDArray[np.int64] | NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The half-open stretches of equal neighbours."""
    cuts = [0, *(np.flatnonzero(states[1:] != states[:-1]) + 1).tolist(), len(states)]
    return list(pairwise(cuts)) if len(states) else []


def _edges(scores: Array, states: NDArray[np.int64], times: Array) -> list[float]:
    """When one state gives way to the next: where both are equally likely between two windows' middles, else half-way."""
    edges = []
    for place in (np.flatnonzero(states[1:] != states[:-1]) + 1).tolist():
        share, a, b = 0.5, int(states[place - 1]), int(states[place])
        if max(a, b) < scores.shape[1]:
            logs = np.log(np.maximum(scores[place - 1 : place + 1][:, [a, b]], FLOOR))
            before, after = (logs[:, 0] - logs[:, 1]).tolist()
            share = before / (before - after) if before > 0 > after else 0.5
        edges.append(float(times[place - 1] + share * (times[place] - times[place - 1])))
    return edges


def _span(scores: Array, state: int, blank: Span, labels: tuple[str, ...], threshold: float | None) -> Span:
    """The blank span with the label of its state."""
    mean = scores.mean(axis=0)
    if state == len(labels):
        guess = int(mean.argmax())
        return replace(blank, score=float(mean[guess]), likeliest=labels[guess], sure=False)
    sure = None if threshold is None else bool(mean[state] >= threshold)
    return replace(blank, label=labels[state], score=float(mean[state]), likeliest=labels[state], sure=sure)
