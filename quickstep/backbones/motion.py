"""Motion: how things move and look, from dense optical flow and gradients; needs no weights and no network.

Between two pictures the dense flow is found and the camera's own motion, a robust affine field, is taken away. What is left is
described by histograms of its direction, of its boundaries and of the picture's edges, in cells of a grid that is laid on the moving
body, part after part of the window, and by how the body's motion runs over the window: its turning, growing, tempo and order.

Knows nothing of labels, of videos or of how windows are chosen. A still picture has no motion: those numbers are zero, never NaN.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from quickstep.signals import Features, Frames
from quickstep.view import View

Array = NDArray[np.float32]

BINS = 8  # directions of a full turn: right, down-right, down, ... as pictures count, y downward
CELLS = 4  # a side of the grid that is laid on the body
COARSE = 2  # a side of the grid for motion boundaries
PARTS = 2  # vectors a window
STRIDE = 2  # pixels between the flow vectors that are described
SHORTEST, LONGEST = 32, 480  # pixels an edge that the flow works on
NOISE = 0.06  # short edges a second: slower than this is not told from the flow's own noise
REACH = 2.0  # the grid reaches this many standard deviations of the motion to each side
SMALLEST = 0.12  # short edges: the grid's half side is never less
BANDS = (0.0, 0.75, 1.5, 2.5, 4.0, 7.5)  # Hz: the edges of the bands of the tempo


class Motion:
    """The backbone that needs no download: flow histograms on a grid that follows the moving body."""

    name = "motion"
    revision = "1"
    reads = "frames"
    license = "Apache-2.0"
    view = View(frames=32, fps=15.0, size=120, windows=None, fit="whole", resample="area")
    batch = 1
    parallel = True  # one core a call: extraction may call it from several threads at once

    @property
    def width(self) -> int:
        """Numbers in a vector."""
        return WIDTH

    @property
    def identity(self) -> dict[str, str | int | float | bool | list[object] | dict[str, object] | None]:
        """Everything that decides the values: the algorithm's revision and the library that finds the flow."""
        return {"name": self.name, "revision": self.revision, "flow": f"opencv {cv2.__version__}"}

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        """Each window's vectors, in time order; windows do not influence each other."""
        with _one_thread():
            return [_describe(frames) for frames in batch]


_threads = threading.Lock()
_inside = 0
_outside_threads = 1


@contextmanager
def _one_thread() -> Iterator[None]:
    """OpenCV's flow depends on its thread count, which belongs to the process: one while anybody is inside, then as before."""
    global _inside, _outside_threads
    with _threads:
        if _inside == 0:
            _outside_threads = cv2.getNumThreads()
            cv2.setNumThreads(1)
        _inside += 1
    try:
        yield
    finally:
        with _threads:
            _inside -= 1
            if _inside == 0:
                cv2.setNumThreads(_outside_threads)


def dense_flow(pictures: Sequence[NDArray[np.uint8]]) -> Array:
    """Pixels (x right, y down) that each point of a grey picture moves by until the next one: (T-1, H, W, 2)."""
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    finder.setFinestScale(1)
    pairs = pairwise(pictures)
    return np.stack([finder.calc(before, after, None) for before, after in pairs]).astype(np.float32)


def camera_motion(flow: Array, *, rounds: int = 12) -> Array:
    """The affine field that most of a flow (H, W, 2) follows: what the camera does, found by reweighted least squares."""
    y, x = _plane(flow.shape[0], flow.shape[1])
    design = np.stack([np.ones(x.size, np.float32), x.ravel(), y.ravel()], axis=1)  # (N, 3)
    seen = flow.reshape(-1, 2)
    field = np.zeros_like(seen) + np.median(seen, axis=0)
    fit = _cost(seen)
    for turn in range(rounds):
        error = np.square(seen - field).sum(1)
        scale = max(0.25, 4.0 * 0.5**turn)  # pixels; from a wide look to a sharp one
        weight = 1.0 / np.square(1.0 + error / scale**2)
        weighted = design * weight[:, None]
        normal = np.einsum("ni,nj->ij", weighted, design) + 1e-3 * np.eye(3, dtype=np.float32)
        answer = np.linalg.solve(normal.astype(np.float64), np.einsum("ni,nk->ik", weighted, seen).astype(np.float64))
        field = np.einsum("ni,ik->nk", design, answer.astype(np.float32))
    if _cost(seen - field) > 0.95 * fit:  # not clearly better than a camera at rest
        return np.zeros_like(flow)
    return field.reshape(flow.shape)


