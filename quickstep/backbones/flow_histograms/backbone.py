"""FlowHistograms: how things move and look, from dense optical flow and edges; needs no weights and no network.

Dense flow is computed between two frames each, and the camera's part of it, a robust affine field, is removed. The rest is described by
histograms of its directions and of the directions of its boundaries, and the frames by those of their edges, in the cells of grids: some
cover the frame, some follow the moving body. A window is divided into up to four parts. Added to each part is what only the whole window
shows: what comes late, how fast things repeat, and how the body looks in its direction of travel.

A histogram is kept as its half that a mirror does not change ("even") and, where direction matters, the half that it inverts ("odd"), so
that a linear model learns "on either side" as easily as "to the left".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.backbones.flow_histograms.grid_histograms import (
    BINS,
    FULL,
    HALF,
    NOISE,
    PACE,
    Array,
    Moving,
    as_shares,
    by_direction,
    even_half,
    find_motion,
    lay_grid,
    length_of,
    mirrored,
    odd_half,
    slopes_of,
)
from quickstep.backbones.interface import Capabilities
from quickstep.backbones.spec import BackboneSpec
from quickstep.signals.flow.methods import image_coordinates, one_thread
from quickstep.signals.opencv import cv2
from quickstep.storage.cache import Cache
from quickstep.types.signals import Features, Frames
from quickstep.types.view import View

COARSE, CELLS, FINER, FINEST = 2, 4, 6, 8  # cells along a side of the grids
PARTS = 4  # vectors a window, where it has as many steps
EDGE_FRAMES = 6  # frames of a part whose edges are described
BANDS = (0.1, 0.6, 1.1, 1.8, 2.8, 4.5, 7.6)  # Hz: edges of the bands of the tempo
COURSE = (  # measured over a window: means over the body's grid, then how the grid itself moves and grows
    *("right", "down", "widening", "lengthening", "down by across", "right by down", "middle right", "middle down"),
    *("speed", "speed across", "speed low", "speed in the middle", "moving right", "moving down", "growing wide", "growing tall"),
)


def _half(cells: int) -> int:
    return cells * cells * BINS // 2


LAYOUT: Mapping[str, int] = {  # the blocks of a vector, in order, and how many numbers each has
    "picture flow even": _half(FINEST),
    "body flow even": _half(CELLS),
    "body flow odd": _half(CELLS),
    "picture boundaries even": 2 * _half(COARSE),  # of the flow to the right, then of the flow down
    "body boundaries even": 2 * _half(COARSE),
    "body boundaries odd": 2 * _half(COARSE),
    "picture edges even": _half(CELLS),
    "picture edges finer even": _half(FINER),
    "moving edges even": _half(CELLS),
    "moving edges odd": _half(CELLS),
    "travel edges": 2 * _half(FINER),
    "late picture flow even": CELLS * BINS,
    "late body flow even": CELLS * BINS,
    "late body flow odd": COARSE * BINS,
    "mean": len(COURSE),
    "tempo": len(COURSE) * (len(BANDS) - 1),
}


class FlowHistograms:
    """The backbone that needs no download: what moves where, in which direction, how fast and in which order."""

    capabilities = Capabilities(parallel=True)
    name = "flow-hist"
    revision = "1"
    license = "Apache-2.0"
    view = View(frames=60, fps=PACE, size=120, windows=None, fit="whole", resample="area")
    width = sum(LAYOUT.values())
    batch = 1

    def __init__(self, spec: BackboneSpec | None = None, cache: Cache | None = None) -> None:
        """Take no settings: there are none."""

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the values, under its name in version 0.1: features and models made then stay valid."""
        return {"name": "motion", "revision": self.revision, "flow": f"opencv {cv2.__version__}"}

    def embed(self, batch: Sequence[Frames]) -> list[Features]:
        """Compute each window's vectors, one to PARTS of them, in time order; windows do not influence each other."""
        with one_thread():
            return [_describe(find_motion(frames)) for frames in batch]


def _describe(moving: Moving) -> Features:
    directions = _directions_of(moving)
    steps = np.array_split(np.arange(len(moving.times)), min(PARTS, len(moving.times)))
    chosen = [part[np.unique(np.linspace(0, len(part) - 1, EDGE_FRAMES).round().astype(int))] for part in steps]
    edges = _edges_of(moving, np.concatenate(chosen))
    whole = {"travel edges": edges.travel} | _late(moving, directions) | _course(moving)
    vectors = []
    indices = np.split(np.arange(len(edges.picture)), np.cumsum([len(frames) for frames in chosen])[:-1])
    for part, frames in zip(steps, indices):
        blocks = whole | _flow_blocks(moving, part, directions) | _edge_blocks(moving, frames, edges)
        vectors.append(np.concatenate([blocks[name].ravel() for name in LAYOUT]))
    return Features(np.stack(vectors).astype(np.float32), np.array([moving.times[part].mean() for part in steps]))


