"""OpenPose's folders of JSON, one file a frame, and a single such file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quickstep.signals.poses.formats.alphapose import as_raw, people_in, sightings_of
from quickstep.signals.poses.formats.raw_poses import Raw, numbered

ENDING = "_keypoints.json"


def is_folder(folder: Path) -> bool:
    """Whether a folder holds one file of keypoints a frame."""
    try:
        return folder.is_dir() and any(file.name.endswith(ENDING) for file in folder.iterdir())
    except OSError:
        return False


def files_of(folder: Path) -> list[Path]:
    """The frames' files, in order of their names."""
    return sorted(file for file in folder.iterdir() if file.name.endswith(ENDING) and not file.name.startswith("."))


def is_frame(data: Any) -> bool:
    """Whether it is what OpenPose writes for one frame."""
    return isinstance(data, Mapping) and people_in(data) is not None


def read_frame(data: Mapping[str, Any]) -> Raw:
    """One frame by itself."""
    return as_raw(sightings_of(data, 0), frames=1)


def read_folder(folder: Path) -> Raw:
    """All frames of a folder; a frame without people is one in which nobody is seen."""
    files = files_of(folder)
    frames = numbered([file.name for file in files])
    sightings = []
    for file in files:
        try:
            data = json.loads(file.read_bytes())
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{file.name} is not JSON ({error})") from error
        if not is_frame(data):
            raise ValueError(f"{file.name} holds no people of OpenPose")
        sightings += sightings_of(data, frames[file.name])
    return as_raw(sightings, frames=max(frames.values(), default=-1) + 1)
