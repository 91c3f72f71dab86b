"""Landmarker: MediaPipe's pose network on square images, without its log output and with its errors translated; and its model file.

Three traps of the library end here. It misreads rows of pixels that are padded, so squares are copied. It bends rotated bodies in images
that are not square, so all are square. Its clock must never go back.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import sys
import threading
import weakref
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pooch
from mediapipe import Image, ImageFormat
from mediapipe.tasks.python import BaseOptions
from mediapipe.tasks.python.vision import PoseLandmarker, PoseLandmarkerOptions, RunningMode
from numpy.typing import NDArray

from quickstep.storage.cache import Cache
from quickstep.storage.files import check_regular
from quickstep.types.errors import CacheError, ConfigError, WeightsError

VERSION = version("mediapipe")
JOINTS = 33

# The published models: the address and the sha256 of version 1 of each.
_ADDRESS = "https://storage.googleapis.com/mediapipe-models/pose_landmarker/pose_landmarker_{0}/float16/1/pose_landmarker_{0}.task"
MODELS = {
    "lite": "59929e1d1ee95287735ddd833b19cf4ac46d29bc7afddbbf6753c459690d574a",
    "full": "5134a3aad27a58b93da0088d431f366da362b44e3ccfbe3462b3827a839011b1",
    "heavy": "64437af838a65d18e5ba7a0d39b465540069bc8aae8308de3e318aad31fcbc7b",
}

_log = logging.getLogger(__name__)
_INSTEAD = "name a model file in `pose_model`, or in the variable QUICKSTEP_POSE_MODEL"
_TIMEOUT = 10.0  # seconds without a byte after which a download fails

_PARTS = ("pose_detector.tflite", "pose_landmarks_detector.tflite")
_BLACK = np.zeros((64, 64, 3), np.uint8)
_CONFIDENCE = 0.4  # least score of a body; at the library's own 0.5 dancers are lost in every other leap
_PAUSE = 1000  # milliseconds before the first image: the network's clock must advance


@dataclass(frozen=True)
class Model:
    """The content of a model file."""

    path: Path
    bytes: bytes
    sha256: str


@dataclass(frozen=True, eq=False)
class Body:
    """One body in a square image."""

    joints: NDArray[np.float32]  # (33, 3): x, y as shares of the square's side, score
    world: NDArray[np.float32]  # (33, 4): x, y, z in metres around the middle of the hips, score


def find_model(model: str | Path | None, cache: Cache) -> Path:
    """Return the file of a model: a path, or the name of a published one, which is downloaded once. None: the setting, else `full`."""
    requested = str(model or os.environ.get("QUICKSTEP_POSE_MODEL") or "full")
    name = requested.strip().casefold()
    if name in MODELS:
        return download_model(_ADDRESS.format(name), sha256=MODELS[name], cache=cache)
    file = Path(requested).expanduser()
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "does not exist"
        raise ConfigError("pose_model", f"{requested} {what}; give a pose_landmarker_*.task file, or one of {', '.join(MODELS)}")
    return file


def download_model(address: str, *, sha256: str, cache: Cache) -> Path:
    """Download a file once into the cache's folder and check its sha256."""
    name, folder = address.rpartition("/")[2], cache.folder / "downloads" / sha256[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CacheError(cache.folder, f"cannot be written: {error.strerror or error}; {_INSTEAD}") from error
    pooch.get_logger().setLevel(logging.WARNING)
    downloader = pooch.HTTPDownloader(timeout=_TIMEOUT)
    try:
        return Path(pooch.retrieve(address, f"sha256:{sha256}", name, folder, downloader=downloader))
    except ValueError as error:
        raise WeightsError(f"the file at {address} is not the published one: its sha256 differs; {_INSTEAD}") from error
    except OSError as error:  # those of requests are such, too
        _log.info("cannot download %s: %s", address, error)
        reason = type(error).__name__ if error.strerror is None else error.strerror
        raise WeightsError(f"{name} is not on this machine and {address} cannot be reached ({reason}); {_INSTEAD}") from error


def read_model(path: Path) -> Model:
    """Read a model file; refuse a file of another kind before the network's library opens it."""
    try:
        check_regular(path)
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"the pose model {path} cannot be read: {error.strerror or error}") from error
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            missing = [part for part in _PARTS if part not in archive.namelist()]
            broken = archive.testzip()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        raise WeightsError(
            f"{path} is not a model of MediaPipe's pose landmarker, or is cut short: give a pose_landmarker_*.task file"
        ) from error
    if missing:
        raise WeightsError(f"{path} is a model of something else: it has no {missing[0]}; give a pose_landmarker_*.task file")
    if broken:
        raise WeightsError(f"{path} is damaged ({broken}): download or copy it again")
    return Model(path, content, hashlib.sha256(content).hexdigest())


