"""Histograms of directions in the cells of a grid that covers the frame or follows the moving body, and how a mirror changes them.

A histogram is (..., cells, cells, BINS): rows downward, columns to the right, directions from "right" on, then downward, as pixels count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.flow.methods import Dis, affine_camera_flow, image_coordinates
from quickstep.signals.opencv import cv2
from quickstep.types.signals import Frames

Array = NDArray[np.float32]

PACE = 15.0  # frames a second for the flow, and steps a second of what is measured over a window
STRIDE = 2  # pixels between the flow vectors that are described
SHORTEST, LONGEST = 32, 480  # pixels of an edge for the flow
NOISE = 0.06  # short edges a second: slower flow is noise
REACH = 2.0  # standard deviations of the motion that the body's grid reaches to each side
SMALLEST = 0.12  # short edges: half a side of the body's grid is never less


def dense_flow(frames: Sequence[NDArray[Any]]) -> Array:
    """Compute how many pixels, right and down, each point of a grey frame (H, W) moves until the next: (T-1, H, W, 2)."""
    method = Dis("usual")
    return np.stack([method.between(before, after) for before, after in pairwise(frames)])


def length_of(vectors: Array, noise: float) -> Array:
    """Return the lengths of vectors (..., 2) above the noise."""
    length: Array = np.maximum(np.sqrt(np.square(vectors).sum(-1)) - np.float32(noise), 0.0)
    return length


@dataclass(frozen=True, eq=False)
class Moving:
    """A window without camera motion: T steps, each from one frame to the next."""

    grey: Array  # (T, h, w) the frame before each step, 0 to 1
    flow: Array  # (T, h, w, 2) short edges a second
    speed: Array  # (T, h, w) its length above the noise
    seconds: Array  # (T,) how long each step lasts
    times: NDArray[np.float64]  # (T,) its middle
    centre: Array  # (T, 2) where the moving body is, x and y
    reach: Array  # (T, 2) half of the sides of its grid


def find_motion(frames: Frames) -> Moving:
    """Compute the flow of a window, remove the camera's part, and locate the body. A single frame is a step without motion."""
    keep = _distinct(frames)
    pictures = [_grey(frames.pixels[i]) for i in keep]
    short = min(pictures[0].shape)
    times = frames.times[keep]
    if len(keep) == 1:
        pictures, times = pictures * 2, np.array([times[0] - 0.5 / PACE, times[0] + 0.5 / PACE])
    seconds = np.diff(times).astype(np.float32)
    flow = dense_flow(pictures)[:, ::STRIDE, ::STRIDE]
    flow = np.stack([step - affine_camera_flow(step) for step in flow]) / (np.float32(short) * seconds[:, None, None, None])
    speed = length_of(flow, NOISE)
    height, width = speed.shape[1:]
    small = np.stack([cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA) for picture in pictures[:-1]])
    centre, reach = _body(speed, seconds)
    return Moving(small.astype(np.float32) / np.float32(255), flow, speed, seconds, (times[:-1] + times[1:]) / 2, centre, reach)


def _distinct(frames: Frames) -> list[int]:
    """Choose the frames to compare: a frame repeated, because the video has fewer than the view asks for, counts once."""
    keep = [0]
    for i in range(1, len(frames)):
        later = frames.times[i] > frames.times[keep[-1]] + 1e-6
        again = i - keep[-1] <= 2 and i < len(frames) - 1 and np.array_equal(frames.pixels[i], frames.pixels[keep[-1]])
        if later and not again:
            keep.append(i)
    return keep


def _grey(frame: NDArray[np.uint8]) -> NDArray[Any]:
    """Convert one frame to grey, at a size that suits the flow; only a very long one loses its shape."""
    grey: NDArray[Any] = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    scale = min(max(1.0, SHORTEST / min(height, width)), LONGEST / max(height, width))
    size = tuple(int(np.clip(round(edge * scale), SHORTEST, LONGEST)) for edge in (width, height))
    if size == (width, height):
        return grey
    resized: NDArray[Any] = cv2.resize(grey, size, interpolation=cv2.INTER_LINEAR if scale > 1 else cv2.INTER_AREA)
    return resized


def _body(speed: Array, seconds: Array) -> tuple[Array, Array]:
    """Locate the motion at each step, smoothed over time: a centre and half sides, (T, 2) each; the whole frame where nothing moves."""
    y, x = image_coordinates(*speed.shape[1:])
    middles = np.cumsum(seconds) - seconds / 2
    near = np.exp(-np.square((middles[:, None] - middles[None]) / 0.5) / 2)  # (T, T)
    energy = np.sqrt(speed) * seconds[:, None, None]
    motion = np.tensordot(near, energy, 1) + 1e-6  # (T, h, w); where nothing moves, the constant covers the whole frame
    total = motion.sum((1, 2))
    centre = np.stack([(motion * axis).sum((1, 2)) / total for axis in (x, y)], axis=1)
    squares = [np.square(axis - centre[:, i, None, None]) for i, axis in enumerate((x, y))]
    spread = np.stack([(motion * square).sum((1, 2)) / total for square in squares], axis=1)
    return centre.astype(np.float32), np.maximum(REACH * np.sqrt(spread), SMALLEST).astype(np.float32)