@dataclass(frozen=True, eq=False)
class _Directions:
    """Histograms of each step's flow in the cells: its directions, and the directions in which it changes."""

    picture: Array  # (T, FINEST, FINEST, BINS)
    body: Array  # (T, CELLS, CELLS, BINS)
    picture_boundaries: Array  # (T, 2, COARSE, COARSE, BINS)
    body_boundaries: Array  # (T, 2, COARSE, COARSE, BINS)


def _directions_of(moving: Moving) -> _Directions:
    duration = moving.seconds[:, None, None]
    directions = by_direction(moving.flow, moving.speed * duration, turn=FULL)
    grids = lay_grid(moving, COARSE, body=False), lay_grid(moving, COARSE, body=True)
    boundaries: tuple[list[Array], list[Array]] = ([], [])
    for axis in range(2):
        slopes = slopes_of(moving.flow[..., axis])
        if axis == 0:  # a mirror inverts the sign of this flow too: rotated by a quarter, its slopes mirror like the other's
            slopes = np.stack([-slopes[..., 1], slopes[..., 0]], axis=-1)
        table = by_direction(slopes, length_of(slopes, NOISE / 4) * duration, turn=FULL)
        for histograms, grid in zip(boundaries, grids):
            histograms.append(grid.gather(table))
    return _Directions(
        lay_grid(moving, FINEST, body=False).gather(directions),
        lay_grid(moving, CELLS, body=True).gather(directions),
        np.stack(boundaries[0], 1),
        np.stack(boundaries[1], 1),
    )


def _late(moving: Moving, directions: _Directions) -> dict[str, Array]:
    """How much more the second half of the window has of each direction than the first."""
    picture, body, coarse = (
        _change(moving, flow, rows) for flow, rows in ((directions.picture, CELLS), (directions.body, CELLS), (directions.body, COARSE))
    )
    return {
        "late picture flow even": (picture + mirrored(picture))[:, :1] * np.float32(0.5),
        "late body flow even": (body + mirrored(body))[:, :1] * np.float32(0.5),
        "late body flow odd": (coarse - mirrored(coarse))[:, :1] * np.float32(0.5),
    }


