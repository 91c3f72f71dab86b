"""Which paths mean poses, and the `#name` behind a file that holds many sequences; reads at most a file's first bytes."""

from __future__ import annotations

import re
from pathlib import Path

from quickstep.signals.poses.formats.openpose import is_folder

POSE_SUFFIXES = frozenset({".npy", ".npz", ".json", ".pkl", ".pickle"})
_MEMBER = re.compile(r"^(?P<file>.+?\.(?:pkl|pickle|txt))#(?P<member>.+)$", re.IGNORECASE | re.DOTALL)
_FIRST = (b"\x93NUMPY", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b'{"', b"[{", b"[\n", b"{\n")


def divided(path: str | Path) -> tuple[Path, str | None]:
    """The file itself and the sequence in it that a path such as `set.pkl#jump-07` means."""
    match = _MEMBER.match(str(path))
    return (Path(match["file"]), match["member"]) if match and not Path(path).exists() else (Path(path), None)


def joined(file: Path, member: str) -> Path:
    """The path that means one sequence of a file."""
    return Path(f"{file}#{member}")


def is_pose_name(path: Path) -> bool:
    """Whether the name alone says that a file holds poses."""
    return path.suffix.lower() in POSE_SUFFIXES or _MEMBER.match(str(path)) is not None


def is_pose_file(path: str | Path) -> bool:
    """Whether a path means poses: by its name, as a folder of one JSON a frame, or by how the file begins."""
    path = Path(path)
    if is_pose_name(path):
        return True
    try:
        if path.is_dir():
            return is_folder(path)
        with path.open("rb") as handle:
            first = handle.read(6)
    except (OSError, ValueError):
        return False
    return first.startswith(_FIRST)
