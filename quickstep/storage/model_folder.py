"""A folder whose files belong together: written whole or not at all, and every byte checked when it is read again.

`model.json` lists the sha256 of the other files and carries a seal over itself; its presence means complete. A file may lie in a folder
inside (`backbone/model.safetensors`): such are large, so they are checked piece by piece and never held in memory. Knows no model.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from quickstep.storage.files import is_temporary, sync_to_disk, write_text
from quickstep.types.errors import ModelError, QuickstepError

FORMAT = 2  # 1: of version 0.1
RECORD = "model.json"
MEMBER = "member-"  # what the folders of an ensemble's members begin with
ASIDE = ".saving-"  # a file that is not in place yet; with that of the record, all are complete
STATE = ".tuning"  # the folder in which a run of fine-tuning keeps how far it is
_INSIDE = "%2F"  # in the name of a file that is not in place yet: it goes into a folder
FOLDERS = ("backbone", "backbone-last")  # the folders inside that are a model's
# What tells of the model that was there before.
_PICTURES = ("baselines", "confusion", "reliability", "risk-coverage", "roc", "pr", "learning")
STALE = ("report.html", "report.json", "report.md", "README.md", *(f"{name}.png" for name in _PICTURES))

Content = bytes | Callable[[Path], None]  # bytes, or what writes the file itself


def check_target(folder: str | Path) -> Path:
    """The folder, if a model may be written there: a new one, an empty one, or one that holds a model already."""
    folder = Path(folder)
    if folder.is_dir():
        names = {entry.name for entry in _entries(folder) if not is_temporary(entry)}
        if RECORD not in names and not all(name.startswith((ASIDE, MEMBER)) or name == STATE for name in names):
            raise ModelError(folder, "holds other things and no model, so nothing is written there; name a new folder")
    elif folder.exists() or folder.is_symlink():
        raise ModelError(folder, "is no folder, so no model can be written there; name a new folder")
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise ModelError(folder, f"cannot be written: {nearest} is no folder that lets us write; name another one")
    return folder


def write(folder: str | Path, files: Mapping[str, Content], record: Mapping[str, Any]) -> None:
    """Put the files and the record in place together; what was there stays whole until all of it is on disk."""
    folder = check_target(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _settle(folder)
        _clear(folder)
        digests = {name: _put(folder / _aside(name), content) for name, content in files.items()}
        content = {**record, "format": FORMAT, "files": digests}
        text = json.dumps({**content, "seal": _seal(content)}, indent=1, ensure_ascii=False, allow_nan=False)
        write_text(folder / f"{ASIDE}{RECORD}", text)
        _settle(folder)
        _sweep(folder, digests)
    except (OSError, QuickstepError) as error:
        _clear(folder)
        why = getattr(error, "strerror", None) or str(error)
        raise ModelError(folder, f"the model cannot be written: {why}; what was there before is untouched") from error
    except BaseException:
        _clear(folder)
        raise


def read(folder: str | Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The record and the files it lists, all checked; anything amiss is a ModelError that says what.

    Files in folders inside are checked too, but not given: whoever needs them opens them where they lie.
    """
    folder = Path(folder)
    try:
        if not folder.is_dir():
            what = "is a file, not a model folder" if folder.exists() else "there is no such folder"
            raise ModelError(folder, f"{what}; a model is made by `quickstep train VIDEOS -o FOLDER`")
        with contextlib.suppress(PermissionError):
            _settle(folder)
        if not (folder / RECORD).is_file():
            raise ModelError(
                folder, f"is no whole model: it has no {RECORD} (another kind of folder, or training was stopped before its end)"
            )
        record = _parse(folder, (folder / RECORD).read_bytes())
        checked = {name: _checked(folder, name, digest) for name, digest in record["files"].items()}
        return record, {name: raw for name, raw in checked.items() if raw is not None}
    except OSError as error:
        raise ModelError(folder, f"cannot be read: {error.strerror or error}") from error


def _parse(folder: Path, raw: bytes) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(raw.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ModelError(folder, f"its {RECORD} is damaged; copy the folder again, or train again") from error
    written = record.get("format") if isinstance(record, dict) else None
    if isinstance(written, bool) or not isinstance(written, int) or written < 1:
        raise ModelError(folder, f"its {RECORD} is not one of quickstep's: it has no format number")
    if written > FORMAT:
        raise ModelError(folder, f"was written by a newer quickstep (format {written}, this one reads up to {FORMAT}); upgrade quickstep")
    if record.pop("seal", None) != _seal(record):
        raise ModelError(folder, f"its {RECORD} was changed after it was written; copy the folder again, or train again")
    files = record.get("files")
    if not isinstance(files, dict) or not all(isinstance(digest, str) and _plain(name) for name, digest in files.items()):
        raise ModelError(folder, f"its {RECORD} lists no files")
    return record


def _plain(name: str) -> bool:
    """Whether a file's name leads nowhere but into the folder, or a folder in it."""
    parts = name.split("/")
    return len(parts) <= 2 and all(part and part not in (".", "..") and Path(part).name == part for part in parts)


def _checked(folder: Path, name: str, digest: str) -> bytes | None:
    """The file's bytes; None for one in a folder inside, which is checked all the same."""
    path = folder / name
    if not path.is_file():
        raise ModelError(folder, f"is no whole model: it lacks {name}; copy the folder again, or train again")
    raw = None if "/" in name else path.read_bytes()
    if (_digest(path) if raw is None else hashlib.sha256(raw).hexdigest()) != digest:
        raise ModelError(folder, f"its {name} was changed or damaged after it was written; copy the folder again, or train again")
    return raw


def _settle(folder: Path) -> None:
    """Move a complete set into place, the record last: also what a kill in the midst of this left to do."""
    if not (folder / f"{ASIDE}{RECORD}").is_file():
        return
    for entry in _entries(folder):
        if entry.name.startswith(ASIDE) and entry.name != f"{ASIDE}{RECORD}":
            place = folder / entry.name.removeprefix(ASIDE).replace(_INSIDE, "/")
            place.parent.mkdir(exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # another process settles the same folder
                entry.replace(place)
    for name in STALE:
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        (folder / f"{ASIDE}{RECORD}").replace(folder / RECORD)
    sync_to_disk(folder)


def _sweep(folder: Path, listed: Mapping[str, str]) -> None:
    """Remove what an earlier model had in its folders inside."""
    for name in FOLDERS:
        for file in (folder / name).glob("*"):
            if f"{name}/{file.name}" not in listed:
                file.unlink()
        if (folder / name).is_dir() and not any((folder / name).iterdir()):
            (folder / name).rmdir()


def _clear(folder: Path) -> None:
    """Remove an incomplete set; a complete one is left to be settled."""
    if not folder.is_dir() or (folder / f"{ASIDE}{RECORD}").exists():
        return
    with contextlib.suppress(OSError):
        for entry in _entries(folder):
            if entry.name.startswith(ASIDE) or is_temporary(entry):
                entry.unlink(missing_ok=True)


def _put(path: Path, content: Content) -> str:
    """Write a file through to the disk; its sha256."""
    if callable(content):
        content(path)
    else:
        path.write_bytes(content)
    sync_to_disk(path)
    return _digest(path)


def _aside(name: str) -> str:
    return f"{ASIDE}{name.replace('/', _INSIDE)}"


def _digest(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def _seal(content: Mapping[str, Any]) -> str:
    """A digest of what the record says, whatever its spacing and order."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")
