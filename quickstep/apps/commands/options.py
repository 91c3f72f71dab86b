"""What the commands share: the options that all understand, and how a model is opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from cyclopts import Parameter

from quickstep.apps.terminal import say
from quickstep.models.ensemble import AnyModel, load_model
from quickstep.models.model import Model
from quickstep.storage.cache import Cache
from quickstep.types.config_fields import setting
from quickstep.types.view import check_views

Flat = Parameter(name="*")  # a dataclass whose fields are options of the command itself
Out = Parameter(name=("--out", "-o"))
Flag = Parameter(negative="")  # an option that is there or not


@dataclass(frozen=True, kw_only=True)
class Run:
    """What every command understands."""

    json: Annotated[bool, Flag] = setting(False, "print the result as JSON")
    cache_folder: Annotated[Path | None, Parameter(name="--cache")] = setting(
        None, "folder of computed arrays (default: $QUICKSTEP_CACHE, else the user's cache folder)"
    )

    @property
    def cache(self) -> Cache:
        """The cache that the command uses."""
        return Cache(self.cache_folder)


@dataclass(frozen=True, kw_only=True)
class Looks:
    """Another view for a trial; the model's own is what counts everywhere else."""

    windows: int | None = setting(None, "look at so many windows of each segment, for a trial, instead of the model's own number")
    crops: int | None = setting(None, "look at so many crops of each window (1, 3, 5, 10), for a trial, instead of the model's own")

    def __post_init__(self) -> None:
        check_views(self.windows, self.crops)


DEFAULT_RUN = Run()
DEFAULT_LOOKS = Looks()


def open_model(model: Path, weights: Path | None, run: Run, view: Looks | None = None) -> AnyModel:
    """The model or ensemble of a folder; what is computed otherwise here than where it was trained is said."""
    opened = load_model(model, weights, cache=run.cache)
    opened = _told(opened)
    if view is None:
        return opened
    opened = opened.with_view(windows=view.windows, crops=view.crops)
    if opened.view_note:
        say(f"note: {opened.view_note}", style="yellow")
    return opened


def open_one(model: Path, weights: Path | None, run: Run) -> Model:
    """The model of a folder, for what needs one model: an ensemble is refused with what to do."""
    return _told(Model.load(model, weights, cache=run.cache))


M = TypeVar("M", Model, AnyModel)


def _told(opened: M) -> M:
    for caution in opened.warnings:
        say(f"note: {caution}", style="yellow")
    return opened
