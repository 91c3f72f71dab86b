"""Whether two sequences of small grey pictures are one recording: found in time, laid over each other, held against each other.

Only what moves counts: a stage, a dancer and a camera that two takes share say nothing, the same movements at the same moments do.
Knows arrays only: no file, no store.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GreyFrames = NDArray[np.float32]  # (T, N, N)
Vector = NDArray[np.float64]

COARSE = 12  # pixels across, for finding the moment
PLACES = 6  # across, for what moves with what
SHARE = 0.5  # of the shorter one must be common to both
SHORTEST = 8  # pictures that must be common
SURE = 0.995  # so alike that nothing else is asked
ALIKE = 0.97  # as alike as copies are; takes of one movement reach this too, but not evenly and not in step
EVENLY = 0.93  # the worst half second of a copy is still this much alike
IN_STEP = (0.05, 0.35)  # pictures by which one may run ahead here and behind there, at ALIKE and from there rising to ...
FIRM = 0.985  # ... the score at which the whole of it is allowed
STILL = 1.0  # grey levels below which what seems to move is the codec's noise ...
FLECKS = 5  # ... but for so many of the 576 places, where it flickers more


@dataclass(frozen=True)
class Similarity:
    """How two sequences fit where they fit best."""

    same: bool
    score: float  # correlation of what moves, 1 for a copy
    lag: int  # picture i of the second is picture i + lag of the first
    common: int  # pictures common to both


def shrink(pictures: GreyFrames, size: int) -> GreyFrames:
    """GreyFrames averaged down to size x size."""
    factor = pictures.shape[-1] // size
    sums = sum(pictures[..., row::factor, column::factor] for row in range(factor) for column in range(factor))
    return np.asarray(sums / np.float32(factor * factor), dtype=np.float32)


def comovement(pictures: GreyFrames) -> GreyFrames:
    """What moves with what (36, 36): alike in copies, also in parts of them, and other in other takes."""
    moving = _moving(shrink(pictures, PLACES)).reshape(len(pictures), -1)
    return np.asarray(moving.T @ moving / np.float32(len(moving)), dtype=np.float32)


def compare(first: GreyFrames, second: GreyFrames) -> Similarity:
    """Whether two sequences at one pace show the same recording, also where one is cut, cropped, scaled or coded again."""
    nothing = Similarity(False, 0.0, 0, 0)
    if min(len(first), len(second)) < SHORTEST:
        return nothing
    best = nothing
    for lag, common, coarse in _lags(shrink(first, COARSE), shrink(second, COARSE)):
        if coarse < 0.35:
            continue
        begin = max(0, -lag)
        found = _fit(first[begin + lag : begin + lag + common], second[begin : begin + common])
        if (found[0], found[1]) > (best.same, best.score):
            best = Similarity(*found, lag, common)
        if best.same:
            break
    return best


def compare_closely(first: GreyFrames, second: GreyFrames) -> tuple[bool, float]:
    """Whether two sequences of larger pictures, the same moments of both, are one recording's; and how alike they are.

    The finer the pictures, the more exactly one is laid over the other: that tells where small ones leave it open.
    """
    laid = _lay_over(first.mean(0), second.mean(0), rounds=25)
    size = first.shape[-1] // 4
    one, other = shrink(first, size), shrink(_warp(second, laid), size)
    if is_still(one) or is_still(other):
        return False, 0.0
    return _judge(_moving(_inner(one)), _moving(_inner(other)))


def same_still(first: GreyFrames, second: GreyFrames) -> bool:
    """Whether two videos in which nothing moves show one picture: to the pixel, for there is nothing else to tell them by."""
    one, other = first.mean(0), second.mean(0)
    gap = np.abs(one - other)
    return bool(one.std() > 8 and gap.mean() < 1.0 and gap.max() < 5.0)


def is_still(pictures: GreyFrames) -> bool:
    """Whether nothing moves anywhere in the picture."""
    if len(pictures) == 0:
        return True
    spread = np.sort(pictures.std(0), axis=None)
    return bool(spread[max(0, len(spread) - 1 - FLECKS)] < STILL)


def _moving(pictures: GreyFrames) -> GreyFrames:
    return np.asarray(pictures - pictures.mean(0), dtype=np.float32)


def _lags(first: GreyFrames, second: GreyFrames) -> list[tuple[int, int, float]]:
    """The three best (lag, pictures in common, correlation)."""
    one, other = (_moving(pictures).reshape(len(pictures), -1) for pictures in (first, second))
    long, short = len(one), len(other)
    # products of every picture with every other, skewed so that each column holds one lag
    skewed = np.zeros((short, long + short), dtype=np.float64)
    skewed[:, :long] = (other @ one.T)[::-1]
    columns = skewed.reshape(-1)[: short * (long + short - 1)].reshape(short, long + short - 1).sum(0)
    lags = np.arange(1 - short, long)
    begin, stop = np.maximum(0, -lags), np.minimum(short, long - lags)
    common = stop - begin
    power = [np.concatenate([[0.0], np.cumsum((side.astype(np.float64) ** 2).sum(1))]) for side in (one, other)]
    energy = (power[0][stop + lags] - power[0][begin + lags]) * (power[1][stop] - power[1][begin])
    score = columns / np.sqrt(np.maximum(energy, 1e-6))
    need = max(SHORTEST, int(np.ceil(SHARE * min(long, short))))
    score[common < need] = -1.0
    order = np.argsort(-score, kind="stable")[:3]
    return [(int(lags[at]), int(common[at]), float(score[at])) for at in order]


def _fit(first: GreyFrames, second: GreyFrames) -> tuple[bool, float]:
    """Lay the second over the first and hold them against each other; returns (same, score)."""
    if is_still(first) or is_still(second):
        return False, 0.0
    one = _moving(_inner(first))
    as_is = _judge(one, _moving(_inner(second)))
    if as_is[0] and as_is[1] >= SURE:
        return as_is
    laid = _lay_over(first.mean(0), second.mean(0))
    return max(as_is, _judge(one, _moving(_inner(_warp(second, laid)))))


def _judge(one: GreyFrames, other: GreyFrames) -> tuple[bool, float]:
    """Whether two moving residues are one recording's, and how alike they are."""
    in_time = _in_time(one, other)
    if in_time is None:
        return False, 0.0
    score, worst, drift = _differences(one[1:-1], in_time)
    step = float(np.interp(score, [ALIKE, FIRM], IN_STEP))
    return score >= SURE or (score >= ALIKE and worst >= EVENLY and drift <= step), score


