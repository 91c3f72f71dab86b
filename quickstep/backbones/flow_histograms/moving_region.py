"""Moving: a window's dense flow with the camera's own motion taken away, and where in the picture the moving body is.

Knows pictures and their times; nothing of histograms, windows or labels. Speeds are in short edges of the picture a second, so that
neither its size nor its frame rate matters.
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

PACE = 15.0  # pictures a second that the flow is looked for between, and steps a second of what is followed over a window
STRIDE = 2  # pixels between the flow vectors that are described
SHORTEST, LONGEST = 32, 480  # pixels an edge that the flow is looked for in
NOISE = 0.06  # short edges a second: a slower flow is not told from noise
REACH = 2.0  # standard deviations of the motion that the body's grid reaches to each side
SMALLEST = 0.12  # short edges: half a side of the body's grid is never less


def dense_flow(pictures: Sequence[NDArray[Any]]) -> Array:
    """Pixels, right and down, that each point of a grey picture (H, W) moves by until the next one: (T-1, H, W, 2)."""
    method = Dis("usual")
    return np.stack([method.between(before, after) for before, after in pairwise(pictures)])


def length_of(vectors: Array, noise: float) -> Array:
    """How long vectors (..., 2) are, the noise taken off."""
    long: Array = np.maximum(np.sqrt(np.square(vectors).sum(-1)) - np.float32(noise), 0.0)
    return long


@dataclass(frozen=True, eq=False)
class Moving:
    """A window whose camera has been brought to rest: T steps, each from one picture to the next."""

    grey: Array  # (T, h, w) the picture before each step, 0 to 1
    flow: Array  # (T, h, w, 2) short edges a second
    speed: Array  # (T, h, w) its length, the noise taken off
    seconds: Array  # (T,) how long each step lasts
    times: NDArray[np.float64]  # (T,) its middle
    centre: Array  # (T, 2) where the moving body is, x and y
    reach: Array  # (T, 2) half of the sides of its grid


def find_motion(frames: Frames) -> Moving:
    """Find the flow of a window, take the camera's part away, and find where the body is. A lone picture is a step without motion."""
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
    small = np.stack([cv2.resize(each, (width, height), interpolation=cv2.INTER_AREA) for each in pictures[:-1]])
    centre, reach = _body(speed, seconds)
    return Moving(small.astype(np.float32) / np.float32(255), flow, speed, seconds, (times[:-1] + times[1:]) / 2, centre, reach)


def _distinct(frames: Frames) -> list[int]:
    """The frames to compare: one that is shown again, because the video has fewer than the view asks for, counts once."""
    keep = [0]
    for i in range(1, len(frames)):
        later = frames.times[i] > frames.times[keep[-1]] + 1e-6
        again = i - keep[-1] <= 2 and i < len(frames) - 1 and np.array_equal(frames.pixels[i], frames.pixels[keep[-1]])
        if later and not again:
            keep.append(i)
    return keep


def _grey(picture: NDArray[np.uint8]) -> NDArray[Any]:
    """One picture in grey, brought to a size that the flow can be looked for in; only a very long one loses its shape."""
    grey: NDArray[Any] = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    scale = min(max(1.0, SHORTEST / min(height, width)), LONGEST / max(height, width))
    wanted = tuple(int(np.clip(round(edge * scale), SHORTEST, LONGEST)) for edge in (width, height))
    if wanted == (width, height):
        return grey
    resized: NDArray[Any] = cv2.resize(grey, wanted, interpolation=cv2.INTER_LINEAR if scale > 1 else cv2.INTER_AREA)
    return resized


def _body(speed: Array, seconds: Array) -> tuple[Array, Array]:
    """Where motion is at each step, smooth over time: a centre and half sides, (T, 2) each; the whole picture where nothing moves."""
    y, x = image_coordinates(*speed.shape[1:])
    middles = np.cumsum(seconds) - seconds / 2
    near = np.exp(-np.square((middles[:, None] - middles[None]) / 0.5) / 2)  # (T, T)
    energy = np.sqrt(speed) * seconds[:, None, None]
    seen = np.tensordot(near, energy, 1) + 1e-6  # (T, h, w); the little bit spreads nothing over the whole picture
    total = seen.sum((1, 2))
    centre = np.stack([(seen * axis).sum((1, 2)) / total for axis in (x, y)], axis=1)
    off = [np.square(axis - centre[:, i, None, None]) for i, axis in enumerate((x, y))]
    spread = np.stack([(seen * each).sum((1, 2)) / total for each in off], axis=1)
    return centre.astype(np.float32), np.maximum(REACH * np.sqrt(spread), SMALLEST).astype(np.float32)
