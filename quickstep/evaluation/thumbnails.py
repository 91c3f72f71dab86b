"""Thumbnails: some frames of a segment (or its poses) side by side, as a small JPEG for an html page."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image, ImageDraw

from quickstep.signals.poses.formats import is_pose_file, read_file
from quickstep.signals.video import read_windows
from quickstep.types.errors import MediaError
from quickstep.types.segment import Segment
from quickstep.types.skeleton import Skeleton
from quickstep.types.view import View

FRAMES = 4
EDGE = 112  # pixels of the short edge
WIDEST, TALLEST = 1.8, 1.2  # largest width over height and height over width of a frame; the rest is cropped at both sides
GAP = 3


def frame_strip(segment: Segment, *, count: int = FRAMES, skeleton: Skeleton | None = None) -> str:
    """Return a data URI of evenly spaced frames; empty where the video cannot be read. `skeleton` names the joints of a pose file."""
    try:
        if is_pose_file(segment.path):
            images = _stick_figures(segment, count, skeleton)
        else:
            frames = next(read_windows(segment, View(frames=count, size=EDGE, fit="whole", resample="area")))
            images = [_cropped(image) for image in frames.pixels]
    except (MediaError, StopIteration):
        return ""
    height, width = images[0].shape[:2]
    sheet = np.full((height, len(images) * (width + GAP) - GAP, 3), 255, dtype=np.uint8)
    for index, image in enumerate(images):
        left = index * (width + GAP)
        sheet[:, left : left + width] = image
    out = io.BytesIO()
    Image.fromarray(sheet).save(out, "JPEG", quality=72, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")


def _stick_figures(segment: Segment, count: int, skeleton: Skeleton | None) -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    """Draw the file's first person as stick figures of one scale; without bones, its joints alone."""
    poses = read_file(segment.path, skeleton=skeleton).poses.span(segment.start, segment.end)
    if not len(poses) or not poses.people:
        raise MediaError(segment.path, "has no person")
    poses = poses.person(segment.person if segment.person in poses.people else poses.people[0])
    chosen = np.linspace(0, len(poses) - 1, 2 * count + 1)[1::2].astype(int)
    positions = poses.joints[chosen, 0, :, :2].astype(np.float64)  # (T, K, 2)
    if not np.isfinite(positions).any():
        raise MediaError(segment.path, "has no person")
    low, high = np.nanmin(positions, axis=(0, 1)), np.nanmax(positions, axis=(0, 1))
    scale = 0.86 * EDGE / max(float((high - low).max()), 1e-9)
    positions = (positions - (low + high) / 2) * scale + EDGE / 2
    return [_stick_figure(joints, poses.skeleton) for joints in positions]


def _stick_figure(
    joints: np.ndarray[tuple[int, ...], np.dtype[np.float64]], skeleton: Skeleton
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Draw one stick figure; undetected joints are left out."""
    image = Image.new("RGB", (EDGE, EDGE), (245, 245, 248))
    pen = ImageDraw.Draw(image)
    detected = np.asarray(np.isfinite(joints).all(axis=1))
    for one, other in skeleton.edges:
        if detected[one] and detected[other]:
            pen.line([tuple(joints[one]), tuple(joints[other])], fill=(60, 90, 150), width=2)
    for x, y in joints[detected]:
        pen.ellipse([x - 1.5, y - 1.5, x + 1.5, y + 1.5], fill=(200, 70, 40))
    return np.asarray(image)


def _cropped(image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return the middle of the image, no wider and no taller than allowed."""
    height, width = image.shape[:2]
    high = min(height, max(1, int(TALLEST * width)))
    wide = min(width, max(1, int(WIDEST * height)))
    top, left = (height - high) // 2, (width - wide) // 2
    return image[top : top + high, left : left + wide]