def _inner(pictures: GreyFrames) -> GreyFrames:
    """Without the rim, where a crop leaves nothing to compare, and coarser in space and time, so that codec and warp do not count."""
    rim = pictures.shape[-1] // 12
    inside = pictures[:, rim:-rim, rim:-rim] if rim else pictures
    size = inside.shape[-1] // 2 * 2
    coarser = shrink(inside[:, :size, :size], size // 2)
    return (coarser[1:] + coarser[:-1]) / np.float32(2)


def _in_time(one: GreyFrames, other: GreyFrames) -> GreyFrames | None:
    """The mix of three neighbouring pictures that fits best: a shift by less than the distance between two."""
    if len(other) < 5:
        return None
    taps = np.stack([other[at : len(other) - 2 + at].reshape(-1) for at in range(3)], axis=1).astype(np.float64)
    gram = taps.T @ taps
    gram += np.eye(3) * 1e-3 * gram.trace() / 3
    mix = taps @ np.linalg.solve(gram, taps.T @ one[1:-1].reshape(-1))
    return np.asarray(mix.reshape(one[1:-1].shape), dtype=np.float32)


def _differences(one: GreyFrames, other: GreyFrames) -> tuple[float, float, float]:
    """Correlation over all; likeness of the worst half second; how unevenly the one runs ahead of the other, in pictures."""
    flat = [side.reshape(len(side), -1).astype(np.float64) for side in (one, other)]
    power = [(side**2).sum(1) for side in flat]
    score = float((flat[0] * flat[1]).sum() / np.sqrt(power[0].sum() * power[1].sum() + 1e-6))
    slope = np.asarray(np.gradient(flat[1], axis=0))
    ahead, steep, off = (
        ((flat[0] - flat[1]) * slope).sum(1),
        (slope**2).sum(1),
        ((flat[0] - flat[1]) ** 2).sum(1),
    )
    window = min(8, len(one))
    sums = [np.convolve(values, np.ones(window), mode="valid") for values in (ahead, steep, off)]
    worst = 1.0 - float(sums[2].max()) / (window * float(power[0].mean()) + 1e-6)
    shifts, weights = sums[0] / (sums[1] + 1e-6), sums[1] / (sums[1].sum() + 1e-6)
    mean = float((shifts * weights).sum())
    return score, worst, float(np.sqrt((weights * (shifts - mean) ** 2).sum()))


def _warp(pictures: GreyFrames, laid: Vector) -> GreyFrames:
    """GreyFrames stretched about their middle and moved: (stretch x, move x, stretch y, move y)."""
    size = pictures.shape[-1]
    from_middle = np.arange(size) - (size - 1) / 2
    across = _between((1 + laid[0]) * from_middle + laid[1] + (size - 1) / 2, size)
    down = _between((1 + laid[2]) * from_middle + laid[3] + (size - 1) / 2, size)
    return np.asarray(down @ pictures @ across.T, dtype=np.float32)


def _between(places: Vector, size: int) -> GreyFrames:
    """The matrix that reads between pixels, linearly."""
    places = np.clip(places, 0, size - 1)
    left = np.minimum(np.floor(places).astype(np.int64), size - 2)
    rows = np.arange(len(places))
    matrix = np.zeros((len(places), size), dtype=np.float32)
    matrix[rows, left] = 1 - (places - left)
    matrix[rows, left + 1] = places - left
    return matrix


def _lay_over(target: GreyFrames, picture: GreyFrames, *, rounds: int = 12) -> Vector:
    """The stretch and move that bring a picture onto the target, brightness and contrast left free (Gauss-Newton)."""
    size = target.shape[-1]
    middle = np.arange(size) - (size - 1) / 2
    limit = np.array([0.15, size / 12, 0.15, size / 12])
    rim = slice(1, -1)
    laid = np.zeros(4)
    for _ in range(rounds):
        warped = _warp(picture[None], laid)[0].astype(np.float64)
        down, across = np.gradient(warped)
        across, down = across / (1 + laid[0]), down / (1 + laid[2])
        columns = [across * middle[None, :], across, down * middle[:, None], down, -target, -np.ones_like(warped)]
        system = np.stack([column[rim, rim].reshape(-1) for column in columns], axis=1)
        gram = system.T @ system
        gram[np.diag_indices(6)] *= 1 + 1e-6  # a picture without edges moves nowhere
        step = np.linalg.lstsq(gram, -system.T @ warped[rim, rim].reshape(-1), rcond=None)[0][:4]
        laid = np.clip(laid + np.clip(step, -limit / 3, limit / 3), -limit, limit)
        if np.abs(step).max() < 2e-3:
            break
    return laid
