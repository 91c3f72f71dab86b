"""Options that several commands share, how a command opens a model, and what it prints about failures."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

from cyclopts import Parameter

from quickstep.apps.option_names import unknown_option_text
from quickstep.apps.terminal import say
from quickstep.datasets.groups import with_groups
from quickstep.datasets.manifest import Manifest, read_manifest
from quickstep.models.ensemble import AnyModel, load_model
from quickstep.models.model import Model
from quickstep.models.model_files import check_target
from quickstep.signals.video.limits import DecodingLimits
from quickstep.storage.cache import Cache
from quickstep.storage.model_folder import RECORD
from quickstep.storage.output_locks import reserve
from quickstep.types.config_fields import setting
from quickstep.types.errors import ConfigError, QuickstepError
from quickstep.types.view import check_views

Flat = Parameter(name="*")  # a dataclass whose fields are options of the command itself
Out = Parameter(name=("--out", "-o"))
Flag = Parameter(negative="")  # a switch without a --no- form


def _refuse_options(_type: object, given: object) -> None:
    """Refuse an option that does not exist, which would be taken for a file."""
    for typed in map(str, given if isinstance(given, tuple) else (given,)):
        if typed.startswith("--") and not os.path.lexists(typed):
            raise QuickstepError(unknown_option_text(typed.partition("=")[0]))


Inputs = Parameter(allow_leading_hyphen=True, validator=_refuse_options)  # "-" reads paths from standard input


@dataclass(frozen=True, kw_only=True)
class Printing:
    """What a command prints. The command line applies quiet and verbose before the command begins."""

    json: Annotated[bool, Flag] = setting(False, "print the result as JSON")
    quiet: Annotated[bool, Parameter(name=("--quiet", "-q"), negative="")] = setting(False, "print results and errors only")
    verbose: Annotated[bool, Parameter(name=("--verbose", "-v"), negative="")] = setting(
        False, "print the log too: cache misses, downloads, retries"
    )


@dataclass(frozen=True, kw_only=True)
class Run(Printing):
    """What a command prints, where it caches, whose code it may run, and what reading a video may cost."""

    cache_folder: Annotated[Path | None, Parameter(name="--cache")] = setting(
        None, "folder of cached features (default: $QUICKSTEP_CACHE, else the user's cache folder)"
    )
    trust: tuple[str, ...] = setting((), "Python modules outside quickstep whose classes a model, library or recipe may run")

    decoding: Annotated[DecodingLimits, Flat] = field(
        default_factory=partial(DecodingLimits, isolate="auto")
    )  # applied before the command begins

    @property
    def cache(self) -> Cache:
        """The cache that the command uses."""
        return Cache(self.cache_folder)


@dataclass(frozen=True, kw_only=True)
class Listing:
    """How labelled videos are listed."""

    classes: Path | None = setting(None, "a file with the class names, one a line or with their numbers, for a list that has class numbers")
    official_split: str | None = setting(None, "which official split to use, for a list with several (1:train|2:test)")

    groups: str | None = setting(
        None, r"who is in a video, by a pattern in its path such as 'dancer-(\d+)'; auto guesses it from the names"
    )

    def read(self, data: Path) -> Manifest:
        """Read the manifest of a folder or list."""
        manifest = read_manifest(data, classes=self.classes, official_split=self.official_split)
        return manifest if self.groups is None else with_groups(manifest, self.groups)


@dataclass(frozen=True, kw_only=True)
class TrialView:
    """Another number of windows and crops, for a trial."""

    windows: int | None = setting(None, "for a trial: windows a segment, instead of the model's own number")
    crops: int | None = setting(None, "for a trial: crops a window (1, 3, 5 or 10), instead of the model's own number")

    def __post_init__(self) -> None:
        check_views(self.windows, self.crops)


DEFAULT_PRINTING = Printing()
DEFAULT_RUN = Run()
DEFAULT_LISTING = Listing()
DEFAULT_VIEW = TrialView()

AnyOf = TypeVar("AnyOf", Model, AnyModel)


def open_model(model: Path, weights: Path | None, run: Run, view: TrialView | None = None) -> AnyModel:
    """Open the model or ensemble of a folder, and print where it computes otherwise than when it was trained."""
    opened = with_cautions(load_model(model, weights, cache=run.cache))
    if view is None:
        return opened
    opened = opened.with_view(windows=view.windows, crops=view.crops)
    if opened.view_note:
        say(f"note: {opened.view_note}", style="yellow")
    return opened


def with_cautions(opened: AnyOf) -> AnyOf:
    """Print a model's cautions and return the model."""
    print_notes(opened.warnings)
    return opened


def print_notes(notes: Iterable[object]) -> None:
    """Print what the user should know, one note a line."""
    for note in notes:
        say(f"note: {note}", style="yellow")


def print_failures(failures: Iterable[object], what: str = "skipped") -> None:
    """Print the videos that could not be used, one a line."""
    for failure in failures:
        say(f"{what}: {failure}", style="yellow")


def check_model_target(out: Path, *, overwrite: bool) -> Path:
    """Reserve a folder for a model. Refuse one that cannot be written, and one that holds a model unless it may be overwritten."""
    if (out / RECORD).exists() and not overwrite:
        raise ConfigError("out", f"{out} already holds a model: name another folder, or replace it with `overwrite=True`")
    check_target(out)
    reserve(out)
    return out


def check_file_target(out: Path, *, overwrite: bool) -> Path:
    """Reserve a file. Refuse one that exists, unless it may be overwritten."""
    if out.exists() and not overwrite:
        raise ConfigError("out", f"{out} exists: name another file, or replace it with `overwrite=True`")
    reserve(out)
    return out