def _change(moving: Moving, flow: Array, rows: int) -> Array:
    """Roots of the directions in the late half minus those in the early half, in rows of two cells: (rows, 2, BINS)."""
    steps, columns = flow.shape[:2]
    wide = flow.reshape(steps, rows, columns // rows, COARSE, columns // COARSE, BINS).sum((2, 4))
    shares = as_shares(wide, _motion_floor(moving, moving.seconds))
    late = moving.times > (moving.times[0] + moving.times[-1]) / 2
    change: Array = np.sqrt(shares[late].sum(0)) - np.sqrt(shares[~late].sum(0))
    return change


def _motion_floor(moving: Moving, seconds: Array) -> float:
    """Return the motion, over some seconds, in frames in which almost nothing moves."""
    return float(5e-4 * moving.speed[0].size * seconds.sum())


def _flow_blocks(moving: Moving, part: NDArray[np.int64], directions: _Directions) -> dict[str, Array]:
    """Return the histograms of the flow and of its boundaries over a part's steps."""
    floor = _motion_floor(moving, moving.seconds[part])
    body = as_shares(directions.body[part].sum(0), floor)
    boundaries = as_shares(directions.body_boundaries[part].sum(0), floor)
    return {
        "picture flow even": even_half(as_shares(directions.picture[part].sum(0), floor)),
        "body flow even": even_half(body),
        "body flow odd": odd_half(body),
        "picture boundaries even": even_half(as_shares(directions.picture_boundaries[part].sum(0), floor)),
        "body boundaries even": even_half(boundaries),
        "body boundaries odd": odd_half(boundaries),
    }


@dataclass(frozen=True, eq=False)
class _Edges:
    """Histograms of the edges of some frames; light beside dark is the same as dark beside light."""

    picture: Array  # (L, CELLS, CELLS, BINS)
    finer: Array  # (L, FINER, FINER, BINS)
    moving: Array  # (L, CELLS, CELLS, BINS) on the body, of what moves
    travel: Array  # (FINER, FINER, BINS) on the body over the window, mirrored if needed so that it travels to the right


def _edges_of(moving: Moving, steps: NDArray[np.int64]) -> _Edges:
    slopes = slopes_of(moving.grey[steps])
    strength = np.sqrt(length_of(slopes, 0.0))
    table = by_direction(slopes, strength, turn=HALF)
    moves = np.minimum(moving.speed[steps] / 0.5, 1.0)[..., None]
    body = lay_grid(moving, FINER, body=True).at(steps).gather(table)
    travel = _travel(moving)[steps][:, None, None, None]
    canonical = (np.maximum(travel, 0) * body + np.maximum(-travel, 0) * mirrored(body, HALF)).sum(0)
    return _Edges(
        lay_grid(moving, CELLS, body=False).at(steps).gather(table),
        lay_grid(moving, FINER, body=False).at(steps).gather(table),
        lay_grid(moving, CELLS, body=True).at(steps).gather(table * moves),
        np.sqrt(as_shares(canonical, 2e-4 * moving.speed[0].size * len(steps))),
    )


def _travel(moving: Moving) -> Array:
    """Return the speed to the right of everything that moves at each step, smoothed over time: (T,)."""
    weight = moving.speed.sum((1, 2)) + 1e-3 * moving.speed[0].size
    drift = (moving.speed * moving.flow[..., 0]).sum((1, 2)) / weight
    near = np.exp(-np.square((moving.times[:, None] - moving.times[None]) / 0.27) / 2)
    smooth: Array = ((near * drift).sum(1) / near.sum(1)).astype(np.float32)
    return smooth


def _edge_blocks(moving: Moving, frames: NDArray[np.int64], edges: _Edges) -> dict[str, Array]:
    """Return the histograms of the edges over a part's frames."""
    floor = 1e-3 * moving.speed[0].size * len(frames)
    moves = as_shares(edges.moving[frames].sum(0), floor)
    return {
        "picture edges even": even_half(as_shares(edges.picture[frames].sum(0), floor), HALF),
        "picture edges finer even": even_half(as_shares(edges.finer[frames].sum(0), floor), HALF),
        "moving edges even": even_half(moves, HALF),
        "moving edges odd": odd_half(moves, HALF),
    }


def _course(moving: Moving) -> dict[str, Array]:
    """Describe the body's motion over the window (COURSE at an even pace): its mean direction, and how fast it repeats."""
    motions = _motions(moving)
    count = max(2, round(float(moving.seconds.sum()) * PACE))
    at = moving.times[0] - moving.seconds[0] / 2 + (np.arange(count) + 0.5) / PACE
    course = np.stack([np.interp(at, moving.times, motion) for motion in motions.T], axis=1)  # (N, len(COURSE))
    size = np.sqrt(np.square(course).mean(0))
    mean = course.mean(0) / (size.mean() + 0.02)
    blocks = {"mean": np.sign(mean) * np.sqrt(np.abs(mean)), "tempo": _tempo(course / (size + 0.02))}
    return {name: block.astype(np.float32) for name, block in blocks.items()}


def _motions(moving: Moving) -> Array:
    """COURSE at each step, (T, 16): means over the body's grid of its flow and speed, and how the grid itself moves and grows."""
    y, x = image_coordinates(*moving.speed.shape[1:])
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


def _pace(values: Array, moving: Moving) -> Array:
    """Change a second of values (T, 2); zero where nothing moved."""
    if len(values) < 2 or not moving.speed.any():
        return np.zeros_like(values)
    pace: Array = np.gradient(values, moving.times, axis=0)
    return pace


def _tempo(motions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of each motion's changes in each of BANDS, as roots: (len(COURSE), bands)."""
    length = max(64, len(motions))
    waves = (motions - motions.mean(0)) * np.hanning(len(motions) + 2)[1:-1, None]
    strength = np.square(np.abs(np.fft.rfft(waves, n=length, axis=0)))
    pitch = np.fft.rfftfreq(length, 1 / PACE)
    bands = np.stack([strength[(pitch >= low) & (pitch < high)].sum(0) for low, high in pairwise(BANDS)], axis=1)
    shares: NDArray[np.float64] = np.sqrt(bands / (bands.sum(1, keepdims=True) + 1e-3))
    return shares
