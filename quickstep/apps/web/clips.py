"""The clips that people record or drop on the page Teach: a folder a class, a folder a person, on the app's machine only."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from quickstep.datasets.manifest import Manifest
from quickstep.signals.video import probe
from quickstep.storage.files import write_bytes
from quickstep.types.errors import ConfigError, ManifestError, QuickstepError
from quickstep.types.segment import Segment

VIDEO = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")
LONGEST_NAME = 60
MOST_IN_ZIP = 2000  # videos
_NOT_IN_NAMES = set('/\\:*?"<>|')  # of folders, on some system


@dataclass(frozen=True)
class Clip:
    """One clip: a class, and who is in it."""

    path: Path
    label: str
    person: str


class Clips:
    """The clips in a folder, as `LABEL/PERSON/0001.webm`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    @property
    def labels(self) -> list[str]:
        """The classes, also those without a clip."""
        return sorted(path.name for path in self.folder.glob("*") if path.is_dir()) if self.folder.is_dir() else []

    def of(self, label: str) -> list[Clip]:
        """Return the clips of a class, oldest first."""
        files = [path for path in (self.folder / label).glob("*/*") if path.suffix in VIDEO]
        return [Clip(path, label, path.parent.name) for path in sorted(files, key=lambda path: (path.stat().st_mtime_ns, path.name))]

    def add_class(self, label: str) -> None:
        """Make a class."""
        (self.folder / plain_name(label, "class")).mkdir(parents=True, exist_ok=True)

    def delete_class(self, label: str) -> None:
        """Delete a class with its clips."""
        for clip in self.of(label):
            self.delete(clip)
        place = self.folder / plain_name(label, "class")
        for folder in (*place.glob("*"), place):
            folder.rmdir()

    def add(self, label: str, person: str, content: bytes, suffix: str) -> Clip:
        """Save a clip; refuse what is not a video."""
        home = self.folder / plain_name(label, "class") / plain_name(person, "person")
        home.mkdir(parents=True, exist_ok=True)
        number = 1 + max((int(path.stem) for path in home.glob("*") if path.stem.isdigit()), default=0)
        path = home / f"{number:04d}{suffix}"
        write_bytes(path, content)
        try:
            probe(path)
        except QuickstepError:
            path.unlink()
            raise
        return Clip(path, label, person)

    def add_zip(self, label: str | None, person: str, content: bytes, *, most_bytes: int) -> int:
        """Add the videos of a zip: those in a folder to the class of its name, others to `label`; return how many."""
        count = 0
        for name, video in _videos_of_zip(content, most_bytes):
            folder = PurePosixPath(name).parent.name
            if not folder and label is None:
                raise ManifestError(Path("the zip"), f"{name} is in no folder, and the folder's name is the class")
            self.add(folder or str(label), person, video, Path(name).suffix.lower())
            count += 1
        return count

    def delete(self, clip: Clip) -> None:
        """Delete a clip from the disk."""
        clip.path.unlink(missing_ok=True)

    def manifest(self) -> Manifest:
        """Return all clips as a list to train on; the group of a clip is the person in it."""
        segments = tuple(Segment(clip.path, label=label, group=clip.person) for label in self.labels for clip in self.of(label))
        return Manifest(segments, source=self.folder)


def plain_name(name: str, what: str) -> str:
    """Return the name of a class or a person, as it was written; refuse one that cannot be a folder's."""
    name = name.strip()
    if not name or len(name) > LONGEST_NAME or name.startswith(".") or not name.isprintable() or set(name) & _NOT_IN_NAMES:
        letters = " ".join(sorted(_NOT_IN_NAMES))
        raise ConfigError(what, f"a name of 1 to {LONGEST_NAME} letters without {letters} and no dot at its beginning, not {name!r}")
    return name


def _videos_of_zip(content: bytes, most_bytes: int) -> Iterator[tuple[str, bytes]]:
    """Yield the videos of a zip with their names; no more is unpacked than allowed, whatever its header claims."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as opened:
            entries = [entry for entry in opened.infolist() if _is_video(entry.filename)]
            if len(entries) > MOST_IN_ZIP:
                raise ManifestError(Path("the zip"), f"has {len(entries)} videos; at most {MOST_IN_ZIP} are read at once")
            for entry in entries:
                with opened.open(entry) as file:
                    video = file.read(most_bytes + 1)
                most_bytes -= len(video)
                if most_bytes < 0:
                    raise ManifestError(Path("the zip"), "is larger than the app allows when it is unpacked: drop fewer videos at once")
                yield entry.filename, video
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:  # damaged, an unknown compression, or a password
        raise ManifestError(Path("the zip"), f"cannot be read: {error}") from error


def _is_video(name: str) -> bool:
    """Whether a name is that of a video, and of none that a system hides."""
    path = PurePosixPath(name)
    return path.suffix.lower() in VIDEO and not any(part.startswith((".", "__MACOSX")) for part in path.parts)
