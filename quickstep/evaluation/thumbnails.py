"""strip: some moments of a segment side by side as a small JPEG that a page can hold; knows nothing of reports."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from quickstep.errors import MediaError
from quickstep.media import read_windows
from quickstep.segment import Segment
from quickstep.view import View

MOMENTS = 4
EDGE = 112  # pixels of the short edge
WIDEST, TALLEST = 1.8, 1.2  # one edge over the other of one picture; what is beyond is cut at both sides
GAP = 3


def strip(segment: Segment, *, moments: int = MOMENTS) -> str:
    """A data URI of so many evenly spread moments; empty where the video cannot be read."""
    try:
        frames = next(read_windows(segment, View(frames=moments, size=EDGE, fit="whole", resample="area")))
    except (MediaError, StopIteration):
        return ""
    pictures = [_narrowed(picture) for picture in frames.pixels]
    height, width = pictures[0].shape[:2]
    sheet = np.full((height, len(pictures) * (width + GAP) - GAP, 3), 255, dtype=np.uint8)
    for index, picture in enumerate(pictures):
        left = index * (width + GAP)
        sheet[:, left : left + width] = picture
    out = io.BytesIO()
    Image.fromarray(sheet).save(out, "JPEG", quality=72, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")


def _narrowed(picture: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """No wider and no taller than allowed, by keeping the middle."""
    height, width = picture.shape[:2]
    high = min(height, max(1, int(TALLEST * width)))
    wide = min(width, max(1, int(WIDEST * height)))
    top, left = (height - high) // 2, (width - wide) // 2
    return picture[top : top + high, left : left + wide]