BINS = 8
FULL, HALF = 2 * np.pi, np.pi  # turns after which a direction is the same again: of a motion, of an edge


@dataclass(frozen=True, eq=False)
class Grid:
    """A grid for each step: the share of each row and column of points that belongs to each row and column of cells."""

    rows: Array  # (T, cells, h)
    columns: Array  # (T, w, cells)

    def gather(self, values: Array) -> Array:
        """Sum values (T, h, w, B) in the cells: (T, cells, cells, B)."""
        steps, _, width, kinds = values.shape
        by_row = (self.rows @ values.reshape(steps, -1, width * kinds)).reshape(steps, -1, width, kinds)
        sums: Array = np.einsum("tiwb,twj->tijb", by_row, self.columns)
        return sums

    def at(self, steps: NDArray[np.int64]) -> Grid:
        """Return the grids of some steps."""
        return Grid(self.rows[steps], self.columns[steps])


def lay_grid(moving: Moving, cells: int, *, body: bool) -> Grid:
    """Lay the grid over the frame, or around the body at each step."""
    height, width = moving.speed.shape[1:]
    y, x = image_coordinates(height, width)
    centre, reach = moving.centre, moving.reach
    if not body:
        centre, reach = np.zeros_like(centre), np.tile(np.array([[width, height]], np.float32) / (2 * min(height, width)), (len(centre), 1))
    rows = _cell_weights(y[:, 0], centre[:, 1], reach[:, 1], cells).transpose(0, 2, 1)
    return Grid(np.ascontiguousarray(rows), _cell_weights(x[0], centre[:, 0], reach[:, 0], cells))


def _cell_weights(points: Array, centre: Array, reach: Array, cells: int) -> Array:
    """Share each point along an axis between the two nearest cells: (T, points, cells)."""
    position = (points[None] - centre[:, None]) / reach[:, None]  # -1 to 1 inside the grid
    inside = np.clip((1.15 - np.abs(position)) / 0.15, 0.0, 1.0)  # fades out beyond its border
    where = np.clip((position + 1) / 2 * cells - 0.5, 0, cells - 1)
    share: Array = (np.maximum(0.0, 1 - np.abs(where[..., None] - np.arange(cells))) * inside[..., None]).astype(np.float32)
    return share


def by_direction(vectors: Array, weights: Array, *, turn: float) -> Array:
    """Share weights (T, h, w) between the two of BINS directions nearest to each vector's: (T, h, w, BINS)."""
    angle = np.arctan2(vectors[..., 1], vectors[..., 0]) * np.float32(BINS / turn)
    below = np.floor(angle)
    upper = (angle - below) * weights
    low = below.astype(np.int64) % BINS
    table = np.zeros((*weights.shape, BINS), np.float32)
    np.put_along_axis(table, low[..., None], (weights - upper)[..., None], -1)
    np.put_along_axis(table, (low[..., None] + 1) % BINS, upper[..., None], -1)
    return table


def slopes_of(values: Array) -> Array:
    """Return the slopes of values (T, h, w) to the right and downward: (T, h, w, 2)."""
    return np.stack([np.gradient(values, axis=2), np.gradient(values, axis=1)], axis=-1)


def mirrored(histogram: Array, turn: float = FULL) -> Array:
    """Return the histogram (..., cells, cells, BINS) of the mirrored frame."""
    opposite = BINS // 2 if turn == FULL else 0
    return histogram[..., ::-1, :][..., (opposite - np.arange(BINS)) % BINS]


def even_half(histogram: Array, turn: float = FULL) -> Array:
    """Roots of the half that a mirror does not change, in the left half of the cells: the right half is the same."""
    both: Array = np.sqrt((histogram + mirrored(histogram, turn)) / 2)
    return both[..., : histogram.shape[-2] // 2, :].ravel()


def odd_half(histogram: Array, turn: float = FULL) -> Array:
    """Roots of the histogram minus those of its mirror, in the left half of the cells: the right half is the opposite."""
    apart: Array = (np.sqrt(histogram) - np.sqrt(mirrored(histogram, turn))) * np.float32(0.5)
    return apart[..., : histogram.shape[-2] // 2, :].ravel()


def as_shares(histogram: Array, floor: float) -> Array:
    """Divide a histogram by its sum; one that is almost empty stays near zero."""
    part: Array = histogram / (histogram.sum() + np.float32(floor))
    return part
