"""Every error a user can cause, as one tree; knows nothing of what raised it.

    QuickstepError
    ├── MediaError(path)          a video that cannot be read or written          also OSError
    ├── ManifestError(path, line) a list of labelled videos that is wrong         also ValueError
    ├── UnknownName(kind, name)   a name that is in no table                      also LookupError
    ├── MissingExtra(name)        a library that an optional part needs           also ImportError
    ├── WeightsError              pretrained weights absent, broken or unsuitable also OSError
    ├── ModelError(folder)        a model folder that is not whole or not ours    also ValueError
    ├── ConfigError(field)        a setting out of its range                      also ValueError
    ├── StoreError(folder)        the cache cannot be read or written             also OSError
    └── LibraryError(place)       a library that is none, not ours, or unwritable also ValueError

Each message is one line that says what is wrong, where, and what to do. The command line prints it and exits 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class QuickstepError(Exception):
    """The root: catch it to catch everything that is the input's fault and not a bug."""

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
    """A folder, csv or list of labelled videos that cannot be used as it is."""

    def __init__(self, path: str | Path, why: str, *, line: int | None = None) -> None:
        super().__init__(f"{path}, line {line}: {why}" if line is not None else f"{path}: {why}")
        self.path = Path(path)
        self.line = line
        self.why = why


class UnknownName(QuickstepError, LookupError):
    """A name that is not in its table; says which are."""

    def __init__(self, kind: str, name: str, choices: Iterable[str]) -> None:
        names = sorted(choices)
        near = get_close_matches(name, names, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        super().__init__(f"there is no {kind} {name!r}{hint}; there are: {', '.join(names)}")
        self.kind = kind
        self.name = name
        self.choices = tuple(names)


class MissingExtra(QuickstepError, ImportError):
    """A part of quickstep whose libraries are not installed; says the pip command that brings them."""

    def __init__(self, extra: str, what: str) -> None:
        super().__init__(f"{what} needs libraries that are not installed: pip install 'quickstep[{extra}]'")
        self.extra = extra


class WeightsError(QuickstepError, OSError):
    """Pretrained weights that are absent, unreachable, broken or made for something else."""


class ModelError(QuickstepError, ValueError):
    """A model folder that is not whole, was changed, or was written by a newer quickstep."""

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
    """The folder of computed arrays cannot be read or written."""

    def __init__(self, folder: str | Path, why: str) -> None:
        super().__init__(f"{folder}: {why}")
        self.folder = Path(folder)
        self.why = why


class LibraryError(QuickstepError, ValueError):
    """A library that is none, was made by another backbone or a newer quickstep, or cannot be read or written."""

    def __init__(self, place: str | Path, why: str) -> None:
        super().__init__(f"{place}: {why}")
        self.place = str(place)
        self.why = why
