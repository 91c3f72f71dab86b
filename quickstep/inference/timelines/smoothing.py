"""Turn scores over time into spans: the best sequence of labels when every change has a penalty and no run is too short.

Overlapping windows share most of their frames, so each counts by the share of its frames that is new.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from quickstep.inference.timelines.spans import Span, WindowScores

MIN_PROBABILITY = 1e-3  # the most that one window can count against a label
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Smoothing:
    """The settings by which windows become spans."""

    penalty: float  # of a change of label, in nats
    min_duration: float  # seconds of a span
    min_confidence: float | None  # score below which a span is unsure
    threshold: float | None = None  # score from which on a label is sure


def spans_of(scores: WindowScores, labels: tuple[str, ...], duration: float, smoothing: Smoothing) -> tuple[Span, ...]:
    """Return the spans of one person, or of the whole picture; where there are no scores there is no span."""
    spans: list[Span] = []
    for first, last in _scored_runs(scores.scored):
        rows = scores.scores[first:last]
        states = label_sequence(rows, scores, smoothing)
        edges = _edges(rows, states, scores.times[first:last])
        start = 0.0 if first == 0 else max(0.0, float(scores.times[first]) - scores.stride / 2)
        end = duration if last == len(scores.times) else min(duration, float(scores.times[last - 1]) + scores.stride / 2)
        spans += [
            _span(rows[a:b], int(states[a]), Span(left, right, None, 0.0, scores.person), labels, smoothing.threshold)
            for (a, b), left, right in zip(_runs(states), [start, *edges], [*edges, end], strict=True)
        ]
    return tuple(spans)


def label_sequence(rows: Array, scores: WindowScores, smoothing: Smoothing) -> NDArray[np.int64]:
    """Return the state of each window, (T,): the number of a label, or C where the label is unsure.

    First the labels compete. Then each run of a label competes with `min_confidence`, so that "unsure" never wins by being constant.
    """
    weight = min(1.0, scores.stride / scores.window) if scores.window > 0 else 1.0
    logs = np.log(np.maximum(rows, MIN_PROBABILITY)) * weight  # (T, C)
    min_length = max(1, round(smoothing.min_duration / scores.stride)) if scores.stride > 0 else 1
    states = best_sequence(logs, penalty=smoothing.penalty, min_length=min_length)
    if not smoothing.min_confidence:
        return states
    bar = math.log(max(smoothing.min_confidence, MIN_PROBABILITY)) * weight
    with_unsure = states.copy()
    for first, last in _runs(states):
        label = logs[first:last, int(states[first])]
        unsure = best_sequence(np.stack([label, np.full_like(label, bar)], axis=1), penalty=smoothing.penalty, min_length=min_length)
        with_unsure[first:last] = np.where(unsure == 1, rows.shape[1], states[first:last])
    return with_unsure


def best_sequence(logs: Array, *, penalty: float, min_length: int = 1) -> NDArray[np.int64]:
    """Return the sequence (T,) of states with the largest sum of `logs` (T, S), less `penalty` for each change.

    Each run is at least `min_length` long; a sequence that is too short for two runs is one run. This is Viterbi's recursion, in which
    entering a state takes `min_length` steps at once.
    """
    steps, states = logs.shape
    if steps < 2 * min_length:
        return np.full(steps, int(logs.sum(axis=0).argmax()))
    sums = np.concatenate([np.zeros((1, states)), np.cumsum(logs, axis=0)])  # (T + 1, S)
    best = np.full((steps + 1, states), -np.inf)  # best sum of the first t windows that end in s, the last run being long enough
    came = np.full((steps + 1, states), -1, dtype=np.int32)  # -1: from the same state; else the state before the last run
    best[min_length] = sums[min_length]
    for t in range(min_length + 1, steps + 1):
        stay = best[t - 1] + logs[t - 1]
        other, second = _two_best(best[t - min_length])
        before = np.full(states, other)
        before[other] = second
        enter = best[t - min_length][before] - penalty + sums[t] - sums[t - min_length]
        switches = enter > stay
        best[t] = np.where(switches, enter, stay)
        came[t] = np.where(switches, before, -1)
    return _trace_back(came, int(best[steps].argmax()), min_length)


def _trace_back(came: NDArray[np.int32], state: int, min_length: int) -> NDArray[np.int64]:
    """Follow the best sequence from its end to its start."""
    t = len(came) - 1
    sequence = np.empty(t, dtype=np.int64)
    while t > 0:
        before = int(came[t, state])
        length = min_length if before >= 0 else (t if t <= min_length else 1)
        sequence[t - length : t] = state
        t, state = t - length, (before if before >= 0 else state)
    return sequence


def _two_best(values: Array) -> tuple[int, int]:
    """Return the indices of the largest and the second largest value; of a single value, twice its own."""
    first = int(values.argmax())
    if len(values) == 1:
        return first, first
    others = values.copy()
    others[first] = -np.inf
    return first, int(others.argmax())


def _scored_runs(scored: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield the half-open runs of windows that have scores."""
    yield from ((a, b) for a, b in _runs(scored) if scored[a])


def _runs(states: NDArray[np.int64] | NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the half-open runs of equal neighbours."""
    cuts = [0, *(np.flatnonzero(states[1:] != states[:-1]) + 1).tolist(), len(states)]
    return list(pairwise(cuts)) if len(states) else []


def _edges(rows: Array, states: NDArray[np.int64], times: Array) -> list[float]:
    """Return when one state changes to the next: where both are equally likely between two windows, else halfway."""
    edges = []
    for place in (np.flatnonzero(states[1:] != states[:-1]) + 1).tolist():
        share, a, b = 0.5, int(states[place - 1]), int(states[place])
        if max(a, b) < rows.shape[1]:
            logs = np.log(np.maximum(rows[place - 1 : place + 1][:, [a, b]], MIN_PROBABILITY))
            before, after = (logs[:, 0] - logs[:, 1]).tolist()
            share = before / (before - after) if before > 0 > after else 0.5
        edges.append(float(times[place - 1] + share * (times[place] - times[place - 1])))
    return edges


def _span(rows: Array, state: int, blank: Span, labels: tuple[str, ...], threshold: float | None) -> Span:
    """Return the blank span with the label of its state."""
    mean = rows.mean(axis=0)
    if state == len(labels):
        guess = int(mean.argmax())
        return replace(blank, score=float(mean[guess]), most_probable=labels[guess], sure=False)
    sure = None if threshold is None else bool(mean[state] >= threshold)
    return replace(blank, label=labels[state], score=float(mean[state]), most_probable=labels[state], sure=sure)
