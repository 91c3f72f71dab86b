"""COCO keypoint annotations: images, categories that may name the joints, and one entry a person and picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.formats.alphapose import SKELETONS
from quickstep.signals.poses.formats.raw_poses import Raw, Sighting, grid, numbered, triples

HIDDEN = 0.5  # the score of a joint that was labelled though it is covered


def is_annotations(data: Any) -> bool:
    """Whether it has images and annotations."""
    return isinstance(data, Mapping) and isinstance(data.get("images"), list) and isinstance(data.get("annotations"), list)


def read_annotations(data: Mapping[str, Any]) -> Raw:
    """Every person of every image; visibility 2 is score 1, 1 (covered) is 0.5, 0 is not seen."""
    images = {image["id"]: image for image in data["images"] if isinstance(image, Mapping) and "id" in image}
    frames = _frames(images)
    sightings = []
    for entry in data["annotations"]:
        if not isinstance(entry, Mapping) or "keypoints" not in entry:
            continue
        if entry.get("image_id") not in frames:
            raise ValueError(f"an annotation belongs to image {entry.get('image_id')!r}, which is not listed")
        person = entry.get("track_id", entry.get("instance_id"))
        values = _scored(triples(entry["keypoints"]))
        sightings.append(Sighting(frames[entry["image_id"]], values, person if isinstance(person, int) else None))
    values, people, tracked = grid(sightings, frames=max(frames.values(), default=-1) + 1)
    named = _skeleton(data, values.shape[2])
    return Raw(
        values,
        scored=True,
        people=people,
        tracked=tracked,
        skeleton=named or SKELETONS.get(values.shape[2]),
        named=named is not None,
        size=_size(images),
        zero=True,
    )


def _frames(images: Mapping[Any, Mapping[str, Any]]) -> dict[Any, int]:
    if all(isinstance(image.get("frame_id"), int) for image in images.values()) and images:
        first = min(image["frame_id"] for image in images.values())
        return {name: image["frame_id"] - (1 if first == 1 else 0) for name, image in images.items()}
    names = {name: str(image.get("file_name", name)) for name, image in images.items()}
    frames = numbered(list(names.values()))
    return {name: frames[called] for name, called in names.items()}


def _scored(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """With visibility turned into a score; what is none of 0, 1, 2 is a score already."""
    visible = values[:, 2]
    if np.isin(visible, (0, 1, 2)).all() and (visible == 2).any():
        values[:, 2] = np.where(visible == 2, 1.0, visible * HIDDEN)
    return values


def _skeleton(data: Mapping[str, Any], joints: int) -> str | None:
    """The skeleton as its category names it; COCO counts the ends of bones from 1."""
    for category in data.get("categories") or ():
        if isinstance(category, Mapping) and isinstance(category.get("keypoints"), list) and len(category["keypoints"]) == joints:
            bones = category.get("skeleton")
            told: dict[str, Any] = {"name": str(category.get("name", "coco")), "joints": category["keypoints"]}
            if isinstance(bones, list) and bones:
                told["edges"] = [[end - 1 if isinstance(end, int) else end for end in bone] for bone in bones if isinstance(bone, list)]
            return json.dumps(told)
    return None


def _size(images: Mapping[Any, Mapping[str, Any]]) -> tuple[int, int] | None:
    sizes = {(image.get("width"), image.get("height")) for image in images.values()}
    width, height = next(iter(sizes)) if len(sizes) == 1 else (None, None)
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None
