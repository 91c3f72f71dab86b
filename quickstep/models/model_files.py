"""The files of a model folder, and what a model and an ensemble read and write in the same way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

from quickstep.datasets.manifest import Manifest, read_manifest, write_manifest
from quickstep.storage import model_folder
from quickstep.storage.model_folder import Content, FolderLayout
from quickstep.types.errors import ManifestError, ModelError

HEAD, HEAD_LAST, MANIFEST, HISTORY = "head.safetensors", "head-last.safetensors", "manifest.csv", "history.json"
NETWORK, NETWORK_LAST = "backbone", "backbone-last"  # subfolders of a fine-tuned model: of its best epoch, and of its last
MEMBER = "member-"  # prefix of the folders of an ensemble's members
TUNING_STATE = ".tuning"  # folder in which a fine-tuning run keeps its state
ENSEMBLE = "ensemble"  # the kind of a folder that holds several models
THIRD_PARTY_FILES = ("weights.ckpt", "config.json")
CHARTS = ("baselines", "confusion", "reliability", "risk-coverage", "roc", "pr", "learning")
REPORT_FILES = ("report.html", "report.json", "report.md", "README.md", *(f"{chart}.png" for chart in CHARTS))
LAYOUT = FolderLayout(subfolders=(NETWORK, NETWORK_LAST), outdated=REPORT_FILES, extras=(MEMBER, TUNING_STATE))

T = TypeVar("T")


def check_target(folder: str | Path) -> Path:
    """Return the folder if a model may be written there: it is new, empty, or has a model already."""
    return model_folder.check_target(folder, LAYOUT)


def is_third_party(folder: Path) -> bool:
    """Whether a folder is a third-party classifier, and not a model folder of quickstep."""
    return all((folder / name).is_file() for name in THIRD_PARTY_FILES) and not (folder / model_folder.RECORD).exists()


def manifest_files(manifest: Manifest | None) -> dict[str, Content]:
    """Return the manifest as a file to write, where there is one."""
    return {} if manifest is None else {MANIFEST: partial(write_manifest, manifest)}


def manifest_of(folder: Path, original: str, files: Mapping[str, bytes]) -> Manifest | None:
    """Read the manifest, its paths relative to the folder, or to where the folder was when it was written; None without its videos."""
    if MANIFEST not in files:
        return None
    for root in dict.fromkeys((folder, Path(original))):
        try:
            return read_manifest(folder / MANIFEST, root=root)
        except ManifestError:  # none of its videos exists
            continue
    return None


def consistent(folder: Path, read: Callable[[], T]) -> T:
    """Return what `read` returns; a part that does not match the others is a ModelError about the folder."""
    try:
        return read()
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        why = error.args[0] if isinstance(error, KeyError) else error
        raise ModelError(folder, f"is inconsistent ({why}); it was written by another quickstep, or changed") from error