def _cost(error: Array) -> float:
    """How much of a flow is left unexplained, each vector counting at most one."""
    square = np.square(error).sum(1) / 0.25
    return float(np.mean(square / (1.0 + square)))


def _plane(height: int, width: int) -> tuple[Array, Array]:
    """Positions (y, x) of pixel middles, each (H, W), the picture's middle at 0 and its short edge 1 long."""
    short = min(height, width)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return (y + 0.5 - height / 2) / short, (x + 0.5 - width / 2) / short


@dataclass(frozen=True, eq=False)
class _Moving:
    """What is left of a window once the camera is at rest."""

    grey: Array  # (T, H, W) the pictures between which the flow was found
    flow: Array  # (T-1, h, w, 2) short edges a second
    seconds: Array  # (T-1,) what each step lasts
    times: NDArray[np.float64]  # (T,)
    centre: Array  # (T, 2) where the moving body is, x and y
    reach: Array  # (T, 2) half of the grid's sides


def _describe(frames: Frames) -> Features:
    moving = _look(frames)
    whole = _course(moving)
    edges = np.linspace(moving.times[0], moving.times[-1], PARTS + 1)
    middles = (moving.times[:-1] + moving.times[1:]) / 2
    vectors, times = [], []
    for part in range(PARTS):
        steps = np.flatnonzero((middles >= edges[part]) & (middles <= edges[part + 1]))
        picture = int(np.argmin(np.abs(moving.times - (edges[part] + edges[part + 1]) / 2)))
        vectors.append(np.concatenate([*_histograms(moving, steps), _appearance(moving, picture), whole]))
        times.append((edges[part] + edges[part + 1]) / 2)
    return Features(np.stack(vectors).astype(np.float32), np.array(times))


