"""Processor: how a checkpoint wants its pictures, read from its own config; no tensors, no network.

Both forms are read: the older preprocessor_config.json (a size may be one number) and the newer one (sizes are dicts, the
processor may stand inside processor_config.json).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from quickstep.types.errors import WeightsError
from quickstep.types.view import Resample, View

FRAMES = 8  # moments a window, unless asked otherwise

_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_HALF = (0.5, 0.5, 0.5)
_CROPPED = {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}, "do_center_crop": True, "resample": 3}
_SQUARE = {"size": {"height": 224, "width": 224}, "do_center_crop": False}

# What each processor does where its config is silent.
_SILENT: dict[str, dict[str, Any]] = {
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
    """What happens to a picture before the network: scaled and cut as the view says, then value * factor, - mean, / std."""

    view: View
    factor: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def slope(self) -> tuple[float, ...]:
        """Per channel: byte * slope + offset is what the network sees."""
        return tuple(self.factor / s for s in self.std)

    @property
    def offset(self) -> tuple[float, ...]:
        return tuple(-m / s for m, s in zip(self.mean, self.std, strict=True))


def read_processor(config: Mapping[str, Any], source: str, *, frames: int = FRAMES) -> Processor:
    """The processor a checkpoint's config describes; what cannot be honoured is refused, never approximated."""
    kind = _kind(config, source)
    given = {key: value for key, value in config.items() if value is not None}
    said: dict[str, Any] = {
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "rescale_factor": 1 / 255,
        **_SILENT[kind],
        **given,
    }
    if kind == "VideoMAE" and isinstance(said["size"], int) and "crop_size" not in given:
        said["crop_size"] = said["size"]  # the older files of X-CLIP say one number for both
    if kind == "VJEPA2":  # its processor takes the short edge from the crop, whatever its file says
        crop = _sizes(said["crop_size"], True, "crop_size", source)
        said["size"] = {"shortest_edge": int(_square(crop, "crop_size", source) * 256 / 224)}
    if said.get("do_pad"):
        raise _refuse(source, "it pads its pictures")
    factor = _number(said["rescale_factor"], "rescale_factor", source) if said["do_rescale"] else 1.0
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if said["do_normalize"]:
        mean, std = _three(said["image_mean"], "image_mean", source), _three(said["image_std"], "image_std", source)
    if kind == "Vivit" and said["offset"] and said["do_rescale"]:  # ViViT's values are brought to [-1, 1] before its mean is taken away
        mean = (mean[0] + 1, mean[1] + 1, mean[2] + 1)
    if not all(std):
        raise _refuse(source, "its image_std has a zero")
    view = _view(said, square_by_default=False, source=source)
    return Processor(replace(view, frames=frames), factor, mean, std)


def _kind(config: Mapping[str, Any], source: str) -> str:
    name = str(config.get("image_processor_type") or config.get("video_processor_type") or config.get("feature_extractor_type") or "")
    kind = name
    for ending in ("Pil", "Fast", "ImageProcessor", "VideoProcessor", "FeatureExtractor"):
        kind = kind.removesuffix(ending)
    kind = "Vivit" if kind == "ViViT" else kind  # as the published ones spell it
    if kind == "Siglip2":
        raise _refuse(source, "its pictures keep their shape (NaFlex) where quickstep's are square; take a fixed-size SigLIP 2 checkpoint")
    if kind not in _SILENT:
        known = ", ".join(f"{k}ImageProcessor" for k in _SILENT)
        raise _refuse(source, f"its image processor {name or '(none named)'!r} is not one of {known}")
    return kind


def _view(said: Mapping[str, Any], *, square_by_default: bool, source: str) -> View:
    resample = _RESAMPLE.get(said["resample"]) if isinstance(said["resample"], int) else None
    if resample is None:
        raise _refuse(source, f"its resampling filter {said['resample']!r} is not one of Pillow's numbers 0 to 4")
    if not said["do_resize"]:
        raise _refuse(source, "it does not resize (do_resize is false), so that every video would give another size")
    size = _sizes(said["size"], square_by_default, "size", source)
    crop = _sizes(said["crop_size"], True, "crop_size", source) if said["do_center_crop"] else None
    if size.keys() == {"height", "width"} and crop is None:
        return View(frames=FRAMES, size=_square(size, "size", source), fit="stretch", resample=resample)
    if size.keys() == {"shortest_edge"} and crop is not None:
        side = _square(crop, "crop_size", source)
        if size["shortest_edge"] < side:
            raise _refuse(source, f"it crops {side} pixels from a short edge of {size['shortest_edge']}")
        return View(frames=FRAMES, size=side, fit="crop", edge=size["shortest_edge"], resample=resample)
    raise _refuse(
        source, f"its size {dict(size)} with {'crop ' + str(crop) if crop else 'no crop'} does not give pictures of one square size"
    )


def _sizes(value: Any, square: bool, field: str, source: str) -> dict[str, int]:
    if isinstance(value, bool) or not isinstance(value, (int, list, tuple, dict)):
        raise _refuse(source, f"its {field} {value!r} is no size")
    if isinstance(value, int):
        value = {"height": value, "width": value} if square else {"shortest_edge": value}
    elif isinstance(value, (list, tuple)):
        value = dict(zip(("height", "width"), value))
    sizes = {str(key): number for key, number in value.items() if number is not None}
    if not sizes or not all(isinstance(number, int) and 8 <= number <= 4096 for number in sizes.values()):
        raise _refuse(source, f"its {field} {value!r} is no size from 8 to 4096 pixels")
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
    red, green, blue = (_number(each, field, source) for each in values)
    return red, green, blue


def _number(value: Any, field: str, source: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise _refuse(source, f"its {field} {value!r} is no number")
    return float(value)


def _refuse(source: str, why: str) -> WeightsError:
    return WeightsError(f"{source} prepares its pictures in a way that cannot be followed here: {why}")
