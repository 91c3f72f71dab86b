"""ViTPose: a detector of transformers finds people, ViTPose finds their joints; batched over frames and over people.

The checkpoints' own processors prepare the images and read the results.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from safetensors import SafetensorError

from quickstep.signals.poses import EstimatorCapabilities, EstimatorOptions
from quickstep.storage import hub
from quickstep.storage.cache import Cache
from quickstep.types.errors import ConfigError, WeightsError
from quickstep.types.signals import Frames, Poses
from quickstep.types.skeleton import Skeleton, read_skeleton, unnamed_skeleton

DETECTOR = "PekingU/rtdetr_r50vd_coco_o365"
POSE = "usyd-community/vitpose-base-simple"

_log = logging.getLogger(__name__)
_REVISION = 1  # raise it whenever the same frames give other joints than before
_MIN_SCORE = 0.3  # of a detected person
_PEOPLE_AT_ONCE = {"cpu": 8, "cuda": 128}
_FRAMES_AT_ONCE = {"cpu": 2, "cuda": 16}
_COCO = 0  # of the experts of a ViTPose++ checkpoint: those for COCO's 17 joints


class ViTPose:
    """The estimator; its model is the pose network, or DETECTOR,POSE, as folders or names on the hub."""

    name = "vitpose"
    license = "Apache-2.0"
    capabilities = EstimatorCapabilities()

    def __init__(self, options: EstimatorOptions | None = None) -> None:
        options = options or EstimatorOptions()
        detector, pose = _checkpoints(options.model)
        self.people = options.people
        self.device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._cache = options.cache or Cache()
        self._detector = _Checkpoint(detector, "the person detector")
        self._pose = _Checkpoint(pose, "ViTPose")
        self._loaded: tuple[Any, Any] | None = None

    @property
    def batch(self) -> int:
        """How many frames one call handles best."""
        return 4 * _FRAMES_AT_ONCE[self._kind]

    @property
    def skeleton(self) -> Skeleton:
        """COCO's 17 joints, or those that the checkpoint names."""
        labels = {int(number): str(name) for number, name in (self._pose.config.id2label or {}).items()}
        count = len(labels)
        if count == 17:
            return read_skeleton("coco-17")
        names = tuple(labels[number].strip().casefold().replace(" ", "_") for number in sorted(labels))
        named = len(set(names)) == count and not any(name.startswith("label_") for name in names)
        return Skeleton(f"vitpose-{count}", names) if named else unnamed_skeleton(count, 2)

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
        """Start a new video: each frame is independent, so nothing has to be forgotten."""

    def estimate(self, frames: Frames) -> Poses:
        """Estimate the people in each frame, those with the highest detection scores first."""
        images = list(frames.pixels)
        boxes = self._boxes(images)
        joints = np.full((len(frames), self.people, len(self.skeleton), 3), np.nan, np.float32)
        joints[..., 2] = 0
        slots = [(number, place) for number, in_frame in enumerate(boxes) for place in range(len(in_frame))]
        step = _PEOPLE_AT_ONCE[self._kind]
        for at in range(0, len(slots), step):
            some = slots[at : at + step]
            for (number, place), body in zip(some, self._joints(images, boxes, some), strict=True):
                joints[number, place] = body
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
            if self._person_class() is None:
                raise WeightsError(f"{self._detector.where} is not a person detector: it has no class called person")
            self._loaded = (
                self._detector.load(transformers.AutoModelForObjectDetection, self.device),
                self._pose.load(transformers.VitPoseForPoseEstimation, self.device),
            )
        return self._loaded

    def _person_class(self) -> int | None:
        """Return the number of the detector's class of people."""
        labels = self._detector.config.id2label or {}
        return next((int(number) for number, name in labels.items() if str(name).casefold() in ("person", "people", "human")), None)

    def _boxes(self, images: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """Return for each image the boxes (N, 4) of people: left, top, width, height."""
        detector, _ = self._networks
        boxes: list[NDArray[np.float32]] = []
        step = _FRAMES_AT_ONCE[self._kind]
        for at in range(0, len(images), step):
            some = images[at : at + step]
            prepared = self._detector.processor(images=some, return_tensors="pt").to(self.device)
            with torch.inference_mode():
                output = detector(**prepared)
            sizes = [image.shape[:2] for image in some]
            for detected in self._detector.processor.post_process_object_detection(output, target_sizes=sizes, threshold=_MIN_SCORE):
                people = detected["labels"] == self._person_class()
                order = detected["scores"][people].argsort(descending=True, stable=True)[: self.people]
                box = detected["boxes"][people][order].float().cpu().numpy()
                box = box[(box[:, 2] > box[:, 0]) & (box[:, 3] > box[:, 1])]
                boxes.append(np.concatenate([box[:, :2], box[:, 2:] - box[:, :2]], axis=1))
        return boxes

    def _joints(
        self, images: list[NDArray[np.uint8]], boxes: list[NDArray[np.float32]], slots: list[tuple[int, int]]
    ) -> list[NDArray[np.float32]]:
        """Return the joints (K, 3) of some people, each given as (number of the image, number of the box in it)."""
        _, pose = self._networks
        numbers = sorted({number for number, _ in slots})
        chosen = [[boxes[number][place] for where, place in slots if where == number] for number in numbers]
        prepared = self._pose.processor([images[number] for number in numbers], boxes=chosen, return_tensors="pt").to(self.device)
        if getattr(pose.config.backbone_config, "num_experts", 1) > 1:  # transformers' own config; only ViTPose++ has it
            prepared["dataset_index"] = torch.full((len(slots),), _COCO, device=self.device)
        with torch.inference_mode():
            output = pose(**prepared)
        output.heatmaps = output.heatmaps.float().cpu()
        results = self._pose.processor.post_process_pose_estimation(output, boxes=chosen)
        people = [person for image in results for person in image]
        places = np.stack([person["keypoints"].numpy() for person in people])
        scores = np.stack([person["scores"].numpy() for person in people]).clip(0, 1)
        return list(np.concatenate([places, scores[..., None]], axis=2).astype(np.float32))


def _checkpoints(model: str | Path | None) -> tuple[str, str]:
    """Return the detector and the pose network of a setting."""
    parts = [part.strip() for part in str(model).split(",")] if model is not None else []
    if not all(parts) or len(parts) > 2:
        raise ConfigError("pose_model", f"with vitpose, DETECTOR,POSE or only POSE (folders or hub names), not {str(model)!r}")
    if len(parts) == 2:
        return parts[0], parts[1]
    return DETECTOR, parts[0] if parts else POSE


# -- checkpoints -------------------------------------------------------------------------------------------------------------

_FILES = ("config.json", "preprocessor_config.json", "*.safetensors", "*.safetensors.index.json")
_COUNTERS = ("num_batches_tracked", "position_ids")  # older versions saved them; nothing reads them
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_MISMATCHES = (
    ("lacks", "missing_keys"),
    ("has, in another shape,", "mismatched_keys"),
    ("has, besides what its config says,", "unexpected_keys"),
)
_LOAD_ERRORS = (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.UnpicklingError, SafetensorError)


@dataclass(frozen=True)
class _Checkpoint:
    """A checkpoint of transformers in a folder or on the hub; its files are read when they are first needed."""

    where: str  # a folder, or a name on the hub, with @revision if wanted
    what: str  # for messages: "ViTPose"

    @cached_property
    def folder(self) -> Path:
        """Its folder on this machine; downloaded once if it is a name on the hub."""
        folder = Path(self.where).expanduser()
        if folder.is_dir():
            if not (folder / "config.json").is_file():
                raise WeightsError(f"{self.where} is not a checkpoint of {self.what}: it has no config.json")
            return folder
        if folder.exists() or self.where.startswith((".", "/", "~")) or self.where.count("/") != 1:
            problem = "is not a folder" if folder.exists() else "does not exist"
            raise WeightsError(f"{self.where} {problem}; give the folder or the hub's name (organisation/name) of {self.what}")
        return self._download()

    @cached_property
    def config(self) -> Any:
        """The checkpoint's config, as its own class."""
        with self._translated():
            return transformers.AutoConfig.from_pretrained(self.folder, local_files_only=True, trust_remote_code=False)

    @cached_property
    def processor(self) -> Any:
        """The checkpoint's processor of images and results."""
        if not (self.folder / "preprocessor_config.json").is_file():
            problem = "has no preprocessor_config.json, which says how images are prepared"
            raise WeightsError(f"{self.where} {problem}: add the checkpoint's own")
        with self._translated():
            return transformers.AutoImageProcessor.from_pretrained(self.folder, local_files_only=True, trust_remote_code=False)

    def digests(self, cache: Cache) -> dict[str, str]:
        """Return the sha256 of each file of weights, and of the two configs."""
        files = [file for pattern in _WEIGHTS for file in sorted(self.folder.glob(pattern))]
        if not files:
            raise WeightsError(f"{self.where} has no weights (model.safetensors): the checkpoint of {self.what} is not complete")
        small = {}
        for name in ("config.json", "preprocessor_config.json"):
            file = self.folder / name
            small[name] = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
        return {file.name: cache.digest(file) for file in files} | small

    def load(self, kind: Any, device: str) -> Any:
        """Load the network, ready to run; refuse weights that are missing, left over or of another shape."""
        with self._translated():
            network, info = kind.from_pretrained(
                self.folder,
                dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
        for problem, name in _MISMATCHES:
            names = (str(key[0] if isinstance(key, tuple) else key) for key in info[name])
            keys = sorted(key for key in names if not key.endswith(_COUNTERS))
            if keys:
                more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
                raise WeightsError(f"{self.where} {problem} {', '.join(keys[:3])}{more}: its config and its weights do not belong together")
        return network.eval().requires_grad_(False).to(device)

    def _download(self) -> Path:
        repository, _, revision = self.where.partition("@")
        instead = "name the folders of the checkpoints in `pose_model`: DETECTOR,POSE"
        _log.info("opening %s from the hub", self.where)
        with hub.explained(repository, revision or "main", "files", ways_on=instead):
            return hub.download_folder(repository, revision or None, is_complete=_is_complete, patterns=_FILES)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn the library's errors into one line, without its own tables and progress bars."""
        logging_ = transformers.utils.logging
        verbosity, bars = logging_.get_verbosity(), logging_.is_progress_bar_enabled()
        logging_.set_verbosity(logging_.CRITICAL)
        logging_.disable_progress_bar()
        try:
            yield
        except WeightsError:
            raise
        except _LOAD_ERRORS as error:
            raise WeightsError(f"{self.where} cannot be loaded as {self.what} ({_first_line(error)}): download or copy it again") from error
        finally:
            logging_.set_verbosity(verbosity)
            if bars:
                logging_.enable_progress_bar()


def _is_complete(folder: Path) -> bool:
    """Whether a downloaded folder has a config and weights; a missing shard is noticed when it is loaded."""
    return (folder / "config.json").is_file() and any(True for pattern in _WEIGHTS for _ in folder.glob(pattern))


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
