"""Decide whether two sequences of small grey frames are one recording: align them in time and in space, then compare them.

Only movement counts: two takes may share stage, dancer and camera, but not the same movement at the same time. The frames come from
a Sketch: a video as small grey thumbnails at a steady rate, made once and kept in the cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.video import DECODING_VERSION, VideoReader
from quickstep.storage.cache import Cache, Json
from quickstep.types.errors import MediaError
from quickstep.types.view import View

GreyFrames = NDArray[np.float32]  # (T, N, N)
Vector = NDArray[np.float64]

COARSE = 12  # pixels across, for the alignment in time
PLACES = 6  # places across, for the comovement
MIN_SHARE = 0.5  # of the shorter sequence that both must have in common
MIN_FRAMES = 8  # that both must have in common
CERTAIN = 0.995  # score from which on two sequences are the same without further conditions
MIN_SCORE = 0.97  # score of copies; takes of one movement reach it too, but vary over time and drift apart
MIN_WORST_SCORE = 0.93  # of the worst half second of a copy
MAX_DRIFT = (0.05, 0.35)  # frames by which the lag may vary, at MIN_SCORE and at FULL_DRIFT_SCORE
FULL_DRIFT_SCORE = 0.985
STILL = 1.0  # grey levels; smaller changes are noise of the codec
MAX_FLICKER = 5  # pixels, of 576, that may change more in a still video
_MIN_COARSE_SCORE = 0.35  # from which on an alignment in time is tried


@dataclass(frozen=True)
class Similarity:
    """The best alignment of two sequences, and whether they are the same recording."""

    same: bool
    score: float  # correlation of the movement, 1 for a copy
    lag: int  # frame i of the second is frame i + lag of the first
    common: int  # frames in common


def shrink(frames: GreyFrames, size: int) -> GreyFrames:
    """GreyFrames averaged down to size x size."""
    factor = frames.shape[-1] // size
    sums = sum(frames[..., row::factor, column::factor] for row in range(factor) for column in range(factor))
    return np.asarray(sums / np.float32(factor * factor), dtype=np.float32)


def comovement(frames: GreyFrames) -> GreyFrames:
    """Return which places move together (36, 36): similar in copies, also in parts of them, and different in other takes."""
    moving = _moving(shrink(frames, PLACES)).reshape(len(frames), -1)
    return np.asarray(moving.T @ moving / np.float32(len(moving)), dtype=np.float32)


def compare(first: GreyFrames, second: GreyFrames) -> Similarity:
    """Compare two sequences of one frame rate; one may be cut, cropped, scaled or encoded again."""
    best = Similarity(False, 0.0, 0, 0)
    if min(len(first), len(second)) < MIN_FRAMES:
        return best
    for lag, common, coarse in _lags(shrink(first, COARSE), shrink(second, COARSE)):
        if coarse < _MIN_COARSE_SCORE:
            continue
        begin = max(0, -lag)
        same, score = _fit(first[begin + lag : begin + lag + common], second[begin : begin + common])
        if (same, score) > (best.same, best.score):
            best = Similarity(same, score, lag, common)
        if best.same:
            break
    return best


def compare_closely(first: GreyFrames, second: GreyFrames) -> tuple[bool, float]:
    """Compare two sequences of larger frames at the same times; return whether they are one recording, and their score.

    Larger frames are aligned more exactly, which decides where small ones leave it open.
    """
    transform = _align(first.mean(0), second.mean(0), rounds=25)
    size = first.shape[-1] // 4
    one, other = shrink(first, size), shrink(_warp(second, transform), size)
    if is_still(one) or is_still(other):
        return False, 0.0
    return _judge(_moving(_inner(one)), _moving(_inner(other)))


def same_still(first: GreyFrames, second: GreyFrames) -> bool:
    """Whether two videos without movement show the same image, to the pixel, because there is nothing else to compare."""
    one, other = first.mean(0), second.mean(0)
    difference = np.abs(one - other)
    return bool(one.std() > 8 and difference.mean() < 1.0 and difference.max() < 5.0)


def is_still(frames: GreyFrames) -> bool:
    """Whether nothing moves anywhere in the frame."""
    if len(frames) == 0:
        return True
    spread = np.sort(frames.std(0), axis=None)
    return bool(spread[max(0, len(spread) - 1 - MAX_FLICKER)] < STILL)


def _moving(frames: GreyFrames) -> GreyFrames:
    return np.asarray(frames - frames.mean(0), dtype=np.float32)


def _lags(first: GreyFrames, second: GreyFrames) -> list[tuple[int, int, float]]:
    """Return the three best (lag, frames in common, correlation)."""
    one, other = (_moving(frames).reshape(len(frames), -1) for frames in (first, second))
    long, short = len(one), len(other)
    # the products of all pairs of frames, skewed so that each column is one lag
    skewed = np.zeros((short, long + short), dtype=np.float64)
    skewed[:, :long] = (other @ one.T)[::-1]
    columns = skewed.reshape(-1)[: short * (long + short - 1)].reshape(short, long + short - 1).sum(0)
    lags = np.arange(1 - short, long)
    begin, stop = np.maximum(0, -lags), np.minimum(short, long - lags)
    common = stop - begin
    power = [np.concatenate([[0.0], np.cumsum((side.astype(np.float64) ** 2).sum(1))]) for side in (one, other)]
    energy = (power[0][stop + lags] - power[0][begin + lags]) * (power[1][stop] - power[1][begin])
    score = columns / np.sqrt(np.maximum(energy, 1e-6))
    need = max(MIN_FRAMES, int(np.ceil(MIN_SHARE * min(long, short))))
    score[common < need] = -1.0
    order = np.argsort(-score, kind="stable")[:3]
    return [(int(lags[at]), int(common[at]), float(score[at])) for at in order]


def _fit(first: GreyFrames, second: GreyFrames) -> tuple[bool, float]:
    """Align the second with the first in space and compare them; return (same, score)."""
    if is_still(first) or is_still(second):
        return False, 0.0
    one = _moving(_inner(first))
    unaligned = _judge(one, _moving(_inner(second)))
    if unaligned[0] and unaligned[1] >= CERTAIN:
        return unaligned
    transform = _align(first.mean(0), second.mean(0))
    return max(unaligned, _judge(one, _moving(_inner(_warp(second, transform)))))


def _judge(one: GreyFrames, other: GreyFrames) -> tuple[bool, float]:
    """Compare the movement of two sequences; return (same, score)."""
    shifted = _shift_in_time(one, other)
    if shifted is None:
        return False, 0.0
    score, worst, drift = _scores(one[1:-1], shifted)
    max_drift = float(np.interp(score, [MIN_SCORE, FULL_DRIFT_SCORE], MAX_DRIFT))
    return score >= CERTAIN or (score >= MIN_SCORE and worst >= MIN_WORST_SCORE and drift <= max_drift), score


def _inner(frames: GreyFrames) -> GreyFrames:
    """Cut off the border, which a crop lacks, and average in space and time, so that codec and warp do not count."""
    border = frames.shape[-1] // 12
    inner = frames[:, border:-border, border:-border] if border else frames
    size = inner.shape[-1] // 2 * 2
    coarser = shrink(inner[:, :size, :size], size // 2)
    return (coarser[1:] + coarser[:-1]) / np.float32(2)


def _shift_in_time(one: GreyFrames, other: GreyFrames) -> GreyFrames | None:
    """Return the best mix of three neighbouring frames: a shift by less than one frame; None for too few frames."""
    if len(other) < 5:
        return None
    taps = np.stack([other[at : len(other) - 2 + at].reshape(-1) for at in range(3)], axis=1).astype(np.float64)
    gram = taps.T @ taps
    gram += np.eye(3) * 1e-3 * gram.trace() / 3
    mix = taps @ np.linalg.solve(gram, taps.T @ one[1:-1].reshape(-1))
    return np.asarray(mix.reshape(one[1:-1].shape), dtype=np.float32)


def _scores(one: GreyFrames, other: GreyFrames) -> tuple[float, float, float]:
    """Return the correlation, the score of the worst half second, and the drift: how much the lag varies, in frames."""
    flat = [side.reshape(len(side), -1).astype(np.float64) for side in (one, other)]
    power = [(side**2).sum(1) for side in flat]
    score = float((flat[0] * flat[1]).sum() / np.sqrt(power[0].sum() * power[1].sum() + 1e-6))
    slope = np.asarray(np.gradient(flat[1], axis=0))
    product, slope_energy, error = (
        ((flat[0] - flat[1]) * slope).sum(1),
        (slope**2).sum(1),
        ((flat[0] - flat[1]) ** 2).sum(1),
    )
    window = min(8, len(one))
    sums = [np.convolve(values, np.ones(window), mode="valid") for values in (product, slope_energy, error)]
    worst = 1.0 - float(sums[2].max()) / (window * float(power[0].mean()) + 1e-6)
    shifts, weights = sums[0] / (sums[1] + 1e-6), sums[1] / (sums[1].sum() + 1e-6)
    mean = float((shifts * weights).sum())
    return score, worst, float(np.sqrt((weights * (shifts - mean) ** 2).sum()))


def _warp(frames: GreyFrames, transform: Vector) -> GreyFrames:
    """GreyFrames stretched about their middle and moved: (stretch x, move x, stretch y, move y)."""
    size = frames.shape[-1]
    from_centre = np.arange(size) - (size - 1) / 2
    across = _interpolation_matrix((1 + transform[0]) * from_centre + transform[1] + (size - 1) / 2, size)
    down = _interpolation_matrix((1 + transform[2]) * from_centre + transform[3] + (size - 1) / 2, size)
    return np.asarray(down @ frames @ across.T, dtype=np.float32)


def _interpolation_matrix(places: Vector, size: int) -> GreyFrames:
    """Return the matrix that reads between pixels by linear interpolation."""
    places = np.clip(places, 0, size - 1)
    left = np.minimum(np.floor(places).astype(np.int64), size - 2)
    rows = np.arange(len(places))
    matrix = np.zeros((len(places), size), dtype=np.float32)
    matrix[rows, left] = 1 - (places - left)
    matrix[rows, left + 1] = places - left
    return matrix


def _align(target: GreyFrames, image: GreyFrames, *, rounds: int = 12) -> Vector:
    """Return the transform that aligns an image with the target, whatever its brightness and contrast (Gauss-Newton)."""
    size = target.shape[-1]
    from_centre = np.arange(size) - (size - 1) / 2
    limit = np.array([0.15, size / 12, 0.15, size / 12])
    inner = slice(1, -1)
    transform = np.zeros(4)
    for _ in range(rounds):
        warped = _warp(image[None], transform)[0].astype(np.float64)
        down, across = np.gradient(warped)
        across, down = across / (1 + transform[0]), down / (1 + transform[2])
        columns = [across * from_centre[None, :], across, down * from_centre[:, None], down, -target, -np.ones_like(warped)]
        system = np.stack([column[inner, inner].reshape(-1) for column in columns], axis=1)
        gram = system.T @ system
        gram[np.diag_indices(6)] *= 1 + 1e-6  # keeps an image without edges where it is
        step = np.linalg.lstsq(gram, -system.T @ warped[inner, inner].reshape(-1), rcond=None)[0][:4]
        transform = np.clip(transform + np.clip(step, -limit / 3, limit / 3), -limit, limit)
        if np.abs(step).max() < 2e-3:
            break
    return transform


VERSION = 5
SKETCH_FPS = 15.0  # thumbnails a second of a short video
SIZE = 24  # pixels across a thumbnail
DENSE_SECONDS = 120.0  # videos up to this length get SKETCH_FPS thumbnails a second
_MAX_THUMBNAILS = 512  # of a longer video
_VIEW = View(frames=1, size=2 * SIZE, fit="stretch", resample="area")  # read at twice the size, then averaged here, exactly
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_HOLD_SECONDS = 0.2  # a frame that lasts longer is held, not blended into the next

Floats = NDArray[np.float32]
Times = NDArray[np.float64]
Span = tuple[float, float] | None


@dataclass(frozen=True, eq=False)
class Sketch:
    """The summary of a video's thumbnails that is kept in memory; the thumbnails stay in the cache."""

    digest: str
    fps: float  # thumbnails a second
    thumbnails: int
    lost: int  # timestamps whose own frame is damaged
    duration: float
    last_time: float  # seconds, of the last frame
    mean: Floats  # (12, 12) the mean thumbnail: the static image
    spread: Floats  # (12, 12) standard deviation: where something moves
    comovement: Floats  # (36, 36) which places, of 6 x 6, move together
    still: bool
    span: Span = None  # the part of the video that was sketched; None: the whole


