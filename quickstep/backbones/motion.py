"""Motion: how things move and look, from dense optical flow and edges; needs no weights and no network.

Between two pictures the dense flow is found, and the camera's own part of it, a robust affine field, is taken away. The rest is
described by histograms of its directions and of its boundaries' directions, and the pictures by those of their edges, in the cells of
two grids: one laid on the picture and one that follows the moving body. Four such parts of a window are told apart. To each is added
what only the whole window shows: early and late, tempo, which motions go together, and how the body looks in its direction of travel.

Every histogram is kept as the half that a mirror leaves alone and the half that it turns round, so that a linear model can learn
"whichever side" as easily as "to the left". Knows nothing of labels, of videos, or of how windows are chosen.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from quickstep.signals import Features, Frames
from quickstep.view import View

Array = NDArray[np.float32]

BINS = 8  # directions of a full turn from "right" on, downward first as pictures count; of half a turn for edges
CELLS = 4  # cells along a side of a grid
COARSE = 2  # the same where a histogram has two kinds of boundaries
PARTS = 4  # vectors a window, where it has as many steps
LOOKS = 4  # pictures of a part whose edges are described
STRIDE = 2  # pixels between the flow vectors that are described
SHORTEST, LONGEST = 32, 480  # pixels an edge that the flow is looked for in
NOISE = 0.06  # short edges a second: a slower flow is not told from noise
REACH = 2.0  # standard deviations of the motion that the body's grid reaches to each side
SMALLEST = 0.12  # short edges: half a side of the body's grid is never less
PACE = 15.0  # steps a second of the course of a window
BANDS = (0.1, 0.6, 1.1, 1.8, 2.8, 4.5, 7.6)  # Hz: edges of the bands of the tempo
COURSE = (
    *("right", "down", "widening", "lengthening", "sinking sideways", "leaning", "middle right", "middle down"),
    *("speed", "speed sideways", "speed low", "speed in the middle", "moving right", "moving down", "growing wide", "growing tall"),
)

_HALF = CELLS * CELLS * BINS // 2
_PAIRS = len(COURSE) * (len(COURSE) - 1) // 2
LAYOUT: Mapping[str, int] = {  # the blocks of a vector, in order, and how many numbers each has; "odd" is what a mirror turns round
    "picture flow even": _HALF,
    "picture flow odd": _HALF,
    "body flow even": _HALF,
    "body flow odd": _HALF,
    "picture boundaries even": COARSE * COARSE * BINS,
    "body boundaries even": COARSE * COARSE * BINS,
    "picture edges even": _HALF,
    "body edges even": _HALF,
    "travel edges": 2 * _HALF,
    "late flow even": _HALF // 2,
    "late flow odd": _HALF // 2,
    "place": 12,
    "mean": len(COURSE),
    "size": len(COURSE),
    "share": len(COURSE),
    "skew": len(COURSE),
    "together": _PAIRS,
    "tempo": len(COURSE) * (len(BANDS) - 1),
}


class Motion:
    """The backbone that needs no download: what moves where, which way, how fast and in which order."""

    name = "motion"
    revision = "2"
    reads = "frames"
    license = "Apache-2.0"
    view = View(frames=60, fps=PACE, size=120, windows=None, fit="whole", resample="area")
    width = sum(LAYOUT.values())
    batch = 1
    parallel = True  # a call keeps one core busy: extraction calls it from several threads at once

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the values: this description's revision and the library that finds the flow."""
        return {"name": self.name, "revision": self.revision, "flow": f"opencv {cv2.__version__}"}

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        """Each window's vectors, one to PARTS of them, in time order; windows do not influence each other."""
        with _one_thread():
            return [_describe(_look(frames)) for frames in batch]


_threads = threading.Lock()
_inside = 0
_threads_outside = 1


@contextmanager
def _one_thread() -> Iterator[None]:
    """OpenCV's flow depends on its number of threads, which belongs to the process: one while anybody is inside, then as before."""
    global _inside, _threads_outside
    with _threads:
        if _inside == 0:
            _threads_outside = cv2.getNumThreads()
            cv2.setNumThreads(1)
        _inside += 1
    try:
        yield
    finally:
        with _threads:
            _inside -= 1
            if _inside == 0:
                cv2.setNumThreads(_threads_outside)


