"""RTMPose through rtmlib: YOLOX finds people, RTMPose their joints, both in ONNX Runtime.

The models are two files, or one of the library's own sets, which it downloads. Knows no file of videos.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from rtmlib import YOLOX, Body
from rtmlib import RTMPose as PoseModel
from rtmlib.tools.file import download_checkpoint

from quickstep.storage.cache import Cache
from quickstep.types.errors import ConfigError, WeightsError
from quickstep.types.signals import Frames, Poses
from quickstep.types.skeleton import Skeleton, nameless, read_skeleton

WAY_ON = "give two files (--pose-model DETECTOR.onnx,POSE.onnx)"
SKELETONS = {17: "coco-17", 26: "halpe-26"}  # by how many joints a model gives

_REVISION = 1  # raise it whenever the same frames give other joints than before
_USUAL = "balanced"


class RTMPose:
    """The estimator; `model` is DETECTOR.onnx,POSE.onnx, or lightweight, balanced or performance."""

    name = "rtmpose"
    batch = 8
    license = "Apache-2.0"

    def __init__(self, *, model: str | Path | None = None, people: int = 4, device: str | None = None, cache: Cache | None = None) -> None:
        cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
        self.people = people
        self.device = device or ("cuda" if cuda else "cpu")
        self._asked = str(model) if model is not None else _USUAL
        self._cache = cache or Cache()
        self._found: tuple[Path, Path] | None = None
        self._loaded: tuple[YOLOX, PoseModel] | None = None

    @property
    def files(self) -> tuple[Path, Path]:
        """The detector and the pose model."""
        if self._found is None:
            self._found = _find(self._asked)
        return self._found

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that decides its values."""
        detector, pose = (self._cache.digest(file) for file in self.files)
        library = [version("rtmlib"), onnxruntime.__version__]
        told = {"name": self.name, "revision": _REVISION, "library": library, "detector": detector, "pose": pose}
        return told | {"people": self.people, "device": self.device.partition(":")[0]}

    @property
    def skeleton(self) -> Skeleton:
        """COCO's 17 joints, Halpe's 26, or so many points."""
        count = self._networks[1].session.get_outputs()[0].shape[1]
        if not isinstance(count, int):
            raise WeightsError(f"{self.files[1]} does not say how many joints it gives: export it with a fixed number")
        return read_skeleton(SKELETONS[count]) if count in SKELETONS else nameless(count, 2)

    def start(self) -> None:
        """A new video: nothing is remembered from frame to frame."""

    def estimate(self, frames: Frames) -> Poses:
        """The people in each frame, in the detector's order."""
        detector, pose = self._networks
        skeleton = self.skeleton
        joints = np.full((len(frames), self.people, len(skeleton), 3), np.nan, np.float32)
        joints[..., 2] = 0
        for number, pixels in enumerate(frames.pixels):
            # The detector learned from blue-green-red pictures, the pose model from red-green-blue ones.
            try:
                boxes = np.asarray(detector(np.ascontiguousarray(pixels[..., ::-1])), np.float32).reshape(-1, 4)
            except (ValueError, IndexError) as error:
                raise WeightsError(f"{self.files[0]} is no YOLOX detector ({_line(error)}): {WAY_ON}") from error
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
            detector, pose = self.files
            with _told(detector, "the detector of people"):
                found = YOLOX(str(detector), device=self.device)
                found.model_input_size = _size(found, (640, 640))
            with _told(pose, "RTMPose"):
                joints = PoseModel(str(pose), device=self.device)
                joints.model_input_size = _size(joints, (256, 192))[::-1]
                if [len(output.shape) for output in joints.session.get_outputs()] != [3, 3]:
                    raise WeightsError(f"{pose} is no RTMPose model (two outputs: x and y of each joint): {WAY_ON}")
            self._loaded = found, joints
        return self._loaded


def _size(tool: Any, usual: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the pictures that a network takes."""
    shape = tool.session.get_inputs()[0].shape
    height, width = (each if isinstance(each, int) else known for each, known in zip(shape[-2:], usual, strict=True))
    return height, width


def _find(asked: str) -> tuple[Path, Path]:
    parts = [part.strip() for part in asked.split(",")]
    if len(parts) == 1 and parts[0].casefold() in Body.MODE:
        chosen = Body.MODE[parts[0].casefold()]
        return _downloaded(chosen["det"]), _downloaded(chosen["pose"])
    if len(parts) != 2 or not all(parts):
        sets = ", ".join(sorted(Body.MODE))
        raise ConfigError("pose_model", f"with rtmpose, DETECTOR.onnx,POSE.onnx or one of {sets}, not {asked!r}")
    files = [Path(part).expanduser() for part in parts]
    for file in files:
        if not file.is_file():
            raise ConfigError("pose_model", f"{file} {'is a folder' if file.is_dir() else 'does not exist'}; {WAY_ON}")
    return files[0], files[1]


def _downloaded(address: str) -> Path:
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return Path(download_checkpoint(address))
    except Exception as error:  # whatever the library's downloads and archives raise
        raise WeightsError(f"{address} cannot be downloaded ({_line(error)}): {WAY_ON}") from error


@contextlib.contextmanager
def _told(file: Path, what: str) -> Iterator[None]:
    """What goes wrong in loading is said in one line; the library's own words stay out of the data on stdout."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    except WeightsError:
        raise
    except Exception as error:  # ONNX Runtime's errors share no class of their own
        raise WeightsError(f"{file} cannot be loaded as {what} ({_line(error)}): {WAY_ON}") from error


def _line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
