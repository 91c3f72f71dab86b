"""What AlphaPose writes: a list of sightings (as COCO results are too), or its `cmu` and `open` forms, one entry a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from quickstep.signals.poses.formats.raw_poses import Raw, Sighting, grid, numbered, triples

SKELETONS = {17: "coco-17", 26: "halpe-26", 16: "mpii-16", 18: "openpose-18", 25: "openpose-25", 33: "blazepose-33"}
_BODY = {136: ("halpe-26", 26), 133: ("coco-23", 23), 68 + 26: ("halpe-26", 26)}  # with face and hands behind the body
_LISTS = ("joints", "pose_keypoints_2d")


def is_list(data: Any) -> bool:
    """Whether it is a list of sightings, each with keypoints."""
    return isinstance(data, list) and all(isinstance(entry, Mapping) for entry in data) and (not data or "keypoints" in data[0])


def is_by_picture(data: Any) -> bool:
    """Whether it is an object of pictures, each with bodies or people."""
    return (
        isinstance(data, Mapping)
        and bool(data)
        and all(isinstance(entry, Mapping) and people_in(entry) is not None for entry in data.values())
    )


def people_in(entry: Mapping[str, Any]) -> Sequence[Any] | None:
    """The people of one picture, or None where it is no such entry."""
    found = entry.get("people", entry.get("bodies"))
    return found if isinstance(found, list) else None


def read_list(data: Sequence[Mapping[str, Any]]) -> Raw:
    """A list of sightings with `image_id`, `keypoints` and, where they were tracked, `idx` or `track_id`."""
    frames = numbered([str(entry.get("image_id", place)) for place, entry in enumerate(data)])
    sightings = [
        Sighting(frames[str(entry.get("image_id", place))], body_only(triples(_keypoints(entry))), _person(entry))
        for place, entry in enumerate(data)
    ]
    return as_raw(sightings)


def read_by_picture(data: Mapping[str, Any]) -> Raw:
    """The `cmu` and `open` forms: 18 joints of each body."""
    frames = numbered(list(data))
    return as_raw([sighting for name, entry in data.items() for sighting in sightings_of(entry, frames[name])])


def sightings_of(entry: Mapping[str, Any], frame: int) -> list[Sighting]:
    """The people of one picture's entry."""
    found = []
    for person in people_in(entry) or ():
        numbers = next((person[name] for name in _LISTS if isinstance(person, Mapping) and person.get(name)), None)
        if numbers is not None:
            found.append(Sighting(frame, body_only(triples(numbers)), _person(person)))
    return found


def as_raw(sightings: Sequence[Sighting], *, frames: int | None = None) -> Raw:
    """The grid of sightings whose last number is a score, 0 for what was not seen."""
    values, people, tracked = grid(sightings, frames=frames)
    return Raw(values, scored=True, people=people, tracked=tracked, skeleton=SKELETONS.get(values.shape[2]), zero=True)


def body_only(values: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Without face and hands, where they stand behind the body's joints."""
    return values[: _BODY[len(values)][1]] if len(values) in _BODY else values


def _keypoints(entry: Mapping[str, Any]) -> Any:
    if "keypoints" not in entry:
        raise ValueError("an entry has no keypoints")
    return entry["keypoints"]


def _person(entry: Mapping[str, Any]) -> int | None:
    """The number under which somebody is tracked; lists of one number and -1 for nobody are met too."""
    for name in ("idx", "track_id", "person_id"):
        number = entry.get(name)
        while isinstance(number, list) and number:
            number = number[0]
        if isinstance(number, (int, float)) and number >= 0 and float(number).is_integer():
            return int(number)
    return None
