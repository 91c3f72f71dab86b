"""Scaling and cropping of uint8 pictures, equal to what the checkpoints' own processors do; knows no network.

For frames that the decoder did not already bring to the view's size.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from quickstep.types.view import View

_PILLOW = {"nearest": Image.Resampling.NEAREST, "lanczos": Image.Resampling.LANCZOS, "area": Image.Resampling.BOX}
_TORCH = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}  # torch is several times faster in these
_AT_ONCE = 64 * 2**20  # bytes of pictures that are scaled together


def bring_to(pixels: NDArray[np.uint8], view: View, *, exact: bool = False) -> NDArray[np.uint8]:
    """(T, H, W, 3) of any size -> (T, h, w, 3) as the view wants it; to the last bit as Pillow does it when `exact`, at 4x the work."""
    height, width = pixels.shape[1:3]
    (to_width, to_height), (left, top, keep_width, keep_height) = view.picture(width, height)
    out = np.empty((len(pixels), keep_height, keep_width, 3), np.uint8)
    step = max(1, _AT_ONCE // max(1, height * width * 3))
    for start in range(0, len(pixels), step):
        some = pixels[start : start + step]
        if (to_width, to_height) != (width, height):
            some = _scaled(some, to_width, to_height, view.resample, exact)
        out[start : start + step] = some[:, top : top + keep_height, left : left + keep_width]
    return out


def _scaled(pixels: NDArray[np.uint8], width: int, height: int, resample: str, exact: bool) -> NDArray[np.uint8]:
    if exact or resample in _PILLOW:
        return np.stack([_by_pillow(each, width, height, {**_PILLOW, **_TORCH}[resample]) for each in pixels])
    flat = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)  # (T, 3, H, W), channels last in memory
    if _rows_first(pixels.shape[2], pixels.shape[1], width, height, resample):
        flat = _by_torch(flat, pixels.shape[2], height, resample)
    result: NDArray[np.uint8] = _by_torch(flat, width, height, resample).permute(0, 2, 3, 1).numpy()
    return result


@lru_cache(maxsize=256)
def _rows_first(from_width: int, from_height: int, width: int, height: int, resample: str) -> bool:
    """Whether Pillow, whose pictures the checkpoints were made for, scales the height before the width at these sizes.

    It takes the cheaper order by a rule of its version, and bytes are rounded in between: so it is asked, once a size.
    """
    noise = np.random.default_rng(0).integers(0, 256, (1, from_height, from_width, 3), np.uint8)
    wanted = _by_pillow(noise[0], width, height, _TORCH[resample]).astype(np.int16)
    flat = torch.from_numpy(noise).permute(0, 3, 1, 2)
    columns = _by_torch(flat, width, height, resample)
    rows = _by_torch(_by_torch(flat, from_width, height, resample), width, height, resample)
    errors = [float(np.abs(each[0].permute(1, 2, 0).numpy() - wanted).mean()) for each in (columns, rows)]
    return errors[1] < errors[0]


def _by_torch(flat: torch.Tensor, width: int, height: int, resample: str) -> torch.Tensor:
    return torch.nn.functional.interpolate(flat, (height, width), mode=resample, antialias=True, align_corners=False)


def _by_pillow(picture: NDArray[np.uint8], width: int, height: int, resample: Image.Resampling) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(picture).resize((width, height), resample))
