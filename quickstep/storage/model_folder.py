"""Write and read a folder whose files belong together: all of them or none, each checked by its hash when it is read.

`model.json` lists the sha256 of the other files and holds a seal, a hash of itself. A folder that has it is complete. A file may be in a
subfolder (`backbone/model.safetensors`). Such files are large, so they are hashed in blocks and not returned.

A write first puts every file beside its final place, then `model.json`, and then renames them. If it is killed while renaming, the next
read or write finishes the renaming.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from quickstep.storage.files import is_temporary, sync_to_disk, write_text
from quickstep.types.errors import ModelError, QuickstepError
from quickstep.types.escaping import escaped

FORMAT = 2  # 1: of version 0.1
RECORD = "model.json"
HOW_MADE = "a model is made by `quickstep train VIDEOS -o FOLDER`"
PENDING = ".saving-"  # prefix of a file that is not renamed yet; when the record has it, all files are complete
_SLASH = "%2F"  # stands for the slash in the name of a pending file of a subfolder

Content = bytes | Callable[[Path], object]  # bytes, or a function that writes the file


@dataclass(frozen=True)
class FolderLayout:
    """The names of what may lie beside the files of a folder."""

    subfolders: tuple[str, ...] = ()  # that belong to the content: files from an earlier write are removed
    outdated: tuple[str, ...] = ()  # files about the earlier content, removed when the content is replaced
    extras: tuple[str, ...] = ()  # prefixes of other entries that a folder without a record may contain


def check_target(folder: str | Path, layout: FolderLayout) -> Path:
    """Return the folder if content may be written there: it is new, empty, or has a record already."""
    folder = Path(folder)
    if folder.is_dir():
        names = {entry.name for entry in _entries(folder) if not is_temporary(entry)}
        is_model = RECORD in names or f"{PENDING}{RECORD}" in names
        if not is_model and not all(name.startswith((PENDING, *layout.extras)) for name in names):
            raise ModelError(folder, "contains other files and not a model, so nothing is written there; name a new folder")
    elif folder.exists() or folder.is_symlink():
        raise ModelError(folder, "is not a folder, so a model cannot be written there; name a new folder")
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise ModelError(folder, f"cannot be written: {nearest} is not a folder with permission to write; name another folder")
    return folder


def write(folder: str | Path, files: Mapping[str, Content], record: Mapping[str, Any], layout: FolderLayout) -> None:
    """Replace the content by these files and this record; the earlier content stays complete until the new one is on the disk."""
    folder = check_target(folder, layout)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _rename_pending(folder, layout)
        _remove_incomplete(folder)
        digests = {name: _write_pending(folder / _pending_name(name), content) for name, content in files.items()}
        content = {**record, "format": FORMAT, "files": digests}
        text = json.dumps({**content, "seal": _seal(content)}, indent=1, ensure_ascii=False, allow_nan=False)
        write_text(folder / f"{PENDING}{RECORD}", text)
        _rename_pending(folder, layout)
        _remove_unlisted(folder, digests, layout)
    except (OSError, QuickstepError) as error:
        _remove_incomplete(folder)
        raise ModelError(folder, f"the model cannot be written: {_reason(error)}; what was there before is unchanged") from error
    except BaseException:
        _remove_incomplete(folder)
        raise


def read(folder: str | Path, layout: FolderLayout) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the record and the content of the files that it lists, all checked; a ModelError says what is wrong.

    Files of subfolders are checked but not returned.
    """
    folder = Path(folder)
    try:
        if not folder.is_dir():
            what = "is a file, not a model folder, which comes first" if folder.exists() else "there is no such folder"
            raise ModelError(folder, f"{what}; {HOW_MADE}")
        with contextlib.suppress(PermissionError):
            _rename_pending(folder, layout)
        if not (folder / RECORD).is_file():
            raise ModelError(folder, f"is not a complete model: it has no {RECORD} (other files, or a stopped training); {HOW_MADE}")
        record = _parse(folder, (folder / RECORD).read_bytes())
        checked = {name: _checked(folder, name, digest) for name, digest in record["files"].items()}
        return record, {name: raw for name, raw in checked.items() if raw is not None}
    except OSError as error:
        raise ModelError(folder, f"cannot be read: {_reason(error)}") from error


