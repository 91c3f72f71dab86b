"""Positions over time without shake: even steps, a zero-phase low-pass filter, derivatives; knows no body.

The same movement gives the same values whatever the frame rate: samples are joined by cubic splines, taken at RATE, and filtered
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
CUTOFF = 6.0  # Hz: what is faster is shake of the joints; where it is reached, 71 % of a movement's size is left
BRIDGE = 0.25  # seconds: a longer gap is not filled
SHORTEST = 0.12  # seconds that a run of sightings needs
NEAREST = 0.004  # seconds: sightings that lie nearer together are one
_TWICE = (2**0.5 - 1) ** 0.25  # filtered there and back, a second-order filter reaches its cutoff earlier
_PAD = 0.5  # seconds by which a run is continued (turned about its end) while it is filtered


def grid(times: Floats) -> Floats:
    """Even moments from the first to the last of these."""
    count = int(np.floor((times[-1] - times[0]) * RATE + 1e-6)) + 1
    return np.asarray(times[0] + np.arange(count) / RATE)


def resample(times: Floats, places: Floats, seen: Bools, moments: Floats) -> Floats:
    """Places (T, K, D) at even moments, (G, K, D); NaN where a joint was not seen for longer than BRIDGE."""
    from scipy.interpolate import CubicSpline  # slow to import, and what is cached needs none of it

    even = np.full((len(moments), *places.shape[1:]), np.nan)
    step = float(np.median(np.diff(times)))
    alike: dict[bytes, list[int]] = {}  # joints that are seen at the same moments are treated together
    for joint in range(places.shape[1]):
        alike.setdefault(seen[:, joint].tobytes(), []).append(joint)
    for joints in alike.values():
        sighted = np.flatnonzero(seen[:, joints[0]])
        for run in _runs(times, sighted, max(BRIDGE, 2.5 * step)):
            inside = slice(*np.searchsorted(moments, (times[run[0]] - 1e-9, times[run[-1]] + 1e-9)))
            spline = CubicSpline(times[run], places[run][:, joints], axis=0)
            even[inside, joints] = spline(moments[inside])
    return even


def _runs(times: Floats, sighted: NDArray[np.int64], bridge: float) -> Iterator[NDArray[np.int64]]:
    """Sightings without a long gap between two of them."""
    kept: list[int] = []
    for place in sighted.tolist():
        if kept and times[place] - times[kept[-1]] < NEAREST:
            continue
        if kept and times[place] - times[kept[-1]] > bridge:
            if _lasts(times, kept):
                yield np.array(kept)
            kept = []
        kept.append(place)
    if _lasts(times, kept):
        yield np.array(kept)


def _lasts(times: Floats, run: list[int]) -> bool:
    return len(run) >= 4 and bool(times[run[-1]] - times[run[0]] >= SHORTEST - 1e-6)


def smooth(even: Floats, cutoff: float) -> Floats:
    """Even places (G, K, D) without what is faster than `cutoff` Hz."""
    from scipy.signal import butter, sosfiltfilt  # slow to import, and what is cached needs none of it

    sos = butter(2, min(cutoff / _TWICE, 0.45 * RATE), fs=RATE, output="sos")
    out = np.full_like(even, np.nan)
    for joint in range(even.shape[1]):
        for start, end in stretches(np.asarray(np.isfinite(even[:, joint]).all(axis=1))):
            pad = min(end - start - 1, int(_PAD * RATE))
            out[start:end, joint] = sosfiltfilt(sos, even[start:end, joint], axis=0, padlen=pad)
    return out


def change(values: Floats) -> Floats:
    """How much values (G, ...) change a second."""
    if len(values) < 3:
        return np.full_like(values, np.nan)
    return np.asarray(np.gradient(values, 1 / RATE, axis=0, edge_order=2))


def stretches(known: Bools) -> list[tuple[int, int]]:
    """Where a mask (G,) is true without a break: start and end of each stretch."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def shake(times: Floats, places: Floats, seen: Bools) -> Floats:
    """How far each joint (T, K, D) jumps about from frame to frame, (K,): the standard deviation of what no movement explains.

    Third differences of a movement are next to nothing, those of shake are its size times the root of 20.
    """
    third = np.diff(places, n=3, axis=0)  # (T - 3, K, D)
    steps = np.diff(times)
    three = np.stack([steps[number : len(times) - 3 + number] for number in range(3)])
    even = np.ptp(three, axis=0) < 0.2 * np.median(steps)
    found = np.zeros(places.shape[1])
    for joint in range(places.shape[1]):
        whole = even & np.all([seen[number : len(times) - 3 + number, joint] for number in range(4)], axis=0)
        if whole.any():
            found[joint] = np.median(np.abs(third[whole, joint])) / 0.6745 / 20**0.5
    return found


@lru_cache(maxsize=256)
def shake_left(fps: float, cutoff: float, order: int) -> float:
    """How large shake of size 1 is in a derivative of that order, after frames at that rate were smoothed: a standard deviation."""
    hertz = np.linspace(0, min(fps, RATE) / 2, 400)
    turn = 2 * np.pi * hertz
    kept = 1 / (1 + (hertz * _TWICE / cutoff) ** 4)  # of the size of each frequency
    slope = np.abs(np.sin(turn / RATE)) * RATE  # what `change` makes of it
    return float(np.sqrt(np.trapezoid(2 / fps * np.square(kept * slope**order), hertz)))


def without_spikes(times: Floats, places: Floats, seen: Bools, *, size: float) -> Bools:
    """What is seen (T, K) without single sightings that lie `size` off the way and are back at once."""
    if len(times) < 3:
        return seen
    before, here, after = places[:-2], places[1:-1], places[2:]
    brief = (times[2:] - times[:-2] <= 0.21)[:, None]
    with np.errstate(invalid="ignore"):
        off = np.linalg.norm(here - (before + after) / 2, axis=-1)
        spike = brief & (off > size) & (np.linalg.norm(after - before, axis=-1) < 0.5 * off)
    kept = seen.copy()
    kept[1:-1] &= ~spike
    return kept
