"""ViTPose: a detector of transformers finds people, ViTPose finds their joints; batched over frames and over people.

The checkpoints' own processors prepare the pictures and read the answers. Knows no file of videos.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from quickstep.signals.poses.transformers_networks import Network
from quickstep.storage.cache import Cache
from quickstep.types.errors import ConfigError, WeightsError
from quickstep.types.signals import Frames, Poses
from quickstep.types.skeleton import Skeleton, nameless, read_skeleton

DETECTOR = "PekingU/rtdetr_r50vd_coco_o365"
POSE = "usyd-community/vitpose-base-simple"

_REVISION = 1  # raise it whenever the same frames give other joints than before
_SURE = 0.3  # score from which on a detection is a person
_PEOPLE_AT_ONCE = {"cpu": 8, "cuda": 128}
_FRAMES_AT_ONCE = {"cpu": 2, "cuda": 16}
_COCO = 0  # of the experts of a ViTPose++ checkpoint: those for COCO's 17 joints


class ViTPose:
    """The estimator; `model` is the pose network, or the detector and the pose network with a comma between, as folders or hub names."""

    name = "vitpose"
    license = "Apache-2.0"

    def __init__(self, *, model: str | Path | None = None, people: int = 4, device: str | None = None, cache: Cache | None = None) -> None:
        detector, pose = _named(model)
        self.people = people
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._cache = cache or Cache()
        self._detector = Network(detector, "the detector of people")
        self._pose = Network(pose, "ViTPose")
        self._loaded: tuple[Any, Any] | None = None

    @property
    def batch(self) -> int:
        """How many frames it likes at once."""
        return 4 * _FRAMES_AT_ONCE[self._kind]

    @property
    def skeleton(self) -> Skeleton:
        """COCO's 17 joints, or those that the checkpoint names."""
        names = {int(number): str(name) for number, name in (self._pose.config.id2label or {}).items()}
        count = len(names)
        if count == 17:
            return read_skeleton("coco-17")
        told = tuple(names[number].strip().casefold().replace(" ", "_") for number in sorted(names))
        named = len(set(told)) == count and not any(name.startswith("label_") for name in told)
        return Skeleton(f"vitpose-{count}", told) if named else nameless(count, 2)

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that decides its values."""
        return {
            "name": self.name,
            "revision": _REVISION,
            "library": transformers.__version__,
            "detector": self._detector.digests(self._cache),
            "pose": self._pose.digests(self._cache),
            "people": self.people,
            "device": self._kind,
        }

    def start(self) -> None:
        """A new video: nothing is remembered from frame to frame."""

    def estimate(self, frames: Frames) -> Poses:
        """The people in each frame, the surest detections first."""
        pictures = list(frames.pixels)
        boxes = self._boxes(pictures)
        joints = np.full((len(frames), self.people, len(self.skeleton), 3), np.nan, np.float32)
        joints[..., 2] = 0
        places = [(number, place) for number, some in enumerate(boxes) for place in range(len(some))]
        step = _PEOPLE_AT_ONCE[self._kind]
        for at in range(0, len(places), step):
            for (number, place), found in zip(places[at : at + step], self._joints(pictures, boxes, places[at : at + step]), strict=True):
                joints[number, place] = found
        size = (frames.pixels.shape[2], frames.pixels.shape[1])
        return Poses(joints, frames.times, self.skeleton, tuple(range(self.people)), size)

    def close(self) -> None:
        """Free the networks."""
        self._loaded = None

    @property
    def _kind(self) -> str:
        return "cuda" if str(self.device).startswith("cuda") else "cpu"

    @property
    def _networks(self) -> tuple[Any, Any]:
        if self._loaded is None:
            pose = self._pose.config
            if pose.model_type != "vitpose":
                raise WeightsError(f"{self._pose.where} is a checkpoint of {pose.model_type!r}, not of ViTPose")
            if self._person() is None:
                raise WeightsError(f"{self._detector.where} detects no class called person, so it is no detector of people")
            self._loaded = (
                self._detector.load(transformers.AutoModelForObjectDetection, self.device),
                self._pose.load(transformers.VitPoseForPoseEstimation, self.device),
            )
        return self._loaded

    def _person(self) -> int | None:
        """The number of the detector's class of people."""
        labels = self._detector.config.id2label or {}
        return next((int(number) for number, name in labels.items() if str(name).casefold() in ("person", "people", "human")), None)

    def _boxes(self, pictures: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """For each picture the boxes (N, 4) of people: left, top, width, height."""
        detector, _ = self._networks
        found: list[NDArray[np.float32]] = []
        step = _FRAMES_AT_ONCE[self._kind]
        for at in range(0, len(pictures), step):
            some = pictures[at : at + step]
            prepared = self._detector.processor(images=some, return_tensors="pt").to(self.device)
            with torch.inference_mode():
                answer = detector(**prepared)
            sizes = [picture.shape[:2] for picture in some]
            for one in self._detector.processor.post_process_object_detection(answer, target_sizes=sizes, threshold=_SURE):
                people = one["labels"] == self._person()
                order = one["scores"][people].argsort(descending=True, stable=True)[: self.people]
                box = one["boxes"][people][order].float().cpu().numpy()
                box = box[(box[:, 2] > box[:, 0]) & (box[:, 3] > box[:, 1])]
                found.append(np.concatenate([box[:, :2], box[:, 2:] - box[:, :2]], axis=1))
        return found

    def _joints(
        self, pictures: list[NDArray[np.uint8]], boxes: list[NDArray[np.float32]], asked_for: list[tuple[int, int]]
    ) -> list[NDArray[np.float32]]:
        """The joints (K, 3) of some people, given as numbers of a picture and of a box in it."""
        _, pose = self._networks
        numbers = sorted({number for number, _ in asked_for})
        asked = [[boxes[number][place] for where, place in asked_for if where == number] for number in numbers]
        prepared = self._pose.processor([pictures[number] for number in numbers], boxes=asked, return_tensors="pt").to(self.device)
        if getattr(pose.config.backbone_config, "num_experts", 1) > 1:
            prepared["dataset_index"] = torch.full((len(asked_for),), _COCO, device=self.device)
        with torch.inference_mode():
            answer = pose(**prepared)
        answer.heatmaps = answer.heatmaps.float().cpu()
        told = self._pose.processor.post_process_pose_estimation(answer, boxes=asked)
        people = [one for picture in told for one in picture]
        places = np.stack([one["keypoints"].numpy() for one in people])
        scores = np.stack([one["scores"].numpy() for one in people]).clip(0, 1)
        return list(np.concatenate([places, scores[..., None]], axis=2).astype(np.float32))


def _named(model: str | Path | None) -> tuple[str, str]:
    """The detector and the pose network that are meant."""
    parts = [part.strip() for part in str(model).split(",")] if model is not None else []
    if not all(parts) or len(parts) > 2:
        raise ConfigError("pose_model", f"with vitpose, DETECTOR,POSE or only POSE (folders or hub names), not {str(model)!r}")
    if len(parts) == 2:
        return parts[0], parts[1]
    return DETECTOR, parts[0] if parts else POSE
