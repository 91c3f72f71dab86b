"""Find the class that more labels would help most: by trial where the train part has enough segments, else extrapolated from the curve.

A class is named only where its gain is significant and significantly above the gain of every other class.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from quickstep.training.learning_curve.curve import Advice, LabelGain
from quickstep.training.learning_curve.trials import HeldOut, Recalls, Trials
from quickstep.types.confidence_intervals import Interval, points

MAX_CLASSES = 24  # those with the lowest recall

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def advise(trials: Trials, held_out: HeldOut, labels: Sequence[str], *, shots: Sequence[int], predicted: Ints, more: int) -> Advice:
    """Try `more` labels of one class at a time; `predicted` are the predictions at each point of the curve, (P, R, N)."""
    have = np.bincount(trials.pool.labels, minlength=len(labels))
    recalls = held_out.recalls(predicted[-1])
    worst = _lowest_recall(recalls)
    base = _base_shots(have[worst], shots, more)
    candidates = [number for number in worst if base is not None and have[number] >= base + more]
    results = _run_trials(trials, base or 0, candidates, more)
    with_more = {labels[number]: result for number, result in zip(candidates, results[1:], strict=True)}
    gains = [
        LabelGain(labels[number], int(have[number]), held_out.gain(with_more[labels[number]], results[0], balanced=True), base)
        for number in candidates
    ]
    gains += [
        LabelGain(labels[number], int(have[number]), _extrapolate(held_out, shots, predicted, number, int(have[number]), more), None)
        for number in worst
        if number not in candidates
    ]
    gains.sort(key=lambda gain: -gain.gain.value)
    best = _significantly_best(held_out, [gain for gain in gains if gain.measured_at is not None], with_more)
    left_out = len([recall for recall in recalls if recall is not None]) - len(worst)
    return Advice(more, tuple(gains), best, _verdict(gains, best, more, left_out))


def _lowest_recall(recalls: Sequence[float | None]) -> list[int]:
    """Return the classes with held-out segments, lowest recall first."""
    measured = [(recall, number) for number, recall in enumerate(recalls) if recall is not None]
    return [number for _, number in sorted(measured)[:MAX_CLASSES]]


def _base_shots(have: Ints, shots: Sequence[int], more: int) -> int | None:
    """Return the most shots from which every class has `more` left, else the fewest from which any class has."""
    for_all = [number for number in shots if (have >= number + more).all()]
    for_any = [number for number in shots if (have >= number + more).any()]
    return max(for_all) if for_all else min(for_any, default=None)


def _run_trials(trials: Trials, base: int, candidates: Sequence[int], more: int) -> Ints:
    """Predict without more labels, then with more of each class: (1 + K, R, N)."""
    if not candidates:
        return np.zeros((1, 0, 0), dtype=np.int64)
    return trials.run([(base, {}), *((base, {number: more}) for number in candidates)])


def _extrapolate(held_out: HeldOut, shots: Sequence[int], predicted: Ints, number: int, have: int, more: int) -> Interval:
    """Extend the recall of a class as a straight line over the doublings of its labels; as its share of balanced accuracy."""
    reached = np.minimum(np.array(shots, dtype=np.float64), max(have, 1))
    doublings = np.log2(reached)
    further = np.log2((have + more) / max(have, 1))
    centred = doublings - doublings.mean()
    classes = max(1, len(set(held_out.labels.tolist())))

    def rise(recalls: Sequence[Recalls]) -> Floats:
        curve = np.stack([recall.values[:, number] for recall in recalls], axis=1)  # (B, P)
        slope = (curve @ centred) / (centred @ centred) if centred.any() else np.zeros(len(curve))
        return np.asarray(np.clip(slope * further, -curve[:, -1], 1 - curve[:, -1])[:, None] / classes)

    value, low, high = held_out.bootstrap(rise, list(predicted))[:, 0]
    return Interval(float(value), float(low), float(high), held_out.units.over, held_out.units.count, held_out.units.note)


def _significantly_best(held_out: HeldOut, measured: Sequence[LabelGain], with_more: dict[str, Ints]) -> str | None:
    """Return the class whose gain is significantly above zero and above the gain of each other class that was tried."""
    if len(measured) < 2 or measured[0].gain.low <= 0:
        return None
    first = with_more[measured[0].label]
    ahead = (held_out.gain(first, with_more[gain.label], balanced=True).low > 0 for gain in measured[1:])
    return measured[0].label if all(ahead) else None


def _verdict(gains: Sequence[LabelGain], best: str | None, more: int, left_out: int) -> str:
    unclear = f"It is unclear which class {more} more labels would help most"
    measured = [gain for gain in gains if gain.measured_at is not None]
    guessed = [gain for gain in gains if gain.measured_at is None]
    if not gains:
        return f"{unclear}: no class has held-out segments."
    if not measured:
        return _extrapolated_verdict(gains, more, unclear)
    tail = ""
    if guessed:
        tail = f" {_names(guessed)} {'has' if len(guessed) == 1 else 'have'} too few segments for a trial; their gain is extrapolated."
    if left_out > 0:
        tail += f" Only the {len(gains)} classes with the lowest recall were tried."
    first, base = measured[0], measured[0].measured_at
    trial = f"measured from {base} segment{'' if base == 1 else 's'} a class"
    if best is not None:
        return f"{more} more labels would help {best!r} most: {points(first.gain)} of balanced accuracy, {trial}.{tail}"
    if first.gain.low <= 0:
        return f"{unclear}: no gain is significant ({trial}; the largest is that of {first.label!r}, {points(first.gain)}).{tail}"
    close = [gain for gain in measured if gain.gain.high >= first.gain.low][:4]
    return f"{unclear}: {_names(close)} gain about as much ({first.label!r}: {points(first.gain)} of balanced accuracy, {trial}).{tail}"


def _extrapolated_verdict(gains: Sequence[LabelGain], more: int, unclear: str) -> str:
    """Describe gains of which none could be measured."""
    first, others = gains[0], gains[1:]
    gain = f"{points(first.gain)} of balanced accuracy"
    why = f"no class has {more} segments left for a trial"
    if first.gain.low > 0 and all(other.gain.high < first.gain.low for other in others):
        return f"Extrapolating the curve, {more} more labels would help {first.label!r} most, by {gain}; this is a guess, because {why}."
    return f"{unclear}: {why}, and the extrapolated gains do not differ enough (the largest is that of {first.label!r}, {gain})."


def _names(gains: Sequence[LabelGain]) -> str:
    named = [repr(gain.label) for gain in gains[:4]]
    if len(gains) > 4:
        return f"{', '.join(named)} and {len(gains) - 4} more"
    return " and ".join(filter(None, [", ".join(named[:-1]), named[-1]]))
