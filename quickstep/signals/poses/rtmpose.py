"""RTMPose through rtmlib: YOLOX finds people, RTMPose their joints, both in ONNX Runtime.

The models are two files, or one of the library's own sets, which it downloads.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from rtmlib import YOLOX, Body
from rtmlib import RTMPose as PoseModel
from rtmlib.tools.file import download_checkpoint

from quickstep.signals.poses import EstimatorCapabilities, EstimatorOptions
from quickstep.storage.cache import Cache
from quickstep.types.errors import ConfigError, WeightsError
from quickstep.types.signals import Frames, Poses
from quickstep.types.skeleton import Skeleton, read_skeleton, unnamed_skeleton

SKELETONS = {17: "coco-17", 26: "halpe-26"}  # by the number of joints of a model

_log = logging.getLogger(__name__)
_INSTEAD = "name two files in `pose_model`: DETECTOR.onnx,POSE.onnx"
_REVISION = 1  # raise it whenever the same frames give other joints than before
_DEFAULT = "balanced"


class RTMPose:
    """The estimator; its model is DETECTOR.onnx,POSE.onnx, or lightweight, balanced or performance."""

    name = "rtmpose"
    batch = 8
    license = "Apache-2.0"
    capabilities = EstimatorCapabilities()

    def __init__(self, options: EstimatorOptions | None = None) -> None:
        options = options or EstimatorOptions()
        cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
        self.people = options.people
        self.device = options.device or ("cuda" if cuda else "cpu")
        self._model = str(options.model) if options.model is not None else _DEFAULT
        self._cache = options.cache or Cache()
        self._files: tuple[Path, Path] | None = None
        self._loaded: tuple[YOLOX, PoseModel] | None = None

    @property
    def files(self) -> tuple[Path, Path]:
        """The detector and the pose model."""
        if self._files is None:
            self._files = _find_files(self._model)
        return self._files

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that decides its values."""
        detector, pose = (self._cache.digest(file) for file in self.files)
        return {
            "name": self.name,
            "revision": _REVISION,
            "library": [version("rtmlib"), onnxruntime.__version__],
            "detector": detector,
            "pose": pose,
            "people": self.people,
            "device": self.device.partition(":")[0],
        }

    @property
    def skeleton(self) -> Skeleton:
        """COCO's 17 joints, Halpe's 26, or as many nameless joints as the model has."""
        count = self._networks[1].session.get_outputs()[0].shape[1]
        if not isinstance(count, int):
            raise WeightsError(f"{self.files[1]} does not state its number of joints: export it with a fixed number")
        return read_skeleton(SKELETONS[count]) if count in SKELETONS else unnamed_skeleton(count, 2)

    def start(self) -> None:
        """Start a new video: each frame is independent, so nothing has to be forgotten."""

    def estimate(self, frames: Frames) -> Poses:
        """Estimate the people in each frame, in the detector's order."""
        detector, pose = self._networks
        skeleton = self.skeleton
        joints = np.full((len(frames), self.people, len(skeleton), 3), np.nan, np.float32)
        joints[..., 2] = 0
        for number, pixels in enumerate(frames.pixels):
            # The detector was trained on blue-green-red images, the pose model on red-green-blue ones.
            try:
                boxes = np.asarray(detector(np.ascontiguousarray(pixels[..., ::-1])), np.float32).reshape(-1, 4)
            except (ValueError, IndexError) as error:
                raise WeightsError(f"{self.files[0]} is not a YOLOX detector ({_first_line(error)}): {_INSTEAD}") from error
            boxes = boxes[(boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])][: self.people]
            if len(boxes):
                places, scores = pose(pixels, boxes.tolist())
                joints[number, : len(boxes), :, :2] = places
                joints[number, : len(boxes), :, 2] = np.clip(scores, 0, 1)
        size = (frames.pixels.shape[2], frames.pixels.shape[1])
        return Poses(joints, frames.times, skeleton, tuple(range(self.people)), size)

    def close(self) -> None:
        """Free the networks."""
        self._loaded = None

    @property
    def _networks(self) -> tuple[YOLOX, PoseModel]:
        if self._loaded is None:
            detector_file, pose_file = self.files
            with _translated(detector_file, "the person detector"):
                detector = YOLOX(str(detector_file), device=self.device)
                detector.model_input_size = _input_size(detector, (640, 640))
            with _translated(pose_file, "RTMPose"):
                pose = PoseModel(str(pose_file), device=self.device)
                pose.model_input_size = _input_size(pose, (256, 192))[::-1]
                if [len(output.shape) for output in pose.session.get_outputs()] != [3, 3]:
                    raise WeightsError(f"{pose_file} is not an RTMPose model (two outputs: x and y of each joint): {_INSTEAD}")
            self._loaded = detector, pose
        return self._loaded


def _input_size(network: Any, default: tuple[int, int]) -> tuple[int, int]:
    """Return the height and width of a network's input."""
    shape = network.session.get_inputs()[0].shape
    height, width = (edge if isinstance(edge, int) else fallback for edge, fallback in zip(shape[-2:], default, strict=True))
    return height, width


def _find_files(model: str) -> tuple[Path, Path]:
    """Return the detector and the pose model of a setting; download a set of the library once."""
    parts = [part.strip() for part in model.split(",")]
    if len(parts) == 1 and parts[0].casefold() in Body.MODE:
        addresses = Body.MODE[parts[0].casefold()]
        return _download(addresses["det"]), _download(addresses["pose"])
    if len(parts) != 2 or not all(parts):
        sets = ", ".join(sorted(Body.MODE))
        raise ConfigError("pose_model", f"with rtmpose, DETECTOR.onnx,POSE.onnx or one of {sets}, not {model!r}")
    files = [Path(part).expanduser() for part in parts]
    for file in files:
        if not file.is_file():
            raise ConfigError("pose_model", f"{file} {'is a folder' if file.is_dir() else 'does not exist'}; {_INSTEAD}")
    return files[0], files[1]


def _download(address: str) -> Path:
    _log.info("opening %s, downloaded once", address)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return Path(download_checkpoint(address))
    except Exception as error:  # the library's downloads and archives raise errors of many kinds
        raise WeightsError(f"{address} cannot be downloaded ({_first_line(error)}): {_INSTEAD}") from error


@contextlib.contextmanager
def _translated(file: Path, what: str) -> Iterator[None]:
    """Turn an error while a network loads into one line; keep the library's prints out of stdout."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except WeightsError:
        raise
    except Exception as error:  # ONNX Runtime's errors have no class in common
        raise WeightsError(f"{file} cannot be loaded as {what} ({_first_line(error)}): {_INSTEAD}") from error


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
