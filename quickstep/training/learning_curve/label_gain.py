"""For which class more labels would help most: tried where the pool has so many, read off the curve where it has not, and said which.

A class is named only where its gain is above nothing and above every other's by more than luck.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from quickstep.training.learning_curve.curve import Advice, Help
from quickstep.training.learning_curve.intervals import Held, Recalls
from quickstep.training.learning_curve.trials import Trials
from quickstep.types.confidence_intervals import Interval, points

MOST_TRIED = 24  # classes: those that are recognised worst

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def advise(trials: Trials, held: Held, labels: Sequence[str], *, shots: Sequence[int], said: Ints, more: int) -> Advice:
    """Try `more` labels of one class at a time; `said` is what each point of the curve said, (P, R, N)."""
    have = np.bincount(trials.pool.labels, minlength=len(labels))
    worst = _worst(held.recalls(said[-1]))
    base = _base(have[worst], shots, more)
    tried = [number for number in worst if base is not None and have[number] >= base + more]
    answers = _tried(trials, base or 0, tried, more)
    answered = {labels[number]: answer for number, answer in zip(tried, answers[1:], strict=True)}
    helps = [
        Help(labels[number], int(have[number]), held.gain(answered[labels[number]], answers[0], balanced=True), base) for number in tried
    ]
    helps += [
        Help(labels[number], int(have[number]), _extrapolated(held, shots, said, number, int(have[number]), more), None)
        for number in worst
        if number not in tried
    ]
    helps.sort(key=lambda help: -help.gain.value)
    best = _best(held, [help for help in helps if help.measured_at is not None], answered)
    left = len([one for one in held.recalls(said[-1]) if one is not None]) - len(worst)
    return Advice(more, tuple(helps), best, _verdict(helps, best, more, left))


def _worst(recalls: Sequence[float | None]) -> list[int]:
    """The classes that can be told about, those recognised worst first."""
    known = [(recall, number) for number, recall in enumerate(recalls) if recall is not None]
    return [number for _, number in sorted(known)[:MOST_TRIED]]


def _base(have: Ints, shots: Sequence[int], more: int) -> int | None:
    """The most segments a class from which all can be given so many more; else the fewest from which any can."""
    for_all = [number for number in shots if (have >= number + more).all()]
    for_any = [number for number in shots if (have >= number + more).any()]
    return max(for_all) if for_all else min(for_any, default=None)


def _tried(trials: Trials, base: int, tried: Sequence[int], more: int) -> Ints:
    """What is said without more, then with more of each class tried: (1 + K, R, N)."""
    if not tried:
        return np.zeros((1, 0, 0), dtype=np.int64)
    return trials.run([(base, {}), *((base, {number: more}) for number in tried)])


def _extrapolated(held: Held, shots: Sequence[int], said: Ints, number: int, have: int, more: int) -> Interval:
    """The class's recall drawn on, as a straight line over the doublings of its labels; as its share of balanced accuracy."""
    reached = np.minimum(np.array(shots, dtype=np.float64), max(have, 1))
    doublings = np.log2(reached)
    further = np.log2((have + more) / max(have, 1))
    off = doublings - doublings.mean()
    there = max(1, len(set(held.labels.tolist())))

    def rise(recalls: Sequence[Recalls]) -> Floats:
        seen = np.stack([each.values[:, number] for each in recalls], axis=1)  # (B, P)
        slope = (seen @ off) / (off @ off) if off.any() else np.zeros(len(seen))
        return np.asarray(np.clip(slope * further, -seen[:, -1], 1 - seen[:, -1])[:, None] / there)

    value, low, high = held.draws(rise, list(said))[:, 0]
    return Interval(float(value), float(low), float(high), held.units.over, held.units.count, held.units.note)


def _best(held: Held, measured: Sequence[Help], answered: dict[str, Ints]) -> str | None:
    """The class whose gain is surely above nothing and above that of each other class tried."""
    if len(measured) < 2 or measured[0].gain.low <= 0:
        return None
    first = answered[measured[0].label]
    ahead = (held.gain(first, answered[help.label], balanced=True).low > 0 for help in measured[1:])
    return measured[0].label if all(ahead) else None


def _verdict(helps: Sequence[Help], best: str | None, more: int, left: int) -> str:
    measured = [help for help in helps if help.measured_at is not None]
    guessed = [help for help in helps if help.measured_at is None]
    if not helps:
        return f"For which class {more} more labels would help most cannot be told: no class was held out."
    if not measured:
        return _guess(helps, more)
    tail = ""
    if guessed:
        tail = f" {_names(guessed)} {'has' if len(guessed) == 1 else 'have'} too few segments to try it; what is given for them is a guess."
    if left > 0:
        tail += f" Only the {len(helps)} classes that are recognised worst were asked about."
    first, base = measured[0], measured[0].measured_at
    told = f"tried at {base} segment{'' if base == 1 else 's'} a class"
    if best is not None:
        return f"{more} more labels would help {best!r} most: {points(first.gain)} of balanced accuracy, {told}.{tail}"
    close = [help for help in measured if help.gain.high >= first.gain.low][:4]
    cannot = f"For which class {more} more labels would help most cannot be told"
    if first.gain.low <= 0:
        return f"{cannot}: no gain is above noise ({told}; the largest is that of {first.label!r}, {points(first.gain)}).{tail}"
    return f"{cannot}: {_names(close)} gain about as much ({first.label!r}: {points(first.gain)} of balanced accuracy, {told}).{tail}"


def _guess(helps: Sequence[Help], more: int) -> str:
    """What is said where nothing could be tried."""
    first, others = helps[0], helps[1:]
    gain = f"{points(first.gain)} of balanced accuracy"
    why = f"no class has {more} segments to spare, so nothing could be tried"
    if first.gain.low > 0 and all(help.gain.high < first.gain.low for help in others):
        return f"Drawing the curve on, {more} more labels would help {first.label!r} most, by {gain}; this is a guess: {why}."
    return (
        f"For which class {more} more labels would help most cannot be told: {why}, and drawing the curve on, which is a guess, "
        f"sets none apart (the largest gain is that of {first.label!r}, {gain})."
    )


def _names(helps: Sequence[Help]) -> str:
    named = [repr(help.label) for help in helps[:4]]
    more = f" and {len(helps) - 4} more" if len(helps) > 4 else ""
    return (", ".join(named[:-1]) + f" and {named[-1]}" if len(named) > 1 and not more else ", ".join(named)) + more