def sketch_video(path: Path, cache: Cache, *, digest: str | None = None, span: Span = None) -> Sketch:
    """Return the sketch of a video, or of a span of it, from the cache or by decoding the video."""
    digest = digest or cache.digest(path)
    summary = cache.get(_key(digest, "summary", span))
    if summary is None:
        thumbnails, fps, duration, lost, last_time = _decode(path, span)
        grey = thumbnails.astype(np.float32)
        summary = {
            "mean": shrink(grey.mean(0)[None], COARSE)[0],
            "spread": shrink(grey, COARSE).std(0),
            "together": comovement(grey),
            "facts": np.array([fps, len(thumbnails), lost, duration, last_time, is_still(grey)], dtype=np.float64),
        }
        cache.put(_key(digest, "pictures", span), {"pictures": thumbnails})
        cache.put(_key(digest, "summary", span), summary)
    fps, count, lost, duration, last_time, still = summary["facts"].tolist()
    return Sketch(
        digest=digest,
        fps=fps,
        thumbnails=int(count),
        lost=int(lost),
        duration=duration,
        last_time=last_time,
        mean=summary["mean"],
        spread=summary["spread"],
        comovement=summary["together"],
        still=bool(still),
        span=span,
    )


def thumbnails_of(path: Path, sketch: Sketch, cache: Cache) -> Floats:
    """Return the thumbnails (T, 24, 24) of a sketch."""
    cached = cache.get(_key(sketch.digest, "pictures", sketch.span))
    thumbnails = cached["pictures"] if cached is not None else _decode(path, sketch.span)[0]
    return thumbnails.astype(np.float32)


