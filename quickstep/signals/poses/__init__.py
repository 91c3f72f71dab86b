"""PoseEstimator: what finds bodies in frames; the table of those there are; open_estimator. Imports no network.

From outside the project: pass an instance of a class that keeps the Protocol, or its name as `"their.module:Class"`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeGuard

from quickstep.storage.cache import Cache
from quickstep.types.config_fields import between
from quickstep.types.errors import ConfigError
from quickstep.types.registry import Entry, look_up
from quickstep.types.signals import Frames, Poses
from quickstep.types.skeleton import Skeleton


class PoseEstimator(Protocol):
    """Something that says where the joints of the people in a picture are."""

    @property
    def name(self) -> str:
        """What opens it again."""

    @property
    def skeleton(self) -> Skeleton:
        """The joints it finds."""

    @property
    def batch(self) -> int:
        """How many frames it likes to be given at once."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that decides its values, as JSON; the weights by their sha256."""

    def start(self) -> None:
        """A new video begins: nothing of the one before is remembered."""

    def estimate(self, frames: Frames) -> Poses:
        """The people in each frame; their places in the array say nothing of who is who over time.

        A video's frames are given in the order of time, in as many calls as one likes, after one `start()`.
        """

    def close(self) -> None:
        """Free what it holds; it opens again by itself when it is used again."""


class WorldEstimator(PoseEstimator, Protocol):
    """An estimator that also says how the joints stand in space."""

    def estimate_both(self, frames: Frames) -> tuple[Poses, Poses]:
        """What `estimate` gives, and the same people in metres, around the middle of their hips."""


ESTIMATORS: dict[str, Entry] = {
    "mediapipe": Entry(
        "quickstep.signals.poses.mediapipe:MediaPipe", "BlazePose, 33 joints, some people, 2D or 3D; fast without a GPU", extra="pose"
    ),
    "vitpose": Entry("quickstep.signals.poses.vitpose:ViTPose", "a detector and ViTPose, 17 joints, many people; made for a GPU"),
    "rtmpose": Entry("quickstep.signals.poses.rtmpose:RTMPose", "RTMPose in ONNX Runtime, 17 or 26 joints, many people", extra="rtmpose"),
}


def open_estimator(
    name: str | PoseEstimator,
    *,
    model: str | Path | None = None,
    people: int | None = None,
    device: str | None = None,
    cache: Cache | None = None,
) -> PoseEstimator:
    """The estimator of that name, ready to describe itself; its network loads with the first `estimate`.

    `model` is the estimator's model: a file, a folder or a name. `people` is how many are looked for at once, at most. `store` keeps
    what is downloaded and remembers the digests of files.
    """
    if not isinstance(name, str):
        return name
    target = look_up("pose estimator", name, ESTIMATORS)
    if not callable(target):
        return target  # type: ignore[no-any-return]  # somebody's ready instance
    if people is not None:
        between("people", people, 1, 1000)
    taken = inspect.signature(target).parameters
    if model is not None and "model" not in taken:
        raise ConfigError("pose_model", f"the estimator {name!r} has nothing to choose here; leave it out")
    known = {"model": model, "people": people, "device": device, "cache": cache}
    return target(**{key: value for key, value in known.items() if key in taken and value is not None})  # type: ignore[no-any-return]


def sees_depth(estimator: PoseEstimator) -> TypeGuard[WorldEstimator]:
    """Whether it can say how the joints stand in space."""
    return hasattr(estimator, "estimate_both")
