"""How a checkpoint wants its frames prepared, read from its own config; and resizing, equal to its own processor's.

Both forms of the config are read: the older preprocessor_config.json (a size may be one number) and the newer one (sizes are dicts, the
processor may be a part of processor_config.json).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from quickstep.types.errors import WeightsError
from quickstep.types.view import Resample, View

if TYPE_CHECKING:
    import torch

FRAMES = 8  # a window, by default

_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_HALF = (0.5, 0.5, 0.5)
_CROPPED = {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}, "do_center_crop": True, "resample": 3}
_SQUARE = {"size": {"height": 224, "width": 224}, "do_center_crop": False}

# The defaults of each processor for values that a config leaves out.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "CLIP": {**_CROPPED, "image_mean": _CLIP_MEAN, "image_std": _CLIP_STD},
    "Bit": {**_CROPPED, "image_mean": _CLIP_MEAN, "image_std": _CLIP_STD},
    "Siglip": {**_SQUARE, "resample": 3, "image_mean": _HALF, "image_std": _HALF},
    "VideoMAE": {**_CROPPED, "resample": 2, "image_mean": _HALF, "image_std": _HALF},
    "Timesformer": {**_CROPPED, "resample": 2, "image_mean": _IMAGENET_MEAN, "image_std": _IMAGENET_STD},
    "Vivit": {
        **_CROPPED,
        "size": {"shortest_edge": 256},
        "resample": 2,
        "rescale_factor": 1 / 127.5,
        "offset": True,
        "image_mean": _HALF,
        "image_std": _HALF,
    },
    "VJEPA2": {**_CROPPED, "resample": 2, "crop_size": 256, "image_mean": _IMAGENET_MEAN, "image_std": _IMAGENET_STD},
    "ViT": {**_SQUARE, "resample": 2, "image_mean": _HALF, "image_std": _HALF},
    "DINOv3ViT": {**_SQUARE, "resample": 2, "image_mean": _IMAGENET_MEAN, "image_std": _IMAGENET_STD},
}
_RESAMPLE: dict[int, Resample] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "area"}  # by Pillow's numbers


@dataclass(frozen=True)
class Processor:
    """How a frame is prepared: resized and cropped as the view says, then value * factor, - mean, / std."""

    view: View
    factor: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def slope(self) -> tuple[float, ...]:
        """Per channel: the network gets byte * slope + offset."""
        return tuple(self.factor / s for s in self.std)

    @property
    def offset(self) -> tuple[float, ...]:
        """Per channel, as `slope`."""
        return tuple(-m / s for m, s in zip(self.mean, self.std, strict=True))


def read_processor(config: Mapping[str, Any], source: str, *, frames: int = FRAMES) -> Processor:
    """Read the processor that a checkpoint's config describes; a step that cannot be done here is refused, never approximated."""
    kind = _kind(config, source)
    configured = {key: value for key, value in config.items() if value is not None}
    settings: dict[str, Any] = {
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "rescale_factor": 1 / 255,
        **_DEFAULTS[kind],
        **configured,
    }
    if kind == "VideoMAE" and isinstance(settings["size"], int) and "crop_size" not in configured:
        settings["crop_size"] = settings["size"]  # the older files of X-CLIP give one number for both
    if kind == "VJEPA2":  # its processor computes the short edge from the crop, whatever its file says
        crop = _sizes(settings["crop_size"], True, "crop_size", source)
        settings["size"] = {"shortest_edge": int(_square(crop, "crop_size", source) * 256 / 224)}
    if settings.get("do_pad"):
        raise _refuse(source, "it pads its frames")
    factor = _number(settings["rescale_factor"], "rescale_factor", source) if settings["do_rescale"] else 1.0
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if settings["do_normalize"]:
        mean, std = _three(settings["image_mean"], "image_mean", source), _three(settings["image_std"], "image_std", source)
    if kind == "Vivit" and settings["offset"] and settings["do_rescale"]:  # ViViT subtracts its mean from values in [-1, 1]
        mean = (mean[0] + 1, mean[1] + 1, mean[2] + 1)
    if not all(std):
        raise _refuse(source, "its image_std has a zero")
    view = _view(settings, square_by_default=False, source=source)
    return Processor(replace(view, frames=frames), factor, mean, std)


def _kind(config: Mapping[str, Any], source: str) -> str:
    name = str(config.get("image_processor_type") or config.get("video_processor_type") or config.get("feature_extractor_type") or "")
    kind = name
    for ending in ("Pil", "Fast", "ImageProcessor", "VideoProcessor", "FeatureExtractor"):
        kind = kind.removesuffix(ending)
    kind = "Vivit" if kind == "ViViT" else kind  # as published ones spell it
    if kind == "Siglip2":
        raise _refuse(source, "its frames keep their shape (NaFlex) where quickstep's are square; take a fixed-size SigLIP 2 checkpoint")
    if kind not in _DEFAULTS:
        supported = ", ".join(f"{k}ImageProcessor" for k in _DEFAULTS)
        raise _refuse(source, f"its image processor {name or '(not named)'!r} is not one of {supported}")
    return kind