# ---- flow and camera


def dense_flow(pictures: Sequence[NDArray[np.uint8]]) -> Array:
    """Pixels, right and down, that each point of a grey picture (H, W) moves by until the next one: (T-1, H, W, 2)."""
    finder = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    finder.setFinestScale(1)
    return np.stack([finder.calc(before, after, None) for before, after in pairwise(pictures)])


def camera_motion(flow: Array, *, rounds: int = 12) -> Array:
    """The affine field that most of a flow (H, W, 2) follows: the camera's doing, by least squares that forget what disagrees."""
    y, x = _plane(*flow.shape[:2])
    whole = np.stack([np.ones_like(x), x, y], axis=-1)  # (H, W, 3)
    design = whole[::2, ::2].reshape(-1, 3)
    seen = flow[::2, ::2].reshape(-1, 2)
    answer = np.zeros((3, 2))
    answer[0] = np.median(seen, axis=0)
    for turn in range(rounds):
        scale = max(0.25, 4.0 * 0.5**turn)  # pixels: from a wide look to a sharp one
        weight = (1.0 + np.square(seen - design @ answer).sum(1) / scale**2) ** -2
        weighted = design * weight[:, None]
        answer = np.linalg.solve(weighted.T @ design + 1e-3 * np.eye(3), weighted.T @ seen)
    if _unexplained(seen - design @ answer) > 0.95 * _unexplained(seen):
        return np.zeros_like(flow)  # hardly better than a camera at rest
    return (whole @ answer).astype(np.float32)


def _unexplained(error: NDArray[Any]) -> float:
    """The share of flow vectors that are off by some quarter of a pixel."""
    square = np.square(error).sum(1) / 0.25**2
    return float((square / (1.0 + square)).mean())


def _plane(height: int, width: int) -> tuple[Array, Array]:
    """Positions (y, x) of points, each (H, W): the picture's middle is 0 and its short edge is 1 long."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return (y + 0.5 - height / 2) / min(height, width), (x + 0.5 - width / 2) / min(height, width)


@dataclass(frozen=True, eq=False)
class _Moving:
    """A window whose camera has been brought to rest: T steps, each from one picture to the next."""

    grey: Array  # (T, h, w) the picture before each step, 0 to 1
    flow: Array  # (T, h, w, 2) short edges a second
    speed: Array  # (T, h, w) its length, the noise taken off
    seconds: Array  # (T,) how long each step lasts
    times: NDArray[np.float64]  # (T,) its middle
    centre: Array  # (T, 2) where the moving body is, x and y
    reach: Array  # (T, 2) half of the sides of its grid


def _look(frames: Frames) -> _Moving:
    """Find the flow of a window, take the camera's part away, and find where the body is. A lone picture is a step without motion."""
    keep = _distinct(frames)
    pictures = [_grey(frames.pixels[i]) for i in keep]
    short = min(pictures[0].shape)
    times = frames.times[keep]
    if len(keep) == 1:
        pictures, times = pictures * 2, np.array([times[0] - 0.5 / PACE, times[0] + 0.5 / PACE])
    seconds = np.diff(times).astype(np.float32)
    flow = dense_flow(pictures)[:, ::STRIDE, ::STRIDE]
    flow = np.stack([step - camera_motion(step) for step in flow]) / (short * seconds[:, None, None, None])
    speed = np.maximum(np.sqrt(np.square(flow).sum(-1)) - NOISE, 0.0)
    height, width = speed.shape[1:]
    small = np.stack([cv2.resize(each, (width, height), interpolation=cv2.INTER_AREA) for each in pictures[:-1]])
    centre, reach = _body(speed, seconds)
    return _Moving(small.astype(np.float32) / 255, flow, speed, seconds, (times[:-1] + times[1:]) / 2, centre, reach)