class Landmarker:
    """One network. With `follows` it follows one body through the frames of a video; without, each image is independent."""

    def __init__(self, model: Model, *, follows: bool, people: int = 1) -> None:
        self._follows = follows
        self._clock = 0  # milliseconds
        self._logs = True  # the library logs until it finds the first body
        options = PoseLandmarkerOptions(
            base_options=BaseOptions(model_asset_buffer=model.bytes, delegate=BaseOptions.Delegate.CPU),
            running_mode=RunningMode.VIDEO if follows else RunningMode.IMAGE,
            num_poses=1 if follows else people,
            min_pose_detection_confidence=_CONFIDENCE,
            min_pose_presence_confidence=_CONFIDENCE,
            min_tracking_confidence=_CONFIDENCE,
        )
        with _without_stderr():
            try:
                self._network = PoseLandmarker.create_from_options(options)
            except (RuntimeError, ValueError, OSError) as error:
                why = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
                raise WeightsError(
                    f"{model.path} cannot be loaded as a pose landmarker ({why}): give a pose_landmarker_*.task file"
                ) from error
            self._free = weakref.finalize(self, _free, self._network)  # also when the program ends
            self._detect(_BLACK, -_PAUSE / 1000)  # the library logs during its first computation

    def detect(self, square: NDArray[np.uint8], time: float = 0.0) -> list[Body]:
        """Return the bodies in an image (S, S, 3)."""
        if not self._logs:
            return self._detect(square, time)
        with _without_stderr():
            bodies = self._detect(square, time)
        self._logs = not bodies
        return bodies

    def detect_again(self, square: NDArray[np.uint8]) -> list[Body]:
        """Return the bodies in another image of the same moment; a network that has lost its body searches the whole square."""
        return self._detect(square, (self._clock + 1 - _PAUSE) / 1000)

    def forget(self) -> None:
        """Stop following the body: the next image is searched again. Only the smoothing of the scores goes on."""
        if self._follows:
            for _ in range(3):  # one black image is nearly always enough
                if not self._detect(_BLACK, (self._clock + 1 - _PAUSE) / 1000):
                    return

    def close(self) -> None:
        """Free the network."""
        self._free()

    def _detect(self, square: NDArray[np.uint8], time: float = 0.0) -> list[Body]:
        image = Image(image_format=ImageFormat.SRGB, data=np.ascontiguousarray(square))
        if not self._follows:
            result = self._network.detect(image)
        else:
            self._clock = max(self._clock + 1, _PAUSE + round(time * 1000))
            result = self._network.detect_for_video(image, self._clock)
        bodies = []
        for flat, world in zip(result.pose_landmarks, result.pose_world_landmarks, strict=True):
            joints = np.array([(mark.x, mark.y, mark.visibility) for mark in flat], np.float32)
            metres = np.array([(mark.x, mark.y, mark.z, mark.visibility) for mark in world], np.float32)
            bodies.append(Body(joints, metres))
        return bodies


def _free(network: PoseLandmarker) -> None:
    try:
        with _without_stderr():
            network.close()
    except RuntimeError:  # at the end of the program the library's own thread may have ended before: the system frees the rest
        network._handle = None  # so that it does not try again


_stderr_lock = threading.Lock()


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Discard what the library's C++ code writes to stderr in the block; what Python writes there still arrives."""
    with _stderr_lock:
        try:
            own = sys.stderr.fileno() == 2
        except (AttributeError, OSError, ValueError):
            own = False
        try:
            saved, python = os.dup(2), sys.stderr
        except OSError:  # the process has no stderr
            yield
            return
        if own:
            sys.stderr.flush()
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, 2)
            if own:
                with open(saved, "w", buffering=1, encoding=python.encoding, errors="backslashreplace", closefd=False) as sys.stderr:
                    yield
            else:
                yield
        finally:
            sys.stderr = python
            os.dup2(saved, 2)
            os.close(null)
            os.close(saved)