def _key(digest: str, content: str, span: Span) -> dict[str, Json]:
    key: dict[str, Json] = {"kind": f"footage-{content}", "version": VERSION, "decoding": DECODING_VERSION, "sha256": digest}
    return key if span is None else {**key, "span": list(span)}


def _decode(path: Path, span: Span) -> tuple[NDArray[np.uint8], float, float, int, float]:
    """Return the thumbnails (T, 24, 24), their rate, the duration, the number of lost timestamps, and the time of the last frame."""
    with VideoReader(path) as video:
        first, duration = (0.0, video.info.duration) if span is None else (span[0], span[1] - span[0])
        fps = SKETCH_FPS
        limit = DENSE_SECONDS * SKETCH_FPS if duration <= DENSE_SECONDS else _MAX_THUMBNAILS
        while duration * fps > limit:
            fps /= 2
        fine = 2 * fps if fps == SKETCH_FPS else fps  # twice as many, averaged in pairs: fast movement blurs instead of flickering
        times = first + np.arange(max(1, int(duration * fine + 1e-6))) / fine
        frames = video.frames(times, view=_VIEW)
    if len(frames) == 0:
        raise MediaError(path, "has no frame")
    grey = shrink(np.asarray(frames.pixels @ _LUMA, dtype=np.float32), SIZE)  # (T, 24, 24)
    steady = _interpolated(times, frames.times, grey) if fine > fps else grey
    if fine > fps and len(steady) > 1:
        steady = (steady[0 : len(steady) // 2 * 2 : 2] + steady[1::2]) / np.float32(2)
    return np.rint(steady).astype(np.uint8), fps, duration, frames.lost, float(frames.times.max())


def _interpolated(times: Times, frame_times: Times, grey: Floats) -> Floats:
    """Return images at exact times, blended from the frames before and after, so that the frame rate does not matter."""
    distinct, first = np.unique(frame_times, return_index=True)
    if len(distinct) < 2:
        return grey
    grey = grey[first]
    after = np.clip(np.searchsorted(distinct, times, side="right"), 1, len(distinct) - 1)
    gap = distinct[after] - distinct[after - 1]
    weight = np.clip((times - distinct[after - 1]) / gap, 0.0, 1.0)[:, None, None]
    weight = np.where(gap[:, None, None] > _HOLD_SECONDS, np.floor(weight), weight)
    return np.asarray(grey[after - 1] * (1 - weight) + grey[after] * weight, dtype=np.float32)