def _view(settings: Mapping[str, Any], *, square_by_default: bool, source: str) -> View:
    resample = _RESAMPLE.get(settings["resample"]) if isinstance(settings["resample"], int) else None
    if resample is None:
        raise _refuse(source, f"its resampling filter {settings['resample']!r} is not one of Pillow's numbers 0 to 4")
    if not settings["do_resize"]:
        raise _refuse(source, "it does not resize (do_resize is false), so that each video would have another size")
    size = _sizes(settings["size"], square_by_default, "size", source)
    crop = _sizes(settings["crop_size"], True, "crop_size", source) if settings["do_center_crop"] else None
    if size.keys() == {"height", "width"} and crop is None:
        return View(frames=FRAMES, size=_square(size, "size", source), fit="stretch", resample=resample)
    if size.keys() == {"shortest_edge"} and crop is not None:
        side = _square(crop, "crop_size", source)
        if size["shortest_edge"] < side:
            raise _refuse(source, f"it crops {side} pixels from a short edge of {size['shortest_edge']}")
        return View(frames=FRAMES, size=side, fit="crop", edge=size["shortest_edge"], resample=resample)
    raise _refuse(
        source, f"its size {dict(size)} with {'crop ' + str(crop) if crop else 'no crop'} does not give frames of one square size"
    )


def _sizes(value: Any, square: bool, field: str, source: str) -> dict[str, int]:
    if isinstance(value, bool) or not isinstance(value, (int, list, tuple, dict)):
        raise _refuse(source, f"its {field} {value!r} is not a size")
    if isinstance(value, int):
        value = {"height": value, "width": value} if square else {"shortest_edge": value}
    elif isinstance(value, (list, tuple)):
        value = dict(zip(("height", "width"), value))
    sizes = {str(key): number for key, number in value.items() if number is not None}
    if not sizes or not all(isinstance(number, int) and 8 <= number <= 4096 for number in sizes.values()):
        raise _refuse(source, f"its {field} {value!r} is not a size from 8 to 4096 pixels")
    return sizes


def _square(sizes: Mapping[str, int], field: str, source: str) -> int:
    if set(sizes) == {"shortest_edge"}:
        return sizes["shortest_edge"]
    if sizes.get("height") != sizes.get("width") or "height" not in sizes:
        raise _refuse(source, f"its {field} {dict(sizes)} is not square")
    return sizes["height"]


def _three(value: Any, field: str, source: str) -> tuple[float, float, float]:
    values = [value] * 3 if isinstance(value, (int, float)) else value
    if not isinstance(values, (list, tuple)) or len(values) != 3:
        raise _refuse(source, f"its {field} {value!r} is not three numbers")
    red, green, blue = (_number(number, field, source) for number in values)
    return red, green, blue


def _number(value: Any, field: str, source: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise _refuse(source, f"its {field} {value!r} is not a number")
    return float(value)


def _refuse(source: str, why: str) -> WeightsError:
    return WeightsError(f"{source} prepares its frames in a way that is not supported here: {why}")


# -- resizing ------------------------------------------------------------------------------------------------------------------

_PILLOW = {"nearest": Image.Resampling.NEAREST, "lanczos": Image.Resampling.LANCZOS, "area": Image.Resampling.BOX}
_TORCH = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}  # torch is several times faster in these
_BYTES_AT_ONCE = 64 * 2**20  # of frames that are resized together


def resize_and_crop(pixels: NDArray[np.uint8], view: View, *, exact: bool = False) -> NDArray[np.uint8]:
    """Bring frames (T, H, W, 3) of any size to the view's; equal to Pillow's to the last bit when `exact`, at 4x the work.

    For frames that the decoder did not already bring to that size.
    """
    height, width = pixels.shape[1:3]
    (to_width, to_height), (left, top, crop_width, crop_height) = view.picture(width, height)
    resized = np.empty((len(pixels), crop_height, crop_width, 3), np.uint8)
    step = max(1, _BYTES_AT_ONCE // max(1, height * width * 3))
    for start in range(0, len(pixels), step):
        block = pixels[start : start + step]
        if (to_width, to_height) != (width, height):
            block = _resize(block, to_width, to_height, view.resample, exact)
        resized[start : start + step] = block[:, top : top + crop_height, left : left + crop_width]
    return resized


def _resize(pixels: NDArray[np.uint8], width: int, height: int, resample: str, exact: bool) -> NDArray[np.uint8]:
    if exact or resample in _PILLOW:
        return np.stack([_resize_by_pillow(frame, width, height, {**_PILLOW, **_TORCH}[resample]) for frame in pixels])
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)  # (T, 3, H, W), channels last in memory
    if _height_first(pixels.shape[2], pixels.shape[1], width, height, resample):
        tensor = _resize_by_torch(tensor, pixels.shape[2], height, resample)
    resized: NDArray[np.uint8] = _resize_by_torch(tensor, width, height, resample).permute(0, 2, 3, 1).numpy()
    return resized


@lru_cache(maxsize=256)
def _height_first(from_width: int, from_height: int, width: int, height: int, resample: str) -> bool:
    """Whether Pillow resizes the height before the width at these sizes; checkpoints were made with Pillow's frames.

    It takes the cheaper order by a rule of its version, and rounds to bytes in between: so it is tried, once a size.
    """
    import torch

    noise = np.random.default_rng(0).integers(0, 256, (1, from_height, from_width, 3), np.uint8)
    expected = _resize_by_pillow(noise[0], width, height, _TORCH[resample]).astype(np.int16)
    tensor = torch.from_numpy(noise).permute(0, 3, 1, 2)
    width_first = _resize_by_torch(tensor, width, height, resample)
    height_first = _resize_by_torch(_resize_by_torch(tensor, from_width, height, resample), width, height, resample)
    errors = [float(np.abs(frames[0].permute(1, 2, 0).numpy() - expected).mean()) for frames in (width_first, height_first)]
    return errors[1] < errors[0]


def _resize_by_torch(tensor: torch.Tensor, width: int, height: int, resample: str) -> torch.Tensor:
    import torch

    return torch.nn.functional.interpolate(tensor, (height, width), mode=resample, antialias=True, align_corners=False)


def _resize_by_pillow(frame: NDArray[np.uint8], width: int, height: int, resample: Image.Resampling) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(frame).resize((width, height), resample))