def _look(frames: Frames) -> _Moving:
    """Find the flow of a window, take the camera's part away, and find where the body is."""
    keep = _distinct(frames)
    times = frames.times[keep]
    pictures = [_grey(frames.pixels[i]) for i in keep]
    height, width = pictures[0].shape
    short = min(height, width)
    seconds = np.diff(times).astype(np.float32)
    flow = np.zeros((len(keep) - 1, -(-height // STRIDE), -(-width // STRIDE), 2), np.float32)
    if len(keep) > 1:
        found = dense_flow(pictures)[:, ::STRIDE, ::STRIDE]
        for step, field in enumerate(found):
            flow[step] = (field - camera_motion(field)) / (short * seconds[step])
    centre, reach = _body(flow, seconds)
    return _Moving(np.stack(pictures).astype(np.float32) / 255, flow, seconds, times, centre, reach)


def _distinct(frames: Frames) -> list[int]:
    """The frames to compare: a picture shown twice because the video has fewer than the view asks for counts once."""
    keep = [0]
    for i in range(1, len(frames)):
        later = frames.times[i] > frames.times[keep[-1]] + 1e-6
        again = i - keep[-1] <= 2 and np.array_equal(frames.pixels[i], frames.pixels[keep[-1]])
        if later and not (again and i < len(frames) - 1):
            keep.append(i)
    return keep


def _grey(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One picture in grey, brought to a size that the flow can work on."""
    grey: NDArray[np.uint8] = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    scale = max(1.0, SHORTEST / min(height, width))
    wanted = tuple(int(np.clip(round(edge * scale), SHORTEST, LONGEST)) for edge in (width, height))
    if wanted != (width, height):
        grey = cv2.resize(grey, wanted, interpolation=cv2.INTER_LINEAR if scale > 1 else cv2.INTER_AREA)
    return grey


def _speed(flow: Array) -> Array:
    """Magnitude of a flow with its noise taken off: (..., h, w)."""
    return np.maximum(np.sqrt(np.square(flow).sum(-1)) - NOISE, 0.0)


def _body(flow: Array, seconds: Array) -> tuple[Array, Array]:
    """Where motion is, as a centre and half sides for each picture, smooth over time; the whole picture where nothing moves."""
    steps, h, w = flow.shape[:3]
    y, x = _plane(h, w)
    frame = np.array([w, h], np.float32) / (2 * min(h, w))
    if steps == 0:
        return np.zeros((1, 2), np.float32), frame[None]
    energy = np.sqrt(_speed(flow)) * seconds[:, None, None]
    ends = np.concatenate([[0.0], np.cumsum(seconds)])
    near = np.exp(-np.square((ends[:, None] - (ends[:-1] + ends[1:])[None] / 2) / 0.5) / 2).astype(np.float32)
    seen = np.einsum("ts,syx->tyx", near, energy) + 1e-6  # (T, h, w); the little bit spreads a still picture over the whole
    total = seen.sum((1, 2))
    centre = np.stack([(seen * x).sum((1, 2)) / total, (seen * y).sum((1, 2)) / total], axis=1)
    spread = np.stack(
        [
            (seen * np.square(x - centre[:, 0, None, None])).sum((1, 2)) / total,
            (seen * np.square(y - centre[:, 1, None, None])).sum((1, 2)) / total,
        ],
        axis=1,
    )
    return centre, np.maximum(REACH * np.sqrt(spread), SMALLEST)


def _cells(positions: Array, centre: float, reach: float, cells: int) -> Array:
    """How much each position belongs to each of the grid's cells along one axis, shared between neighbours: (N, cells)."""
    place = (positions - centre) / reach  # -1 .. 1 inside the grid
    inside = np.clip((1.15 - np.abs(place)) / 0.15, 0.0, 1.0)  # fades out beyond the grid's border
    where = np.clip((place + 1) / 2 * cells - 0.5, 0, cells - 1)
    return (np.maximum(0.0, 1 - np.abs(where[:, None] - np.arange(cells))) * inside[:, None]).astype(np.float32)


def _turned(vectors: Array, weights: Array, *, turn: float = 2 * np.pi) -> Array:
    """Weights shared between the two nearest of BINS directions: (h, w, BINS)."""
    angle = np.arctan2(vectors[..., 1], vectors[..., 0]) / turn * BINS % BINS
    low = np.floor(angle).astype(np.int64) % BINS
    high = (angle - np.floor(angle)).astype(np.float32)
    sides = np.eye(BINS, dtype=np.float32)
    return (sides[low] * (1 - high)[..., None] + sides[(low + 1) % BINS] * high[..., None]) * weights[..., None]


def _gather(values: Array, rows: Array, columns: Array) -> Array:
    """Sum values (h, w, B) into cells: (cells, cells, B)."""
    return np.einsum("yi,yjb->ijb", rows, np.einsum("xj,yxb->yjb", columns, values))


def _rooted(histogram: Array, floor: float) -> Array:
    """A histogram brought to length one by its root (Hellinger); one with next to nothing in it stays near zero."""
    return np.sqrt(histogram / (histogram.sum() + floor)).ravel()


def _histograms(moving: _Moving, steps: NDArray[np.int64]) -> list[Array]:
    """Directions of the flow and of its boundaries on the grid, over some steps."""
    h, w = moving.flow.shape[1:3]
    y, x = _plane(h, w)
    directions = np.zeros((CELLS, CELLS, BINS), np.float32)
    boundaries = np.zeros((2, COARSE, COARSE, BINS), np.float32)
    time = 0.0
    for step in steps:
        flow, seconds = moving.flow[step], moving.seconds[step]
        (cx, cy), (rx, ry) = moving.centre[step], moving.reach[step]
        rows, columns = _cells(y[:, 0], cy, ry, CELLS), _cells(x[0], cx, rx, CELLS)
        directions += _gather(_turned(flow, _speed(flow)), rows, columns) * seconds
        rows, columns = _cells(y[:, 0], cy, ry, COARSE), _cells(x[0], cx, rx, COARSE)
        for axis in range(2):
            edges = np.stack([_slope(flow[..., axis], 1), _slope(flow[..., axis], 0)], axis=-1)
            strength = np.maximum(np.sqrt(np.square(edges).sum(-1)) - NOISE / 4, 0.0)
            boundaries[axis] += _gather(_turned(edges, strength), rows, columns) * seconds
        time += float(seconds)
    area = float(h * w) * max(time, 1e-6)
    floor = area * 0.0005
    share = np.array([np.log1p(100 * directions.sum() / area)], np.float32)
    return [_rooted(directions, floor), _rooted(boundaries[0], floor), _rooted(boundaries[1], floor), share]


def _slope(values: Array, axis: int) -> Array:
    """Central differences along an axis, zero at the border."""
    slope = np.zeros_like(values)
    inner, before, after = [slice(None)] * 2, [slice(None)] * 2, [slice(None)] * 2
    inner[axis], before[axis], after[axis] = slice(1, -1), slice(None, -2), slice(2, None)
    slope[tuple(inner)] = (values[tuple(after)] - values[tuple(before)]) / 2
    return slope


def _appearance(moving: _Moving, picture: int) -> Array:
    """Directions of the picture's edges (half a turn: dark to light or light to dark is one) on the grid."""
    grey = moving.grey[picture]
    y, x = _plane(*grey.shape)
    (cx, cy), (rx, ry) = moving.centre[picture], moving.reach[picture]
    edges = np.stack([_slope(grey, 1), _slope(grey, 0)], axis=-1)
    strength = np.sqrt(np.sqrt(np.square(edges).sum(-1)))
    histogram = _gather(_turned(edges, strength, turn=np.pi), _cells(y[:, 0], cy, ry, CELLS), _cells(x[0], cx, rx, CELLS))
    return _rooted(histogram, 1e-3 * grey.size)


def _course(moving: _Moving) -> Array:
    """How the body's motion runs over the window: means, sizes, tempo, and which motion comes before which."""
    even, scale = _even(_motions(moving), moving)
    if scale == 0:
        return np.zeros(COURSE, np.float32)
    size = np.sqrt(np.square(even).mean(0))
    bounded = even / (np.sqrt(np.square(size).mean()) + NOISE)
    mean = bounded.mean(0)
    ways = np.cumsum(bounded - mean, axis=0) / 15.0
    before = np.einsum("ti,tj->ij", ways, bounded - mean) / len(bounded)
    order = (before - before.T)[np.triu_indices(bounded.shape[1], 1)]
    together = np.einsum("ti,tj->ij", bounded, bounded)[np.triu_indices(bounded.shape[1], 1)] / len(bounded)
    sizes = np.sqrt(np.square(bounded).mean(0))
    return np.concatenate([_root(mean), sizes, _root(order), _root(together), _tempo(bounded).ravel()]).astype(np.float32)


def _root(values: Array) -> Array:
    """The root that keeps the sign."""
    return np.sign(values) * np.sqrt(np.abs(values))


def _motions(moving: _Moving) -> Array:
    """The body's motion at each step as ten numbers: drift, growth, turn, two shears, and speed in four quarters: (T-1, 10)."""
    steps, h, w = moving.flow.shape[:3]
    y, x = _plane(h, w)
    rows = np.zeros((steps, MOTIONS), np.float32)
    for step in range(steps):
        u, v = moving.flow[step, ..., 0], moving.flow[step, ..., 1]
        px, py = (x - moving.centre[step, 0]) / moving.reach[step, 0], (y - moving.centre[step, 1]) / moving.reach[step, 1]
        near = np.clip(1.15 - np.maximum(np.abs(px), np.abs(py)), 0, 0.15) / 0.15 * (_speed(moving.flow[step]) > 0)
        area = 4 * float(np.prod(moving.reach[step])) * min(h, w) ** 2  # flow vectors on the grid
        parts = [u, v, px * u, py * v, px * v, py * u, px * py * u, px * py * v]
        speed = np.sqrt(u * u + v * v)
        parts += [speed, speed * px, speed * py]
        rows[step] = [float((near * part).sum()) / area for part in parts]
    return rows


def _even(motions: Array, moving: _Moving) -> tuple[Array, float]:
    """Motions at an even 15 a second, (N, K), and their overall size; nothing where nothing moved."""
    size = float(np.abs(motions).sum())
    if not size:
        return motions, 0.0
    middles = (moving.times[:-1] + moving.times[1:]) / 2
    count = max(1, round((moving.times[-1] - moving.times[0]) * 15))
    at = moving.times[0] + (np.arange(count) + 0.5) / 15
    return np.stack([np.interp(at, middles, column) for column in motions.T], axis=1).astype(np.float32), size


def _tempo(bounded: Array) -> Array:
    """Strength of each motion in each band of frequencies: (K, bands)."""
    padded = np.zeros((max(32, len(bounded)), bounded.shape[1]))
    padded[: len(bounded)] = (bounded - bounded.mean(0)) * np.hanning(len(bounded) + 2)[1:-1, None]
    strength = np.square(np.abs(np.fft.rfft(padded, axis=0))) / len(bounded)
    pitch = np.fft.rfftfreq(len(padded), 1 / 15)
    bands = [strength[(pitch >= low) & (pitch < high)].sum(0) for low, high in pairwise(BANDS)]
    return np.sqrt(np.stack(bands, axis=1))


MOTIONS = 11
COURSE = MOTIONS * 2 + MOTIONS * (MOTIONS - 1) + MOTIONS * (len(BANDS) - 1)
WIDTH = CELLS * CELLS * BINS * 2 + COARSE * COARSE * BINS * 2 + 1 + COURSE
