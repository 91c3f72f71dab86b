"""Scaling and cropping of uint8 pictures, equal to what the checkpoints' own processors do; knows no network.

For frames that the decoder did not already bring to the view's size.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from quickstep.view import View

_PILLOW = {"nearest": Image.Resampling.NEAREST, "lanczos": Image.Resampling.LANCZOS, "area": Image.Resampling.BOX}
_AT_ONCE = 64 * 2**20  # bytes of pictures that are scaled together


def bring_to(pixels: NDArray[np.uint8], view: View) -> NDArray[np.uint8]:
    """(T, H, W, 3) of any size -> (T, h, w, 3) as the view wants it."""
    height, width = pixels.shape[1:3]
    (to_width, to_height), (left, top, keep_width, keep_height) = view.picture(width, height)
    out = np.empty((len(pixels), keep_height, keep_width, 3), np.uint8)
    step = max(1, _AT_ONCE // max(1, height * width * 3))
    for start in range(0, len(pixels), step):
        some = pixels[start : start + step]
        if (to_width, to_height) != (width, height):
            some = _scaled(some, to_width, to_height, view.resample)
        out[start : start + step] = some[:, top : top + keep_height, left : left + keep_width]
    return out


def _scaled(pixels: NDArray[np.uint8], width: int, height: int, resample: str) -> NDArray[np.uint8]:
    if resample in _PILLOW:
        return np.stack([np.asarray(Image.fromarray(each).resize((width, height), _PILLOW[resample])) for each in pixels])
    flat = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)  # (T, 3, H, W), channels last in memory
    scaled = torch.nn.functional.interpolate(flat, (height, width), mode=resample, antialias=True, align_corners=False)
    result: NDArray[np.uint8] = scaled.permute(0, 2, 3, 1).numpy()
    return result
