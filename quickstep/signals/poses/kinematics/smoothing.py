"""Smooth positions over time: resampling at even steps, a zero-phase low-pass filter, and derivatives.

The same movement gives the same values at any frame rate: positions are interpolated by cubic splines, sampled at RATE, and filtered
forwards and backwards by a second-order Butterworth filter, which shifts nothing in time.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

RATE = 100.0  # steps a second
CUTOFF = 6.0  # Hz: faster changes are jitter of the joints; at this frequency 71 % of the amplitude is left
BRIDGE = 0.25  # seconds: a longer gap is not filled
SHORTEST = 0.12  # seconds: a shorter run of visible frames is dropped
NEAREST = 0.004  # seconds: frames nearer to each other count as one
_TWICE = (2**0.5 - 1) ** 0.25  # applied forwards and backwards, a second-order filter has a lower cutoff
_PAD = 0.5  # seconds by which a run is extended (point-reflected at its end) while it is filtered


def grid(times: Floats) -> Floats:
    """Return even moments from the first to the last of these times."""
    count = int(np.floor((times[-1] - times[0]) * RATE + 1e-6)) + 1
    return np.asarray(times[0] + np.arange(count) / RATE)


def resample(times: Floats, places: Floats, visible: Bools, moments: Floats) -> Floats:
    """Interpolate places (T, K, D) at even moments, (G, K, D); NaN where a joint is invisible for longer than BRIDGE."""
    from scipy.interpolate import CubicSpline  # slow to import, and what is cached needs none of it

    even = np.full((len(moments), *places.shape[1:]), np.nan)
    step = float(np.median(np.diff(times)))
    groups: dict[bytes, list[int]] = {}  # joints that are visible at the same moments share a spline
    for joint in range(places.shape[1]):
        groups.setdefault(visible[:, joint].tobytes(), []).append(joint)
    for joints in groups.values():
        frames = np.flatnonzero(visible[:, joints[0]])
        for run in _runs(times, frames, max(BRIDGE, 2.5 * step)):
            inside = slice(*np.searchsorted(moments, (times[run[0]] - 1e-9, times[run[-1]] + 1e-9)))
            spline = CubicSpline(times[run], places[run][:, joints], axis=0)
            even[inside, joints] = spline(moments[inside])
    return even


def _runs(times: Floats, frames: NDArray[np.int64], bridge: float) -> Iterator[NDArray[np.int64]]:
    """Yield runs of frames without a long gap between two of them."""
    run: list[int] = []
    for place in frames.tolist():
        if run and times[place] - times[run[-1]] < NEAREST:
            continue
        if run and times[place] - times[run[-1]] > bridge:
            if _is_long_enough(times, run):
                yield np.array(run)
            run = []
        run.append(place)
    if _is_long_enough(times, run):
        yield np.array(run)


def _is_long_enough(times: Floats, run: list[int]) -> bool:
    return len(run) >= 4 and bool(times[run[-1]] - times[run[0]] >= SHORTEST - 1e-6)


def smooth(even: Floats, cutoff: float) -> Floats:
    """Low-pass filter even places (G, K, D) at `cutoff` Hz."""
    from scipy.signal import butter, sosfiltfilt  # slow to import, and what is cached needs none of it

    sos = butter(2, min(cutoff / _TWICE, 0.45 * RATE), fs=RATE, output="sos")
    out = np.full_like(even, np.nan)
    for joint in range(even.shape[1]):
        for start, end in stretches(np.asarray(np.isfinite(even[:, joint]).all(axis=1))):
            pad = min(end - start - 1, int(_PAD * RATE))
            out[start:end, joint] = sosfiltfilt(sos, even[start:end, joint], axis=0, padlen=pad)
    return out


def derivative(values: Floats) -> Floats:
    """Return the change of values (G, ...) a second."""
    if len(values) < 3:
        return np.full_like(values, np.nan)
    return np.asarray(np.gradient(values, 1 / RATE, axis=0, edge_order=2))


def stretches(mask: Bools) -> list[tuple[int, int]]:
    """Return the start and end of each stretch in which a mask (G,) is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def jitter_of(times: Floats, places: Floats, visible: Bools) -> Floats:
    """Return the jitter of each joint (T, K, D) between frames, (K,): the standard deviation of its noise.

    Third differences of a movement are close to zero, those of noise are its size times the root of 20.
    """
    third = np.diff(places, n=3, axis=0)  # (T - 3, K, D)
    steps = np.diff(times)
    three = np.stack([steps[number : len(times) - 3 + number] for number in range(3)])
    even = np.ptp(three, axis=0) < 0.2 * np.median(steps)
    jitter = np.zeros(places.shape[1])
    for joint in range(places.shape[1]):
        usable = even & np.all([visible[number : len(times) - 3 + number, joint] for number in range(4)], axis=0)
        if usable.any():
            jitter[joint] = np.median(np.abs(third[usable, joint])) / 0.6745 / 20**0.5
    return jitter


@lru_cache(maxsize=256)
def jitter_left(fps: float, cutoff: float, order: int) -> float:
    """Return the standard deviation that jitter of size 1 has in a derivative of this order, after smoothing."""
    hertz = np.linspace(0, min(fps, RATE) / 2, 400)
    turn = 2 * np.pi * hertz
    gain = 1 / (1 + (hertz * _TWICE / cutoff) ** 4)  # of each frequency
    slope = np.abs(np.sin(turn / RATE)) * RATE  # the gain of `derivative`
    return float(np.sqrt(np.trapezoid(2 / fps * np.square(gain * slope**order), hertz)))


def without_spikes(times: Floats, places: Floats, visible: Bools, *, size: float) -> Bools:
    """Return the visible joints (T, K) without single frames in which a joint jumps by `size` and back."""
    if len(times) < 3:
        return visible
    before, here, after = places[:-2], places[1:-1], places[2:]
    brief = (times[2:] - times[:-2] <= 0.21)[:, None]
    with np.errstate(invalid="ignore"):
        off = np.linalg.norm(here - (before + after) / 2, axis=-1)
        spike = brief & (off > size) & (np.linalg.norm(after - before, axis=-1) < 0.5 * off)
    clean = visible.copy()
    clean[1:-1] &= ~spike
    return clean
