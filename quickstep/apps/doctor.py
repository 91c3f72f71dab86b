"""Examine an installation: what is installed, what is missing and what to do about it. Nothing is changed."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from typing import Literal

from quickstep.apps.terminal import MACHINE_OUTPUT_VERSION
from quickstep.storage.cache import Cache
from quickstep.types.errors import QuickstepError, pip_command

State = Literal["good", "missing", "bad"]
LIBRARIES = ("torch", "transformers", "av", "scikit-learn", "numpy")
EXTRAS = {
    "openvino": ("openvino", "the fastest way to encode images on Intel processors"),
    "tune": ("optuna", "a search for settings"),
    "serve": ("fastapi", "the HTTP service"),
    "search": ("lancedb", "a searchable library of videos"),
    "pose": ("mediapipe", "keypoints by MediaPipe"),
    "rtmpose": ("rtmlib", "keypoints by RTMPose"),
    "siglip": ("sentencepiece", "text prompts for the first SigLIP"),
}


@dataclass(frozen=True)
class Finding:
    """One part of the installation: its state and, where it is not good, what to do."""

    what: str
    state: State
    details: str
    advice: str = ""


def examine(cache: Cache | None = None) -> list[Finding]:
    """Examine everything that decides whether and how fast quickstep works on this machine."""
    return [_python(), *_libraries(), *_extras(), _opencv(), _ffmpeg(), _isolation(), _device(), _weights(), _cache(cache or Cache())]


def _python() -> Finding:
    good = sys.version_info >= (3, 11)
    return Finding(
        "python", "good" if good else "bad", f"{platform.python_version()} on {platform.platform()}", "" if good else "use 3.11 or newer"
    )


def _libraries() -> Iterator[Finding]:
    yield Finding("quickstep", "good", metadata.version("quickstep"))
    yield Finding("machine output", "good", f"version {MACHINE_OUTPUT_VERSION}")
    for name in LIBRARIES:
        try:
            yield Finding(name, "good", metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Finding(name, "bad", "not installed", "pip install quickstep")


def _extras() -> Iterator[Finding]:
    for extra, (module, use) in EXTRAS.items():
        if find_spec(module) is not None:
            yield Finding(f"[{extra}]", "good", f"{metadata.version(module)}: {use}")
        else:
            yield Finding(f"[{extra}]", "missing", use, pip_command(extra))


def _opencv() -> Finding:
    try:
        from quickstep.signals import opencv
    except ImportError as error:
        what, _, advice = str(error).partition("; ")
        return Finding("cv2", "bad", what, advice)
    packages = opencv.installed_packages()
    details = f"{opencv.cv2.__version__}, from {' and '.join(packages) or 'elsewhere'}"
    if opencv.conflict(packages) is not None:
        return Finding("cv2", "bad", details, opencv.mend(packages))
    return Finding("cv2", "good", details)


def _ffmpeg() -> Finding:
    from quickstep.signals.video import ffmpeg_version

    try:
        return Finding("ffmpeg", "good", f"{ffmpeg_version()} inside PyAV")
    except ImportError as error:
        return Finding("ffmpeg", "bad", str(error), "pip install --force-reinstall av")


def _isolation() -> Finding:
    if not sys.platform.startswith("linux"):
        return Finding("isolation", "missing", "videos are decoded in this process", "processes of their own need Linux")
    try:
        from quickstep.signals.video.decoder_pool import start_decoder

        held = start_decoder()
    except (ImportError, QuickstepError) as error:
        return Finding("isolation", "bad", str(error), "--isolate never decodes videos in this process")
    advice = "" if held.all_hold else "Landlock needs Linux 5.13, the filter of system calls x86-64; what holds is used"
    return Finding(
        "isolation", "good" if held.all_hold else "missing", f"videos are decoded in processes of their own; {held.text}", advice
    )


def _device() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding("device", "good", f"{torch.cuda.get_device_name()} (cuda {torch.version.cuda})")
    if torch.backends.mps.is_available():
        return Finding("device", "good", "Apple GPU (mps)")
    threads = f"{torch.get_num_threads()} threads"
    return Finding(
        "device", "good", f"CPU, {threads}, {torch.backends.cpu.get_cpu_capability()}", "a GPU makes networks faster; none is needed"
    )


def _weights() -> Finding:
    from quickstep.backbones import weights_available

    if weights_available("clip-vit-b32"):
        return Finding("CLIP weights", "good", "clip-vit-b32 is on this machine")
    return Finding(
        "CLIP weights",
        "missing",
        "clip-vit-b32 is not on this machine",
        "fetched on first use where a hub is reachable; else --weights FOLDER, or --backbone flow-hist, which needs none",
    )


def _cache(cache: Cache) -> Finding:
    entries = list(cache.entries())
    size = sum(entry.size for entry in entries) / 1e6
    return Finding("cache", "good", f"{cache.folder}: {len(entries)} values, {size:.1f} MB", "quickstep cache shows and prunes it")
