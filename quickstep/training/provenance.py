"""How a model was made: the facts that are saved with it, and the versions of the libraries that computed it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from quickstep.datasets.manifest import PARTS, Manifest
from quickstep.models.model import Facts
from quickstep.storage.serialization import library_version
from quickstep.types.segment import Failure

LIBRARIES = ("numpy", "torch", "transformers", "av", "scikit-learn", "scipy", "safetensors")


def make_facts(manifest: Manifest | None = None, *, failures: Sequence[Failure] = (), **facts: Any) -> Facts:
    """Return the facts of a model made now: from the manifest what it was trained on, the rest as given."""
    trained_on: dict[str, Any] = {}
    if manifest is not None:
        trained_on = {
            "source": str(manifest.source or ""),
            "fingerprint": manifest.fingerprint,
            "splits": count_segments(manifest, manifest.labels),
        }
    return Facts(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        quickstep=library_version("quickstep"),
        failures=tuple(f"{failure.segment}: {failure.error}" for failure in failures),
        **{"versions": library_versions(), **trained_on, **facts},
    )


def count_segments(manifest: Manifest, labels: Sequence[str]) -> dict[str, dict[str, int]]:
    """Count the segments of each label in each part."""
    return {part: {label: manifest.part(part).counts.get(label, 0) for label in labels} for part in PARTS}


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that decide a model's values."""
    return {**{name: library_version(name) for name in LIBRARIES}, "opencv": _opencv_version()}


def _opencv_version() -> str:
    """Return the version of OpenCV that runs, whatever package brought it; "" where none can be loaded."""
    try:
        from quickstep.signals.opencv import cv2
    except ImportError:
        return ""
    return str(cv2.__version__)
