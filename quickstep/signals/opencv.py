"""OpenCV: `cv2` for every module, and which build of it runs.

Several packages bring OpenCV, all into the same folder: where two are installed, the files of one lie over those of the other, and which
version runs depends on their order. quickstep depends on `opencv-contrib-python` alone, the one that MediaPipe brings too.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib import metadata

from quickstep.types.errors import QuickstepError

PACKAGE = "opencv-contrib-python"
PACKAGES = (PACKAGE, "opencv-contrib-python-headless", "opencv-python", "opencv-python-headless")


class OpenCvError(QuickstepError, ImportError):
    """OpenCV is missing, or a system library that it needs."""


try:
    import cv2 as cv2
except ImportError as error:
    advice = "Debian and Ubuntu: apt install libgl1 libglib2.0-0" if ".so" in str(error) else f"pip install {PACKAGE}"
    raise OpenCvError(f"OpenCV cannot be loaded ({error}); {advice}") from error


def installed_packages() -> dict[str, str]:
    """Return the packages that bring OpenCV and are installed, with their versions."""
    versions: dict[str, str] = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def conflict(packages: Mapping[str, str]) -> str | None:
    """Return what is wrong where several packages bring OpenCV, and the commands that mend it."""
    if len(packages) < 2:
        return None
    names = " and ".join(f"{name} {version}" for name, version in packages.items())
    return f"{len(packages)} packages bring OpenCV ({names}), and version {cv2.__version__} runs; {mend(packages)}"


def mend(packages: Mapping[str, str]) -> str:
    """Return the commands after which one package brings OpenCV."""
    return f"pip uninstall -y {' '.join(packages or [PACKAGE])}, then pip install {PACKAGE}"


_problem = conflict(installed_packages())
if _problem is not None:
    logging.getLogger(__name__).warning("%s", _problem)
