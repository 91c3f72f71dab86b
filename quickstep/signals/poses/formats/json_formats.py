"""The JSON files of AlphaPose, OpenPose, COCO and MMPose, as `RawPoses`.

Each format has a function that recognizes parsed JSON and one that reads it. They share the names that these tools give to the same thing:
a person is `idx`, `track_id`, `person_id` or `instance_id`, a score of 0 or a joint at 0, 0 is invisible.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.signals.poses.formats.raw_poses import Detection, RawPoses, frame_numbers, to_grid

OPENPOSE_SUFFIX = "_keypoints.json"
SKELETONS = {17: "coco-17", 26: "halpe-26", 16: "mpii-16", 18: "openpose-18", 25: "openpose-25", 33: "blazepose-33"}
_BODY_JOINTS = {136: 26, 133: 23, 68 + 26: 26}  # of skeletons with face and hands after the body
_KEYPOINT_NAMES = ("joints", "pose_keypoints_2d")
_OCCLUDED_SCORE = 0.5  # of a COCO joint that was labelled although it is covered

Values = NDArray[np.float32]


def read_json(data: Any) -> RawPoses | None:
    """Read parsed JSON of any of these formats; None if it is of none."""
    if _is_mmpose(data):
        return _read_mmpose(data)
    if _is_alphapose_list(data):
        return _read_alphapose_list(data)
    if _is_coco(data):
        return _read_coco(data)
    if _is_openpose(data):
        return _to_raw(_detections(data, 0), frames=1)
    if _is_alphapose_object(data):
        frames = frame_numbers(list(data))
        return _to_raw([detection for name, entry in data.items() for detection in _detections(entry, frames[name])])
    return None


# -- OpenPose: a folder with one file a frame --------------------------------------------------------------------------------


def is_openpose_folder(folder: Path) -> bool:
    """Whether a folder holds one file of keypoints a frame."""
    try:
        return folder.is_dir() and any(file.name.endswith(OPENPOSE_SUFFIX) for file in folder.iterdir())
    except OSError:
        return False


def openpose_files(folder: Path) -> list[Path]:
    """Return the files of the frames, sorted by name."""
    return sorted(file for file in folder.iterdir() if file.name.endswith(OPENPOSE_SUFFIX) and not file.name.startswith("."))


def read_openpose_folder(folder: Path) -> RawPoses:
    """Read all frames of a folder; a frame may have no people."""
    files = openpose_files(folder)
    frames = frame_numbers([file.name for file in files])
    detections = []
    for file in files:
        try:
            data = json.loads(file.read_bytes())
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{file.name} is not JSON ({error})") from error
        if not _is_openpose(data):
            raise ValueError(f"{file.name} has no list of people as OpenPose writes it")
        detections += _detections(data, frames[file.name])
    return _to_raw(detections, frames=max(frames.values(), default=-1) + 1)


def _is_openpose(data: Any) -> bool:
    return isinstance(data, Mapping) and _people_in(data) is not None


# -- AlphaPose: a list of detections, or an object with one entry a frame ----------------------------------------------------


def _is_alphapose_list(data: Any) -> bool:
    """Whether it is a list of detections with keypoints; COCO results are such lists, too."""
    return isinstance(data, list) and all(isinstance(entry, Mapping) for entry in data) and (not data or "keypoints" in data[0])


def _is_alphapose_object(data: Any) -> bool:
    """Whether it is AlphaPose's `cmu` or `open` form: an object with an entry of bodies or people for each frame."""
    return (
        isinstance(data, Mapping)
        and bool(data)
        and all(isinstance(entry, Mapping) and _people_in(entry) is not None for entry in data.values())
    )


def _read_alphapose_list(data: Sequence[Mapping[str, Any]]) -> RawPoses:
    frames = frame_numbers([str(entry.get("image_id", place)) for place, entry in enumerate(data)])
    detections = []
    for place, entry in enumerate(data):
        if "keypoints" not in entry:
            raise ValueError("an entry has no keypoints")
        frame = frames[str(entry.get("image_id", place))]
        detections.append(Detection(frame, _body_joints(_triples(entry["keypoints"])), _tracked_person(entry)))
    return _to_raw(detections)


