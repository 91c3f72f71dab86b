"""strip: some moments of a segment side by side as a small JPEG that a page can hold; knows nothing of reports."""

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

MOMENTS = 4
EDGE = 112  # pixels of the short edge
WIDEST, TALLEST = 1.8, 1.2  # one edge over the other of one picture; what is beyond is cut at both sides
GAP = 3


def strip(segment: Segment, *, moments: int = MOMENTS, skeleton: Skeleton | None = None) -> str:
    """A data URI of so many evenly spread moments; empty where the video cannot be read. `skeleton` says what a file's joints are."""
    try:
        if is_pose_file(segment.path):
            pictures = _figures(segment, moments, skeleton)
        else:
            frames = next(read_windows(segment, View(frames=moments, size=EDGE, fit="whole", resample="area")))
            pictures = [_narrowed(picture) for picture in frames.pixels]
    except (MediaError, StopIteration):
        return ""
    height, width = pictures[0].shape[:2]
    sheet = np.full((height, len(pictures) * (width + GAP) - GAP, 3), 255, dtype=np.uint8)
    for index, picture in enumerate(pictures):
        left = index * (width + GAP)
        sheet[:, left : left + width] = picture
    out = io.BytesIO()
    Image.fromarray(sheet).save(out, "JPEG", quality=72, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")


def _figures(segment: Segment, moments: int, skeleton: Skeleton | None) -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    """Stick figures, all on one scale, of the file's first person; without bones its joints alone."""
    poses = read_file(segment.path, skeleton=skeleton).poses.span(segment.start, segment.end)
    if not len(poses) or not poses.people:
        raise MediaError(segment.path, "shows nobody")
    poses = poses.person(segment.person if segment.person in poses.people else poses.people[0])
    chosen = np.linspace(0, len(poses) - 1, 2 * moments + 1)[1::2].astype(int)
    places = poses.joints[chosen, 0, :, :2].astype(np.float64)  # (moments, K, 2)
    if not np.isfinite(places).any():
        raise MediaError(segment.path, "shows nobody")
    low, high = np.nanmin(places, axis=(0, 1)), np.nanmax(places, axis=(0, 1))
    scale = 0.86 * EDGE / max(float((high - low).max()), 1e-9)
    places = (places - (low + high) / 2) * scale + EDGE / 2
    return [_figure(joints, poses.skeleton) for joints in places]


def _figure(
    joints: np.ndarray[tuple[int, ...], np.dtype[np.float64]], skeleton: Skeleton
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """One stick figure; joints that were not seen are left out."""
    picture = Image.new("RGB", (EDGE, EDGE), (245, 245, 248))
    pen = ImageDraw.Draw(picture)
    seen = np.asarray(np.isfinite(joints).all(axis=1))
    for one, other in skeleton.edges:
        if seen[one] and seen[other]:
            pen.line([tuple(joints[one]), tuple(joints[other])], fill=(60, 90, 150), width=2)
    for x, y in joints[seen]:
        pen.ellipse([x - 1.5, y - 1.5, x + 1.5, y + 1.5], fill=(200, 70, 40))
    return np.asarray(picture)


def _narrowed(picture: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """No wider and no taller than allowed, by keeping the middle."""
    height, width = picture.shape[:2]
    high = min(height, max(1, int(TALLEST * width)))
    wide = min(width, max(1, int(WIDEST * height)))
    top, left = (height - high) // 2, (width - wide) // 2
    return picture[top : top + high, left : left + wide]
