"""What MMPose's demo and inferencer write: one entry a frame, with instances."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from quickstep.signals.poses.formats.alphapose import SKELETONS, body_only
from quickstep.signals.poses.formats.raw_poses import Raw, Sighting, grid


def is_instances(data: Any) -> bool:
    """Whether it is a list of frames with instances, alone or beside what describes the joints."""
    frames = _frames(data)
    return isinstance(frames, list) and bool(frames) and all(isinstance(frame, Mapping) and "instances" in frame for frame in frames)


def _frames(data: Any) -> Any:
    return data.get("instance_info") if isinstance(data, Mapping) else data


def read_instances(data: Any) -> Raw:
    """Every instance of every frame."""
    frames = _frames(data)
    told = [frame.get("frame_id") for frame in frames]
    known = all(isinstance(number, int) for number in told)
    first = (1 if min(told) == 1 else 0) if known else 0
    sightings = []
    for place, frame in enumerate(frames):
        for instance in frame["instances"]:
            points = np.asarray(instance["keypoints"], dtype=np.float32)
            if points.ndim != 2 or points.shape[1] not in (2, 3):
                raise ValueError(f"the keypoints of frame {place} are not points")
            scores = np.asarray(instance.get("keypoint_scores", np.ones(len(points))), dtype=np.float32).reshape(-1)
            if len(scores) != len(points):
                raise ValueError(f"frame {place} has {len(points)} points with {len(scores)} scores")
            values = body_only(np.concatenate([points, scores[:, None]], axis=1))
            person = instance.get("track_id", instance.get("instance_id"))
            sightings.append(Sighting(told[place] - first if known else place, values, person if isinstance(person, int) else None))
    count = (max(told) - first if known else len(frames) - 1) + 1
    values, people, tracked = grid(sightings, frames=count)
    named = _skeleton(data, values.shape[2])
    skeleton = named or SKELETONS.get(values.shape[2])
    return Raw(values, scored=True, people=people, tracked=tracked, skeleton=skeleton, named=named is not None)


def _skeleton(data: Any, joints: int) -> str | None:
    about = data.get("meta_info") if isinstance(data, Mapping) else None
    names = about.get("keypoint_id2name") if isinstance(about, Mapping) else None
    if not isinstance(names, Mapping) or len(names) != joints or not all(str(number) in names for number in range(joints)):
        return None
    links = about.get("skeleton_links") if isinstance(about, Mapping) else None
    told: dict[str, Any] = {"name": str((about or {}).get("dataset_name", "mmpose")), "joints": [names[str(n)] for n in range(joints)]}
    return json.dumps(told | ({"edges": links} if isinstance(links, list) and links else {}))