def _distinct(frames: Frames) -> list[int]:
    """The frames to compare: one that is shown again, because the video has fewer than the view asks for, counts once."""
    keep = [0]
    for i in range(1, len(frames)):
        later = frames.times[i] > frames.times[keep[-1]] + 1e-6
        again = i - keep[-1] <= 2 and i < len(frames) - 1 and np.array_equal(frames.pixels[i], frames.pixels[keep[-1]])
        if later and not again:
            keep.append(i)
    return keep


def _grey(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One picture in grey, brought to a size that the flow can be looked for in."""
    grey: NDArray[np.uint8] = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    scale = max(1.0, SHORTEST / min(height, width))
    wanted = tuple(int(np.clip(round(edge * scale), SHORTEST, LONGEST)) for edge in (width, height))
    if wanted == (width, height):
        return grey
    resized: NDArray[np.uint8] = cv2.resize(grey, wanted, interpolation=cv2.INTER_LINEAR if scale > 1 else cv2.INTER_AREA)
    return resized


def _body(speed: Array, seconds: Array) -> tuple[Array, Array]:
    """Where motion is at each step, smooth over time: a centre and half sides, (T, 2) each; the whole picture where nothing moves."""
    y, x = _plane(*speed.shape[1:])
    middles = np.cumsum(seconds) - seconds / 2
    near = np.exp(-np.square((middles[:, None] - middles[None]) / 0.5) / 2)  # (T, T)
    energy = np.sqrt(speed) * seconds[:, None, None]
    seen = np.tensordot(near, energy, 1) + 1e-6  # (T, h, w); the little bit spreads nothing over the whole picture
    total = seen.sum((1, 2))
    centre = np.stack([(seen * axis).sum((1, 2)) / total for axis in (x, y)], axis=1)
    off = [np.square(axis - centre[:, i, None, None]) for i, axis in enumerate((x, y))]
    spread = np.stack([(seen * each).sum((1, 2)) / total for each in off], axis=1)
    return centre.astype(np.float32), np.maximum(REACH * np.sqrt(spread), SMALLEST).astype(np.float32)


# ---- histograms on grids


@dataclass(frozen=True, eq=False)
class _Grid:
    """A grid for each step; it says how much of each row and column of points belongs to each row and column of cells."""

    rows: Array  # (T, cells, h)
    columns: Array  # (T, w, cells)

    def gather(self, values: Array) -> Array:
        """Values (T, h, w, B) summed in the cells: (T, cells, cells, B)."""
        steps, _, width, kinds = values.shape
        by_row = (self.rows @ values.reshape(steps, -1, width * kinds)).reshape(steps, -1, width, kinds)
        return np.einsum("tiwb,twj->tijb", by_row, self.columns)

    def at(self, steps: NDArray[np.int64]) -> _Grid:
        """The grids of some steps."""
        return _Grid(self.rows[steps], self.columns[steps])


def _grid(moving: _Moving, cells: int, *, body: bool) -> _Grid:
    """The grid on the picture, or the one that follows the body."""
    height, width = moving.speed.shape[1:]
    y, x = _plane(height, width)
    centre, reach = moving.centre, moving.reach
    if not body:
        centre, reach = np.zeros_like(centre), np.tile(np.float32([[width, height]]) / (2 * min(height, width)), (len(centre), 1))
    rows = _cells(y[:, 0], centre[:, 1], reach[:, 1], cells).transpose(0, 2, 1)
    return _Grid(np.ascontiguousarray(rows), _cells(x[0], centre[:, 0], reach[:, 0], cells))


def _cells(points: Array, centre: Array, reach: Array, cells: int) -> Array:
    """How much each point along an axis belongs to each cell, shared between neighbours: (T, points, cells)."""
    place = (points[None] - centre[:, None]) / reach[:, None]  # -1 to 1 inside the grid
    inside = np.clip((1.15 - np.abs(place)) / 0.15, 0.0, 1.0)  # fades out beyond its border
    where = np.clip((place + 1) / 2 * cells - 0.5, 0, cells - 1)
    share = np.maximum(0.0, 1 - np.abs(where[..., None] - np.arange(cells))) * inside[..., None]
    return share.astype(np.float32)


def _directions(vectors: Array, weights: Array, *, turn: float) -> Array:
    """Weights (T, h, w), each shared between the two of BINS directions nearest to its vector's: (T, h, w, BINS)."""
    angle = np.arctan2(vectors[..., 1], vectors[..., 0]) * np.float32(BINS / turn)
    low = np.floor(angle)
    upper = (angle - low) * weights
    low = low.astype(np.int64) % BINS
    shares = np.zeros((*weights.shape, BINS), np.float32)
    np.put_along_axis(shares, low[..., None], (weights - upper)[..., None], -1)
    np.put_along_axis(shares, (low[..., None] + 1) % BINS, upper[..., None], -1)
    return shares


def _slopes(values: Array) -> Array:
    """How values (T, h, w) grow to the right and downward: (T, h, w, 2)."""
    return np.stack([np.gradient(values, axis=2), np.gradient(values, axis=1)], axis=-1)


FULL, HALF = 2 * np.pi, np.pi  # turns after which a direction is the same again


def _mirrored(histogram: Array, turn: float = FULL) -> Array:
    """The histogram (..., cells, cells, BINS) of the mirrored picture."""
    opposite = BINS // 2 if turn == FULL else 0
    return histogram[..., ::-1, :][..., (opposite - np.arange(BINS)) % BINS]


def _even(histogram: Array, turn: float = FULL) -> Array:
    """Roots of what a mirror leaves alone, the left half of the cells: the right half is the same."""
    both = np.sqrt((histogram + _mirrored(histogram, turn)) / 2)
    return both[..., : histogram.shape[-2] // 2, :].ravel()


def _odd(histogram: Array, turn: float = FULL) -> Array:
    """Roots of the histogram less those of its mirror, the left half of the cells: the right half is the opposite."""
    apart = (np.sqrt(histogram) - np.sqrt(_mirrored(histogram, turn))) / 2
    return apart[..., : histogram.shape[-2] // 2, :].ravel()


def _shares(histogram: Array, floor: float) -> Array:
    """A histogram as shares of the whole; one with next to nothing in it stays near zero."""
    shares: Array = histogram / (histogram.sum() + floor)
    return shares


# ---- a window's vectors


def _describe(moving: _Moving) -> Features:
    picture, body = _grid(moving, CELLS, body=False), _grid(moving, CELLS, body=True)
    directions = _directions(moving.flow, moving.speed * moving.seconds[:, None, None], turn=FULL)
    flows = picture.gather(directions), body.gather(directions)
    boundaries = _boundaries(moving)
    parts = np.array_split(np.arange(len(moving.times)), min(PARTS, len(moving.times)))
    looks = np.concatenate([part[np.unique(np.linspace(0, len(part) - 1, LOOKS).round().astype(int))] for part in parts])
    edges = _edges(moving, looks, (picture.at(looks), body.at(looks)))
    whole = _late(moving, flows[0]) | _course(moving)
    vectors = []
    for part in parts:
        blocks = whole | _part(moving, part, (flows, boundaries)) | _still(moving, np.isin(looks, part), edges)
        vectors.append(np.concatenate([blocks[name].ravel() for name in LAYOUT]))
    times = np.array([moving.times[part].mean() for part in parts])
    return Features(np.stack(vectors).astype(np.float32), times)


def _boundaries(moving: _Moving) -> tuple[Array, Array]:
    """Directions in which each of the flow's two axes changes, on the picture and on the body: (T, 2 * COARSE, COARSE, BINS) each."""
    grids = _grid(moving, COARSE, body=False), _grid(moving, COARSE, body=True)
    found: tuple[list[Array], list[Array]] = ([], [])
    for axis in range(2):
        slopes = _slopes(moving.flow[..., axis])
        strength = np.maximum(np.sqrt(np.square(slopes).sum(-1)) - NOISE / 4, 0.0) * moving.seconds[:, None, None]
        turned = _directions(slopes, strength, turn=FULL)
        for place, grid in zip(found, grids):
            place.append(grid.gather(turned))
    return np.concatenate(found[0], axis=1), np.concatenate(found[1], axis=1)


def _part(moving: _Moving, part: NDArray[np.int64], found: tuple[tuple[Array, Array], tuple[Array, Array]]) -> dict[str, Array]:
    """The flow's and its boundaries' histograms over a part's steps."""
    floor = 5e-4 * moving.speed[0].size * float(moving.seconds[part].sum())
    (on_picture, on_body), boundaries = found
    picture, body = (_shares(flow[part].sum(0), floor) for flow in (on_picture, on_body))
    edges = [_shares(each[part].sum(0), floor) for each in boundaries]
    return {
        "picture flow even": _even(picture),
        "picture flow odd": _odd(picture),
        "body flow even": _even(body),
        "body flow odd": _odd(body),
        "picture boundaries even": _even(edges[0]),
        "body boundaries even": _even(edges[1]),
    }


@dataclass(frozen=True, eq=False)
class _Edges:
    """Histograms of the edges of some pictures: (L, CELLS, CELLS, BINS) each."""

    picture: Array
    body: Array
    travel: Array  # (CELLS, CELLS, BINS) the body's over the window, mirrored where needed so that it travels to the right


def _edges(moving: _Moving, looks: NDArray[np.int64], grids: tuple[_Grid, _Grid]) -> _Edges:
    """Directions of the edges; light beside dark is the same as dark beside light."""
    slopes = _slopes(moving.grey[looks])
    strength = np.sqrt(np.sqrt(np.square(slopes).sum(-1)))
    turned = _directions(slopes, strength, turn=HALF)
    picture, body = (grid.gather(turned) for grid in grids)
    travel = _travel(moving)[looks][:, None, None, None]
    canonical = (np.maximum(travel, 0) * body + np.maximum(-travel, 0) * _mirrored(body, HALF)).sum(0)
    return _Edges(picture, body, canonical)


def _travel(moving: _Moving) -> Array:
    """How fast the body as a whole goes to the right at each step, smooth over time: (T,)."""
    weight = moving.speed.sum((1, 2)) + 1e-3 * moving.speed[0].size
    drift = (moving.speed * moving.flow[..., 0]).sum((1, 2)) / weight
    near = np.exp(-np.square((moving.times[:, None] - moving.times[None]) / 0.27) / 2)
    smooth: Array = (near @ drift / near.sum(1)).astype(np.float32)
    return smooth


def _still(moving: _Moving, mine: NDArray[np.bool_], edges: _Edges) -> dict[str, Array]:
    """How a part's pictures look."""
    floor = 1e-3 * moving.speed[0].size * max(1, int(mine.sum()))
    return {
        "picture edges even": _even(_shares(edges.picture[mine].sum(0), floor), HALF),
        "body edges even": _even(_shares(edges.body[mine].sum(0), floor), HALF),
        "travel edges": np.sqrt(_shares(edges.travel, 2e-4 * moving.speed[0].size * len(mine))),
    }


def _late(moving: _Moving, flow: Array) -> dict[str, Array]:
    """What the second half of the window has more of than the first: directions in CELLS rows of two cells."""
    wide = flow.reshape(len(flow), CELLS, COARSE, CELLS // COARSE, BINS).sum(3)
    shares = wide / (wide.sum() + 5e-4 * moving.speed[0].size * float(moving.seconds.sum()))
    late = moving.times > (moving.times[0] + moving.times[-1]) / 2
    change = np.sqrt(shares[late].sum(0)) - np.sqrt(shares[~late].sum(0))
    other = _mirrored(change)
    return {"late flow even": (change + other)[:, :1] / 2, "late flow odd": (change - other)[:, :1] / 2}


# ---- the course of a window


def _course(moving: _Moving) -> dict[str, Array]:
    """How the body's motion runs over the window: COURSE at an even pace, each brought to its own size, and what follows from it."""
    motions = _motions(moving)
    count = max(2, round(float(moving.seconds.sum()) * PACE))
    at = moving.times[0] - moving.seconds[0] / 2 + (np.arange(count) + 0.5) / PACE
    course = np.stack([np.interp(at, moving.times, each) for each in motions.T], axis=1)  # (N, len(COURSE))
    size = np.sqrt(np.square(course).mean(0))
    whole = course / (size.mean() + 0.02)
    each = course / (size + 0.02)
    pairs = np.triu_indices(len(COURSE), 1)
    blocks = {
        "place": _place(moving),
        "mean": _root(whole.mean(0)),
        "size": np.log1p(size / 0.02),
        "share": np.sqrt(np.square(whole).mean(0)),
        "skew": _root(((each - each.mean(0)) ** 3).mean(0)),
        "together": np.einsum("ti,tj->ij", each, each)[pairs] / count,
        "tempo": _tempo(each),
    }
    return {name: block.astype(np.float32) for name, block in blocks.items()}


def _root(values: NDArray[Any]) -> NDArray[Any]:
    """The square root, the sign kept."""
    root: NDArray[Any] = np.sign(values) * np.sqrt(np.abs(values))
    return root


def _motions(moving: _Moving) -> Array:
    """COURSE at each step, (T, 16): means over the body's grid of its flow and speed, and how the grid itself moves and grows."""
    y, x = _plane(*moving.speed.shape[1:])
    centre, reach = moving.centre[:, None, None], moving.reach[:, None, None]
    across, down = (x - centre[..., 0]) / reach[..., 0], (y - centre[..., 1]) / reach[..., 1]
    inside = np.clip((1.15 - np.maximum(np.abs(across), np.abs(down))) / 0.15, 0, 1) * (moving.speed > 0)
    middle = np.exp(-4 * (np.square(across) + np.square(down)))
    area = 4 * moving.reach.prod(1) * min(moving.speed.shape[1:]) ** 2  # flow vectors on the grid
    speed = inside * moving.speed
    u, v = inside * moving.flow[..., 0], inside * moving.flow[..., 1]
    fields = [u, v, across * u, down * v, across * v, down * u, middle * u, middle * v]
    fields += [speed, across * speed, down * speed, middle * speed]
    means = np.stack([field.sum((1, 2)) / area for field in fields], axis=1)
    return np.concatenate([means, _pace(moving.centre, moving) * 0.3, _pace(np.log(moving.reach), moving) * 0.1], axis=1)


def _pace(values: Array, moving: _Moving) -> Array:
    """Change a second of values (T, 2); zero where nothing moved."""
    if len(values) < 2 or not moving.speed.any():
        return np.zeros_like(values)
    pace: Array = np.gradient(values, moving.times, axis=0)
    return pace


def _tempo(each: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of each motion's changes in each of BANDS: (len(COURSE), bands), rooted."""
    length = max(64, len(each))
    waves = (each - each.mean(0)) * np.hanning(len(each) + 2)[1:-1, None]
    strength = np.square(np.abs(np.fft.rfft(waves, n=length, axis=0)))
    pitch = np.fft.rfftfreq(length, 1 / PACE)
    bands = np.stack([strength[(pitch >= low) & (pitch < high)].sum(0) for low, high in pairwise(BANDS)], axis=1)
    shares: NDArray[np.float64] = np.sqrt(bands / (bands.sum(1, keepdims=True) + 1e-3))
    return shares


def _place(moving: _Moving) -> Array:
    """Where the body is and how large, how much both change, and how much moves at all: 12 numbers a mirror leaves alone."""
    if not moving.speed.any():
        return np.zeros(LAYOUT["place"], np.float32)
    centre, size = moving.centre, np.log(moving.reach / SMALLEST)
    speed = moving.speed.mean()
    fast = [np.log1p(20 * speed), speed, np.abs(_travel(moving)).mean(), (moving.speed > 0).mean()]
    return np.concatenate([size.mean(0), size.std(0), [np.abs(centre[:, 0].mean()), centre[:, 1].mean()], centre.std(0), fast])
