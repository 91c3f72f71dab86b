"""Histograms of directions in the cells of a grid that covers the frame or follows the moving body, and how a mirror changes them.

A histogram is (..., cells, cells, BINS): rows downward, columns to the right, directions from "right" on, then downward, as pixels count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quickstep.backbones.flow_histograms.moving_region import Array, Moving
from quickstep.signals.flow.camera_motion import image_coordinates

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
