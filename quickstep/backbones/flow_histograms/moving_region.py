"""Moving: a window's dense flow without the camera's own motion, and where in the frame the moving body is.

Speeds are in short edges of the frame a second, independent of frame size and frame rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from quickstep.signals.flow.camera_motion import affine_camera_flow, image_coordinates
from quickstep.signals.flow.methods import Dis
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