def _people_in(entry: Mapping[str, Any]) -> Sequence[Any] | None:
    """Return the people of one frame; None if the entry has no such list."""
    people = entry.get("people", entry.get("bodies"))
    return people if isinstance(people, list) else None


def _detections(entry: Mapping[str, Any], frame: int) -> list[Detection]:
    """Return the people of one frame's entry."""
    detections = []
    for person in _people_in(entry) or ():
        numbers = next((person[name] for name in _KEYPOINT_NAMES if isinstance(person, Mapping) and person.get(name)), None)
        if numbers is not None:
            detections.append(Detection(frame, _body_joints(_triples(numbers)), _tracked_person(person)))
    return detections


def _to_raw(detections: Sequence[Detection], *, frames: int | None = None) -> RawPoses:
    values, people, tracked = to_grid(detections, frames=frames)
    return RawPoses(values, scored=True, people=people, tracked=tracked, skeleton=SKELETONS.get(values.shape[2]), zero_is_invisible=True)


def _tracked_person(entry: Mapping[str, Any]) -> int | None:
    """Return the number of a tracked person; some files have a list of one number, or -1 for nobody."""
    for name in ("idx", "track_id", "person_id"):
        number = entry.get(name)
        while isinstance(number, list) and number:
            number = number[0]
        if isinstance(number, (int, float)) and number >= 0 and float(number).is_integer():
            return int(number)
    return None


# -- COCO: images, annotations, and categories that may name the joints ------------------------------------------------------


def _is_coco(data: Any) -> bool:
    return isinstance(data, Mapping) and isinstance(data.get("images"), list) and isinstance(data.get("annotations"), list)


def _read_coco(data: Mapping[str, Any]) -> RawPoses:
    images = {image["id"]: image for image in data["images"] if isinstance(image, Mapping) and "id" in image}
    frames = _coco_frames(images)
    detections = []
    for entry in data["annotations"]:
        if not isinstance(entry, Mapping) or "keypoints" not in entry:
            continue
        if entry.get("image_id") not in frames:
            raise ValueError(f"an annotation belongs to image {entry.get('image_id')!r}, which is not listed")
        person = entry.get("track_id", entry.get("instance_id"))
        values = _visibility_to_score(_triples(entry["keypoints"]))
        detections.append(Detection(frames[entry["image_id"]], values, person if isinstance(person, int) else None))
    values, people, tracked = to_grid(detections, frames=max(frames.values(), default=-1) + 1)
    named = _coco_skeleton(data, values.shape[2])
    return RawPoses(
        values,
        scored=True,
        people=people,
        tracked=tracked,
        skeleton=named or SKELETONS.get(values.shape[2]),
        names_joints=named is not None,
        size=_coco_size(images),
        zero_is_invisible=True,
    )


def _coco_frames(images: Mapping[Any, Mapping[str, Any]]) -> dict[Any, int]:
    """Return the number of the frame of each image: its `frame_id`, else from its file name."""
    if all(isinstance(image.get("frame_id"), int) for image in images.values()) and images:
        first = min(image["frame_id"] for image in images.values())
        return {key: image["frame_id"] - (1 if first == 1 else 0) for key, image in images.items()}
    names = {key: str(image.get("file_name", key)) for key, image in images.items()}
    frames = frame_numbers(list(names.values()))
    return {key: frames[name] for key, name in names.items()}


def _visibility_to_score(values: Values) -> Values:
    """Turn COCO's visibility (2 visible, 1 covered, 0 not labelled) into a score; other numbers are scores already."""
    visibility = values[:, 2]
    if np.isin(visibility, (0, 1, 2)).all() and (visibility == 2).any():
        values[:, 2] = np.where(visibility == 2, 1.0, visibility * _OCCLUDED_SCORE)
    return values