def _parse(folder: Path, raw: bytes) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(raw.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ModelError(folder, f"its {RECORD} is damaged; copy the folder again, or train again") from error
    written = record.get("format") if isinstance(record, dict) else None
    if isinstance(written, bool) or not isinstance(written, int) or written < 1:
        raise ModelError(folder, f"its {RECORD} was not written by quickstep: it has no format number")
    if written > FORMAT:
        raise ModelError(folder, f"was written by a newer quickstep (format {written}, this one reads up to {FORMAT}); upgrade quickstep")
    if record.pop("seal", None) != _seal(record):
        raise ModelError(folder, f"its {RECORD} was changed after it was written; copy the folder again, or train again")
    files = record.get("files")
    if not isinstance(files, dict) or not all(isinstance(digest, str) and _stays_inside(name) for name, digest in files.items()):
        raise ModelError(folder, f"its {RECORD} lists no files")
    return record


def _stays_inside(name: str) -> bool:
    """Whether a file name leads into the folder, or into one of its subfolders, and nowhere else."""
    parts = name.split("/")
    return len(parts) <= 2 and all(part and part not in (".", "..") and Path(part).name == part for part in parts)


def _checked(folder: Path, name: str, digest: str) -> bytes | None:
    """Return a file's bytes if they have the listed hash; None for a file of a subfolder, which is checked in blocks."""
    path = folder / name
    if not path.is_file():
        raise ModelError(folder, f"is not a complete model: it lacks {name}; copy the folder again, or train again")
    raw = None if "/" in name else path.read_bytes()
    if (_digest(path) if raw is None else hashlib.sha256(raw).hexdigest()) != digest:
        raise ModelError(folder, f"its {name} was changed or damaged after it was written; copy the folder again, or train again")
    return raw


def _rename_pending(folder: Path, layout: FolderLayout) -> None:
    """Rename a complete set of pending files, the record last; does nothing where there is no complete set."""
    if not (folder / f"{PENDING}{RECORD}").is_file():
        return
    for entry in _entries(folder):
        if entry.name.startswith(PENDING) and entry.name != f"{PENDING}{RECORD}":
            name = entry.name.removeprefix(PENDING).replace(_SLASH, "/")
            target = folder / name
            if not _stays_inside(name) or target.parent.is_symlink() or entry.is_symlink():  # opening a stranger's folder comes here
                raise ModelError(folder, f"its file {escaped(entry.name)} leads out of the folder, so it was not moved")
            target.parent.mkdir(exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # another process renames the same files
                entry.replace(target)
    for name in layout.outdated:
        (folder / name).unlink(missing_ok=True)
    for name in layout.subfolders:
        if (folder / name).is_dir():
            sync_to_disk(folder / name)
    with contextlib.suppress(FileNotFoundError):
        (folder / f"{PENDING}{RECORD}").replace(folder / RECORD)
    sync_to_disk(folder)


def _remove_unlisted(folder: Path, listed: Mapping[str, str], layout: FolderLayout) -> None:
    """Remove what the earlier content had in its subfolders."""
    for name in layout.subfolders:
        for file in (folder / name).glob("*"):
            if f"{name}/{file.name}" not in listed:
                file.unlink()
        if (folder / name).is_dir() and not any((folder / name).iterdir()):
            (folder / name).rmdir()


def _remove_incomplete(folder: Path) -> None:
    """Remove an incomplete set of pending files; a complete one stays and is renamed later."""
    if not folder.is_dir() or (folder / f"{PENDING}{RECORD}").exists():
        return
    with contextlib.suppress(OSError):
        for entry in _entries(folder):
            if entry.name.startswith(PENDING) or is_temporary(entry):
                entry.unlink(missing_ok=True)


def _write_pending(path: Path, content: Content) -> str:
    """Write a file through to the disk and return its sha256."""
    if callable(content):
        content(path)
    else:
        path.write_bytes(content)
    sync_to_disk(path)
    return _digest(path)


def _pending_name(name: str) -> str:
    return f"{PENDING}{name.replace('/', _SLASH)}"


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def _seal(content: Mapping[str, Any]) -> str:
    """Return a hash of what the record says, which does not depend on its spacing and order."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
