"""Landmarker: MediaPipe's pose network on square pictures, quiet and with its errors translated. The only file that imports mediapipe.

Knows pictures and times, not people over time. Traps of the library that end here: rows of pixels that are padded are misread without
a word (squares are copied whole); rotated bodies are bent in pictures that are not square (so all are); time must never go back.
"""

from __future__ import annotations

import hashlib
import io
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
from mediapipe import Image, ImageFormat
from mediapipe.tasks.python import BaseOptions
from mediapipe.tasks.python.vision import PoseLandmarker, PoseLandmarkerOptions, RunningMode
from numpy.typing import NDArray

from quickstep.types.errors import WeightsError

VERSION = version("mediapipe")
JOINTS = 33

_PARTS = ("pose_detector.tflite", "pose_landmarks_detector.tflite")
_BLACK = np.zeros((64, 64, 3), np.uint8)
_CONFIDENCE = 0.4  # at which a body is one; at the library's own 0.5 dancers are lost in every other leap
_PAUSE = 1000  # milliseconds before the first picture: its clock must not stand still


@dataclass(frozen=True)
class Model:
    """A model file, read whole."""

    path: Path
    bytes: bytes
    sha256: str


@dataclass(frozen=True, eq=False)
class Body:
    """One body that was found in a square picture."""

    joints: NDArray[np.float32]  # (33, 3): x, y as shares of the square's side, score
    world: NDArray[np.float32]  # (33, 4): x, y, z in metres around the middle of the hips, score


def read_model(path: Path) -> Model:
    """A model file; what is none is refused before the network's library sees it."""
    try:
        blob = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"the pose model {path} cannot be read: {error.strerror or error}") from error
    try:
        with zipfile.ZipFile(io.BytesIO(blob)) as archive:
            missing = [part for part in _PARTS if part not in archive.namelist()]
            broken = archive.testzip()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        raise WeightsError(
            f"{path} is no model of MediaPipe's pose landmarker, or cut short: give a pose_landmarker_*.task file"
        ) from error
    if missing:
        raise WeightsError(f"{path} is a model of something else: it has no {missing[0]}; give a pose_landmarker_*.task file")
    if broken:
        raise WeightsError(f"{path} is damaged ({broken}): fetch or copy it again")
    return Model(path, blob, hashlib.sha256(blob).hexdigest())


class Landmarker:
    """One network. With `follows`, it is shown a video and follows one body from frame to frame; else each picture stands alone."""

    def __init__(self, model: Model, *, follows: bool, people: int = 1) -> None:
        self._follows = follows
        self._last = 0  # its clock, in milliseconds
        self._chatty = True
        options = PoseLandmarkerOptions(
            base_options=BaseOptions(model_asset_buffer=model.bytes, delegate=BaseOptions.Delegate.CPU),
            running_mode=RunningMode.VIDEO if follows else RunningMode.IMAGE,
            num_poses=1 if follows else people,
            min_pose_detection_confidence=_CONFIDENCE,
            min_pose_presence_confidence=_CONFIDENCE,
            min_tracking_confidence=_CONFIDENCE,
        )
        with _hushed():
            try:
                self._network = PoseLandmarker.create_from_options(options)
            except (RuntimeError, ValueError, OSError) as error:
                why = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
                raise WeightsError(
                    f"{model.path} cannot be loaded as a pose landmarker ({why}): give a pose_landmarker_*.task file"
                ) from error
            self._freed = weakref.finalize(self, _free, self._network)  # also when the program ends
            self._look(_BLACK, -_PAUSE / 1000)  # what it has to say when it first computes is said now

    def look(self, square: NDArray[np.uint8], time: float = 0.0) -> list[Body]:
        """The bodies in a picture (S, S, 3)."""
        if not self._chatty:
            return self._look(square, time)
        with _hushed():
            found = self._look(square, time)
        self._chatty = not found
        return found

    def look_again(self, square: NDArray[np.uint8]) -> list[Body]:
        """The same moment once more, from another place: having lost the body, it now searches the whole square."""
        return self._look(square, (self._last + 1 - _PAUSE) / 1000)

    def forget(self) -> None:
        """The body is let go of: it is searched for anew in the next picture. Only the scores are still smoothed from before."""
        if self._follows:
            for _ in range(3):  # one black picture nearly always does
                if not self._look(_BLACK, (self._last + 1 - _PAUSE) / 1000):
                    return

    def close(self) -> None:
        """Free the network."""
        self._freed()

    def _look(self, square: NDArray[np.uint8], time: float = 0.0) -> list[Body]:
        image = Image(image_format=ImageFormat.SRGB, data=np.ascontiguousarray(square))
        if not self._follows:
            found = self._network.detect(image)
        else:
            self._last = max(self._last + 1, _PAUSE + round(time * 1000))
            found = self._network.detect_for_video(image, self._last)
        bodies = []
        for flat, world in zip(found.pose_landmarks, found.pose_world_landmarks, strict=True):
            joints = np.array([(mark.x, mark.y, mark.visibility) for mark in flat], np.float32)
            metres = np.array([(mark.x, mark.y, mark.z, mark.visibility) for mark in world], np.float32)
            bodies.append(Body(joints, metres))
        return bodies


def _free(network: PoseLandmarker) -> None:
    try:
        with _hushed():
            network.close()
    except RuntimeError:  # the program ends, and the library's own thread has ended before: the system frees the rest
        network._handle = None  # so that it does not try again, and complain


_hushing = threading.Lock()


@contextmanager
def _hushed() -> Iterator[None]:
    """What the library's C++ side writes to stderr inside goes nowhere; what Python writes there meanwhile still arrives."""
    with _hushing:
        try:
            own = sys.stderr.fileno() == 2
        except (AttributeError, OSError, ValueError):
            own = False
        try:
            kept, python = os.dup(2), sys.stderr
        except OSError:  # there is no stderr at all
            yield
            return
        if own:
            sys.stderr.flush()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            if own:
                with open(kept, "w", buffering=1, encoding=python.encoding, errors="backslashreplace", closefd=False) as sys.stderr:
                    yield
            else:
                yield
        finally:
            sys.stderr = python
            os.dup2(kept, 2)
            os.close(nowhere)
            os.close(kept)
