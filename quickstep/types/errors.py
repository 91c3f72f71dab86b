"""Every error that a user can cause, as one tree.

    QuickstepError
    ├── MediaError(path)          a video that cannot be read or written          also OSError
    ├── ManifestError(path, line) a wrong list of labelled videos                 also ValueError
    ├── UnknownName(kind, name)   a name that does not exist                      also LookupError
    ├── MissingExtra(name)        a library that an optional part needs           also ImportError
    ├── WeightsError              pretrained weights absent, broken or unsuitable also OSError
    ├── ModelError(folder)        a model folder that is incomplete or not ours   also ValueError
    ├── ConfigError(field)        a setting out of its range                      also ValueError
    ├── CacheError(folder)        the cache cannot be read or written             also OSError
    └── LibraryError(place)       a folder that is not a library, or unwritable   also ValueError

Each message is one line that says what is wrong, where, and what to do. The command line prints it and exits 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class QuickstepError(Exception):
    """The root of the tree: catch it to catch every error of the input, and no bug."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return " ".join(self.message.split())


class MediaError(QuickstepError, OSError):
    """A video or audio file that cannot be read or written."""

    def __init__(self, path: str | Path, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = Path(path)
        self.why = why


class ManifestError(QuickstepError, ValueError):
    """A folder, csv or other list of labelled videos that cannot be used as it is."""

    def __init__(self, path: str | Path, why: str, *, line: int | None = None) -> None:
        super().__init__(f"{path}, line {line}: {why}" if line is not None else f"{path}: {why}")
        self.path = Path(path)
        self.line = line
        self.why = why


class UnknownName(QuickstepError, LookupError):
    """A name that does not exist; the message lists those that do."""

    def __init__(self, kind: str, name: str, choices: Iterable[str]) -> None:
        names = sorted(choices)
        near = get_close_matches(name, names, n=1) or [choice for choice in names if name and choice.startswith(name)]
        hint = f" (did you mean {' or '.join(map(repr, near[:3]))}?)" if near else ""
        super().__init__(f"there is no {kind} {name!r}{hint}; there are: {', '.join(names)}")
        self.kind = kind
        self.name = name
        self.choices = tuple(names)


def pip_command(extra: str) -> str:
    """Return the command that installs an extra."""
    command = f"pip install 'quickstep[{extra}]'"  # rtmlib asks for two builds of OpenCV, so that it is installed without what it asks for
    return f"{command} && pip install --no-deps rtmlib" if extra == "rtmpose" else command


class MissingExtra(QuickstepError, ImportError):
    """An optional part whose libraries are not installed; the message has the pip command."""

    def __init__(self, extra: str, what: str) -> None:
        super().__init__(f"{what} needs libraries that are not installed: {pip_command(extra)}")
        self.extra = extra


class WeightsError(QuickstepError, OSError):
    """Pretrained weights that are missing, unreachable, damaged or made for another network."""


class ModelError(QuickstepError, ValueError):
    """A model folder that is incomplete, was changed, or was written by a newer quickstep."""

    def __init__(self, folder: str | Path, why: str) -> None:
        super().__init__(f"{folder}: {why}")
        self.folder = Path(folder)
        self.why = why


class ConfigError(QuickstepError, ValueError):
    """A setting whose value cannot be used. Named as in Python here; the command line writes it as an option."""

    def __init__(self, field: str, why: str) -> None:
        self.field = field.replace("-", "_")
        super().__init__(f"{self.field}: {why}")
        self.why = why


class CacheError(QuickstepError, OSError):
    """The cache folder cannot be read or written."""

    def __init__(self, folder: str | Path, why: str) -> None:
        super().__init__(f"{folder}: {why}")
        self.folder = Path(folder)
        self.why = why


class LibraryError(QuickstepError, ValueError):
    """A library that cannot be read or written, or was made with another backbone or by a newer quickstep."""

    def __init__(self, place: str | Path, why: str) -> None:
        super().__init__(f"{place}: {why}")
        self.place = str(place)
        self.why = why
