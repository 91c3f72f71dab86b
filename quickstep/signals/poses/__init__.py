"""Poses: the joints of people in frames. This module declares the estimators and opens one by name, without importing its network.

An estimator from outside the project is an instance of a class that follows `PoseEstimator`, or its name, `"their.module:Class"`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeGuard

from quickstep.storage.cache import Cache
from quickstep.types.config_fields import between
from quickstep.types.errors import ConfigError
from quickstep.types.registry import Entry, look_up
from quickstep.types.signals import Frames, Poses
from quickstep.types.skeleton import Skeleton


@dataclass(frozen=True)
class EstimatorOptions:
    """What a pose estimator is opened with; the only argument of its class."""

    model: str | Path | None = None  # a file, a folder or a name; None: the estimator's own
    people: int = 4  # the largest number of people in a frame
    device: str | None = None  # None: the estimator chooses
    cache: Cache | None = None  # keeps downloaded models, and remembers the digests of files


@dataclass(frozen=True)
class EstimatorCapabilities:
    """What a pose estimator can do; a class attribute, readable without loading its network."""

    depth: bool = False  # it is a `DepthEstimator`
    model: bool = True  # it accepts a model


class PoseEstimator(Protocol):
    """Estimates the joints of the people in each frame. Its class is called with one `EstimatorOptions`."""

    @property
    def capabilities(self) -> EstimatorCapabilities:
        """What it can do."""

    @property
    def name(self) -> str:
        """The name that opens it again."""

    @property
    def skeleton(self) -> Skeleton:
        """The joints that it estimates."""

    @property
    def batch(self) -> int:
        """How many frames one call handles best."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that decides its values, as JSON; weights by their sha256."""

    def start(self) -> None:
        """Start a new video: forget the one before."""

    def estimate(self, frames: Frames) -> Poses:
        """Estimate the people in each frame; their order in the array does not identify them over time.

        After one `start()`, the frames of a video come in the order of time, in any number of calls.
        """

    def close(self) -> None:
        """Free its memory; the next `estimate` opens it again."""


class DepthEstimator(PoseEstimator, Protocol):
    """A pose estimator that also estimates joints in three dimensions."""

    def estimate_both(self, frames: Frames) -> tuple[Poses, Poses]:
        """Return what `estimate` returns, and the same people in metres around the middle of their hips."""


ESTIMATORS: dict[str, Entry] = {
    "mediapipe": Entry(
        "quickstep.signals.poses.mediapipe:MediaPipe", "BlazePose, 33 joints, up to 8 people, 2D or 3D; fast without a GPU", extra="pose"
    ),
    "vitpose": Entry("quickstep.signals.poses.vitpose:ViTPose", "a person detector and ViTPose, 17 joints, many people; made for a GPU"),
    "rtmpose": Entry("quickstep.signals.poses.rtmpose:RTMPose", "RTMPose in ONNX Runtime, 17 or 26 joints, many people", extra="rtmpose"),
}


def open_estimator(
    name: str | PoseEstimator,
    *,
    model: str | Path | None = None,
    people: int = EstimatorOptions.people,
    device: str | None = None,
    cache: Cache | None = None,
) -> PoseEstimator:
    """Open the estimator of a name; its network loads with the first `estimate`. An estimator is returned unchanged.

    `model`, `people`, `device` and `cache` are the fields of `EstimatorOptions`.
    """
    if not isinstance(name, str):
        return name
    registered = look_up("pose estimator", name, ESTIMATORS)
    if not isinstance(registered, type):
        return registered  # type: ignore[no-any-return]  # "their.module:instance"
    between("people", people, 1, 1000)
    kind: Any = registered
    if model is not None and not kind.capabilities.model:
        raise ConfigError("pose_model", f"the estimator {name!r} has no choice of models; leave it out")
    return kind(EstimatorOptions(model, people, device, cache))  # type: ignore[no-any-return]


def estimates_depth(estimator: PoseEstimator) -> TypeGuard[DepthEstimator]:
    """Whether an estimator also estimates joints in three dimensions."""
    return estimator.capabilities.depth