def _coco_skeleton(data: Mapping[str, Any], joints: int) -> str | None:
    """Return the skeleton that a category describes, as JSON; COCO counts the ends of bones from 1."""
    for category in data.get("categories") or ():
        if isinstance(category, Mapping) and isinstance(category.get("keypoints"), list) and len(category["keypoints"]) == joints:
            bones = category.get("skeleton")
            skeleton: dict[str, Any] = {"name": str(category.get("name", "coco")), "joints": category["keypoints"]}
            if isinstance(bones, list) and bones:
                skeleton["edges"] = [[end - 1 if isinstance(end, int) else end for end in bone] for bone in bones if isinstance(bone, list)]
            return json.dumps(skeleton)
    return None


def _coco_size(images: Mapping[Any, Mapping[str, Any]]) -> tuple[int, int] | None:
    sizes = {(image.get("width"), image.get("height")) for image in images.values()}
    width, height = next(iter(sizes)) if len(sizes) == 1 else (None, None)
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None


# -- MMPose: one entry a frame, with instances -------------------------------------------------------------------------------


def _is_mmpose(data: Any) -> bool:
    frames = _mmpose_frames(data)
    return isinstance(frames, list) and bool(frames) and all(isinstance(frame, Mapping) and "instances" in frame for frame in frames)


def _mmpose_frames(data: Any) -> Any:
    return data.get("instance_info") if isinstance(data, Mapping) else data


def _read_mmpose(data: Any) -> RawPoses:
    frames = _mmpose_frames(data)
    ids = [frame.get("frame_id") for frame in frames]
    numbered = all(isinstance(number, int) for number in ids)
    first = (1 if min(ids) == 1 else 0) if numbered else 0
    detections = []
    for place, frame in enumerate(frames):
        for instance in frame["instances"]:
            values = _mmpose_values(instance, place)
            person = instance.get("track_id", instance.get("instance_id"))
            detections.append(Detection(ids[place] - first if numbered else place, values, person if isinstance(person, int) else None))
    count = (max(ids) - first if numbered else len(frames) - 1) + 1
    values, people, tracked = to_grid(detections, frames=count)
    named = _mmpose_skeleton(data, values.shape[2])
    skeleton = named or SKELETONS.get(values.shape[2])
    return RawPoses(values, scored=True, people=people, tracked=tracked, skeleton=skeleton, names_joints=named is not None)


def _mmpose_values(instance: Mapping[str, Any], frame: int) -> Values:
    points = np.asarray(instance["keypoints"], dtype=np.float32)
    if points.ndim != 2 or points.shape[1] not in (2, 3):
        raise ValueError(f"the keypoints of frame {frame} are not points")
    scores = np.asarray(instance.get("keypoint_scores", np.ones(len(points))), dtype=np.float32).reshape(-1)
    if len(scores) != len(points):
        raise ValueError(f"frame {frame} has {len(points)} points with {len(scores)} scores")
    return _body_joints(np.concatenate([points, scores[:, None]], axis=1))


def _mmpose_skeleton(data: Any, joints: int) -> str | None:
    about = data.get("meta_info") if isinstance(data, Mapping) else None
    names = about.get("keypoint_id2name") if isinstance(about, Mapping) else None
    if not isinstance(about, Mapping) or not isinstance(names, Mapping):
        return None
    if len(names) != joints or not all(str(number) in names for number in range(joints)):
        return None
    links = about.get("skeleton_links")
    skeleton: dict[str, Any] = {"name": str(about.get("dataset_name", "mmpose")), "joints": [names[str(n)] for n in range(joints)]}
    return json.dumps(skeleton | ({"edges": links} if isinstance(links, list) and links else {}))


# -- keypoints ---------------------------------------------------------------------------------------------------------------


def _triples(numbers: object) -> Values:
    """Return a flat list of x, y, score as (K, 3)."""
    try:
        flat = np.asarray(numbers, dtype=np.float32).reshape(-1)
    except (TypeError, ValueError) as error:
        raise ValueError(f"its keypoints are not numbers: {str(numbers)[:40]}") from error
    if flat.size == 0 or flat.size % 3:
        raise ValueError(f"a person has {flat.size} numbers, which are not x, y and score of some joints")
    return flat.reshape(-1, 3)


def _body_joints(values: Values) -> Values:
    """Drop face and hands, which follow the joints of the body."""
    return values[: _BODY_JOINTS[len(values)]] if len(values) in _BODY_JOINTS else values
